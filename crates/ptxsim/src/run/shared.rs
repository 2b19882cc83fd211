//! Shared memory of one block, and the shadow that finds races, unwritten reads and pending asynchronous copies.
//!
//! Time in a block advances at every barrier and warp barrier. Each granule (the smallest access the kernel makes, 1, 2
//! or 4 bytes) remembers who wrote it last and when, and who read it last and when. Each warp knows up to which time it
//! has seen the accesses of every other warp ([`Clock`]): an access whose predecessor is newer than that is a race.

use std::collections::HashMap;

use crate::error::FaultKind;
use crate::run::access::pattern::SharedPattern;

/// A tag: time, warp, lane (or one of the two markers below). 0: never.
const LANE_BITS: u32 = 6;
const TIME_SHIFT: u32 = 11;
/// Several lanes of one warp.
const MANY_LANES: u32 = 32;
/// Several warps.
const MANY_WARPS: u32 = 63;
/// Time of a copy that has not landed.
const PENDING: u32 = (1 << (32 - TIME_SHIFT)) - 1;

/// What one warp knows of the others' past.
#[derive(Clone, Debug)]
pub struct Clock {
    pub warp: u32,
    /// Up to which time the accesses of each warp happened before.
    pub seen: [u32; 32],
    /// The least of `seen` over the warps of the block.
    pub safe: u32,
}

impl Clock {
    pub fn new(warp: u32) -> Clock {
        Clock { warp, seen: [0; 32], safe: 0 }
    }

    pub fn update(&mut self, warps: usize) {
        self.safe = self.seen[..warps].iter().copied().min().unwrap_or(0);
    }
}

/// How an access went wrong.
#[derive(Debug)]
pub struct Conflict {
    pub kind: FaultKind,
    pub lane: u32,
    pub address: u32,
    pub message: String,
}

pub struct Shared {
    pub words: Vec<u32>,
    pub size: u32,
    checks: bool,
    /// log2 of bytes per granule.
    granule: u32,
    writes: Vec<u32>,
    reads: Vec<u32>,
    atomics: Vec<u32>,
    any_atomic: bool,
    /// When each warp last read a granule: kept only for kernels with barriers for some of the warps, where one time for
    /// all readers would take reads that a barrier did order for a race.
    readers: Option<HashMap<usize, [u32; 32]>>,
    pub now: u32,
}

/// What a warp's reads are compared with.
#[derive(Clone, Copy)]
struct Limits {
    /// Greatest tags that everything, or the own warp's accesses, are known to have.
    safe: u32,
    own_seen: u32,
    /// The own warp in the place of a tag's warp.
    own: u32,
    /// Tags for several readers.
    many: u32,
    crowd: u32,
}

impl Limits {
    fn new(clock: &Clock, now: u32) -> Limits {
        let low = (1 << TIME_SHIFT) - 1;
        let own = clock.warp << LANE_BITS;
        Limits {
            safe: clock.safe << TIME_SHIFT | low,
            own_seen: clock.seen[clock.warp as usize & 31] << TIME_SHIFT | low,
            own,
            many: now << TIME_SHIFT | own | MANY_LANES,
            crowd: now << TIME_SHIFT | MANY_WARPS,
        }
    }

    /// For a read by `me` of a granule with tags `write` and `read`: 1 if the write is not known to have come before,
    /// and the new read tag. Without branches: loops over it become vectors.
    #[inline(always)]
    fn read(self, write: u32, read: u32, me: u32) -> (u32, u32) {
        let warp_bits = 31 << LANE_BITS;
        // 0 (never written) wraps around to the largest.
        let before = u32::from(write.wrapping_sub(1) < self.safe);
        let synced =
            u32::from(write & warp_bits == self.own) & u32::from(write <= self.own_seen) & u32::from(write != 0);
        let same_warp = (read & warp_bits == self.own) & (read & 63 != MANY_WARPS);
        let fresh = (read <= self.safe) | (read == me) | (same_warp & (read <= self.own_seen));
        let shared = if same_warp { self.many } else { self.crowd };
        (1 ^ (before | synced), if fresh { me } else { shared })
    }

    /// 1 if an access behind a tag is not known to come before a write by `me`.
    #[inline(always)]
    fn newer(self, tag: u32, me: u32) -> u32 {
        u32::from(tag > self.safe) & u32::from(tag != me)
    }
}

impl Shared {
    /// `partial`: the kernel has barriers for some of the warps.
    pub fn new(size: u32, granule: u32, checks: bool, partial: bool) -> Shared {
        let granules = if checks { (size.div_ceil(4) as usize * 4) >> granule } else { 0 };
        Shared {
            words: vec![0xffff_ffff; size.div_ceil(4) as usize],
            size,
            checks,
            granule,
            writes: vec![0; granules],
            reads: vec![0; granules],
            atomics: vec![],
            any_atomic: false,
            readers: partial.then(HashMap::new),
            now: 1,
        }
    }

