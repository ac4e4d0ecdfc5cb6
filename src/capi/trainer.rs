//! Training.

use std::ffi::c_char;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::data::downhill_data;
use super::events::{advanced, described, downhill_advance, downhill_event};
use super::gpu::downhill_gpu;
use super::handles::Table;
use super::options::downhill_options;
use super::status::{Failure, Outcome, array, array_mut, downhill_status, give, guard, text, wanted};
use super::{data, gpu, options};
use crate::{
    Error, PlanReport, Trainer, checkpoint_from_bytes, checkpoint_to_bytes, read_model, write_model,
};

/// A model in training.
///
/// Its functions may be called from any thread; while one works on a trainer, others on the same trainer wait for it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct downhill_trainer {
    /// 0 for none.
    pub id: u64,
}

/// What a run takes and how it is laid out.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct downhill_plan {
    /// Bytes of GPU memory, all together.
    pub bytes: u64,
    /// Bytes that the run may take.
    pub budget: u64,
    /// Numbers that are learnt.
    pub parameters: u64,
    /// Rows that one update averages over.
    pub batch: u64,
    /// Rows that are computed at once.
    pub micro_batch: u64,
    /// Updates in one pass over the rows.
    pub steps_per_epoch: u64,
}

static TRAINERS: Table<Trainer> = Table::new("trainer", 4);

/// Runs `work` on a trainer, alone.
pub(super) fn with<R>(
    trainer: downhill_trainer,
    work: impl FnOnce(&mut Trainer) -> Outcome<R>,
) -> Outcome<R> {
    TRAINERS.with(trainer.id, work)
}

/// Tells what a run would take, before anything is allocated. Waits for nothing. May be called from any thread.
///
/// # Safety
/// plan points to a place for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_plan_run(
    gpu: downhill_gpu,
    data: downhill_data,
    options: downhill_options,
    plan: *mut downhill_plan,
) -> downhill_status {
    guard(|| {
        let (gpu, data, options) = (gpu::find(gpu)?, data::find(data)?, options::find(options)?);
        let report = Trainer::plan(&gpu, &data, &options)?;
        // SAFETY: as the caller says.
        unsafe { give(plan, told(&report, data.train.rows())) }
    })
}

fn told(report: &PlanReport, rows: usize) -> downhill_plan {
    downhill_plan {
        bytes: report.bytes.total,
        budget: report.budget,
        parameters: report.parameters as u64,
        batch: report.batch as u64,
        micro_batch: report.micro_batch as u64,
        steps_per_epoch: rows.div_ceil(report.batch) as u64,
    }
}

/// Makes a trainer: plans the run, allocates its memory and compiles its kernels, and waits for that; on a thread of its own where
/// nothing may stand still.
///
/// trainer: receives the handle, which downhill_trainer_free() frees. The other handles may be freed before.
///
/// # Safety
/// trainer points to a place for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_trainer_new(
    gpu: downhill_gpu,
    data: downhill_data,
    options: downhill_options,
    trainer: *mut downhill_trainer,
) -> downhill_status {
    guard(|| {
        wanted(trainer)?;
        let (gpu, data, options) = (gpu::find(gpu)?, data::find(data)?, options::find(options)?);
        let id = TRAINERS.insert(Trainer::new(&gpu, data, options)?)?;
        // SAFETY: as the caller says.
        unsafe { give(trainer, downhill_trainer { id }) }
    })
}

/// Frees a trainer and its memory, at any time.
#[unsafe(no_mangle)]
pub extern "C" fn downhill_trainer_free(trainer: downhill_trainer) -> downhill_status {
    guard(|| TRAINERS.remove(trainer.id))
}

