//! Loads and stores: addresses and values of the lanes, the space they go to; parameters and local memory.

mod atomics;
mod copies;
mod global;
pub mod pattern;
mod shared;

use crate::error::FaultKind;
use crate::lower::op::{Address, BIT, MemOp, NONE, Regs};
use crate::lower::windows::{LOCAL_WINDOW, SHARED_WINDOW};
use crate::run::exec::{Block, Outcome, trap};
use crate::run::warp::Warp;
use crate::text::ty::{Bank, Space};

/// Up to 16 bytes per lane, word by word.
pub type Raw = [[u32; 32]; 4];

pub fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    (0..32).filter(move |l| mask >> l & 1 != 0)
}

/// Addresses of all lanes; lanes outside `mask` get the first active lane's.
#[inline]
pub fn addresses(regs: &Regs, addr: &Address, mask: u32) -> [u64; 32] {
    let mut out = if addr.base == NONE {
        [addr.offset as u64; 32]
    } else if addr.wide {
        regs.d[addr.base as usize].0.map(|a| a.wrapping_add(addr.offset as u64))
    } else {
        regs.w[addr.base as usize].0.map(|a| a.wrapping_add(addr.offset as u32).into())
    };
    if mask != !0 {
        let first = out[mask.trailing_zeros() as usize & 31];
        for lane in 0..32 {
            out[lane] = if mask & BIT[lane] != 0 { out[lane] } else { first };
        }
    }
    out
}

/// Puts loaded words into registers.
#[inline]
fn unpack(regs: &mut Regs, op: &MemOp, mask: u32, raw: &Raw) {
    match (op.width, op.bank) {
        (4, Bank::W) => {
            for (k, &reg) in op.regs[..op.n as usize].iter().enumerate() {
                regs.w[reg as usize].put(mask, &raw[k]);
            }
        }
        (8, _) => {
            for (k, &reg) in op.regs[..op.n as usize].iter().enumerate() {
                let mut out = [0; 32];
                for i in 0..32 {
                    out[i] = u64::from(raw[2 * k][i]) | u64::from(raw[2 * k + 1][i]) << 32;
                }
                regs.d[reg as usize].put(mask, &out);
            }
        }
        _ => {
            for (k, &reg) in op.regs[..op.n as usize].iter().enumerate() {
                let (word, shift, unused) =
                    (k * op.width as usize / 4, k as u32 * op.width * 8 % 32, 32 - op.width * 8);
                let cut = |v: u32| {
                    let top = v >> shift << unused;
                    if op.signed { ((top as i32) >> unused) as u32 } else { top >> unused }
                };
                if op.bank == Bank::D {
                    let widen = |v: u32| if op.signed { v as i32 as u64 } else { v.into() };
                    regs.d[reg as usize].put(mask, &raw[word].map(|v| widen(cut(v))));
                } else {
                    let keep = if op.reg_bits < 32 { 0xffff } else { !0 };
                    regs.w[reg as usize].put(mask, &raw[word].map(|v| cut(v) & keep));
                }
            }
        }
    }
}

/// Collects the words to store.
#[inline]
fn pack(regs: &Regs, op: &MemOp) -> Raw {
    let mut raw = [[0; 32]; 4];
    for (k, &reg) in op.regs[..op.n as usize].iter().enumerate() {
        match (op.width, op.bank) {
            (4, Bank::W) => raw[k] = regs.w[reg as usize].0,
            (8, _) => {
                for i in 0..32 {
                    let v = regs.d[reg as usize].0[i];
                    raw[2 * k][i] = v as u32;
                    raw[2 * k + 1][i] = (v >> 32) as u32;
                }
            }
            (_, bank) => {
                let (word, shift) = (k * op.width as usize / 4, k as u32 * op.width * 8 % 32);
                let keep = if op.width == 4 { !0 } else { (1 << (op.width * 8)) - 1 };
                for i in 0..32 {
                    let v = if bank == Bank::D { regs.d[reg as usize].0[i] as u32 } else { regs.w[reg as usize].0[i] };
                    raw[word][i] |= (v & keep) << shift;
                }
            }
        }
    }
    raw
}

