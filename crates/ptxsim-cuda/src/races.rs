//! Who touched which bytes last: two pieces of work on the same bytes, one of them writing, have to be in an order.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use crate::clock::{Clock, Lane, Stamp};
use crate::report::Call;

/// How bytes are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Read,
    Write,
    /// In one step that no other of its kind can come between.
    Atomic,
    /// Allocated in the order of a stream: whatever else uses them has to come behind that.
    Make,
}

#[derive(Clone)]
struct Mark {
    stamp: Stamp,
    used: Use,
    what: Arc<str>,
    call: Arc<Call>,
}

/// What touched the bytes from its key up to `end`, as far as somebody may still come without an order.
#[derive(Clone)]
struct Segment {
    end: u64,
    marks: Vec<Mark>,
}

/// Addresses of all cards and of page-locked memory.
#[derive(Default)]
pub struct Touched(BTreeMap<u64, Segment>);

/// What a piece of work is, for this.
pub struct Piece<'a> {
    pub stamp: Stamp,
    pub clock: &'a Clock,
    pub what: &'a Arc<str>,
    pub call: &'a Arc<Call>,
}

/// Another piece on the same bytes.
pub struct Race {
    pub bytes: Range<u64>,
    pub other: Arc<str>,
    pub call: Arc<Call>,
    pub other_used: Use,
}

impl Touched {
    /// Notes that `piece` used bytes, and gives the first other that it is in no order with.
    pub fn note(&mut self, piece: &Piece, bytes: Range<u64>, used: Use) -> Option<Race> {
        if bytes.is_empty() {
            return None;
        }
        self.cut(bytes.start);
        self.cut(bytes.end);
        let mut race = None;
        let mut covered = bytes.start;
        let mut holes = vec![];
        for (&start, segment) in self.0.range_mut(bytes.clone()) {
            if covered < start {
                holes.push(covered..start);
            }
            covered = segment.end;
            for mark in &segment.marks {
                let harmless = matches!((mark.used, used), (Use::Read, Use::Read) | (Use::Atomic, Use::Atomic));
                if !harmless && !piece.clock.covers(mark.stamp) && race.is_none() {
                    race = Some(Race {
                        bytes: start..segment.end,
                        other: mark.what.clone(),
                        call: mark.call.clone(),
                        other_used: mark.used,
                    });
                }
            }
            // Whoever comes behind this piece comes behind what it is behind of.
            segment.marks.retain(|m| !piece.clock.covers(m.stamp) || (used == Use::Read && m.used != Use::Read));
            segment.marks.push(piece.mark(used));
        }
        if covered < bytes.end {
            holes.push(covered..bytes.end);
        }
        for hole in holes {
            self.0.insert(hole.start, Segment { end: hole.end, marks: vec![piece.mark(used)] });
        }
        race
    }

    /// Makes a segment begin at `at`, if one lies across it.
    fn cut(&mut self, at: u64) {
        if let Some((&start, segment)) = self.0.range_mut(..at).next_back()
            && segment.end > at
        {
            let rest = segment.clone();
            segment.end = at;
            debug_assert!(start < at);
            self.0.insert(at, rest);
        }
    }

    /// Forgets what touched bytes that are freed, and gives the first that does not come before `clock`: what it is, and its call. That
    /// they were allocated is no use of them.
    pub fn forget(&mut self, bytes: Range<u64>, clock: &Clock) -> Option<(Arc<str>, Arc<Call>)> {
        self.cut(bytes.start);
        self.cut(bytes.end);
        let starts: Vec<u64> = self.0.range(bytes).map(|(&start, _)| start).collect();
        let marks = starts.iter().filter_map(|start| self.0.remove(start)).flat_map(|segment| segment.marks);
        let uses = marks.filter(|mark| mark.used != Use::Make && !clock.covers(mark.stamp));
        uses.map(|mark| (mark.what, mark.call)).next()
    }

    /// Forgets what pieces of these lanes touched: all to come is behind them.
    pub fn forget_lanes(&mut self, lanes: &HashSet<Lane>) {
        self.0.retain(|_, segment| {
            segment.marks.retain(|mark| !lanes.contains(&mark.stamp.lane));
            !segment.marks.is_empty()
        });
    }

    /// Everything so far comes before everything to come.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl Piece<'_> {
    fn mark(&self, used: Use) -> Mark {
        Mark { stamp: self.stamp, used, what: self.what.clone(), call: self.call.clone() }
    }
}
