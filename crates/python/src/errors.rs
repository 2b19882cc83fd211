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
    let text = error.to_string();
    match error {
        Error::Invalid(_) => DataError::new_err(text),
        Error::Usage(_) => UsageError::new_err(text),
        Error::Device(_) => DeviceError::new_err(text),
        Error::Cancelled => PyKeyboardInterrupt::new_err(text),
        Error::Io { path, source } => match (source.raw_os_error(), source.kind()) {
            // Python chooses the class by the number.
            (Some(number), _) => {
                let text = source.to_string();
                let reason = text.split(" (os error").next().unwrap_or(&text).to_string();
                PyOSError::new_err((number, reason, path.into_os_string()))
            }
            (None, ErrorKind::NotFound) => PyFileNotFoundError::new_err(text),
            (None, ErrorKind::PermissionDenied) => PyPermissionError::new_err(text),
            (None, _) => PyOSError::new_err(text),
        },
    }
}