    /// As new, for the next block.
    pub fn reset(&mut self) {
        self.words.fill(0xffff_ffff);
        self.writes.fill(0);
        self.reads.fill(0);
        self.atomics.clear();
        self.any_atomic = false;
        self.readers.iter_mut().for_each(HashMap::clear);
        self.now = 1;
    }

    /// Advances time. After two million steps the shadow forgets who came before (true: clocks must be zeroed too).
    #[must_use]
    pub fn tick(&mut self) -> bool {
        self.now += 1;
        if self.now < PENDING - 1 {
            return false;
        }
        for tag in &mut self.writes {
            if *tag != 0 && *tag >> TIME_SHIFT != PENDING {
                *tag = 1;
            }
        }
        self.reads.fill(0);
        self.atomics.fill(0);
        self.readers.iter_mut().for_each(HashMap::clear);
        self.now = 1;
        true
    }

    fn tag(&self, clock: &Clock, lane: u32) -> u32 {
        self.now << TIME_SHIFT | clock.warp << LANE_BITS | lane
    }

    /// Whether the access behind `tag` happened before one by this lane.
    fn before(tag: u32, clock: &Clock, lane: u32) -> bool {
        let (time, warp, who) = (tag >> TIME_SHIFT, tag >> LANE_BITS & 31, tag & ((1 << LANE_BITS) - 1));
        if who == MANY_WARPS {
            return time <= clock.safe;
        }
        time <= clock.seen[warp as usize] || warp == clock.warp && who == lane
    }

    /// Whether all reads of a granule happened before an access by this lane.
    fn read_before(&self, g: usize, clock: &Clock, lane: u32) -> bool {
        let tag = self.reads[g];
        if tag & 63 == MANY_WARPS
            && let Some(times) = self.readers.as_ref().and_then(|r| r.get(&g))
        {
            return (0..32).all(|w| times[w] <= clock.seen[w] || w == clock.warp as usize);
        }
        Self::before(tag, clock, lane)
    }

    fn conflict(&self, tag: u32, what: &str, granule: usize, lane: u32, now: &str) -> Conflict {
        let (time, warp, who) = (tag >> TIME_SHIFT, tag >> LANE_BITS & 31, tag & ((1 << LANE_BITS) - 1));
        let address = (granule << self.granule) as u32;
        let other = match who {
            MANY_WARPS => "several warps".to_string(),
            MANY_LANES => format!("several lanes of warp {warp}"),
            _ => format!("thread {} (warp {warp}, lane {who})", warp * 32 + who),
        };
        let (kind, message) = if time == PENDING {
            (
                FaultKind::AsyncPending,
                format!("shared bytes {now} while a cp.async by {other} is under way; wait for it first"),
            )
        } else {
            (
                FaultKind::Race,
                format!("shared bytes {now} after they were {what} by {other} with no barrier in between"),
            )
        };
        Conflict { kind, lane, address, message }
    }

    /// Checks reads of `len` bytes by the lanes of a pattern, and records them. `everyone`: all lanes of the warp see
    /// every address (`ldmatrix`).
    #[inline]
    pub fn check_read(
        &mut self,
        addrs: &[u32; 32],
        len: u32,
        pattern: &SharedPattern,
        clock: &Clock,
        everyone: bool,
    ) -> Result<(), Conflict> {
        if !self.checks {
            return Ok(());
        }
        let n = (len >> self.granule).max(1) as usize;
        let fine = match n {
            1 => self.read_lanes::<1>(addrs, pattern, clock, everyone),
            2 => self.read_lanes::<2>(addrs, pattern, clock, everyone),
            4 => self.read_lanes::<4>(addrs, pattern, clock, everyone),
            8 => self.read_lanes::<8>(addrs, pattern, clock, everyone),
            _ => self.read_lanes::<16>(addrs, pattern, clock, everyone),
        };
        if let Some(readers) = &mut self.readers {
            for &(lane, _) in pattern.runs() {
                let at = (addrs[lane as usize & 31] >> self.granule) as usize;
                for g in at..at + n {
                    readers.entry(g).or_default()[clock.warp as usize & 31] = self.now;
                }
            }
        }
        if fine && !self.any_atomic { Ok(()) } else { self.read_exact(addrs, n, pattern.mask(), clock) }
    }

