//! The PTX that this program carries, and its kernels.

/// A PTX file.
#[derive(Debug)]
pub struct Module {
    pub name: &'static str,
    pub ptx: &'static str,
    pub entries: &'static [&'static Entry],
}

/// A kernel.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: &'static str,
    /// Index in [`MODULES`].
    pub module: usize,
    /// Threads a block may have.
    pub max_threads: u32,
    /// Offset and size of every parameter, and the size of all, in bytes.
    pub parameters: &'static [(usize, usize)],
    pub bytes: usize,
    /// Where its text lies in the module's.
    pub text: (usize, usize),
}

impl Entry {
    pub fn module(&self) -> &'static Module {
        &MODULES[self.module]
    }
}

/// A part of a PTX file behind what stands before its first kernel, in the lines where the file has it.
pub(super) fn cut(ptx: &str, first: Option<usize>, (start, end): (usize, usize)) -> String {
    let head = first.unwrap_or(0);
    let left_out = ptx[head..start].matches('\n').count();
    [&ptx[..head], &"\n".repeat(left_out), &ptx[start..end]].concat()
}

/// The kernels, each under its own name in capitals, and `MODULES`, which has all of them.
pub mod entries {
    use super::{Entry, Module};

    include!(concat!(env!("OUT_DIR"), "/registry.rs"));
}

pub use entries::MODULES;