/// Trains for about so many nanoseconds on the device, in a frame of an app: submits as much work as fits, and waits for nothing.
/// Results come by downhill_trainer_poll().
///
/// advance: receives what was done; NULL where nobody wants to know.
///
/// # Safety
/// advance is NULL or points to a place for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_trainer_advance(
    trainer: downhill_trainer,
    nanoseconds: u64,
    advance: *mut downhill_advance,
) -> downhill_status {
    guard(|| {
        let done = with(trainer, |trainer| Ok(trainer.advance(Duration::from_nanos(nanoseconds))?))?;
        // SAFETY: as the caller says.
        if advance.is_null() { Ok(()) } else { unsafe { give(advance, advanced(&done)) } }
    })
}

/// Tells what happened since the last call, oldest first, without a wait; DOWNHILL_EVENT_NONE where nothing did, and
/// DOWNHILL_EVENT_FINISHED once.
///
/// # Safety
/// event points to a place for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_trainer_poll(
    trainer: downhill_trainer,
    event: *mut downhill_event,
) -> downhill_status {
    guard(|| {
        wanted(event)?;
        let found = with(trainer, |trainer| Ok((trainer.poll()?, trainer.steps())))?;
        // SAFETY: as the caller says.
        unsafe { give(event, described(found.0.as_ref(), found.1)) }
    })
}

/// Trains until something happened, and waits for it; DOWNHILL_EVENT_FINISHED at the end, and again. For a thread of its own:
/// all other calls on this trainer wait until then, so who wants to pause or cancel calls downhill_trainer_advance() instead.
///
/// # Safety
/// event points to a place for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_trainer_next_event(
    trainer: downhill_trainer,
    event: *mut downhill_event,
) -> downhill_status {
    guard(|| {
        wanted(event)?;
        let never = AtomicBool::new(false);
        let found = with(trainer, |trainer| Ok((trainer.next_event(&never)?, trainer.steps())))?;
        // SAFETY: as the caller says.
        unsafe { give(event, described(Some(&found.0), found.1)) }
    })
}

/// Has downhill_trainer_advance() submit nothing until downhill_trainer_resume(). Waits for nothing.
#[unsafe(no_mangle)]
pub extern "C" fn downhill_trainer_pause(trainer: downhill_trainer) -> downhill_status {
    guard(|| {
        with(trainer, |trainer| {
            trainer.pause();
            Ok(())
        })
    })
}

/// Goes on after downhill_trainer_pause(). Waits for nothing.
#[unsafe(no_mangle)]
pub extern "C" fn downhill_trainer_resume(trainer: downhill_trainer) -> downhill_status {
    guard(|| {
        with(trainer, |trainer| {
            trainer.resume();
            Ok(())
        })
    })
}

/// Ends the run with the last whole step: DOWNHILL_EVENT_FINISHED comes next. Waits for nothing.
#[unsafe(no_mangle)]
pub extern "C" fn downhill_trainer_cancel(trainer: downhill_trainer) -> downhill_status {
    guard(|| with(trainer, |trainer| Ok(trainer.cancel()?)))
}

/// Tells how many steps are submitted. Waits for nothing.
///
/// # Safety
/// steps points to a place for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_trainer_steps(
    trainer: downhill_trainer,
    steps: *mut u64,
) -> downhill_status {
    guard(|| {
        let done = with(trainer, |trainer| Ok(trainer.steps()))?;
        // SAFETY: as the caller says.
        unsafe { give(steps, done) }
    })
}

/// Tells what the run takes as it is laid out now. Waits for nothing.
///
/// # Safety
/// plan points to a place for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_trainer_plan(
    trainer: downhill_trainer,
    plan: *mut downhill_plan,
) -> downhill_status {
    guard(|| {
        let laid_out = with(trainer, |trainer| {
            let steps_per_epoch = trainer.batches_per_epoch();
            Ok(downhill_plan { steps_per_epoch, ..told(trainer.report(), 0) })
        })?;
        // SAFETY: as the caller says.
        unsafe { give(plan, laid_out) }
    })
}

