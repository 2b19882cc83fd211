//! What was found: said at once, with the call that it is about, and in the exit code.

use std::backtrace::Backtrace;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

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
        // Frames of this library come first, then the program's; those of the runtime below them tell nothing.
        let ours = |line: &str| line.contains("ptxsim_cuda") || line.contains("backtrace");
        let lines: Vec<&str> = text.lines().collect();
        let first = lines.iter().rposition(|l| ours(l) && !l.contains(" at ")).map_or(0, |at| at + 1);
        for line in lines[first.min(lines.len())..].iter().filter(|l| !l.trim_start().starts_with("at ")).take(12) {
            write!(f, "\n    {}", line.trim())?;
        }
        Ok(())
    }
}

/// Says what a card would have let pass, or have failed on without a reason.
pub fn found(text: &str, calls: &[&Call]) {
    FOUND.fetch_add(1, Relaxed);
    let mut message = format!("ptxsim-cuda: {text}\n");
    for call in calls {
        message += &format!("{call}\n");
    }
    eprint!("{message}");
}

/// How much was found so far.
pub fn count() -> usize {
    FOUND.load(Relaxed)
}
