//! What a call says of its outcome, and how arguments are taken over the border.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;

use crate::Error;

/// What became of a call. Everything but DOWNHILL_STATUS_OK left nothing behind but a message, which
/// downhill_last_message() tells.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum downhill_status {
    /// Done.
    DOWNHILL_STATUS_OK = 0,
    /// A pointer that must not be null was.
    DOWNHILL_STATUS_NULL_POINTER = 1,
    /// A handle that was freed, or never given out, or is of something else.
    DOWNHILL_STATUS_HANDLE = 2,
    /// A text is not UTF-8.
    DOWNHILL_STATUS_TEXT = 3,
    /// A size is not what it must be, or shapes do not go together.
    DOWNHILL_STATUS_SHAPE = 4,
    /// A setting has no such name or cannot have this value.
    DOWNHILL_STATUS_SETTING = 5,
    /// A file cannot be read, or says what cannot be right.
    DOWNHILL_STATUS_READ = 6,
    /// A file cannot be written; what stood there before still does.
    DOWNHILL_STATUS_WRITE = 7,
    /// There is no adapter that can run compute shaders, or it does not open.
    DOWNHILL_STATUS_ADAPTER = 8,
    /// The device was lost or failed.
    DOWNHILL_STATUS_DEVICE = 9,
    /// The run takes more memory than it may.
    DOWNHILL_STATUS_DOES_NOT_FIT = 10,
    /// Memory ran out.
    DOWNHILL_STATUS_OUT_OF_MEMORY = 11,
    /// The loss is not finite.
    DOWNHILL_STATUS_DIVERGED = 12,
    /// A fault of downhill itself. What the call worked on must only be freed.
    DOWNHILL_STATUS_PANIC = 13,
}

/// Why a call failed.
pub(super) enum Failure {
    Null(&'static str),
    Handle(String),
    Text(&'static str),
    Broken,
    Engine(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Engine(error)
    }
}

pub(super) type Outcome<T = ()> = Result<T, Failure>;

thread_local! {
    static MESSAGE: RefCell<CString> = RefCell::default();
}

/// What the last call on this thread that did not return DOWNHILL_STATUS_OK has to say: one line that names what was wrong and
/// what to do; empty before the first. The text is the library's, and valid until the next call on this thread fails.
#[unsafe(no_mangle)]
pub extern "C" fn downhill_last_message() -> *const c_char {
    MESSAGE.try_with(|message| message.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// The library's version, such as "0.1.0": a text that is always valid.
#[unsafe(no_mangle)]
pub extern "C" fn downhill_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Runs the work of a call: its failure or panic becomes a status with a message.
pub(super) fn guard(work: impl FnOnce() -> Outcome) -> downhill_status {
    use downhill_status::*;
    // What a panic leaves half done is locked away with its handle.
    let told = catch_unwind(AssertUnwindSafe(|| work().map_err(told)));
    let broken = || {
        (
            DOWNHILL_STATUS_PANIC,
            "a fault of downhill itself; free what the call worked on, and report it".to_owned(),
        )
    };
    let (status, message) = match told.unwrap_or_else(|_| Err(broken())) {
        Ok(()) => return DOWNHILL_STATUS_OK,
        Err(told) => told,
    };
    // A thread that is ending has no place for it any more.
    let _ =
        MESSAGE.try_with(|kept| kept.replace(CString::new(message.replace('\0', " ")).unwrap_or_default()));
    status
}

/// What a failure is to the caller, and what there is to say of it.
fn told(failure: Failure) -> (downhill_status, String) {
    use downhill_status::*;
    match failure {
        Failure::Null(what) => (DOWNHILL_STATUS_NULL_POINTER, format!("{what} must not be null")),
        Failure::Handle(message) => (DOWNHILL_STATUS_HANDLE, message),
        Failure::Text(what) => (DOWNHILL_STATUS_TEXT, format!("{what} is not UTF-8")),
        Failure::Broken => {
            let message = "an earlier call on this ended in a fault of downhill itself; free it";
            (DOWNHILL_STATUS_PANIC, message.to_owned())
        }
        Failure::Engine(error) => (status_of(&error), error.to_string()),
    }
}

fn status_of(error: &Error) -> downhill_status {
    use downhill_status::*;
    match error {
        Error::Adapter(_) => DOWNHILL_STATUS_ADAPTER,
        Error::Device { .. } => DOWNHILL_STATUS_DEVICE,
        Error::DoesNotFit(_) => DOWNHILL_STATUS_DOES_NOT_FIT,
        Error::OutOfMemory(_) => DOWNHILL_STATUS_OUT_OF_MEMORY,
        Error::Shape { .. } => DOWNHILL_STATUS_SHAPE,
        Error::Setting { .. } | Error::Expression { .. } => DOWNHILL_STATUS_SETTING,
        Error::Data { .. } | Error::Read { .. } | Error::Run { .. } => DOWNHILL_STATUS_READ,
        Error::Write { .. } => DOWNHILL_STATUS_WRITE,
        Error::Diverged(_) => DOWNHILL_STATUS_DIVERGED,
    }
}

/// Takes a text.
///
/// # Safety
/// `text` is null or ends with a zero byte.
pub(super) unsafe fn text<'a>(text: *const c_char, what: &'static str) -> Outcome<&'a str> {
    // SAFETY: as the caller says.
    unsafe { optional_text(text, what) }?.ok_or(Failure::Null(what))
}

/// Takes a text that may be null.
///
/// # Safety
/// As [`text`].
pub(super) unsafe fn optional_text<'a>(text: *const c_char, what: &'static str) -> Outcome<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: not null, so by the caller's word it ends with a zero byte.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map(Some).map_err(|_| Failure::Text(what))
}

