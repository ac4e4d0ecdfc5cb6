//! Steps on their way into submits: a submit costs the host tens of microseconds on real drivers, so short steps share
//! one, and their uniforms and uploads one slot of the staging ring.
//!
//! How many share one follows from how fast steps go: as many as make a submit last [`SUBMIT`]. Of steps that take as
//! long by themselves, or whose rows take as long to come, each is submitted at once. The commands and their order are
//! the same in any case, so the bits are.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::Result;
use crate::gpu::{Gpu, STAGING_SLOTS, StagedCopy, StagingRing, StagingSlot};

/// How long a submit is to last: a small part of it is then the submit's own cost, and nobody notices the delay.
const SUBMIT: Duration = Duration::from_millis(2);

/// Steps that share a submit at most, and bytes up to which a staging slot has room for more steps than one.
pub(super) const MOST_STEPS: u64 = 16;
const SHARED_SLOT: u64 = 64 << 10;

/// Bytes of a staging slot where a step takes `step_bytes` of it: never less for a larger step, so that what a plan takes
/// grows with its rows.
pub(super) fn slot_bytes(step_bytes: u64) -> u64 {
    (MOST_STEPS * step_bytes).min(SHARED_SLOT).max(step_bytes)
}

/// Records steps and submits them.
pub(super) struct Submits {
    gpu: Gpu,
    staging: StagingRing,
    /// Bytes of a step in a slot, and how many steps a slot has room for.
    step_bytes: u64,
    room: u64,
    /// What is recorded and not submitted.
    open: Option<Submit>,
    /// Steps that are to share a submit, and what was asked for instead.
    steps: u64,
    asked: Option<u64>,
    /// Steps of the submits under way, oldest first.
    in_flight: VecDeque<u64>,
    /// When the last submit was begun; none where it was cut short, since what was waited for then is not known.
    last_begun: Option<Instant>,
    /// Submits begun since then: a slot comes back from one of them once they are more than there are slots.
    in_row: usize,
}

/// A submit being recorded.
struct Submit {
    encoder: wgpu::CommandEncoder,
    /// None where it only goes on with a step of an earlier one.
    slot: Option<StagingSlot>,
    /// Steps that began in it, each with a part of the slot, and steps that ended in it.
    parts: u64,
    steps: u64,
    begun: Instant,
}

impl Submit {
    fn new(gpu: &Gpu) -> Self {
        let encoder = gpu.device().create_command_encoder(&Default::default());
        Submit { encoder, slot: None, parts: 0, steps: 0, begun: Instant::now() }
    }
}

/// A step being recorded.
pub(super) struct Step<'a> {
    staging: &'a StagingRing,
    slot: &'a mut StagingSlot,
    encoder: &'a mut wgpu::CommandEncoder,
    /// Where its part of the slot begins.
    at: u64,
}

impl Step<'_> {
    /// Writes `bytes` from the byte `at` of its part of the slot on.
    pub fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.slot.write((self.at + at) as usize, bytes)
    }

    /// Records copies out of its part of the slot.
    pub fn copy<'c>(&mut self, copies: impl IntoIterator<Item = StagedCopy<'c>>) {
        let copies = copies.into_iter().map(|copy| StagedCopy { from: self.at + copy.from, ..copy });
        self.staging.copy(self.slot, self.encoder, copies);
    }

    pub fn encoder(&mut self) -> &mut wgpu::CommandEncoder {
        self.encoder
    }
}

impl Submits {
    /// Allocates the staging ring for steps that take `step_bytes` of a slot, a multiple of 4.
    pub fn new(gpu: &Gpu, step_bytes: u64) -> Result<Self> {
        let slot = slot_bytes(step_bytes);
        Ok(Submits {
            gpu: gpu.clone(),
            staging: StagingRing::new(gpu, "staging", slot, STAGING_SLOTS)?,
            step_bytes,
            room: slot / step_bytes,
            open: None,
            steps: 1,
            asked: None,
            in_flight: VecDeque::with_capacity(STAGING_SLOTS),
            last_begun: None,
            in_row: 0,
        })
    }

