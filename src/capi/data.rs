//! Rows to train on, and to test with.

use std::ffi::c_char;

use super::handles::Table;
use super::status::{Outcome, array, downhill_status, give, guard, optional_text, text, wanted};
use crate::Error;
use crate::data::{Dataset, Split, Targets, Task, load};

/// Rows of features with a target each, and perhaps others that a model is tested with.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct downhill_data {
    /// 0 for none.
    pub id: u64,
}

/// What data hold.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct downhill_data_info {
    /// Rows to train on, and to test with.
    pub rows: u64,
    /// Rows to test with; 0 for none.
    pub test_rows: u64,
    /// Features of a row.
    pub features: u64,
    /// Numbers that a model gives for a row: a probability for each class, or the values themselves.
    pub outputs: u64,
    /// 1 where targets are classes, 0 where they are values.
    pub has_classes: u32,
}

static DATA: Table<Split> = Table::new("data set", 2);

/// The rows behind a handle; clones share them.
pub(super) fn find(data: downhill_data) -> Outcome<Split> {
    DATA.with(data.id, |data| Ok(data.clone()))
}

/// Hands out rows without others to test with.
///
/// # Safety
/// `out` points to a place for a handle.
unsafe fn hand_out(rows: Dataset, out: *mut downhill_data) -> Outcome {
    let id = DATA.insert(Split { train: rows, test: None })?;
    // SAFETY: as the caller says.
    unsafe { give(out, downhill_data { id }) }
}

/// Reads data as the command line does: spec is "digits", a folder of IDX files, a path to a .csv or .npy file and so on, as
/// `downhill train --help` tells of --data. target is the name of the column to predict, or NULL. Waits for the disk.
///
/// data: receives the handle, which downhill_data_free() frees. May be called from any thread.
///
/// # Safety
/// Texts end with a zero byte; data points to a place for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_data_load(
    spec: *const c_char,
    target: *const c_char,
    data: *mut downhill_data,
) -> downhill_status {
    guard(|| {
        wanted(data)?;
        // SAFETY: as the caller says.
        let (spec, target) = unsafe { (text(spec, "spec")?, optional_text(target, "target")?) };
        let id = DATA.insert(load(&spec.parse()?, target, None, 0)?)?;
        // SAFETY: as the caller says.
        unsafe { give(data, downhill_data { id }) }
    })
}

/// Takes rows × width floats, row after row, with a class below classes for each row. They are copied: the arrays stay the
/// caller's. May be called from any thread.
///
/// # Safety
/// features points to rows × width floats, labels to rows numbers, data to a place for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_data_from_floats(
    features: *const f32,
    rows: usize,
    width: usize,
    labels: *const u32,
    classes: usize,
    data: *mut downhill_data,
) -> downhill_status {
    guard(|| {
        wanted(data)?;
        // SAFETY: as the caller says.
        let (features, labels) =
            unsafe { (array(features, rows, width, "features")?, array(labels, rows, 1, "labels")?) };
        let targets = Targets::Labels(labels.to_vec());
        let rows = Dataset::from_f32(features.to_vec(), &[width], Task::classes(classes), targets)?;
        // SAFETY: as the caller says.
        unsafe { hand_out(rows, data) }
    })
}

/// As downhill_data_from_floats(), with rows × width bytes, whose values are the bytes times scale, such as 1/255 for pixels: they
/// stay bytes on the GPU.
///
/// # Safety
/// features points to rows × width bytes, labels to rows numbers, data to a place for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_data_from_bytes(
    features: *const u8,
    rows: usize,
    width: usize,
    scale: f32,
    labels: *const u32,
    classes: usize,
    data: *mut downhill_data,
) -> downhill_status {
    guard(|| {
        wanted(data)?;
        // SAFETY: as the caller says.
        let (features, labels) =
            unsafe { (array(features, rows, width, "features")?, array(labels, rows, 1, "labels")?) };
        let targets = Targets::Labels(labels.to_vec());
        let rows = Dataset::from_bytes(features.to_vec(), &[width], scale, Task::classes(classes), targets)?;
        // SAFETY: as the caller says.
        unsafe { hand_out(rows, data) }
    })
}

/// As downhill_data_from_floats(), with outputs values to predict for each row in the place of a class.
///
/// # Safety
/// features points to rows × width floats, values to rows × outputs floats, data to a place for a handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_data_with_values(
    features: *const f32,
    rows: usize,
    width: usize,
    values: *const f32,
    outputs: usize,
    data: *mut downhill_data,
) -> downhill_status {
    guard(|| {
        wanted(data)?;
        // SAFETY: as the caller says.
        let (features, values) =
            unsafe { (array(features, rows, width, "features")?, array(values, rows, outputs, "values")?) };
        let targets = Targets::Values(values.to_vec());
        let rows = Dataset::from_f32(features.to_vec(), &[width], Task::Values { width: outputs }, targets)?;
        // SAFETY: as the caller says.
        unsafe { hand_out(rows, data) }
    })
}

/// Has models that are trained on data tested with the rows of test. Both keep their handles; trainers made before go on as they
/// were. May be called from any thread.
#[unsafe(no_mangle)]
pub extern "C" fn downhill_data_set_test(data: downhill_data, test: downhill_data) -> downhill_status {
    guard(|| {
        let test = find(test)?.train;
        DATA.with(data.id, |data| {
            let (own, other) = (data.train.schema(), test.schema());
            if own.features() != other.features() || own.task.outputs() != other.task.outputs() {
                let message = format!(
                    "{} features and {} outputs are not the {} and {} of the rows to train on",
                    other.features(),
                    other.task.outputs(),
                    own.features(),
                    own.task.outputs()
                );
                return Err(Error::shape("downhill_data_set_test", message).into());
            }
            data.test = Some(test);
            Ok(())
        })
    })
}

/// Tells what data hold. Waits for nothing. May be called from any thread.
///
/// # Safety
/// info points to a place for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn downhill_data_describe(
    data: downhill_data,
    info: *mut downhill_data_info,
) -> downhill_status {
    guard(|| {
        let Split { train, test } = find(data)?;
        let schema = train.schema();
        let told = downhill_data_info {
            rows: train.rows() as u64,
            test_rows: test.map_or(0, |test| test.rows() as u64),
            features: schema.features() as u64,
            outputs: schema.task.outputs() as u64,
            has_classes: u32::from(matches!(schema.task, Task::Classes { .. })),
        };
        // SAFETY: as the caller says.
        unsafe { give(info, told) }
    })
}

/// Frees data; trainers keep the rows that they need. May be called from any thread.
#[unsafe(no_mangle)]
pub extern "C" fn downhill_data_free(data: downhill_data) -> downhill_status {
    guard(|| DATA.remove(data.id))
}
