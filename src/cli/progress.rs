//! Progress bars on standard error, drawn only when it is a terminal.

use super::verbosity;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar over `len` things called `what`.
pub fn bar(what: &str, len: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:>12} [{bar:32}] {pos}/{len} {msg} ({eta} left)");
    let bar = drawn(ProgressBar::new(len)).with_prefix(what.to_string());
    // The template is a constant; should it not parse, the library's own style serves as well.
    if let Ok(style) = style { bar.with_style(style.progress_chars("=> ")) } else { bar }
}

/// A counter for work whose end is not known.
pub fn spinner(what: &str) -> ProgressBar {
    let bar = drawn(ProgressBar::new_spinner()).with_prefix(what.to_string());
    match ProgressStyle::with_template("{prefix:>12} {pos} ({per_sec})") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Nowhere when it is to be quiet.
fn drawn(bar: ProgressBar) -> ProgressBar {
    if !verbosity::at_least(verbosity::USUAL) {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar
}