    /// Has so many steps share a submit, as far as a slot has room for them; with none, as many as pays. Returns what was
    /// asked for before.
    pub fn ask(&mut self, steps: Option<u64>) -> Option<u64> {
        std::mem::replace(&mut self.asked, steps)
    }

    /// Steps that share a submit now.
    pub fn steps(&self) -> u64 {
        self.asked.unwrap_or(self.steps).clamp(1, self.room)
    }

    /// Whether a step can begin without a wait.
    pub fn has_room(&self) -> Result<bool> {
        match &self.open {
            Some(Submit { slot: Some(_), .. }) => Ok(true),
            _ => self.staging.has_free(),
        }
    }

    /// Begins a step, and a submit where none is open; with it how long a slot of the staging ring was waited for.
    pub fn next_step(&mut self) -> Result<(Step<'_>, Duration)> {
        let (slot, waited) = match self.open.as_mut().and_then(|submit| submit.slot.take()) {
            Some(slot) => (slot, Duration::ZERO),
            None => self.acquire()?,
        };
        let Submits { gpu, staging, open, step_bytes, .. } = self;
        let Submit { encoder, slot: held, parts, .. } = open.get_or_insert_with(|| Submit::new(gpu));
        let at = *parts * *step_bytes;
        *parts += 1;
        Ok((Step { staging, slot: held.insert(slot), encoder, at }, waited))
    }

    /// The encoder of the submit that is being recorded.
    pub fn encoder(&mut self) -> &mut wgpu::CommandEncoder {
        &mut self.open.get_or_insert_with(|| Submit::new(&self.gpu)).encoder
    }

    /// A slot of the staging ring and how long it was waited for, from which follows how many steps share a submit.
    fn acquire(&mut self) -> Result<(StagingSlot, Duration)> {
        let (asked, waits) = (Instant::now(), self.staging.waits());
        let slot = self.staging.acquire()?;
        let has_waited = self.staging.waits() > waits;
        let begun = Instant::now();
        let last = self.in_flight.back().copied();
        let done = if self.in_flight.len() == STAGING_SLOTS { self.in_flight.pop_front() } else { None };
        // So long took the device for the steps that it was waited for, or the host for those that it sent.
        let steps = if has_waited { done } else { last };
        // Before the device has ended one of them, their pace is the host's alone and says nothing of how long they last.
        let has_ended = self.in_row >= STAGING_SLOTS;
        self.in_row += 1;
        if let (Some(last_begun), Some(steps), true) = (self.last_begun, steps, has_ended) {
            self.steps = paced(self.steps, begun - last_begun, steps).min(self.room);
        }
        let waited = if has_waited { begun - asked } else { Duration::ZERO };
        Ok((slot, waited))
    }

    /// Ends the step that was recorded last: submits it with those before it where they are as many as are to share a
    /// submit.
    pub fn end_step(&mut self) {
        let steps = self.steps();
        let Some(submit) = &mut self.open else { return };
        submit.steps += 1;
        if submit.steps.max(submit.parts) >= steps {
            let (begun, in_row) = (submit.begun, self.in_row);
            self.flush();
            (self.last_begun, self.in_row) = (Some(begun), in_row);
        }
    }

    /// Submits the steps that are not submitted yet.
    pub fn flush(&mut self) {
        if self.open.is_some() {
            let encoder = self.close();
            self.send(encoder);
        }
    }

    /// An encoder that begins with the steps that are not submitted yet; it must be sent.
    pub fn close(&mut self) -> wgpu::CommandEncoder {
        (self.last_begun, self.in_row) = (None, 0);
        match self.open.take() {
            Some(Submit { encoder, slot, steps, .. }) => {
                if let Some(slot) = slot {
                    self.staging.close(slot);
                    self.in_flight.push_back(steps);
                }
                encoder
            }
            None => self.gpu.device().create_command_encoder(&Default::default()),
        }
    }

