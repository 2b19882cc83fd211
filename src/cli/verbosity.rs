//! How much is said, and whether in colour.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

pub const QUIET: u8 = 0;
pub const USUAL: u8 = 1;
pub const VERBOSE: u8 = 2;

static LEVEL: AtomicU8 = AtomicU8::new(USUAL);

/// When to colour.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

/// Set once, before anything is said.
pub fn set(quiet: bool, verbose: bool, color: Color) {
    LEVEL.store(
        if quiet {
            QUIET
        } else if verbose {
            VERBOSE
        } else {
            USUAL
        },
        Relaxed,
    );
    let choice = match color {
        Color::Auto => return,
        Color::Always => anstream::ColorChoice::AlwaysAnsi,
        Color::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
}

pub fn at_least(level: u8) -> bool {
    LEVEL.load(Relaxed) >= level
}
