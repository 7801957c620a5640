//! Errors as C sees them: a status, and a handle that has the message.

#![allow(unsafe_code)]

use core::any::Any;
use core::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::handle::{Borrowed, Out, Owned};
use super::text::CText;
use crate::error::{Error, ErrorKind};

/// `siskin_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(not(feature = "learn"), expect(dead_code))]
pub enum Status {
    Ok = 0,
    Io = 1,
    NotAModel = 2,
    NewerVersion = 3,
    Corrupt = 4,
    Schema = 5,
    Vocabulary = 6,
    InvalidUtf8 = 7,
    InvalidOption = 8,
    InputTooLong = 9,
    MemoryLimit = 10,
    NonFinite = 11,
    Cancelled = 12,
    InvalidArgument = 13,
    Busy = 14,
    Internal = 15,
    Rejected = 16,
}

impl From<ErrorKind> for Status {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Io => Self::Io,
            ErrorKind::NotAModel => Self::NotAModel,
            ErrorKind::NewerVersion => Self::NewerVersion,
            ErrorKind::Corrupt => Self::Corrupt,
            ErrorKind::Schema => Self::Schema,
            ErrorKind::Vocabulary => Self::Vocabulary,
            ErrorKind::InvalidUtf8 => Self::InvalidUtf8,
            ErrorKind::InvalidOption => Self::InvalidOption,
            ErrorKind::InputTooLong => Self::InputTooLong,
            ErrorKind::MemoryLimit => Self::MemoryLimit,
            ErrorKind::NonFinite => Self::NonFinite,
            ErrorKind::Cancelled => Self::Cancelled,
            // No function of C takes a delegate.
            ErrorKind::Delegate => Self::Internal,
        }
    }
}

/// `siskin_error`: why a call failed.
pub struct CError {
    status: Status,
    message: CText,
}

impl CError {
    /// An error that reads `message`.
    pub fn new(status: Status, message: impl AsRef<str>) -> Self {
        Self { status, message: CText::new(message.as_ref()) }
    }

    /// The error of an argument called `name` that is null and must not be.
    pub fn null(name: &str) -> Self {
        Self::new(Status::InvalidArgument, format!("{name} is NULL"))
    }

    fn of_panic(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text =
            text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        Self::new(Status::Internal, format!("a defect of Siskin, please report it: {text}"))
    }

    /// What kind of error this is.
    pub fn status(&self) -> Status {
        self.status
    }

    /// What it says.
    pub fn message(&self) -> &CText {
        &self.message
    }
}

impl From<Error> for CError {
    fn from(error: Error) -> Self {
        Self::new(error.kind().into(), error.to_string())
    }
}

/// Runs the body of a function of the C ABI. Its error, or its panic, is the status, and a handle in `error` where C
/// asks for one; `error` holds null where all went well.
pub fn guarded(error: Out<CError>, body: impl FnOnce() -> Result<(), CError>) -> Status {
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(CError::of_panic(&*panic)));
    error.clear();
    outcome.map_or_else(
        |failure| {
            let status = failure.status;
            error.put(failure);
            status
        },
        |()| Status::Ok,
    )
}

#[unsafe(no_mangle)]
extern "C" fn siskin_error_status(error: Borrowed<CError>) -> Status {
    error.get("error").map_or(Status::Ok, CError::status)
}

#[unsafe(no_mangle)]
extern "C" fn siskin_error_message(error: Borrowed<CError>) -> *const c_char {
    error.get("error").map_or(c"".as_ptr(), |error| error.message.as_ptr())
}

#[unsafe(no_mangle)]
extern "C" fn siskin_error_free(error: Owned<CError>) {
    error.free();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_status_and_a_message() {
        let mut place = core::ptr::null_mut();
        let status = guarded(Out::to(&mut place), || panic!("number {}", 7));
        assert_eq!(status, Status::Internal);
        let error = Owned::from(place);
        assert!(error.borrow().get("error").is_ok_and(|error| error.message.len() > 20));
        error.free();
        assert_eq!(guarded(Out::to(&mut place), || Ok(())), Status::Ok);
        assert!(place.is_null());
        assert_eq!(guarded(Out::to_nothing(), || Err(CError::null("text"))), Status::InvalidArgument);
    }
}
