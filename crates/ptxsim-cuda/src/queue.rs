//! Work that waits to be done, and the order that it may be done in: a piece is ready when all that it is behind of is done.
//! Nothing is done before somebody waits for it, or, with a seed, in an order drawn from that seed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::clock::{Clock, Lane, Stamp};
use crate::lock::Latch;
use crate::report::Call;
use crate::work::{Callback, Function, Work};

/// Lanes that are kept without looking which of them are needed.
const MANY: usize = 64;

/// Counts up: a piece has a higher one than all that it is behind of.
pub type Id = u64;

/// A point in the order of work: behind these pieces, and all that those are behind of.
#[derive(Clone, Debug, Default)]
pub struct Point {
    ids: BTreeSet<Id>,
    clock: Clock,
}

impl Point {
    pub fn join(&mut self, other: &Point) {
        self.ids.extend(&other.ids);
        self.clock.join(&other.clock);
    }
}

/// A piece of work in its place.
pub struct Item {
    pub work: Arc<Work>,
    pub call: Arc<Call>,
    /// Handle of the context whose work it is.
    pub context: u64,
    /// Of the page-locked bytes that it copies: what they were when it was submitted. Nothing if they may change by then.
    pub digest: Option<u64>,
    /// When it could begin if all that it is not behind of ran beside it.
    pub start: Instant,
    pub stamp: Stamp,
    pub clock: Clock,
    after: Vec<Id>,
    /// Of `after`, how many are not done.
    left: usize,
    /// What waits for this.
    before: Vec<Id>,
}

/// A piece that is to be put in its place.
pub struct New {
    pub work: Arc<Work>,
    pub call: Arc<Call>,
    pub context: u64,
    pub digest: Option<u64>,
}

pub struct Queue {
    pending: HashMap<Id, Item>,
    ready: Vec<Id>,
    /// Functions of the host that run now, and what opens at their end. They are neither ready nor done.
    begun: HashMap<Id, Arc<Latch>>,
    next: Id,
    lanes: Lane,
    /// The last piece of every lane that something may still come before of.
    last: Clock,
    /// What the program has waited for: all that it submits from here on comes behind it.
    host: Clock,
    /// With more lanes than this, it is looked for those that can be forgotten.
    many: usize,
    random: Option<ChaCha8Rng>,
}

impl Queue {
    /// Seed 0: as late as can be.
    pub fn new(seed: u64) -> Queue {
        let random = (seed != 0).then(|| ChaCha8Rng::seed_from_u64(seed));
        let (last, host) = (Clock::default(), Clock::default());
        let (pending, begun) = (HashMap::new(), HashMap::new());
        Queue { pending, ready: vec![], begun, next: 1, lanes: 0, last, host, many: MANY, random }
    }

    /// A chain that no work is in yet.
    pub fn lane(&mut self) -> Lane {
        self.lanes += 1;
        self.lanes
    }

    /// Puts a piece behind a point; the point right behind it. All of a lane must be submitted each behind the one before.
    pub fn submit(&mut self, after: &Point, lane: Lane, new: New) -> Point {
        let id = self.next;
        self.next += 1;
        let mut clock = after.clock.clone();
        clock.join(&self.host);
        let stamp = Stamp { lane, at: id };
        clock.reach(stamp);
        self.last.reach(stamp);
        clock.prune(&self.last);
        let open: Vec<Id> = after.ids.iter().copied().filter(|id| self.pending.contains_key(id)).collect();
        for before in &open {
            if let Some(item) = self.pending.get_mut(before) {
                item.before.push(id);
            }
        }
        if open.is_empty() {
            self.ready.push(id);
        }
        let point = Point { ids: [id].into(), clock: clock.clone() };
        let New { work, call, context, digest } = new;
        let item = Item {
            start: Instant::now(),
            work,
            call,
            context,
            digest,
            stamp,
            clock,
            left: open.len(),
            after: open,
            before: vec![],
        };
        self.pending.insert(id, item);
        point
    }

    pub fn is_reached(&self, point: &Point) -> bool {
        !point.ids.iter().any(|id| self.pending.contains_key(id))
    }

