//! Loads and stores of global memory: ranges, alignment, unwritten bytes, sectors.

use std::sync::atomic::AtomicU32;

use crate::error::FaultKind;
use crate::run::access::{Raw, lanes};
use crate::run::exec::{Block, Outcome, trap};
use crate::run::memory::{Allocation, get, set};
use crate::run::trace::{Touch, Trace};

impl Block<'_> {
    /// Checks alignment and bounds of global addresses; the allocation if all lanes fall into one range.
    #[inline]
    pub fn resolve(
        &mut self,
        slot: u32,
        addrs: &[u64; 32],
        m: u32,
        size: u32,
        touch: Touch,
    ) -> Outcome<Option<&Allocation>> {
        let write = touch != Touch::Read;
        let (mut low, mut high, mut bits) = (u64::MAX, 0, 0);
        for &a in addrs {
            low = low.min(a);
            high = high.max(a);
            bits |= a;
        }
        let view = self.view;
        if bits & u64::from(size - 1) == 0
            && let Some(end) = high.checked_add(size.into())
            && let Some(segment) = view.find(low, end, write, &mut self.hints[slot as usize])
        {
            if let Some(trace) = &view.trace {
                note(trace, segment.allocation, addrs, m, size, touch);
            }
            return Ok(Some(view.allocation(segment.allocation)));
        }
        let verb = if write { "store" } else { "load" };
        for lane in lanes(m) {
            let a = addrs[lane];
            if !a.is_multiple_of(size.into()) {
                let message = format!("{size}-byte global {verb} needs an address that is a multiple of {size}");
                return trap(FaultKind::Misaligned, lane as u32, Some(a), message);
            }
            let Some(segment) = a.checked_add(size.into()).and_then(|end| view.find(a, end, write, &mut 0)) else {
                let (kind, message) = view.explain(a, size.into(), write);
                return trap(kind, lane as u32, Some(a), message);
            };
            if let Some(trace) = &view.trace {
                trace.note(segment.allocation, a, size.into(), touch);
            }
        }
        Ok(None)
    }

    /// The allocation of one lane, known to be valid.
    pub fn allocation_of(&self, a: u64, size: u32, write: bool) -> Option<&Allocation> {
        let segment = self.view.find(a, a.saturating_add(size.into()), write, &mut 0)?;
        Some(self.view.allocation(segment.allocation))
    }

    /// Counts sectors; whether all 32 lanes lie one after the other.
    #[inline]
    pub fn count_global(&mut self, addrs: &[u64; 32], m: u32, size: u32) -> bool {
        let pattern = self.global_patterns.find(addrs, m, size);
        self.counters.sectors += u64::from(pattern.sectors);
        self.counters.ideal_sectors += u64::from(pattern.ideal);
        pattern.contiguous
    }

    pub fn gather_global(
        &mut self,
        slot: u32,
        addrs: &[u64; 32],
        m: u32,
        size: u32,
        count: bool,
        raw: &mut Raw,
    ) -> Outcome<()> {
        let checks = self.checks;
        let contiguous = if count { self.count_global(addrs, m, size) } else { false };
        let Some(a) = self.resolve(slot, addrs, m, size, Touch::Read)? else {
            for lane in lanes(m) {
                let Some(a) = self.allocation_of(addrs[lane], size, false) else { continue };
                load_lane(a, addrs[lane], lane, size, checks, raw)?;
            }
            return Ok(());
        };
        let base = a.base;
        if contiguous && size >= 4 {
            let start = (addrs[0] - base) as usize;
            if checks && let Some(at) = a.first_unwritten(start, 32 * size as usize) {
                return unwritten(((at - start) / size as usize) as u32, base + at as u64, size);
            }
            let words = size as usize / 4;
            let cells = a.words(start / 4, 32 * words);
            match words {
                1 => copy_in::<1>(cells, raw),
                2 => copy_in::<2>(cells, raw),
                _ => copy_in::<4>(cells, raw),
            }
        } else {
            for lane in lanes(m) {
                load_lane(a, addrs[lane], lane, size, checks, raw)?;
            }
        }
        Ok(())
    }

    pub fn scatter_global(&mut self, slot: u32, addrs: &[u64; 32], m: u32, size: u32, raw: &Raw) -> Outcome<()> {
        let contiguous = self.count_global(addrs, m, size);
        match self.resolve(slot, addrs, m, size, Touch::Write)? {
            None => {
                for lane in lanes(m) {
                    if let Some(a) = self.allocation_of(addrs[lane], size, true) {
                        store_lane(a, addrs[lane], lane, size, raw);
                        a.mark((addrs[lane] - a.base) as usize, size as usize);
                    }
                }
            }
            Some(a) => {
                for lane in lanes(m) {
                    store_lane(a, addrs[lane], lane, size, raw);
                }
                if contiguous {
                    a.mark((addrs[0] - a.base) as usize, 32 * size as usize);
                } else {
                    for lane in lanes(m) {
                        a.mark((addrs[lane] - a.base) as usize, size as usize);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Notes what the lanes of a warp touch in one allocation.
fn note(trace: &Trace, allocation: usize, addrs: &[u64; 32], m: u32, size: u32, touch: Touch) {
    let together = m == !0 && addrs.windows(2).all(|a| a[1] == a[0].wrapping_add(size.into()));
    if together {
        return trace.note(allocation, addrs[0], 32 * u64::from(size), touch);
    }
    for lane in lanes(m) {
        trace.note(allocation, addrs[lane], size.into(), touch);
    }
}

pub fn unwritten<T>(lane: u32, address: u64, size: u32) -> Outcome<T> {
    trap(FaultKind::Uninitialised, lane, Some(address), format!("{size} bytes of global memory, not all ever written"))
}

/// Words of 32 lanes that lie one after the other.
#[inline]
fn copy_in<const N: usize>(cells: &[AtomicU32], raw: &mut Raw) {
    for (lane, cells) in cells.chunks_exact(N).enumerate().take(32) {
        for k in 0..N {
            raw[k][lane] = get(&cells[k]);
        }
    }
}

#[inline]
fn load_lane(a: &Allocation, address: u64, lane: usize, size: u32, checks: bool, raw: &mut Raw) -> Outcome<()> {
    let offset = (address - a.base) as usize;
    if checks && !a.is_written(offset, size as usize) {
        return unwritten(lane as u32, address, size);
    }
    if size < 4 {
        raw[0][lane] = a.word(offset / 4) >> (offset % 4 * 8);
    } else {
        for (k, cell) in a.words(offset / 4, size as usize / 4).iter().enumerate().take(4) {
            raw[k][lane] = get(cell);
        }
    }
    Ok(())
}

#[inline]
fn store_lane(a: &Allocation, address: u64, lane: usize, size: u32, raw: &Raw) {
    let offset = (address - a.base) as usize;
    if size < 4 {
        a.store_part(offset, size as usize, raw[0][lane]);
    } else {
        for (k, cell) in a.words(offset / 4, size as usize / 4).iter().enumerate().take(4) {
            set(cell, raw[k][lane]);
        }
    }
}
