//! What a launch did, counted.

use std::fmt;

use crate::lower::class::Class;

/// Counts of one launch. Generic accesses count as global ones in `instructions`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Warp instructions by class; index with [`Counters::of`].
    pub instructions: [u64; Class::ALL.len()],
    /// Operations of all `mma` (two per multiply-add).
    pub mma_flops: u64,
    /// 32-byte sectors that global loads, stores and asynchronous copies moved.
    pub sectors: u64,
    /// The least number of sectors for the distinct bytes that each warp access asked for.
    pub ideal_sectors: u64,
    /// Passes that shared accesses took over all banks.
    pub wavefronts: u64,
    /// Passes above the least possible: bank conflicts.
    pub conflicts: u64,
    /// Branch instructions executed.
    pub branches: u64,
    /// Branches that some lanes of a warp took and others did not.
    pub divergent_branches: u64,
}

impl Counters {
    /// Warp instructions of a class.
    pub fn of(&self, class: Class) -> u64 {
        self.instructions[class as usize]
    }

    /// Warp instructions in all.
    pub fn total(&self) -> u64 {
        self.instructions.iter().sum()
    }

    /// Adds another launch's counts.
    pub fn add(&mut self, other: &Counters) {
        for (a, b) in self.instructions.iter_mut().zip(other.instructions) {
            *a += b;
        }
        self.mma_flops += other.mma_flops;
        self.sectors += other.sectors;
        self.ideal_sectors += other.ideal_sectors;
        self.wavefronts += other.wavefronts;
        self.conflicts += other.conflicts;
        self.branches += other.branches;
        self.divergent_branches += other.divergent_branches;
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>14} warp instructions", self.total())?;
        for class in Class::ALL.into_iter().filter(|&c| self.of(c) > 0) {
            writeln!(f, "{:>14}   {class:?}", self.of(class))?;
        }
        writeln!(f, "{:>14} mma flops", self.mma_flops)?;
        writeln!(f, "{:>14} global sectors, {} ideal", self.sectors, self.ideal_sectors)?;
        writeln!(f, "{:>14} shared wavefronts, {} of them bank conflicts", self.wavefronts, self.conflicts)?;
        write!(f, "{:>14} branches, {} divergent", self.branches, self.divergent_branches)
    }
}
