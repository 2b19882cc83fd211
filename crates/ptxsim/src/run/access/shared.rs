//! Loads and stores of shared memory, and `ldmatrix`: bounds, alignment, bank conflicts, the race shadow.

use crate::error::FaultKind;
use crate::lower::op::{Address, BIT, MemOp, NONE, Regs};
use crate::run::access::pattern::SharedPattern;
use crate::run::access::{Raw, addresses, lanes, merge_part};
use crate::run::counters::Counters;
use crate::run::exec::{Block, Outcome, trap};
use crate::run::shared::Conflict;
use crate::run::warp::Warp;

impl Block<'_> {
    /// Offsets in shared memory, checked for bounds and alignment.
    #[inline]
    pub fn shared_addresses(&self, addrs: &[u64; 32], m: u32, size: u32, verb: &str) -> Outcome<[u32; 32]> {
        let (mut bits, mut high) = (0, 0);
        for &a in addrs {
            bits |= a;
            high = high.max(a);
        }
        let limit = u64::from(self.shared.size);
        if bits & u64::from(size - 1) == 0 && high < limit && u64::from(size) <= limit - high {
            return Ok(addrs.map(|a| a as u32));
        }
        for lane in lanes(m) {
            let a = addrs[lane];
            if !a.is_multiple_of(size.into()) {
                let message = format!("{size}-byte shared {verb} needs an address that is a multiple of {size}");
                return trap(FaultKind::Misaligned, lane as u32, Some(a), message);
            }
            if a >= limit || u64::from(size) > limit - a {
                let message = format!("{verb} of {size} bytes in shared memory of {limit} bytes");
                return trap(FaultKind::OutOfBounds, lane as u32, Some(a), message);
            }
        }
        Ok(addrs.map(|a| a as u32))
    }

    /// The same straight from registers: the common case without a detour over 64 bits.
    #[inline]
    pub fn shared_offsets(&self, regs: &Regs, addr: &Address, m: u32, size: u32, verb: &str) -> Outcome<[u32; 32]> {
        if addr.base == NONE || addr.wide {
            return self.shared_addresses(&addresses(regs, addr, m), m, size, verb);
        }
        let mut out = regs.w[addr.base as usize].0;
        let offset = addr.offset as u32;
        let (mut bits, mut high) = (0, 0);
        let first = out[m.trailing_zeros() as usize & 31].wrapping_add(offset);
        for lane in 0..32 {
            out[lane] = if m & BIT[lane] != 0 { out[lane].wrapping_add(offset) } else { first };
            bits |= out[lane];
            high = high.max(out[lane]);
        }
        let limit = self.shared.size;
        if bits & (size - 1) == 0 && high < limit && size <= limit - high {
            return Ok(out);
        }
        self.shared_addresses(&out.map(u64::from), m, size, verb)
    }

    /// Counts passes over the banks.
    pub fn count_shared(&mut self, addrs: &[u32; 32], m: u32, size: u32) {
        count(&mut self.counters, self.shared_patterns.find(addrs, m, size));
    }

    pub fn gather_shared(&mut self, warp: &Warp, op: &MemOp, addrs: &[u32; 32], m: u32, raw: &mut Raw) -> Outcome<()> {
        let size = op.width * op.n;
        let pattern = self.shared_patterns.find(addrs, m, size);
        count(&mut self.counters, pattern);
        let id = warp.id as usize;
        self.dirty[id] = true;
        if op.strong {
            for lane in lanes(m) {
                let check = self.shared.check_atomic(addrs[lane], size, lane as u32, &self.clocks[id], false);
                check.or_else(conflict)?;
            }
        } else {
            self.shared.check_read(addrs, size, pattern, &self.clocks[id], false).or_else(conflict)?;
        }
        let words = &self.shared.words;
        match size {
            16 => fetch::<4>(words, addrs, raw),
            8 => fetch::<2>(words, addrs, raw),
            4 => fetch::<1>(words, addrs, raw),
            _ => {
                for lane in 0..32 {
                    raw[0][lane] = words[addrs[lane] as usize / 4] >> (addrs[lane] % 4 * 8);
                }
            }
        }
        Ok(())
    }

    pub fn scatter_shared(&mut self, warp: &Warp, op: &MemOp, addrs: &[u32; 32], m: u32, raw: &Raw) -> Outcome<()> {
        let size = op.width * op.n;
        let pattern = self.shared_patterns.find(addrs, m, size);
        count(&mut self.counters, pattern);
        let id = warp.id as usize;
        self.dirty[id] = true;
        if op.strong {
            for lane in lanes(m) {
                let check = self.shared.check_atomic(addrs[lane], size, lane as u32, &self.clocks[id], true);
                check.or_else(conflict)?;
            }
        } else {
            let same = |a: u32, b: u32| {
                addrs[a as usize] == addrs[b as usize] && raw.iter().all(|w| w[a as usize] == w[b as usize])
            };
            self.shared.check_write(addrs, size, pattern, &self.clocks[id], false, same).or_else(conflict)?;
        }
        let words = &mut self.shared.words;
        match size {
            16 => put::<4>(words, addrs, m, raw),
            8 => put::<2>(words, addrs, m, raw),
            4 => put::<1>(words, addrs, m, raw),
            _ => {
                for lane in lanes(m) {
                    let cell = &mut words[addrs[lane] as usize / 4];
                    *cell = merge_part(*cell, raw[0][lane], addrs[lane] % 4, size);
                }
            }
        }
        Ok(())
    }

    pub fn load_matrix(&mut self, warp: &mut Warp, index: u32) -> Outcome<()> {
        let routine = self.routine;
        let op = &routine.matrices[index as usize];
        let n = op.n as usize;
        let rows = if n == 4 { !0 } else { (1u32 << (8 * n)) - 1 };
        let addrs = self.shared_offsets(&warp.regs, &op.addr, rows, 16, "ldmatrix row")?;
        let id = warp.id as usize;
        self.dirty[id] = true;
        // Eight rows of 16 bytes are what an access of 16 bytes a lane takes in one phase.
        let pattern = self.shared_patterns.find(&addrs, rows, 16);
        count(&mut self.counters, pattern);
        self.shared.check_read(&addrs, 16, pattern, &self.clocks[id], true).or_else(conflict)?;
        for j in 0..n {
            let mut rows = [[0; 4]; 8];
            for (row, &a) in rows.iter_mut().zip(&addrs[8 * j..8 * j + 8]) {
                row.copy_from_slice(&self.shared.words[a as usize / 4..a as usize / 4 + 4]);
            }
            let half = |row: usize, column: usize| rows[row][column / 2] >> (column % 2 * 16) & 0xffff;
            let mut out = [0; 32];
            for (lane, out) in out.iter_mut().enumerate() {
                *out = if op.trans {
                    half(2 * (lane % 4), lane / 4) | half(2 * (lane % 4) + 1, lane / 4) << 16
                } else {
                    rows[lane / 4][lane % 4]
                };
            }
            warp.regs.w[op.dst[j] as usize].put(!0, &out);
        }
        Ok(())
    }
}

