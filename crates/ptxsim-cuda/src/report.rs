//! What was found: said at once, with the call that it is about, and in the exit code.

use std::backtrace::Backtrace;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Frames of a call that are shown.
const FRAMES: usize = 12;

static FOUND: AtomicUsize = AtomicUsize::new(0);

/// A call of the program, kept with what it started.
#[derive(Debug)]
pub struct Call {
    pub name: &'static str,
    trace: Backtrace,
}

impl Call {
    /// The call that this thread is in. What it costs is taken when it is printed.
    pub fn here(name: &'static str) -> Arc<Call> {
        Arc::new(Call { name, trace: Backtrace::force_capture() })
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "  {}, called at", self.name)?;
        let text = self.trace.to_string();
        // Frames of this library come first, then the call itself, then the program's, down to where its thread began.
        let frames: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.starts_with("at ")).collect();
        let ours = |frame: &&str| ["ptxsim_cuda", "std::backtrace", self.name].iter().any(|name| frame.contains(name));
        let first = frames.iter().rposition(ours).map_or(0, |at| at + 1);
        let began = |frame: &&&str| !frame.contains("__rust_begin_short_backtrace") && !frame.contains("__libc_start");
        for frame in frames[first..].iter().take_while(began).take(FRAMES) {
            write!(f, "\n    {frame}")?;
        }
        Ok(())
    }
}

/// Says what a card would have let pass, or have failed on without a reason.
pub fn found(text: &str, calls: &[&Call]) {
    FOUND.fetch_add(1, Relaxed);
    let calls: String = calls.iter().map(|call| format!("\n{call}")).collect();
    say(&format!("{text}{calls}"));
}

/// Says something on standard error. Where nobody can be told, nobody is: the exit code still says it.
pub fn say(text: &str) {
    let _ = std::io::stderr().write_all(format!("ptxsim-cuda: {text}\n").as_bytes());
}

/// Nothing was found so far: this is another process now.
pub fn start_anew() {
    FOUND.store(0, Relaxed);
}

/// How much was found so far.
pub fn count() -> usize {
    FOUND.load(Relaxed)
}
