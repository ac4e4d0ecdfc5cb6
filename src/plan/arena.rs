//! Activations placed in arenas by lifetime, as pure arithmetic: which arena, and at what offset.
//!
//! wgpu tracks a buffer as a whole, so a dispatch may not read and write the same one: what a dispatch writes lies
//! in another arena than what it reads, and than what else it writes. The largest tensors are placed first, each at the lowest offset that is
//! free for its whole life ("greedy by size" of Pisarchyk and Lee, 2020), in the arena that grows least.

use std::collections::BTreeSet;

/// Bytes to which every tensor is aligned.
const ALIGNMENT: u64 = 256;

/// A tensor to be placed: how large, and from which dispatch to which it is needed (both included).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetime {
    pub bytes: u64,
    pub first: usize,
    pub last: usize,
}

/// Where it lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot {
    pub arena: usize,
    pub offset: u64,
}

/// All places, and the size of each arena.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arenas {
    pub slots: Vec<Slot>,
    pub sizes: Vec<u64>,
}

/// Places `tensors` so that no two of `apart` share an arena and no arena is larger than `max_bytes` (unless one
/// tensor is).
pub(crate) fn place(tensors: &[Lifetime], apart: &BTreeSet<(usize, usize)>, max_bytes: u64) -> Arenas {
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(tensors[i].bytes), tensors[i].first, i));
    let mut neighbours: Vec<Vec<usize>> = vec![Vec::new(); tensors.len()];
    for &(a, b) in apart {
        neighbours[a].push(b);
        neighbours[b].push(a);
    }
    let mut placed: Vec<Option<Slot>> = vec![None; tensors.len()];
    let mut sizes: Vec<u64> = Vec::new();
    // What lies in each arena so far: where it begins and ends, and whose life it has.
    let mut contents: Vec<Vec<(u64, u64, usize)>> = Vec::new();
    let mut forbidden = Vec::new();
    for &tensor in &order {
        forbidden.clear();
        forbidden.extend(neighbours[tensor].iter().filter_map(|&other| placed[other]).map(|slot| slot.arena));
        let end = |offset: u64| offset + tensors[tensor].bytes.next_multiple_of(ALIGNMENT);
        let best = (0..sizes.len())
            .filter(|arena| !forbidden.contains(arena))
            .map(|arena| (arena, lowest_free(tensors, &contents[arena], tensor)))
            .filter(|&(_, offset)| end(offset) <= max_bytes)
            .min_by_key(|&(arena, offset)| (end(offset).saturating_sub(sizes[arena]), arena));
        let (arena, offset) = best.unwrap_or_else(|| {
            sizes.push(0);
            contents.push(Vec::new());
            (sizes.len() - 1, 0)
        });
        sizes[arena] = sizes[arena].max(end(offset));
        let place = contents[arena].partition_point(|&(start, ..)| start <= offset);
        contents[arena].insert(place, (offset, end(offset), tensor));
        placed[tensor] = Some(Slot { arena, offset });
    }
    Arenas { slots: placed.into_iter().flatten().collect(), sizes }
}

/// The lowest offset in an arena of `contents`, in the order of their offsets, at which `tensor` meets none that lives
/// while it does.
fn lowest_free(tensors: &[Lifetime], contents: &[(u64, u64, usize)], tensor: usize) -> u64 {
    let new = tensors[tensor];
    let mut offset = 0;
    for &(start, end, other) in contents {
        let other = tensors[other];
        if other.first > new.last || new.first > other.last {
            continue;
        }
        if offset + new.bytes <= start {
            break;
        }
        offset = offset.max(end);
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lives() -> impl Strategy<Value = Vec<Lifetime>> {
        let life = (1u64..5000, 0usize..40, 0usize..12).prop_map(|(bytes, first, length)| Lifetime {
            bytes,
            first,
            last: first + length,
        });
        prop::collection::vec(life, 1..60)
    }

    proptest! {
        #[test]
        fn live_tensors_never_overlap_and_those_apart_share_no_arena(
            tensors in lives(),
            pairs in prop::collection::vec((0usize..60, 0usize..60), 0..80),
            max_bytes in 2_000u64..50_000,
        ) {
            let count = tensors.len();
            let apart: BTreeSet<_> =
                pairs.into_iter().map(|(a, b)| (a % count, b % count)).filter(|(a, b)| a != b).collect();
            let arenas = place(&tensors, &apart, max_bytes);
            prop_assert_eq!(arenas.slots.len(), count);
            for &(a, b) in &apart {
                prop_assert_ne!(arenas.slots[a].arena, arenas.slots[b].arena);
            }
            for (a, first) in tensors.iter().enumerate() {
                let slot = arenas.slots[a];
                prop_assert_eq!(slot.offset % ALIGNMENT, 0);
                prop_assert!(slot.offset + first.bytes <= arenas.sizes[slot.arena]);
                for (b, second) in tensors.iter().enumerate().skip(a + 1) {
                    let other = arenas.slots[b];
                    let together = first.first <= second.last && second.first <= first.last;
                    let overlap = slot.arena == other.arena
                        && slot.offset < other.offset + second.bytes
                        && other.offset < slot.offset + first.bytes;
                    prop_assert!(!(together && overlap), "{} and {} overlap", a, b);
                }
            }
            for &size in &arenas.sizes {
                let largest = tensors.iter().map(|t| t.bytes.next_multiple_of(ALIGNMENT)).max().unwrap_or(0);
                prop_assert!(size <= max_bytes.max(largest));
            }
        }
    }

    #[test]
    fn memory_is_reused_once_a_tensor_is_dead() {
        let chain: Vec<_> = (0..10).map(|i| Lifetime { bytes: 1024, first: i, last: i + 1 }).collect();
        let apart = (0..9).map(|i| (i, i + 1)).collect();
        assert_eq!(place(&chain, &apart, u64::MAX).sizes, vec![1024, 1024]);
    }
}
