//! Handles: numbers that stand for objects of the library, with a generation that tells a freed one from a living one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::status::{Failure, Outcome};

/// Bits of a handle: what it is of, how often its place was used, and its place.
const PLACE_BITS: u32 = 24;
const GENERATION_BITS: u32 = 32;

/// The objects of one kind.
pub(super) struct Table<T> {
    /// What messages call one of them.
    what: &'static str,
    /// Tells handles of one kind from those of another.
    kind: u8,
    places: Mutex<Vec<Place<T>>>,
}

struct Place<T> {
    generation: u32,
    object: Option<Arc<Mutex<T>>>,
}

impl<T> Table<T> {
    pub const fn new(what: &'static str, kind: u8) -> Self {
        Table { what, kind, places: Mutex::new(Vec::new()) }
    }

    /// A handle of a new object; never 0.
    pub fn insert(&self, object: T) -> Outcome<u64> {
        let object = Some(Arc::new(Mutex::new(object)));
        let mut places = self.places();
        let free = places.iter().position(|place| place.object.is_none() && place.generation < u32::MAX);
        let place = match free {
            Some(place) => {
                places[place].generation += 1;
                places[place].object = object;
                place
            }
            None if places.len() < 1 << PLACE_BITS => {
                places.push(Place { generation: 1, object });
                places.len() - 1
            }
            None => return Err(Failure::Handle(format!("there is no room for another {}", self.what))),
        };
        let generation = u64::from(places[place].generation);
        Ok(u64::from(self.kind) << (PLACE_BITS + GENERATION_BITS) | generation << PLACE_BITS | place as u64)
    }

    /// Runs `work` on an object, alone: other calls on it wait.
    pub fn with<R>(&self, handle: u64, work: impl FnOnce(&mut T) -> Outcome<R>) -> Outcome<R> {
        let object = self.find(handle, |place| place.object.clone())?;
        // Whoever panicked in the middle of it left it as nobody may find it.
        let mut object = object.lock().map_err(|_| Failure::Broken)?;
        work(&mut object)
    }

    /// Gives an object up. It is dropped when the last call on it returns.
    pub fn remove(&self, handle: u64) -> Outcome {
        let object = self.find(handle, |place| place.object.take())?;
        drop(object);
        Ok(())
    }

    fn find(
        &self,
        handle: u64,
        take: impl FnOnce(&mut Place<T>) -> Option<Arc<Mutex<T>>>,
    ) -> Outcome<Arc<Mutex<T>>> {
        let what = self.what;
        if handle >> (PLACE_BITS + GENERATION_BITS) != u64::from(self.kind) {
            return Err(Failure::Handle(match handle {
                0 => format!("the handle is none: make a {what} first"),
                _ => format!("the handle is of something else than a {what}"),
            }));
        }
        let (place, generation) = (handle as usize & ((1 << PLACE_BITS) - 1), (handle >> PLACE_BITS) as u32);
        let mut places = self.places();
        let place = places.get_mut(place).filter(|place| place.generation == generation);
        place.and_then(take).ok_or_else(|| Failure::Handle(format!("this {what} was freed, or never made")))
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place<T>>> {
        // Nothing in here panics half way.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_handle_stays_freed_though_its_place_is_used_again() {
        let table = Table::new("thing", 7);
        let other: Table<u32> = Table::new("other", 8);
        let read = |handle| table.with(handle, |value: &mut u32| Ok(*value)).ok();
        let first = table.insert(1u32).ok().unwrap();
        let second = table.insert(2).ok().unwrap();
        assert!(table.remove(first).is_ok() && table.remove(first).is_err());
        let third = table.insert(3).ok().unwrap();
        assert_eq!(third & 0xff_ffff, first & 0xff_ffff, "the same place");
        assert_eq!([first, second, third].map(read), [None, Some(2), Some(3)]);
        assert_eq!([0, 1, u64::MAX, third + 1].map(read), [None; 4]);
        assert!(other.with(third, |_| Ok(())).is_err());
        // What a panic left is not used again, but can be freed.
        let panicked =
            std::panic::catch_unwind(|| table.with(third, |_| -> Outcome { panic!("on purpose") }));
        assert!(panicked.is_err());
        assert!(matches!(table.with(third, |_| Ok(())), Err(Failure::Broken)));
        assert!(table.remove(third).is_ok());
    }
}
