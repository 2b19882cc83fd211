//! Numbers as Python has them, of any size: one that is too large for ours is refused in the same words as others that are.

use super::errors::UsageError;
use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;

/// The value as Python shows it, unless that fails.
pub fn shown(value: &Bound<PyAny>) -> String {
    value.repr().map_or_else(|_| "?".into(), |text| text.to_string())
}

/// A count within limits; `expected` says which.
pub fn count(name: &str, value: &Bound<PyAny>, most: usize, expected: &str) -> PyResult<usize> {
    let whole = unless_too_large(value.extract::<i64>(), value.py())?;
    let count = whole.and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=most).contains(n));
    count.ok_or_else(|| UsageError::new_err(format!("{name}={}: expected {expected}", shown(value))))
}

/// Pictures in one pass.
pub fn batch_size(value: &Bound<PyAny>) -> PyResult<usize> {
    count("batch_size", value, usize::MAX, "1 or more, and no more than memory holds")
}

/// A number; one that is too large is infinite.
pub fn number(value: &Bound<PyAny>) -> PyResult<f64> {
    Ok(unless_too_large(value.extract(), value.py())?.unwrap_or(f64::INFINITY))
}

/// The same, if one is given.
pub fn number_or_none(value: &Bound<PyAny>) -> PyResult<Option<f64>> {
    if value.is_none() { Ok(None) } else { number(value).map(Some) }
}

fn unless_too_large<T>(extracted: PyResult<T>, py: Python) -> PyResult<Option<T>> {
    match extracted {
        Err(e) if e.is_instance_of::<PyOverflowError>(py) => Ok(None),
        extracted => extracted.map(Some),
    }
}
