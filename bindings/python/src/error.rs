//! Errors as exceptions.

use ::siskin::Error;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

pyo3::create_exception!(siskin, SiskinError, PyException, "What went wrong, where, and what to do.");

/// Why a function failed: an exception, also of an [`Error`], which `?` turns into one.
pub struct Failure(pub PyErr);

/// What functions for Python return.
pub type Result<T> = std::result::Result<T, Failure>;

impl From<Error> for Failure {
    /// The attribute `kind` is the name of the [`ErrorKind`](::siskin::ErrorKind).
    fn from(error: Error) -> Self {
        let exception = SiskinError::new_err(error.to_string());
        let kind = format!("{:?}", error.kind());
        Self(match Python::attach(|py| exception.value(py).setattr("kind", kind)) {
            Ok(()) => exception,
            Err(failure) => failure,
        })
    }
}

impl From<PyErr> for Failure {
    fn from(exception: PyErr) -> Self {
        Self(exception)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        failure.0
    }
}
