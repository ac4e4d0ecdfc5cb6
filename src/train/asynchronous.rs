//! Training for executors of futures: what is to be waited for is waited for by asking again.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use super::event::Event;
use super::trainer::Trainer;
use crate::{Error, Result};

/// Time that is granted at a turn: what keeps the device busy until the next, and delays others no more than a frame.
const GRANTED: Duration = Duration::from_millis(10);

/// Time between two turns.
const PAUSE: Duration = Duration::from_millis(1);

/// The next event of a training; see [`Trainer::next_event_async`].
pub struct NextEvent<'a> {
    trainer: &'a mut Trainer,
    alarm: Option<Alarm>,
}

impl Trainer {
    /// As [`Trainer::next_event`], without blocking the thread: a future that works under any executor, whether or not somebody
    /// polls the device. It trains while it is polled, so it must be; dropped, the training stays where it is and may go on in any
    /// way.
    ///
    /// ```no_run
    /// # async fn example(mut trainer: downhill::Trainer) -> downhill::Result<()> {
    /// use downhill::Event;
    ///
    /// while trainer.next_event_async().await? != Event::Finished {}
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Its errors are those of [`Trainer::advance`].
    pub fn next_event_async(&mut self) -> NextEvent<'_> {
        NextEvent { trainer: self, alarm: None }
    }
}

impl Future for NextEvent<'_> {
    type Output = Result<Event>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Event>> {
        let this = &mut *self;
        match this.trainer.turn() {
            Ok(None) => {}
            Ok(Some(event)) => return Poll::Ready(Ok(event)),
            Err(error) => return Poll::Ready(Err(error)),
        }
        let alarm = match this.alarm.take() {
            Some(alarm) => alarm,
            None => match Alarm::new() {
                Ok(alarm) => alarm,
                Err(error) => return Poll::Ready(Err(error)),
            },
        };
        this.alarm.insert(alarm).set(context.waker());
        Poll::Pending
    }
}

impl Trainer {
    /// An event, or a share of the work on the way to one.
    fn turn(&mut self) -> Result<Option<Event>> {
        if let Some(event) = self.poll()? {
            return Ok(Some(event));
        }
        if self.finished {
            return Ok(Some(Event::Finished));
        }
        self.advance(GRANTED)?;
        self.poll()
    }
}

/// A thread that wakes whom it was last told of, after a pause, until this is dropped.
struct Alarm(Arc<Mutex<Option<Waker>>>);

impl Alarm {
    fn new() -> Result<Self> {
        let told = Arc::new(Mutex::new(None));
        let rings = Arc::downgrade(&told);
        let ring = move || {
            while let Some(told) = rings.upgrade() {
                let waker = lock(&told).take();
                // Not held while it sleeps, so that it ends when the future does.
                drop(told);
                waker.into_iter().for_each(Waker::wake);
                thread::sleep(PAUSE);
            }
        };
        let started = thread::Builder::new().name("downhill alarm".to_owned()).spawn(ring);
        started.map_err(|error| Error::Device {
            doing: "waiting for steps".to_owned(),
            message: format!("the system gives no thread: {error}"),
        })?;
        Ok(Alarm(told))
    }

    fn set(&self, waker: &Waker) {
        *lock(&self.0) = Some(waker.clone());
    }
}

fn lock(waker: &Mutex<Option<Waker>>) -> MutexGuard<'_, Option<Waker>> {
    // Set whole, so a panic elsewhere cannot spoil it.
    waker.lock().unwrap_or_else(PoisonError::into_inner)
}