impl Block<'_> {
    pub fn load(&mut self, warp: &mut Warp, index: u32, m: u32) -> Outcome<()> {
        let routine = self.routine;
        let op = &routine.mem[index as usize];
        if op.space == Space::Param && op.addr.base == NONE {
            return self.load_param(warp, op, m);
        }
        let mut raw = [[0; 32]; 4];
        if op.space == Space::Shared {
            let addrs = self.shared_offsets(&warp.regs, &op.addr, m, op.width * op.n, "load")?;
            self.gather_shared(warp, op, &addrs, m, &mut raw)?;
        } else {
            let addrs = addresses(&warp.regs, &op.addr, m);
            self.gather(warp, op, index, &addrs, m, &mut raw)?;
        }
        unpack(&mut warp.regs, op, m, &raw);
        Ok(())
    }

    fn gather(&mut self, warp: &Warp, op: &MemOp, index: u32, addrs: &[u64; 32], m: u32, raw: &mut Raw) -> Outcome<()> {
        let size = op.width * op.n;
        match op.space {
            Space::Global => self.gather_global(index, addrs, m, size, true, raw),
            Space::Const => self.gather_global(index, addrs, m, size, false, raw),
            Space::Shared => {
                let addrs = self.shared_addresses(addrs, m, size, "load")?;
                self.gather_shared(warp, op, &addrs, m, raw)
            }
            Space::Local => self.gather_local(warp, addrs, m, size, raw),
            Space::Param => {
                for lane in lanes(m) {
                    let words = self.param(addrs[lane], size, lane)?;
                    for k in 0..4 {
                        raw[k][lane] = words[k];
                    }
                }
                Ok(())
            }
            Space::Generic => {
                for (space, base, part) in windows(addrs, m) {
                    let op = MemOp { space, ..op.clone() };
                    let local = inside(addrs, base, part);
                    let mut piece = [[0; 32]; 4];
                    self.gather(warp, &op, index, &local, part, &mut piece)?;
                    for lane in lanes(part) {
                        for k in 0..4 {
                            raw[k][lane] = piece[k][lane];
                        }
                    }
                }
                Ok(())
            }
        }
    }

    fn param(&self, at: u64, size: u32, lane: usize) -> Outcome<[u32; 4]> {
        let len = u64::from(self.params_len);
        if at >= len || u64::from(size) > len - at {
            let message = format!("load of {size} bytes in {len} bytes of parameters");
            return trap(FaultKind::OutOfBounds, lane as u32, Some(at), message);
        }
        if !at.is_multiple_of(size.into()) {
            return trap(FaultKind::Misaligned, lane as u32, Some(at), format!("{size}-byte load of parameters"));
        }
        let mut out = [0; 4];
        for (k, out) in out.iter_mut().enumerate().take(size.div_ceil(4) as usize) {
            *out = self.params[at as usize / 4 + k] >> (at % 4 * 8);
        }
        Ok(out)
    }

    fn load_param(&mut self, warp: &mut Warp, op: &MemOp, m: u32) -> Outcome<()> {
        let words = self.param(op.addr.offset as u64, op.width * op.n, m.trailing_zeros() as usize)?;
        unpack(&mut warp.regs, op, m, &words.map(|w| [w; 32]));
        Ok(())
    }

    fn local_address(&self, a: u64, size: u32, lane: usize, verb: &str) -> Outcome<usize> {
        let limit = u64::from(self.routine.local);
        if a >= limit || u64::from(size) > limit - a {
            let message = format!("{verb} of {size} bytes in local memory of {limit} bytes");
            return trap(FaultKind::OutOfBounds, lane as u32, Some(a), message);
        }
        if !a.is_multiple_of(size.into()) {
            return trap(FaultKind::Misaligned, lane as u32, Some(a), format!("{size}-byte local {verb}"));
        }
        Ok(a as usize)
    }

    fn gather_local(&mut self, warp: &Warp, addrs: &[u64; 32], m: u32, size: u32, raw: &mut Raw) -> Outcome<()> {
        for lane in lanes(m) {
            let a = self.local_address(addrs[lane], size, lane, "load")?;
            for k in 0..size.div_ceil(4) as usize {
                let cell = (a / 4 + k) * 32 + lane;
                let want = (((1u32 << size.min(4)) - 1) << (a % 4)) as u8;
                if self.checks && warp.local_written[cell] & want != want {
                    let message = "local bytes that this thread never wrote";
                    return trap(FaultKind::Uninitialised, lane as u32, Some(addrs[lane]), message);
                }
                raw[k][lane] = warp.local[cell] >> (a % 4 * 8);
            }
        }
        Ok(())
    }

    pub fn store(&mut self, warp: &mut Warp, index: u32, m: u32) -> Outcome<()> {
        let routine = self.routine;
        let op = &routine.mem[index as usize];
        let raw = pack(&warp.regs, op);
        if op.space == Space::Shared {
            let addrs = self.shared_offsets(&warp.regs, &op.addr, m, op.width * op.n, "store")?;
            return self.scatter_shared(warp, op, &addrs, m, &raw);
        }
        let addrs = addresses(&warp.regs, &op.addr, m);
        self.scatter(warp, op, index, &addrs, m, &raw)
    }

    fn scatter(
        &mut self,
        warp: &mut Warp,
        op: &MemOp,
        index: u32,
        addrs: &[u64; 32],
        m: u32,
        raw: &Raw,
    ) -> Outcome<()> {
        let size = op.width * op.n;
        match op.space {
            Space::Shared => {
                let addrs = self.shared_addresses(addrs, m, size, "store")?;
                self.scatter_shared(warp, op, &addrs, m, raw)
            }
            Space::Local => {
                for lane in lanes(m) {
                    let a = self.local_address(addrs[lane], size, lane, "store")?;
                    for k in 0..size.div_ceil(4) as usize {
                        let cell = (a / 4 + k) * 32 + lane;
                        warp.local[cell] = merge_part(warp.local[cell], raw[k][lane], a as u32 % 4, size);
                        warp.local_written[cell] |= (((1u32 << size.min(4)) - 1) << (a % 4)) as u8;
                    }
                }
                Ok(())
            }
            Space::Generic => {
                for (space, base, part) in windows(addrs, m) {
                    let op = MemOp { space, ..op.clone() };
                    self.scatter(warp, &op, index, &inside(addrs, base, part), part, raw)?;
                }
                Ok(())
            }
            _ => self.scatter_global(index, addrs, m, size, raw),
        }
    }
}

