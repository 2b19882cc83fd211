//! The threads that compute, which belong to one process.

use super::errors::{DeviceError, UsageError};
use super::numbers;
use pyo3::prelude::*;
use std::sync::OnceLock;

/// The process whose they are.
static STARTED: OnceLock<u32> = OnceLock::new();

/// Refuses a process that was forked from one whose threads had started: they are not there, and waiting for them would
/// never end.
pub fn expect_own_threads() -> PyResult<()> {
    let own = std::process::id();
    let started = *STARTED.get_or_init(|| own);
    if started == own {
        return Ok(());
    }
    Err(DeviceError::new_err(format!(
        "process {own} was forked from process {started} after that had begun to compute, and has none of its \
         threads: start processes with the method 'spawn', or fork before ckaad is used"
    )))
}

/// Sets how many CPU threads compute, in place of as many as there are processors. All detectors share them.
///
/// Parameters
/// ----------
/// count: int
///     1 to 1024.
///
/// Raises
/// ------
/// UsageError
///     Out of range, or too late: another number of threads has started already.
#[pyfunction]
pub fn set_threads(count: &Bound<PyAny>) -> PyResult<()> {
    let threads = numbers::count("count", count, 1024, "1 to 1024 threads")?;
    expect_own_threads()?;
    // Fails once they have started.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    match rayon::current_num_threads() {
        started if started == threads => Ok(()),
        started => Err(UsageError::new_err(format!(
            "{started} threads have started already: set their number before anything is computed"
        ))),
    }
}