    /// Forgets of a point what is reached, and known to whatever is still to come.
    pub fn prune(&self, point: &mut Point) {
        point.ids.retain(|id| self.pending.contains_key(id));
        point.clock.prune(&self.last);
    }

    /// What has to be done for a point to be reached, in an order that is allowed.
    pub fn needed(&self, point: &Point) -> Vec<Id> {
        let mut seen: HashSet<Id> = HashSet::new();
        let mut open: Vec<Id> = point.ids.iter().copied().collect();
        while let Some(id) = open.pop() {
            if let Some(item) = self.pending.get(&id)
                && seen.insert(id)
            {
                open.extend(&item.after);
            }
        }
        let mut all: Vec<Id> = seen.into_iter().collect();
        all.sort_unstable();
        all
    }

    /// Behind all pieces that use something; what the program knows of is not told by it.
    pub fn users(&self, uses: impl Fn(&Work) -> bool) -> Point {
        let ids = self.pending.iter().filter(|(_, item)| uses(&item.work)).map(|(id, _)| *id).collect();
        Point { ids, clock: Clock::default() }
    }

    /// Behind the first that was submitted of all pieces that use something.
    pub fn first(&self, uses: impl Fn(&Work) -> bool) -> Option<Point> {
        let first = self.pending.iter().filter(|(_, item)| uses(&item.work)).map(|(id, _)| *id).min()?;
        Some(Point { ids: [first].into(), clock: Clock::default() })
    }

    /// The piece right before a point, unless it is done.
    pub fn at(&self, point: &Point) -> Option<&Item> {
        self.pending.get(point.ids.last()?)
    }

    /// Whether a piece that is not done uses something.
    pub fn any(&self, uses: impl Fn(&Work) -> bool) -> bool {
        self.pending.values().any(|item| uses(&item.work))
    }

    /// What the program has waited for.
    pub fn host(&self) -> &Clock {
        &self.host
    }

    /// All pieces that are not done, in an order that is allowed.
    pub fn all(&self) -> Vec<Id> {
        let mut all: Vec<Id> = self.pending.keys().copied().collect();
        all.sort_unstable();
        all
    }

    /// With a seed: one of those that are ready.
    pub fn draw(&mut self) -> Option<Id> {
        let random = self.random.as_mut()?;
        (!self.ready.is_empty()).then(|| self.ready[random.random_range(0..self.ready.len())])
    }

    /// With a seed: sometimes a piece that may be done now, though nobody waits for it.
    pub fn by_chance(&mut self) -> Option<Id> {
        let random = self.random.as_mut()?;
        if random.next_u32() % 4 == 0 { self.draw() } else { None }
    }

    /// All of a context that is not done, as one point.
    pub fn of_context(&self, context: u64) -> Point {
        let mut point = Point::default();
        for (id, item) in self.pending.iter().filter(|(_, item)| item.context == context) {
            point.ids.insert(*id);
            point.clock.join(&item.clock);
        }
        point
    }

    pub fn is_ready(&self, id: Id) -> bool {
        self.ready.contains(&id)
    }

    /// Lets a function of the host begin.
    pub fn begin(&mut self, id: Id) -> Arc<Latch> {
        self.ready.retain(|r| *r != id);
        self.begun.entry(id).or_default().clone()
    }

    /// Of a function that runs: what opens at its end.
    pub fn begun(&self, id: Id) -> Option<Arc<Latch>> {
        self.begun.get(&id).cloned()
    }

    pub fn take(&mut self, id: Id) -> Option<Item> {
        let item = self.pending.remove(&id)?;
        self.begun.remove(&id);
        self.ready.retain(|r| *r != id);
        for before in &item.before {
            if let Some(waiting) = self.pending.get_mut(before) {
                waiting.left -= 1;
                if waiting.left == 0 {
                    self.ready.push(*before);
                }
            }
        }
        Some(item)
    }

