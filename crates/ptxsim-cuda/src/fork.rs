//! Processes that are forked off: they have a copy of the driver and none of what it drives, and a driver refuses them.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::report::start_anew;

static CHILD: AtomicBool = AtomicBool::new(false);

/// Run in what is forked off.
extern "C" fn begins() {
    CHILD.store(true, Relaxed);
    // What was found before is its parent's.
    start_anew();
}

/// Lets what is forked off from here on be told from this process.
pub fn watch() {
    // SAFETY: the handler lives as long as the process, takes nothing and only stores to atomics.
    unsafe { libc::pthread_atfork(None, None, Some(begins)) };
}

/// Whether this process was forked off after the driver was made.
pub fn is_child() -> bool {
    CHILD.load(Relaxed)
}