/// Copies all parameters, one tensor after the other in the model's order, into count floats: as many as downhill_plan says.
/// Waits for the steps under way.
///
/// # Safety
/// parameters points to count floats.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_trainer_parameters(
    trainer: downhill_trainer,
    parameters: *mut f32,
    count: usize,
) -> downhill_status {
    guard(|| {
        // SAFETY: as the caller says.
        let out = unsafe { array_mut(parameters, count, "parameters") }?;
        with(trainer, |trainer| {
            let tensors = trainer.parameters()?;
            let values = tensors.iter().flat_map(|tensor| &tensor.values);
            let found = values.clone().count();
            if found != count {
                let message = format!("there are {found} parameters, and room for {count}");
                return Err(Error::shape("downhill_trainer_parameters", message).into());
            }
            out.iter_mut().zip(values).for_each(|(out, value)| *out = *value);
            Ok(())
        })
    })
}

/// Writes the parameters as a safetensors file. Waits for the steps under way. A file that was there is replaced whole or not
/// at all.
///
/// # Safety
/// path ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_trainer_save_model(
    trainer: downhill_trainer,
    path: *const c_char,
) -> downhill_status {
    guard(|| {
        // SAFETY: as the caller says.
        let path = unsafe { text(path, "path") }?;
        let parameters = with(trainer, |trainer| Ok(trainer.parameters()?))?;
        Ok(write_model(Path::new(path), &parameters)?)
    })
}

/// Puts the tensors of a safetensors file in the place of the parameters of the same names, before the first step; the others
/// begin as they would.
///
/// # Safety
/// path ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_trainer_load_model(
    trainer: downhill_trainer,
    path: *const c_char,
) -> downhill_status {
    guard(|| {
        // SAFETY: as the caller says.
        let path = unsafe { text(path, "path") }?;
        let tensors = read_model(Path::new(path))?;
        with(trainer, |trainer| Ok(trainer.set_parameters(&tensors)?))
    })
}

/// Copies all that resuming the run bit for bit needs into buffer. Waits for the steps under way.
///
/// length: receives how many bytes it takes. Where capacity is less, nothing is copied and the call fails with
/// DOWNHILL_STATUS_SHAPE: ask with capacity 0, then with as many.
///
/// # Safety
/// buffer points to capacity bytes, or capacity is 0; length points to a place for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_trainer_snapshot(
    trainer: downhill_trainer,
    buffer: *mut u8,
    capacity: usize,
    length: *mut usize,
) -> downhill_status {
    guard(|| {
        wanted(length)?;
        let bytes = with(trainer, |trainer| Ok(checkpoint_to_bytes(&trainer.snapshot()?)?))?;
        // SAFETY: as the caller says.
        unsafe { give(length, bytes.len()) }?;
        if capacity < bytes.len() {
            let message =
                format!("the snapshot takes {} bytes, and there is room for {capacity}", bytes.len());
            return Err(Failure::Engine(Error::shape("downhill_trainer_snapshot", message)));
        }
        // SAFETY: as the caller says.
        unsafe { array_mut(buffer, bytes.len(), "buffer") }?.copy_from_slice(&bytes);
        Ok(())
    })
}

/// Goes on from a snapshot of a run with the same data and options. Waits for the steps under way; where the snapshot is refused,
/// the trainer is as it was.
///
/// # Safety
/// buffer points to length bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_trainer_restore(
    trainer: downhill_trainer,
    buffer: *const u8,
    length: usize,
) -> downhill_status {
    guard(|| {
        // SAFETY: as the caller says.
        let bytes = unsafe { array(buffer, length, 1, "buffer") }?;
        let snapshot = checkpoint_from_bytes(bytes)?;
        with(trainer, |trainer| {
            if snapshot.origin != *trainer.origin() {
                let message = "the snapshot is of a run with other data or options";
                return Err(Error::shape("downhill_trainer_restore", message).into());
            }
            Ok(trainer.restore(&snapshot)?)
        })
    })
}