    /// Drops all of a context that is not done; but what has to be called even so, which it gives in an order that is allowed.
    pub fn drop_context(&mut self, context: u64) -> Vec<Id> {
        let told = |work: &Work| matches!(work, Work::Call(Callback { function: Function::Told(..), .. }));
        let all = self.pending.iter().filter(|(_, item)| item.context == context);
        let (mut left, gone): (Vec<_>, Vec<_>) =
            all.map(|(id, item)| (*id, told(&item.work))).partition(|(_, told)| *told);
        gone.into_iter().for_each(|(id, _)| drop(self.take(id)));
        left.sort_unstable();
        left.into_iter().map(|(id, _)| id).collect()
    }

    /// The program knows that a point is reached. True if nothing is left that anything to come could be in no order with.
    pub fn seen(&mut self, point: &Point) -> bool {
        self.host.join(&point.clock);
        self.host.prune(&self.last);
        let all = self.pending.is_empty() && self.host.covers_all(&self.last);
        if all {
            self.host.clear();
            self.last.clear();
        }
        all
    }

    /// Forgets lanes that the program has waited for to their ends and that all which is not done is behind of: nothing to come can be in no
    /// order with them. A program that is never idle goes through ever more of them.
    pub fn forget_lanes(&mut self) -> HashSet<Lane> {
        if self.last.lanes() <= self.many {
            return HashSet::new();
        }
        let behind = |end: &Stamp| self.host.covers(*end) && self.pending.values().all(|item| item.clock.covers(*end));
        let gone: HashSet<Lane> = self.last.ends().filter(behind).map(|end| end.lane).collect();
        for &lane in &gone {
            self.last.forget(lane);
            self.host.forget(lane);
        }
        // The look at all work is made again when there are twice as many.
        self.many = MANY.max(2 * self.last.lanes());
        gone
    }

    /// A piece that was taken out ended so: what waited for it begins no earlier.
    pub fn ended(&mut self, item: &Item, end: Instant) {
        for before in &item.before {
            if let Some(waiting) = self.pending.get_mut(before) {
                waiting.start = waiting.start.max(end);
            }
        }
    }

    pub fn item(&self, id: Id) -> Option<&Item> {
        self.pending.get(&id)
    }

    /// Pieces that are not done.
    pub fn items(&mut self) -> impl Iterator<Item = &mut Item> {
        self.pending.values_mut()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn new() -> New {
        New { work: Arc::new(Work::Free(0)), call: Call::here("test"), context: 0, digest: None }
    }

    /// Two pieces at a time, each of a lane of its own, so that one is always left: what is known does not grow with their number. What
    /// is not waited for is not forgotten.
    #[test]
    fn lanes_are_forgotten_while_there_is_work() {
        let mut queue = Queue::new(0);
        let unseen = queue.lane();
        let end = queue.submit(&Point::default(), unseen, new());
        queue.take(1).unwrap();
        let mut before = Point::default();
        for id in 2..1000 {
            let lane = queue.lane();
            let point = queue.submit(&Point::default(), lane, new());
            if id > 2 {
                queue.take(id - 1).unwrap();
                assert!(!queue.seen(&before));
                queue.forget_lanes();
            }
            assert!(queue.last.lanes() <= MANY + 2 && point.clock.lanes() <= MANY + 2, "{id}");
            before = point;
        }
        assert!(!queue.host.covers_all(&end.clock) && queue.last.covers_all(&end.clock));
        // The piece before the last is not behind the one that is left.
        queue.many = 0;
        let forgotten = queue.forget_lanes();
        assert!(!forgotten.contains(&unseen) && queue.last.ends().any(|end| end.at == 998), "{:?}", queue.last);
    }

    /// What waits for a piece begins when that ends; what does not runs beside it.
    #[test]
    fn pieces_that_need_not_wait_run_side_by_side() {
        let mut queue = Queue::new(0);
        let (one, other) = (queue.lane(), queue.lane());
        let first = queue.submit(&Point::default(), one, new());
        let behind = queue.submit(&first, one, new());
        let beside = queue.submit(&Point::default(), other, new());
        let item = queue.take(1).unwrap();
        let end = item.start + Duration::from_secs(1000);
        queue.ended(&item, end);
        let start = |point: &Point| queue.pending[point.ids.first().unwrap()].start;
        assert_eq!(start(&behind), end);
        assert!(start(&beside) < end);
    }
}
