//! What a trainer has to say, in structs of C.

use std::time::Duration;

use crate::{Advance, Event, Stopped};

/// Why downhill_trainer_advance() submitted no more.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum downhill_stopped {
    /// The time granted is used up.
    DOWNHILL_STOPPED_TIME = 0,
    /// The device has not done yet what it has.
    DOWNHILL_STOPPED_DEVICE = 1,
    /// The next rows are not ready.
    DOWNHILL_STOPPED_DATA = 2,
    /// Memory ran out, or its limit was lowered: the run was planned again.
    DOWNHILL_STOPPED_REPLANNED = 3,
    /// The trainer is paused.
    DOWNHILL_STOPPED_PAUSED = 4,
    /// All is done, or cancelled.
    DOWNHILL_STOPPED_FINISHED = 5,
}

/// What a call of downhill_trainer_advance() did.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct downhill_advance {
    /// Steps whose last part was submitted.
    pub steps: u64,
    /// Launches that were submitted.
    pub launches: u64,
    /// Nanoseconds that they are expected to take on the device.
    pub expected: u64,
    /// Nanoseconds that those of an earlier call took, where that became known now; else 0.
    pub took: u64,
    /// Why there was not more.
    pub stopped: downhill_stopped,
}

/// What an event is of.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum downhill_event_kind {
    /// There is nothing to say now.
    DOWNHILL_EVENT_NONE = 0,
    /// A step whose loss was asked for by "log-every".
    DOWNHILL_EVENT_STEP = 1,
    /// An epoch is over.
    DOWNHILL_EVENT_EPOCH = 2,
    /// Memory ran out, or its limit was lowered; the run goes on in smaller parts.
    DOWNHILL_EVENT_REPLANNED = 3,
    /// All steps are done.
    DOWNHILL_EVENT_FINISHED = 4,
}

/// What happened. Numbers that an event does not have are NaN.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct downhill_event {
    /// What it is of.
    pub kind: downhill_event_kind,
    /// The epoch, from 1; 0 where it is of none.
    pub epoch: u64,
    /// Steps done.
    pub step: u64,
    /// The loss: the mean over the epoch's rows, or of the step's batch.
    pub loss: f64,
    /// The loss on the rows to test with.
    pub test_loss: f64,
    /// The part of the rows to test with whose class was right.
    pub test_accuracy: f64,
    /// The learning rate of the step.
    pub learning_rate: f64,
    /// Rows trained a second.
    pub samples_per_second: f64,
}

/// What a call of [`Trainer::advance`](crate::Trainer::advance) did, for C.
pub(super) fn advanced(done: &Advance) -> downhill_advance {
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    downhill_advance {
        steps: done.steps,
        launches: done.launches,
        expected: nanoseconds(done.expected),
        took: done.took.map_or(0, nanoseconds),
        stopped: match done.stopped {
            Stopped::Time => downhill_stopped::DOWNHILL_STOPPED_TIME,
            Stopped::Device => downhill_stopped::DOWNHILL_STOPPED_DEVICE,
            Stopped::Data => downhill_stopped::DOWNHILL_STOPPED_DATA,
            Stopped::Replanned => downhill_stopped::DOWNHILL_STOPPED_REPLANNED,
            Stopped::Paused => downhill_stopped::DOWNHILL_STOPPED_PAUSED,
            Stopped::Finished => downhill_stopped::DOWNHILL_STOPPED_FINISHED,
        },
    }
}

/// An event, or none, for C, of a trainer that has made so many steps.
pub(super) fn described(event: Option<&Event>, steps: u64) -> downhill_event {
    use downhill_event_kind::*;
    let none = downhill_event {
        kind: DOWNHILL_EVENT_NONE,
        epoch: 0,
        step: steps,
        loss: f64::NAN,
        test_loss: f64::NAN,
        test_accuracy: f64::NAN,
        learning_rate: f64::NAN,
        samples_per_second: f64::NAN,
    };
    match event {
        // Nobody interrupts here.
        None | Some(Event::Interrupted) => none,
        Some(Event::Finished) => downhill_event { kind: DOWNHILL_EVENT_FINISHED, ..none },
        Some(Event::Replanned(replan)) => {
            downhill_event { kind: DOWNHILL_EVENT_REPLANNED, step: replan.step, ..none }
        }
        Some(Event::Step(step)) => downhill_event {
            kind: DOWNHILL_EVENT_STEP,
            epoch: step.epoch,
            step: step.step,
            loss: step.loss,
            learning_rate: step.lr,
            ..none
        },
        Some(Event::Epoch(epoch)) => downhill_event {
            kind: DOWNHILL_EVENT_EPOCH,
            epoch: epoch.epoch,
            step: epoch.step,
            loss: epoch.train_loss,
            test_loss: epoch.test.map_or(f64::NAN, |test| test.loss),
            test_accuracy: epoch.test.and_then(|test| test.accuracy).unwrap_or(f64::NAN),
            samples_per_second: epoch.samples_per_second,
            ..none
        },
    }
}
