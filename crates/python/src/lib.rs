//! The module `ckaad._ckaad`: what `python/ckaad` shows of the engine. Nothing is computed here; pictures, settings and
//! results are brought from Python's types to the library's and back.

mod detector;
mod errors;
mod evaluate;
mod fit;
mod numbers;
mod pictures;
mod process;
mod scored;
mod threshold;

use pyo3::prelude::*;

#[pymodule]
mod _ckaad {
    use super::*;

    #[pymodule_export]
    use super::detector::{Detector, restore_detector};
    #[pymodule_export]
    use super::pictures::list_pictures;
    #[pymodule_export]
    use super::process::set_threads;
    #[pymodule_export]
    use super::scored::{Region, Scored, restore_region, restore_scored};
    #[pymodule_export]
    use super::threshold::{Threshold, restore_threshold};

    #[pymodule_init]
    fn version(module: &Bound<PyModule>) -> PyResult<()> {
        // Looked up at its first use, which Ctrl-C could fall into.
        numpy::PyArray1::<u8>::zeros(module.py(), 0, false);
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