/// Lanes by the memory that their generic addresses point into: space, base of its window, lanes.
pub fn windows(addrs: &[u64; 32], m: u32) -> impl Iterator<Item = (Space, u64, u32)> {
    let mut masks = [0; 3];
    for lane in lanes(m) {
        let kind = match addrs[lane] >> 32 {
            1 => 1,
            2 => 2,
            _ => 0,
        };
        masks[kind] |= 1 << lane;
    }
    [(Space::Global, 0, masks[0]), (Space::Shared, SHARED_WINDOW, masks[1]), (Space::Local, LOCAL_WINDOW, masks[2])]
        .into_iter()
        .filter(|(_, _, m)| *m != 0)
}

/// Addresses relative to a window; lanes outside `mask` get the first active lane's.
pub fn inside(addrs: &[u64; 32], base: u64, mask: u32) -> [u64; 32] {
    let first = addrs[mask.trailing_zeros() as usize & 31];
    std::array::from_fn(|i| if mask >> i & 1 != 0 { addrs[i] } else { first } - base)
}

/// A word with `size` (below 4: part of it) bytes at byte `shift` replaced.
#[inline(always)]
pub fn merge_part(old: u32, new: u32, shift: u32, size: u32) -> u32 {
    if size >= 4 {
        return new;
    }
    let mask = ((1u32 << (size * 8)) - 1) << (shift * 8);
    old & !mask | (new << (shift * 8)) & mask
}
