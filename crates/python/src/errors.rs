//! The library's errors as Python's exceptions, each of its kind.

use ckaad::Error;
use pyo3::exceptions::{PyFileNotFoundError, PyKeyboardInterrupt, PyOSError, PyPermissionError};
use pyo3::prelude::*;
use std::io::ErrorKind;

mod of_package {
    pyo3::import_exception!(ckaad.errors, DataError);
    pyo3::import_exception!(ckaad.errors, DeviceError);
    pyo3::import_exception!(ckaad.errors, UsageError);
}
pub use of_package::{DataError, DeviceError, UsageError};

pub fn exception(error: Error) -> PyErr {
    let (text, number) = (error.to_string(), error.os_error());
    match error {
        Error::Invalid(_) => DataError::new_err(text),
        Error::Usage(_) => UsageError::new_err(text),
        Error::Device(_) => DeviceError::new_err(text),
        Error::Cancelled => PyKeyboardInterrupt::new_err(text),
        Error::Io { path, source } => match (number, source.kind()) {
            // Python chooses the class by the number, and shows it.
            (Some(number), _) => {
                let reason = source.to_string().replacen(&format!(" (os error {number})"), "", 1);
                PyOSError::new_err((number, reason, path.into_os_string()))
            }
            (None, ErrorKind::NotFound) => PyFileNotFoundError::new_err(text),
            (None, ErrorKind::PermissionDenied) => PyPermissionError::new_err(text),
            (None, _) => PyOSError::new_err(text),
        },
    }
}
