//! Work that waits, on a thread of its own: for apps whose threads must not stand still, and for executors of futures.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

use crate::{Error, Result};

/// What a thread of its own is making; see [`in_background`].
///
/// As a future it is ready when the work is done, under any executor. Dropped, the work goes on to its end and what it made is
/// dropped there.
///
/// ```
/// use downhill::{Background, data, in_background};
///
/// let mut loading: Background<data::Split> = in_background(|| data::load(&"digits".parse()?, None, None, 0))?;
/// // An app asks once a frame; this one has nothing else to do.
/// let digits = loop {
///     match loading.take() {
///         Some(made) => break made?,
///         None => std::thread::yield_now(),
///     }
/// };
/// assert_eq!(digits.train.rows(), 1347);
/// # Ok::<(), downhill::Error>(())
/// ```
pub struct Background<T>(Arc<Mutex<State<T>>>);

enum State<T> {
    Working(Option<Waker>),
    Done(Result<T>),
    /// What was made is in other hands.
    Taken,
}

/// Does `work` on a thread of its own, such as [`Trainer::new`](crate::Trainer::new), which plans, allocates and compiles:
///
/// ```no_run
/// # fn example(gpu: downhill::Gpu, data: downhill::data::Split, options: downhill::TrainOptions) -> downhill::Result<()> {
/// use downhill::{Trainer, in_background};
///
/// let mut opening = in_background(move || Trainer::new(&gpu, data, options))?;
/// // In every frame, until it is there; or `opening.await`.
/// if let Some(trainer) = opening.take() {
///     let trainer = trainer?;
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Device`] where the system has no thread to give; what the work says comes with [`Background::take`].
pub fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<Background<T>> {
    let state = Arc::new(Mutex::new(State::Working(None)));
    let ended = End(Arc::clone(&state));
    thread::Builder::new()
        .name("downhill background".to_owned())
        .spawn(move || ended.set(work()))
        .map_err(|error| failed(format!("the system gives no thread: {error}")))?;
    Ok(Background(state))
}

impl<T> Background<T> {
    /// What was made, once it is; none before, and none after it was taken.
    pub fn take(&mut self) -> Option<Result<T>> {
        let mut state = lock(&self.0);
        if matches!(*state, State::Working(_)) {
            return None;
        }
        match std::mem::replace(&mut *state, State::Taken) {
            State::Done(made) => Some(made),
            State::Working(_) | State::Taken => None,
        }
    }
}

impl<T> Future for Background<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        if let State::Working(waker) = &mut *lock(&self.0) {
            *waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(self.take().unwrap_or_else(|| Err(failed("what was made was taken already".to_owned()))))
    }
}

/// The other end: says that the work panicked where it does not come to its end.
struct End<T>(Arc<Mutex<State<T>>>);

impl<T> End<T> {
    fn set(&self, made: Result<T>) {
        let mut state = lock(&self.0);
        let State::Working(waker) = &mut *state else { return };
        let waker = waker.take();
        *state = State::Done(made);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        self.set(Err(failed("the work panicked".to_owned())));
    }
}

fn failed(message: String) -> Error {
    Error::Device { doing: "working in the background".to_owned(), message }
}

fn lock<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    // Set whole, so a panic elsewhere cannot spoil it.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_a_thread_makes_is_taken_once_or_awaited() {
        let (go, wait) = mpsc::channel::<()>();
        let mut work = in_background(move || {
            wait.recv().ok();
            Ok(7)
        })
        .unwrap();
        assert!(work.take().is_none());
        go.send(()).unwrap();
        assert_eq!(pollster::block_on(&mut work).unwrap(), 7);
        assert!(work.take().is_none() && pollster::block_on(work).is_err());
        let failing = in_background(|| Err::<(), _>(Error::setting("lr", "is not")));
        assert_eq!(pollster::block_on(failing.unwrap()).unwrap_err().to_string(), "lr: is not");
        let panicking = in_background(|| -> Result<()> { panic!("on purpose") }).unwrap();
        assert!(pollster::block_on(panicking).unwrap_err().to_string().contains("panicked"));
        // Whoever asks from time to time.
        let mut work = in_background(|| Ok(())).unwrap();
        while work.take().is_none() {
            thread::sleep(Duration::from_micros(100));
        }
    }
}
