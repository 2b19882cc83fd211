//! The device's heap, which kernels' `malloc` and `free` share: which parts of one allocation are taken.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// As `malloc` on a device.
const ALIGN: u64 = 16;
/// Bytes between two parts, that nobody writes: who reads beyond a part finds them unwritten.
const GAP: u64 = 16;

#[derive(Debug)]
pub struct Heap {
    range: Range<u64>,
    /// Lengths of what is taken, by address.
    taken: Mutex<BTreeMap<u64, u64>>,
}

impl Heap {
    pub fn new(range: Range<u64>) -> Heap {
        Heap { range, taken: Mutex::default() }
    }

    pub fn holds(&self, at: u64) -> bool {
        self.range.contains(&at)
    }

    /// The first place that is large enough; 0 if there is none.
    pub fn take(&self, bytes: u64) -> u64 {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = self.range.start;
        for (&start, &len) in taken.iter() {
            if at.saturating_add(bytes).saturating_add(GAP) <= start {
                break;
            }
            at = (start + len + GAP).next_multiple_of(ALIGN);
        }
        if at.saturating_add(bytes) > self.range.end {
            return 0;
        }
        taken.insert(at, bytes);
        at
    }

    /// Gives a part back; its length, or `None` if none begins there.
    pub fn give_back(&self, at: u64) -> Option<u64> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&at)
    }
}
