//! Training for executors of futures: what is to be waited for is waited for by asking again.

use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc::{Sender, channel};
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
///
/// ```
/// use downhill::{Event, NextEvent};
///
/// # use downhill::{Gpu, GpuOptions, Optimizer, TrainOptions, Trainer, data};
/// # let gpu = Gpu::new(&GpuOptions::default())?;
/// # let rows = data::load(&"random:64x4:2".parse()?, None, None, 0)?;
/// # let options = TrainOptions::new("linear".parse()?, Optimizer::new("sgd")?);
/// # let mut trainer = Trainer::new(&gpu, rows, options)?;
/// let next: NextEvent<'_> = trainer.next_event_async();
/// // Any executor does; this one is of the crate pollster.
/// let event = pollster::block_on(next)?;
/// assert!(matches!(event, Event::Epoch(epoch) if epoch.epoch == 1));
/// # Ok::<(), downhill::Error>(())
/// ```
pub struct NextEvent<'a> {
    trainer: &'a mut Trainer,
    alarm: Option<Sender<Waker>>,
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
        let waker = context.waker().clone();
        match this.alarm.get_or_insert_with(alarm).send(waker) {
            Ok(()) => Poll::Pending,
            Err(_) => Poll::Ready(Err(Error::Device {
                doing: "waiting for steps".to_owned(),
                message: "the system gives no thread".to_owned(),
            })),
        }
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

/// A thread that wakes whom it is given after a pause, until its sender is dropped.
fn alarm() -> Sender<Waker> {
    let (sender, wakers) = channel::<Waker>();
    // Without a thread the receiver is dropped here, and sending tells so.
    let _ = thread::Builder::new().name("downhill alarm".to_owned()).spawn(move || {
        for waker in wakers {
            thread::sleep(PAUSE);
            waker.wake();
        }
    });
    sender
}
