//! Memory that was freed, and by which call: for messages about who still uses it. Of the last frees alone, since each keeps a backtrace.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::report::Call;

/// As many frees are remembered.
const MOST: usize = 5000;

struct Free {
    end: u64,
    number: u64,
    call: Arc<Call>,
}

#[derive(Default)]
pub struct Freed {
    /// By first address.
    ranges: BTreeMap<u64, Free>,
    /// Numbers and first addresses, the oldest first; those of memory that was handed out again are of no free any more.
    order: VecDeque<(u64, u64)>,
    count: u64,
}

impl Freed {
    pub fn add(&mut self, at: u64, bytes: u64, call: Arc<Call>) {
        self.count += 1;
        self.ranges.insert(at, Free { end: at + bytes, number: self.count, call });
        self.order.push_back((self.count, at));
        while self.order.len() > MOST
            && let Some((number, at)) = self.order.pop_front()
        {
            if self.ranges.get(&at).is_some_and(|free| free.number == number) {
                self.ranges.remove(&at);
            }
        }
    }

    /// That memory is there again.
    pub fn forget(&mut self, at: u64) {
        self.ranges.remove(&at);
    }

    /// Whether memory that began here was freed.
    pub fn began(&self, at: u64) -> bool {
        self.ranges.contains_key(&at)
    }

    /// Who freed the memory that an address was in.
    pub fn by(&self, at: u64) -> Option<Arc<Call>> {
        let (_, free) = self.ranges.range(..=at).next_back()?;
        (at < free.end).then(|| free.call.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_frees_are_remembered() {
        let mut freed = Freed::default();
        let call = Call::here("test");
        // The first address is freed, handed out and freed again, which is what counts.
        freed.add(0, 16, call.clone());
        freed.forget(0);
        assert!(freed.by(0).is_none());
        for i in 1..=MOST as u64 {
            freed.add(100 * i, 50, call.clone());
        }
        freed.add(0, 16, call.clone());
        assert!(freed.began(0) && freed.by(15).is_some() && freed.by(16).is_none());
        assert!(!freed.began(100) && freed.by(249).is_some() && freed.by(250).is_none());
        assert_eq!((freed.ranges.len(), freed.order.len(), Arc::strong_count(&call)), (MOST, MOST, MOST + 1));
    }
}
