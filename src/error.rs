//! The one error type of the library.
//!
//! Every error says what is wrong, where, and what to do about it; [`Error::kind`] is for programs, the
//! [`Display`](core::fmt::Display) text is for people.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system could not read, map or write a file.
    Io,
    /// The bytes are not a Siskin model at all.
    NotAModel,
    /// The file was written for a newer version of the format.
    NewerVersion,
    /// The file is damaged: truncated, a checksum differs, or a field contradicts another.
    Corrupt,
    /// The file is whole, but its tensors or its spec do not describe a model that this library can run.
    Schema,
    /// A vocabulary cannot be used, or a token is not in it.
    Vocabulary,
    /// Text that should be UTF-8 is not.
    InvalidUtf8,
    /// An option is out of range or contradicts another.
    InvalidOption,
    /// The input has more tokens than the model has positions, or than the session was made for.
    InputTooLong,
    /// The request would need more memory than its limit allows.
    MemoryLimit,
    /// A computation gave NaN or infinity.
    NonFinite,
    /// The caller cancelled the request.
    Cancelled,
    /// A delegate is not here, cannot run the model, or gives wrong numbers.
    Delegate,
}

/// What went wrong, where, and what to do.
///
/// Boxed inside, so that a `Result` of it stays two words.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    #[cfg(feature = "std")]
    source: Option<std::io::Error>,
}

impl Error {
    /// An error of `kind` that reads `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            #[cfg(feature = "std")]
            source: None,
        }))
    }

    /// An [`ErrorKind::Io`] error: what was being done, and what the operating system answered.
    #[cfg(feature = "std")]
    pub fn io(doing: impl Into<String>, source: std::io::Error) -> Self {
        Self(Box::new(Inner { kind: ErrorKind::Io, message: doing.into(), source: Some(source) }))
    }

    /// What kind of error this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The same error with `place` in front of its text: `place: text`.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.0.message = alloc::format!("{place}: {}", self.0.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        #[cfg(feature = "std")]
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind())
    }
}

impl core::error::Error for Error {
    #[cfg(feature = "std")]
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        self.0.source.as_ref().map(|e| e as _)
    }
}
