//! Which bytes of global memory a launch touched, for those who run several at a time.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::run::memory::{Allocation, bits};

/// Bytes whose marks are made together, when the first of them is touched.
const CHUNK: usize = 1 << 14;

/// How bytes were touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Touch {
    /// Loads and asynchronous copies.
    Read,
    /// Stores.
    Write,
    /// `atom` and `red`.
    Atomic,
}

/// Ranges that were touched in one way each.
pub type Touched = Vec<(Range<u64>, Touch)>;

/// One bit per byte for each way to touch it.
type Marks = Box<[[AtomicU32; CHUNK / 32]; 3]>;

/// Marks of a launch's allocations.
pub struct Trace(Vec<(u64, Vec<OnceLock<Marks>>)>);

impl Trace {
    pub fn new(allocations: &[&Allocation]) -> Trace {
        let chunks = |a: &&Allocation| (0..a.size.div_ceil(CHUNK as u64)).map(|_| OnceLock::new()).collect();
        Trace(allocations.iter().map(|a| (a.base, chunks(a))).collect())
    }

    /// Notes `len` bytes from `address` on, which lie in that allocation.
    pub fn note(&self, allocation: usize, address: u64, len: u64, touch: Touch) {
        let (base, chunks) = &self.0[allocation];
        let (mut at, end) = ((address - base) as usize, (address - base + len) as usize);
        while at < end {
            let new = || Box::new(std::array::from_fn(|_| std::array::from_fn(|_| AtomicU32::new(0))));
            let marks = &chunks[at / CHUNK].get_or_init(new)[touch as usize];
            let stop = end.min((at / 32 + 1) * 32);
            let mask = bits(at % 32, stop - at / 32 * 32);
            let cell = &marks[at % CHUNK / 32];
            if cell.load(Relaxed) & mask != mask {
                cell.fetch_or(mask, Relaxed);
            }
            at = stop;
        }
    }

    /// All that was touched, as the longest ranges of each kind, lowest first.
    pub fn ranges(&self) -> Touched {
        let mut all: Touched = vec![];
        for touch in [Touch::Read, Touch::Write, Touch::Atomic] {
            let first = all.len();
            for (base, chunks) in &self.0 {
                for (i, marks) in chunks.iter().enumerate().filter_map(|(i, c)| Some((i, c.get()?))) {
                    for (k, cell) in marks[touch as usize].iter().enumerate() {
                        let start = base + (i * CHUNK + k * 32) as u64;
                        runs(cell.load(Relaxed), |from, to| match all[first..].last_mut() {
                            Some((last, _)) if last.end == start + from => last.end = start + to,
                            _ => all.push((start + from..start + to, touch)),
                        });
                    }
                }
            }
        }
        all
    }
}

/// Calls `each` with the ends of every run of ones.
fn runs(mut word: u32, mut each: impl FnMut(u64, u64)) {
    let mut at = 0;
    while word != 0 {
        let zeros = word.trailing_zeros();
        word >>= zeros;
        let ones = word.trailing_ones();
        each(u64::from(at + zeros), u64::from(at + zeros + ones));
        at += zeros + ones;
        word = if ones == 32 { 0 } else { word >> ones };
    }
}