pub fn count(counters: &mut Counters, pattern: &SharedPattern) {
    counters.wavefronts += u64::from(pattern.wavefronts);
    counters.conflicts += u64::from(pattern.conflicts);
}

pub fn conflict<T>(c: Conflict) -> Outcome<T> {
    trap(c.kind, c.lane, Some(c.address.into()), c.message)
}

/// N words of each lane, transposed four lanes at a time.
#[inline]
fn fetch<const N: usize>(words: &[u32], addrs: &[u32; 32], raw: &mut Raw) {
    for first in (0..32).step_by(4) {
        let mut rows = [[0; N]; 4];
        for (row, &a) in rows.iter_mut().zip(&addrs[first..first + 4]) {
            row.copy_from_slice(&words[a as usize / 4..][..N]);
        }
        for k in 0..N {
            for (i, row) in rows.iter().enumerate() {
                raw[k][first + i] = row[k];
            }
        }
    }
}

#[inline]
fn put<const N: usize>(words: &mut [u32], addrs: &[u32; 32], m: u32, raw: &Raw) {
    for lane in 0..32 {
        if m & BIT[lane] != 0 {
            let to = &mut words[addrs[lane] as usize / 4..][..N];
            for k in 0..N {
                to[k] = raw[k][lane];
            }
        }
    }
}