    /// False if some write is not known to have come before.
    #[inline(always)]
    fn read_lanes<const N: usize>(
        &mut self,
        addrs: &[u32; 32],
        pattern: &SharedPattern,
        clock: &Clock,
        everyone: bool,
    ) -> bool {
        let limits = Limits::new(clock, self.now);
        let mine = self.tag(clock, 0);
        let mut bad = 0;
        if pattern.contiguous && !everyone {
            let at = (addrs[0] >> self.granule) as usize;
            let (writes, reads) = (&self.writes[at..at + 32 * N], &mut self.reads[at..at + 32 * N]);
            for i in 0..32 * N {
                let (newer, read) = limits.read(writes[i], reads[i], mine | (i / N) as u32);
                bad |= newer;
                reads[i] = read;
            }
            return bad == 0;
        }
        // Tags of eight addresses at a time are collected, compared at once and put back.
        for runs in pattern.runs().chunks(8) {
            // Entries beyond the last compare as written long ago.
            let (mut writes, mut reads, mut tags) = ([[1; N]; 8], [[0; N]; 8], [[0; N]; 8]);
            for (j, &(lane, many)) in runs.iter().enumerate() {
                let at = (addrs[lane as usize & 31] >> self.granule) as usize;
                writes[j].copy_from_slice(&self.writes[at..at + N]);
                reads[j].copy_from_slice(&self.reads[at..at + N]);
                tags[j] = [mine | if many | everyone { MANY_LANES } else { lane.into() }; N];
            }
            let (writes, tags) = (writes.as_flattened(), tags.as_flattened());
            for (i, read) in reads.as_flattened_mut().iter_mut().enumerate() {
                let (newer, tag) = limits.read(writes[i], *read, tags[i]);
                bad |= newer;
                *read = tag;
            }
            for (j, &(lane, _)) in runs.iter().enumerate() {
                let at = (addrs[lane as usize & 31] >> self.granule) as usize;
                self.reads[at..at + N].copy_from_slice(&reads[j]);
            }
        }
        bad == 0
    }

    #[cold]
    fn read_exact(&mut self, addrs: &[u32; 32], n: usize, lanes: u32, clock: &Clock) -> Result<(), Conflict> {
        for lane in (0..32).filter(|l| lanes >> l & 1 != 0) {
            let at = (addrs[lane as usize] >> self.granule) as usize;
            for g in at..at + n {
                let tag = self.writes[g];
                if tag == 0 {
                    return Err(Conflict {
                        kind: FaultKind::Uninitialised,
                        lane,
                        address: (g << self.granule) as u32,
                        message: "shared bytes that nobody wrote".into(),
                    });
                }
                if tag >> TIME_SHIFT == PENDING || !Self::before(tag, clock, lane) {
                    return Err(self.conflict(tag, "written", g, lane, "read"));
                }
                if self.any_atomic && !Self::before(self.atomics[g], clock, lane) {
                    return Err(self.conflict(self.atomics[g], "changed by an atomic", g, lane, "read"));
                }
            }
        }
        Ok(())
    }

    /// Checks writes of `len` bytes by the lanes of a pattern and records them; `pending` for `cp.async`. `same(a, b)`:
    /// whether two lanes that write the same bytes write the same value.
    #[inline]
    pub fn check_write(
        &mut self,
        addrs: &[u32; 32],
        len: u32,
        pattern: &SharedPattern,
        clock: &Clock,
        pending: bool,
        same: impl Fn(u32, u32) -> bool,
    ) -> Result<(), Conflict> {
        if !self.checks {
            return Ok(());
        }
        let n = (len >> self.granule).max(1) as usize;
        let set = if pending { PENDING << TIME_SHIFT | clock.warp << LANE_BITS } else { self.tag(clock, 0) };
        let fine = match n {
            1 => self.writable::<1>(addrs, pattern, clock),
            2 => self.writable::<2>(addrs, pattern, clock),
            4 => self.writable::<4>(addrs, pattern, clock),
            8 => self.writable::<8>(addrs, pattern, clock),
            _ => self.writable::<16>(addrs, pattern, clock),
        };
        if !fine || self.any_atomic {
            self.write_exact(addrs, n, pattern.mask(), clock)?;
        }
        if !pattern.distinct() {
            return self.write_doubly(addrs, n, pattern.mask(), clock, set, same);
        }
        for &(lane, _) in pattern.runs() {
            let at = (addrs[lane as usize & 31] >> self.granule) as usize;
            self.writes[at..at + n].fill(set | u32::from(lane));
        }
        Ok(())
    }

