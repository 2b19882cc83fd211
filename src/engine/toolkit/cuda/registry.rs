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

    /// PTX with this kernel alone, in the lines where the file has it.
    pub fn ptx(&self) -> String {
        let Module { ptx, entries, .. } = self.module();
        let head = entries.iter().map(|e| e.text.0).min().unwrap_or(0);
        let (start, end) = self.text;
        let left_out = ptx[head..start].matches('\n').count();
        [&ptx[..head], &"\n".repeat(left_out), &ptx[start..end]].concat()
    }
}

/// The kernels, each under its own name in capitals, and `MODULES`, which has all of them.
pub mod entries {
    use super::{Entry, Module};

    include!(concat!(env!("OUT_DIR"), "/registry.rs"));
}

pub use entries::MODULES;
