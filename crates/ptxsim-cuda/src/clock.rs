//! What comes before what: vector clocks over lanes. A lane is a chain of pieces of work, each behind the one before.

use std::collections::BTreeMap;

pub type Lane = u64;

/// By lane, how much of it comes before (or is) the piece of work that has this clock. Lanes count from 1 on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clock(BTreeMap<Lane, u64>);

/// One piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub lane: Lane,
    pub at: u64,
}

impl Clock {
    /// Lets all that comes before `other` come before this, too.
    pub fn join(&mut self, other: &Clock) {
        for (&lane, &at) in &other.0 {
            let mine = self.0.entry(lane).or_insert(0);
            *mine = at.max(*mine);
        }
    }

    /// Adds a piece of work itself.
    pub fn reach(&mut self, stamp: Stamp) {
        let mine = self.0.entry(stamp.lane).or_insert(0);
        *mine = stamp.at.max(*mine);
    }

    /// Whether that comes before this, or is it.
    pub fn covers(&self, stamp: Stamp) -> bool {
        self.0.get(&stamp.lane).is_some_and(|at| *at >= stamp.at)
    }

    pub fn covers_all(&self, other: &Clock) -> bool {
        other.0.iter().all(|(&lane, &at)| self.covers(Stamp { lane, at }))
    }

    /// Forgets lanes that `keep` does not have: all of them came before whatever is still to come.
    pub fn prune(&mut self, keep: &Clock) {
        self.0.retain(|lane, _| keep.0.contains_key(lane));
    }

    /// How many lanes it knows of.
    pub fn lanes(&self) -> usize {
        self.0.len()
    }

    /// The last piece of every lane.
    pub fn ends(&self) -> impl Iterator<Item = Stamp> {
        self.0.iter().map(|(&lane, &at)| Stamp { lane, at })
    }

    pub fn forget(&mut self, lane: Lane) {
        self.0.remove(&lane);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}