    /// Whether all earlier accesses to what the lanes write are known to have come before, at a quick look.
    #[inline(always)]
    fn writable<const N: usize>(&self, addrs: &[u32; 32], pattern: &SharedPattern, clock: &Clock) -> bool {
        let limits = Limits::new(clock, self.now);
        let mine = self.tag(clock, 0);
        let mut bad = 0;
        if pattern.contiguous {
            let at = (addrs[0] >> self.granule) as usize;
            let (writes, reads) = (&self.writes[at..at + 32 * N], &self.reads[at..at + 32 * N]);
            for i in 0..32 * N {
                let me = mine | (i / N) as u32;
                bad |= limits.newer(writes[i], me) | limits.newer(reads[i], me);
            }
            return bad == 0;
        }
        for &(lane, _) in pattern.runs() {
            let at = (addrs[lane as usize & 31] >> self.granule) as usize;
            let me = mine | u32::from(lane);
            let (writes, reads) = (&self.writes[at..at + N], &self.reads[at..at + N]);
            for k in 0..N {
                bad |= limits.newer(writes[k], me) | limits.newer(reads[k], me);
            }
        }
        bad == 0
    }

    /// Records writes of which some go to the same bytes.
    fn write_doubly(
        &mut self,
        addrs: &[u32; 32],
        n: usize,
        lanes: u32,
        clock: &Clock,
        set: u32,
        same: impl Fn(u32, u32) -> bool,
    ) -> Result<(), Conflict> {
        let mine = self.tag(clock, 0);
        for lane in (0..32).filter(|l| lanes >> l & 1 != 0) {
            let at = (addrs[lane as usize] >> self.granule) as usize;
            for g in at..at + n {
                let (old, new) = (self.writes[g], set | lane);
                // Written in this very instruction by another lane: the check above has let no such tag pass.
                if old != new
                    && (old ^ new) >> LANE_BITS == 0
                    && !Self::before(old, clock, lane)
                    && !same(lane, old & 31)
                {
                    return Err(self.conflict(mine | old & 31, "written", g, lane, "written"));
                }
                self.writes[g] = new;
            }
        }
        Ok(())
    }

    #[cold]
    fn write_exact(&mut self, addrs: &[u32; 32], n: usize, lanes: u32, clock: &Clock) -> Result<(), Conflict> {
        for lane in (0..32).filter(|l| lanes >> l & 1 != 0) {
            let at = (addrs[lane as usize] >> self.granule) as usize;
            for g in at..at + n {
                let (w, r) = (self.writes[g], self.reads[g]);
                if w >> TIME_SHIFT == PENDING || w != 0 && !Self::before(w, clock, lane) {
                    return Err(self.conflict(w, "written", g, lane, "written"));
                }
                if r != 0 && !self.read_before(g, clock, lane) {
                    return Err(self.conflict(r, "read", g, lane, "written"));
                }
                if self.any_atomic && !Self::before(self.atomics[g], clock, lane) {
                    return Err(self.conflict(self.atomics[g], "changed by an atomic", g, lane, "written"));
                }
            }
        }
        Ok(())
    }

    /// Checks an atomic (or strong) access by one lane: it does not race with other atomics. `write`: a strong store,
    /// which needs no initial value.
    pub fn check_atomic(
        &mut self,
        address: u32,
        len: u32,
        lane: u32,
        clock: &Clock,
        store: bool,
    ) -> Result<(), Conflict> {
        if !self.checks {
            return Ok(());
        }
        if !self.any_atomic {
            self.any_atomic = true;
            self.atomics = vec![0; self.writes.len()];
        }
        let n = (len >> self.granule).max(1) as usize;
        let at = (address >> self.granule) as usize;
        for g in at..at + n {
            let (w, r) = (self.writes[g], self.reads[g]);
            if w == 0 && !store {
                let message = "atomic on shared bytes that nobody wrote".into();
                return Err(Conflict { kind: FaultKind::Uninitialised, lane, address, message });
            }
            if w >> TIME_SHIFT == PENDING || w != 0 && !Self::before(w, clock, lane) {
                return Err(self.conflict(w, "written", g, lane, "changed by an atomic"));
            }
            if r != 0 && !self.read_before(g, clock, lane) {
                return Err(self.conflict(r, "read", g, lane, "changed by an atomic"));
            }
            if w == 0 {
                self.writes[g] = 1;
            }
            let old = self.atomics[g];
            let me = self.tag(clock, lane);
            let same_warp = old >> LANE_BITS & 31 == clock.warp && old & 63 != MANY_WARPS;
            self.atomics[g] = if Self::before(old, clock, lane) {
                me
            } else if same_warp {
                self.tag(clock, MANY_LANES)
            } else {
                self.now << TIME_SHIFT | MANY_WARPS
            };
        }
        Ok(())
    }

    /// A copy by `lane` has landed: its bytes count as written by that lane now.
    pub fn land(&mut self, address: u32, len: u32, lane: u32, clock: &Clock) {
        if !self.checks {
            return;
        }
        let n = (len >> self.granule).max(1) as usize;
        let at = (address >> self.granule) as usize;
        let me = self.tag(clock, lane);
        self.writes[at..at + n].fill(me);
    }
}