    /// Submits what [`Submits::close`] gave, with what was recorded behind it.
    pub fn send(&mut self, encoder: wgpu::CommandEncoder) -> wgpu::SubmissionIndex {
        let submission = self.gpu.submit(encoder);
        self.staging.submitted(&submission);
        submission
    }
}

/// How many steps are to share a submit where as many as `now` did, and `steps` of them took `time`. No more than twice as
/// many: a time is trusted only as far as it was tried, for a submit that lasts seconds has the driver reset the device.
fn paced(now: u64, time: Duration, steps: u64) -> u64 {
    let lasting = (SUBMIT.as_nanos() * u128::from(steps)).div_ceil(time.as_nanos().max(1));
    lasting.clamp(1, u128::from(2 * now)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GpuOptions;

    /// Steps in the submits under way, oldest first, and steps that wait for theirs.
    fn state(submits: &Submits) -> (Vec<u64>, u64) {
        let open = submits.open.as_ref().map_or(0, |submit| submit.steps);
        (submits.in_flight.iter().copied().collect(), open)
    }

    #[test]
    fn steps_are_submitted_when_they_are_as_many_as_share_a_submit_and_when_somebody_wants_them() {
        let gpu = Gpu::new(&GpuOptions::default()).unwrap();
        let mut submits = Submits::new(&gpu, 260).unwrap();
        let steps = |submits: &mut Submits, count: u64| {
            for _ in 0..count {
                submits.next_step().unwrap();
                submits.end_step();
            }
            state(submits)
        };
        // As long as no slot came back, nothing is known of how long they last.
        assert_eq!(steps(&mut submits, STAGING_SLOTS as u64), (vec![1; STAGING_SLOTS], 0));
        assert_eq!(submits.steps(), 1);
        let mut submits = Submits::new(&gpu, 260).unwrap();
        submits.ask(Some(3));
        assert_eq!(steps(&mut submits, 2), (vec![], 2));
        assert_eq!(steps(&mut submits, 5), (vec![3, 3], 1));
        submits.flush();
        assert_eq!(state(&submits), (vec![3, 3, 1], 0));
        submits.flush();
        assert_eq!(steps(&mut submits, 1), (vec![3, 1], 1), "nothing is submitted for nothing");
        let encoder = submits.close();
        submits.send(encoder);
        assert_eq!(steps(&mut submits, 0), (vec![3, 1, 1], 0), "what is recorded behind goes along");
        submits.ask(Some(1000));
        assert_eq!(submits.steps(), MOST_STEPS);
        assert_eq!(steps(&mut submits, MOST_STEPS + 1), (vec![1, MOST_STEPS], 1));
    }

    #[test]
    fn as_many_steps_share_a_submit_as_make_it_last_two_milliseconds_but_no_leap() {
        // How many shared one, microseconds of how many steps, and how many are to share the next.
        let rows = [
            (1, 200, 1, 2),
            (2, 400, 2, 4),
            (8, 1600, 8, 10),
            (10, 2000, 10, 10),
            (10, 20_000, 10, 1),
            (1, 2000, 1, 1),
            (1, 1001, 1, 2),
            (3, 2100, 3, 3),
            (1, 5_000_000, 1, 1),
            (4, 0, 4, 8),
        ];
        for (now, microseconds, steps, expected) in rows {
            let time = Duration::from_micros(microseconds);
            assert_eq!(paced(now, time, steps), expected, "{now} {microseconds} {steps}");
        }
    }

    #[test]
    fn a_slot_has_room_for_a_step_of_any_size_and_for_several_small_ones() {
        let rooms = [(260, 16), (4096, 16), (4100, 15), (32 << 10, 2), (40 << 10, 1), (1 << 20, 1)];
        for (step, room) in rooms {
            assert_eq!(slot_bytes(step) / step, room, "{step}");
        }
        assert!((65..30_000).all(|words| slot_bytes(4 * words) >= slot_bytes(4 * (words - 1))));
    }
}
