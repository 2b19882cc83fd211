//! Ranges that profilers show around the launches of a record. Without the feature `nvtx` they cost nothing.

/// Lasts until dropped.
pub struct Range {
    #[cfg(feature = "nvtx")]
    _range: Option<cudarc::nvtx::safe::Range>,
}

/// Opens a range of this name, if NVIDIA's library for it is there.
#[cfg(feature = "nvtx")]
pub fn range(name: impl FnOnce() -> String) -> Range {
    static PRESENT: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
        // SAFETY: only looks for the library and opens it, as every later call would.
        unsafe { cudarc::nvtx::sys::is_culib_present() }
    });
    Range { _range: PRESENT.then(|| cudarc::nvtx::safe::scoped_range(name())) }
}

#[cfg(not(feature = "nvtx"))]
pub fn range(_: impl FnOnce() -> String) -> Range {
    Range {}
}
