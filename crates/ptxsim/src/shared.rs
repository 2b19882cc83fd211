//! Shared memory of one block, and the shadow that finds races, unwritten reads and pending asynchronous copies.
//!
//! Time in a block advances at every barrier and warp barrier. Each granule (the smallest access the kernel makes, 1, 2
//! or 4 bytes) remembers who wrote it last and when, and who read it last and when. Each warp knows up to which time it
//! has seen the accesses of every other warp ([`Clock`]): an access whose predecessor is newer than that is a race.

use crate::error::FaultKind;
use crate::op::BIT;

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
    pub now: u32,
}

/// The tags after reads by `tags`, in place of those before; false if some write is not known to have come before.
#[inline(always)]
fn compare_reads(writes: &[u32], reads: &mut [u32], tags: &[u32], clock: &Clock, now: u32) -> bool {
    let low = (1 << TIME_SHIFT) - 1;
    let safe = clock.safe << TIME_SHIFT | low;
    let own_seen = clock.seen[clock.warp as usize & 31] << TIME_SHIFT | low;
    let own = clock.warp << LANE_BITS;
    let warp_bits = 31 << LANE_BITS;
    let crowd = now << TIME_SHIFT | MANY_WARPS;
    let many = now << TIME_SHIFT | own | MANY_LANES;
    let mut bad = 0;
    for ((&w, r), &me) in writes.iter().zip(reads).zip(tags) {
        // 0 (never written) wraps around to the largest.
        let before = u32::from(w.wrapping_sub(1) < safe);
        let synced = u32::from(w & warp_bits == own) & u32::from(w <= own_seen) & u32::from(w != 0);
        bad |= 1 ^ (before | synced);
        let old = *r;
        let same_warp = (old & warp_bits == own) & (old & 63 != MANY_WARPS);
        let fresh = (old <= safe) | (old == me) | (same_warp & (old <= own_seen));
        let shared = if same_warp { many } else { crowd };
        *r = if fresh { me } else { shared };
    }
    bad == 0
}

impl Shared {
    pub fn new(size: u32, granule: u32, checks: bool) -> Shared {
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

    /// Checks reads of `len` bytes. `runs`: lanes with distinct addresses, each standing for itself or (`true`) for
    /// several; `lanes`: all lanes that read, for the exact check when the quick one fails.
    #[inline]
    pub fn check_read(
        &mut self,
        addrs: &[u32; 32],
        len: u32,
        runs: &[(u8, bool)],
        lanes: u32,
        clock: &Clock,
    ) -> Result<(), Conflict> {
        if !self.checks {
            return Ok(());
        }
        let n = (len >> self.granule).max(1) as usize;
        let fine = match n {
            1 => self.read_runs::<1>(addrs, runs, clock),
            2 => self.read_runs::<2>(addrs, runs, clock),
            4 => self.read_runs::<4>(addrs, runs, clock),
            8 => self.read_runs::<8>(addrs, runs, clock),
            _ => self.read_runs::<16>(addrs, runs, clock),
        };
        if fine { Ok(()) } else { self.read_exact(addrs, n, lanes, clock) }
    }

    /// Records reads; false if some write is not known to have come before. Tags are collected, compared all at once
    /// and put back.
    #[inline(always)]
    fn read_runs<const N: usize>(&mut self, addrs: &[u32; 32], runs: &[(u8, bool)], clock: &Clock) -> bool {
        let (mut writes, mut reads, mut tags) = ([[0; N]; 32], [[0; N]; 32], [[0; N]; 32]);
        let count = runs.len().min(32);
        let mine = self.tag(clock, 0);
        for (j, &(lane, many)) in runs[..count].iter().enumerate() {
            let at = (addrs[lane as usize & 31] >> self.granule) as usize;
            writes[j].copy_from_slice(&self.writes[at..at + N]);
            reads[j].copy_from_slice(&self.reads[at..at + N]);
            tags[j] = [mine | if many { MANY_LANES } else { lane.into() }; N];
        }
        let ok = compare_reads(
            writes[..count].as_flattened(),
            reads[..count].as_flattened_mut(),
            tags[..count].as_flattened(),
            clock,
            self.now,
        );
        for (j, &(lane, _)) in runs[..count].iter().enumerate() {
            let at = (addrs[lane as usize & 31] >> self.granule) as usize;
            self.reads[at..at + N].copy_from_slice(&reads[j]);
        }
        ok && !self.any_atomic
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

    /// Checks writes of `len` bytes by `lanes` and records them; `pending` for `cp.async`, `distinct` if no two lanes
    /// have the same address. `same(a, b)`: whether two
    /// lanes that write the same bytes write the same value.
    pub fn check_write(
        &mut self,
        addrs: &[u32; 32],
        len: u32,
        lanes: u32,
        clock: &Clock,
        (pending, distinct): (bool, bool),
        same: impl Fn(u32, u32) -> bool,
    ) -> Result<(), Conflict> {
        if !self.checks {
            return Ok(());
        }
        let n = (len >> self.granule).max(1) as usize;
        let fine = match n {
            1 => self.writable::<1>(addrs, lanes, clock),
            2 => self.writable::<2>(addrs, lanes, clock),
            4 => self.writable::<4>(addrs, lanes, clock),
            8 => self.writable::<8>(addrs, lanes, clock),
            _ => self.writable::<16>(addrs, lanes, clock),
        };
        if !fine {
            self.write_exact(addrs, n, lanes, clock)?;
        }
        let base = if pending { PENDING << TIME_SHIFT | clock.warp << LANE_BITS } else { self.tag(clock, 0) };
        if distinct {
            for lane in (0..32).filter(|l| lanes >> l & 1 != 0) {
                let at = (addrs[lane as usize] >> self.granule) as usize;
                self.writes[at..at + n].fill(base | lane);
            }
            return Ok(());
        }
        for lane in (0..32).filter(|l| lanes >> l & 1 != 0) {
            let at = (addrs[lane as usize] >> self.granule) as usize;
            let me = self.tag(clock, lane);
            let set = base | lane;
            for g in at..at + n {
                let old = self.writes[g];
                // Written in this very instruction by another lane: its tag is newer than the check above.
                if old ^ set != 0 && (old ^ set) >> LANE_BITS == 0 && !Self::before(old, clock, lane) {
                    let other = old & 31;
                    if !same(lane, other) {
                        return Err(self.conflict(me - lane + other, "written", g, lane, "written"));
                    }
                }
                self.writes[g] = set;
            }
        }
        Ok(())
    }

    /// Whether all earlier accesses to what the lanes write are known to have come before, at a quick look.
    #[inline(always)]
    fn writable<const N: usize>(&self, addrs: &[u32; 32], lanes: u32, clock: &Clock) -> bool {
        let safe = clock.safe << TIME_SHIFT | ((1 << TIME_SHIFT) - 1);
        let mut bad = 0;
        for lane in 0..32 {
            if lanes & BIT[lane] == 0 {
                continue;
            }
            let at = (addrs[lane] >> self.granule) as usize;
            let me = self.tag(clock, lane as u32);
            let (writes, reads) = (&self.writes[at..at + N], &self.reads[at..at + N]);
            for k in 0..N {
                let old = |t: u32| u32::from(t > safe) & u32::from(t != me);
                bad |= old(writes[k]) | old(reads[k]);
            }
        }
        bad == 0 && !self.any_atomic
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
                if r != 0 && !Self::before(r, clock, lane) {
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
            if r != 0 && !Self::before(r, clock, lane) {
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