/// Takes an array of `rows` times `width` elements.
///
/// # Safety
/// `elements` is null or points to as many.
pub(super) unsafe fn array<'a, T>(
    elements: *const T,
    rows: usize,
    width: usize,
    what: &'static str,
) -> Outcome<&'a [T]> {
    if elements.is_null() {
        return Err(Failure::Null(what));
    }
    let count = length::<T>(rows, width, what)?;
    // SAFETY: not null, no longer than memory can be, and as long as the caller says.
    Ok(unsafe { slice::from_raw_parts(elements, count) })
}

/// Takes an array to be filled.
///
/// # Safety
/// `elements` is null or points to `count`, of which nobody else reads or writes any during the call.
pub(super) unsafe fn array_mut<'a, T>(
    elements: *mut T,
    count: usize,
    what: &'static str,
) -> Outcome<&'a mut [T]> {
    if elements.is_null() {
        return Err(Failure::Null(what));
    }
    let count = length::<T>(count, 1, what)?;
    // SAFETY: as for `array`, and nobody else has them.
    Ok(unsafe { slice::from_raw_parts_mut(elements, count) })
}

fn length<T>(rows: usize, width: usize, what: &'static str) -> Outcome<usize> {
    let fits =
        |count: &usize| count.checked_mul(size_of::<T>()).is_some_and(|bytes| isize::try_from(bytes).is_ok());
    rows.checked_mul(width).filter(fits).ok_or_else(|| {
        Failure::Engine(Error::shape(
            what,
            format!("{rows} times {width} elements are more than memory can hold"),
        ))
    })
}

/// Writes a result.
///
/// # Safety
/// `out` is null or points to a place for it.
pub(super) unsafe fn give<T>(out: *mut T, value: T) -> Outcome {
    if out.is_null() {
        return Err(Failure::Null("the place for the result"));
    }
    // SAFETY: not null, and a place for it by the caller's word.
    unsafe { out.write(value) };
    Ok(())
}

/// Errors unless a result can be written: before anything is made that would have nobody to own it.
pub(super) fn wanted<T>(out: *mut T) -> Outcome {
    if out.is_null() { Err(Failure::Null("the place for the result")) } else { Ok(()) }
}
