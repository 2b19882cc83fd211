//! Loads, stores, atomics and asynchronous copies: addresses to memory, with every check.

use std::sync::atomic::Ordering::Relaxed;

use crate::error::FaultKind;
use crate::exec::{Block, Outcome, trap};
use crate::memory::Allocation;
use crate::op::{Address, AtomKind, AtomOp, MemOp, NONE, Regs};
use crate::pattern::matrix_passes;
use crate::shared::Conflict;
use crate::ty::{Bank, Space, Ty};
use crate::warp::{Copy, Warp};

/// Where shared memory appears in generic addresses. The low half is zero, so an address narrowed to 32 bits is the
/// offset in shared memory, as kernels expect.
pub const SHARED_WINDOW: u64 = 1 << 32;
pub const LOCAL_WINDOW: u64 = 2 << 32;
/// Where module variables live.
pub const GLOBALS: u64 = 8 << 32;

/// Up to 16 bytes per lane, word by word.
type Raw = [[u32; 32]; 4];

fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    (0..32).filter(move |l| mask >> l & 1 != 0)
}

/// Addresses of all lanes; lanes outside `mask` get the first active lane's.
#[inline]
fn addresses(regs: &Regs, addr: &Address, mask: u32) -> [u64; 32] {
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
            out[lane] = if mask >> lane & 1 != 0 { out[lane] } else { first };
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
        let program = self.program;
        let op = &program.mem[index as usize];
        if op.space == Space::Param && op.addr.base == NONE {
            return self.load_param(warp, op, m);
        }
        let addrs = addresses(&warp.regs, &op.addr, m);
        let mut raw = [[0; 32]; 4];
        self.gather(warp, op, index, &addrs, m, &mut raw)?;
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

    /// Checks alignment and bounds of global addresses; the allocation if all lanes fall into one range.
    #[inline]
    fn resolve(
        &mut self,
        slot: u32,
        addrs: &[u64; 32],
        m: u32,
        size: u32,
        write: bool,
    ) -> Outcome<Option<&Allocation>> {
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
            return Ok(Some(view.allocation(segment.allocation)));
        }
        let verb = if write { "store" } else { "load" };
        for lane in lanes(m) {
            let a = addrs[lane];
            if !a.is_multiple_of(size.into()) {
                let message = format!("{size}-byte global {verb} needs an address that is a multiple of {size}");
                return trap(FaultKind::Misaligned, lane as u32, Some(a), message);
            }
            let end = a.checked_add(size.into());
            if end.is_none_or(|end| view.find(a, end, write, &mut 0).is_none()) {
                let (kind, message) = view.explain(a, size.into(), write);
                return trap(kind, lane as u32, Some(a), message);
            }
        }
        Ok(None)
    }

    /// The allocation of one lane, known to be valid.
    fn allocation_of(&self, a: u64, size: u32, write: bool) -> Option<&Allocation> {
        let segment = self.view.find(a, a + u64::from(size), write, &mut 0)?;
        Some(self.view.allocation(segment.allocation))
    }

    /// Counts sectors; whether all 32 lanes lie one after the other.
    #[inline]
    fn count_global(&mut self, addrs: &[u64; 32], m: u32, size: u32) -> bool {
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
        let Some(a) = self.resolve(slot, addrs, m, size, false)? else {
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

    /// Offsets in shared memory, checked for bounds and alignment.
    #[inline]
    fn shared_addresses(&self, addrs: &[u64; 32], m: u32, size: u32, verb: &str) -> Outcome<[u32; 32]> {
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

    #[inline]
    fn count_shared(&mut self, addrs: &[u32; 32], m: u32, size: u32) {
        let pattern = self.shared_patterns.find(addrs, m, size);
        self.counters.wavefronts += u64::from(pattern.wavefronts);
        self.counters.conflicts += u64::from(pattern.conflicts);
    }

    fn gather_shared(&mut self, warp: &Warp, op: &MemOp, addrs: &[u32; 32], m: u32, raw: &mut Raw) -> Outcome<()> {
        let size = op.width * op.n;
        let pattern = self.shared_patterns.find(addrs, m, size);
        self.counters.wavefronts += u64::from(pattern.wavefronts);
        self.counters.conflicts += u64::from(pattern.conflicts);
        let id = warp.id as usize;
        self.dirty[id] = true;
        if op.strong {
            for lane in lanes(m) {
                let check = self.shared.check_atomic(addrs[lane], size, lane as u32, &self.clocks[id], false);
                check.or_else(conflict)?;
            }
        } else {
            self.shared.check_read(addrs, size, pattern.runs(), m, &self.clocks[id]).or_else(conflict)?;
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

    fn local_address(&self, a: u64, size: u32, lane: usize, verb: &str) -> Outcome<usize> {
        let limit = u64::from(self.program.local);
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
        let program = self.program;
        let op = &program.mem[index as usize];
        let addrs = addresses(&warp.regs, &op.addr, m);
        let raw = pack(&warp.regs, op);
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

    fn scatter_global(&mut self, slot: u32, addrs: &[u64; 32], m: u32, size: u32, raw: &Raw) -> Outcome<()> {
        let contiguous = self.count_global(addrs, m, size);
        match self.resolve(slot, addrs, m, size, true)? {
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

    fn scatter_shared(&mut self, warp: &Warp, op: &MemOp, addrs: &[u32; 32], m: u32, raw: &Raw) -> Outcome<()> {
        let size = op.width * op.n;
        self.count_shared(addrs, m, size);
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
            self.shared.check_write(addrs, size, m, &self.clocks[id], false, same).or_else(conflict)?;
        }
        for lane in lanes(m) {
            let at = addrs[lane] as usize / 4;
            for k in 0..size.div_ceil(4) as usize {
                let cell = &mut self.shared.words[at + k];
                *cell = merge_part(*cell, raw[k][lane], addrs[lane] % 4, size);
            }
        }
        Ok(())
    }

    pub fn load_matrix(&mut self, warp: &mut Warp, index: u32) -> Outcome<()> {
        let program = self.program;
        let op = &program.matrices[index as usize];
        let n = op.n as usize;
        let rows = if n == 4 { !0 } else { (1u32 << (8 * n)) - 1 };
        let addrs = addresses(&warp.regs, &op.addr, rows);
        let addrs = match self.shared_addresses(&addrs, rows, 16, "ldmatrix row") {
            Ok(addrs) => addrs,
            // Generic addresses are allowed without a state space; kernels here name .shared.
            Err(fault) => return Err(fault),
        };
        let id = warp.id as usize;
        self.dirty[id] = true;
        let runs: Vec<(u8, bool)> = (0..8 * n as u8).map(|lane| (lane, true)).collect();
        self.shared.check_read(&addrs, 16, &runs, rows, &self.clocks[id]).or_else(conflict)?;
        for j in 0..n {
            let passes = matrix_passes(&addrs[8 * j..8 * j + 8]);
            self.counters.wavefronts += u64::from(passes);
            self.counters.conflicts += u64::from(passes.saturating_sub(1));
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

    pub fn copy_async(&mut self, warp: &mut Warp, index: u32, m: u32) -> Outcome<()> {
        let program = self.program;
        let op = &program.copies[index as usize];
        let slot = (program.mem.len() + index as usize) as u32;
        let to = addresses(&warp.regs, &op.shared, m);
        let from = addresses(&warp.regs, &op.global, m);
        let bytes = op.bytes;
        let to = self.shared_addresses(&to, m, bytes, "cp.async")?;
        let mut length = if op.src_size == NONE { [bytes; 32] } else { warp.regs.w[op.src_size as usize].0 };
        if op.ignore != NONE {
            let ignored = warp.regs.p[op.ignore as usize] ^ if op.ignore_negated { !0 } else { 0 };
            for lane in lanes(ignored) {
                length[lane] = 0;
            }
        }
        let (mut full, mut part) = (0, 0);
        for lane in lanes(m) {
            if length[lane] > bytes {
                let message = format!("source size {} is more than the {bytes} bytes to copy", length[lane]);
                return trap(FaultKind::BadOperand, lane as u32, None, message);
            }
            full |= u32::from(length[lane] == bytes) << lane;
            part |= u32::from(length[lane] > 0 && length[lane] < bytes) << lane;
        }
        let mut data = [[0; 32]; 4];
        if full != 0 {
            let first = from[full.trailing_zeros() as usize];
            let from = std::array::from_fn(|i| if full >> i & 1 != 0 { from[i] } else { first });
            self.gather_global(slot, &from, full, bytes, true, &mut data)?;
            for words in &mut data {
                for (lane, word) in words.iter_mut().enumerate() {
                    *word = if full >> lane & 1 != 0 { *word } else { 0 };
                }
            }
        }
        for lane in lanes(part) {
            self.copy_part(from[lane], length[lane], bytes, lane, &mut data)?;
        }
        self.count_shared(&to, m, bytes);
        let id = warp.id as usize;
        self.dirty[id] = true;
        self.shared.check_write(&to, bytes, m, &self.clocks[id], true, |_, _| false).or_else(conflict)?;
        let mut rest = m;
        while rest != 0 {
            let group = warp.commits[rest.trailing_zeros() as usize];
            let mask = lanes(rest).filter(|&l| warp.commits[l] == group).fold(0, |m, l| m | 1 << l);
            warp.copies.push(Copy { mask, group, bytes, addrs: to, data });
            rest &= !mask;
        }
        Ok(())
    }

    /// Reads the first `length` of `bytes` bytes for one lane.
    fn copy_part(&mut self, from: u64, length: u32, bytes: u32, lane: usize, data: &mut Raw) -> Outcome<()> {
        if !from.is_multiple_of(bytes.into()) {
            let message = format!("{bytes}-byte cp.async needs a global address that is a multiple of {bytes}");
            return trap(FaultKind::Misaligned, lane as u32, Some(from), message);
        }
        let Some(a) = self.allocation_of(from, length, false) else {
            let (kind, message) = self.view.explain(from, length.into(), false);
            return trap(kind, lane as u32, Some(from), message);
        };
        let offset = (from - a.base) as usize;
        if self.checks
            && let Some(at) = a.first_unwritten(offset, length as usize)
        {
            return unwritten(lane as u32, a.base + at as u64, length);
        }
        let mut buffer = [0; 16];
        a.read(offset, &mut buffer[..length as usize]);
        for (k, word) in buffer.chunks_exact(4).enumerate() {
            data[k][lane] = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        }
        Ok(())
    }

    /// Lets copies land for lanes `m`: all groups but the latest `keep`, or everything if `keep` is `u32::MAX`.
    pub fn wait_copies(&mut self, warp: &mut Warp, keep: u32, m: u32) {
        let id = warp.id as usize;
        for copy in &mut warp.copies {
            for lane in lanes(copy.mask & m) {
                let committed = warp.commits[lane];
                if keep != u32::MAX && (copy.group >= committed || committed - copy.group <= keep) {
                    continue;
                }
                copy.mask &= !(1 << lane);
                let at = copy.addrs[lane] as usize / 4;
                for k in 0..copy.bytes as usize / 4 {
                    self.shared.words[at + k] = copy.data[k][lane];
                }
                self.shared.land(copy.addrs[lane], copy.bytes, lane as u32, &self.clocks[id]);
                self.dirty[id] = true;
            }
        }
        warp.copies.retain(|c| c.mask != 0);
    }

    pub fn atomic(&mut self, warp: &mut Warp, index: u32, m: u32) -> Outcome<()> {
        let program = self.program;
        let op = &program.atoms[index as usize];
        let slot = (program.mem.len() + program.copies.len() + index as usize) as u32;
        let addrs = addresses(&warp.regs, &op.addr, m);
        match op.space {
            Space::Generic => {
                for (space, base, part) in windows(&addrs, m) {
                    self.atomic_in(warp, op, slot, space, &inside(&addrs, base, part), part)?;
                }
                Ok(())
            }
            space => self.atomic_in(warp, op, slot, space, &addrs, m),
        }
    }

    fn atomic_in(
        &mut self,
        warp: &mut Warp,
        op: &AtomOp,
        slot: u32,
        space: Space,
        addrs: &[u64; 32],
        m: u32,
    ) -> Outcome<()> {
        let size = op.ty.bytes();
        let operand = |regs: &Regs, reg: u16, lane: usize| match (reg, op.bank) {
            (NONE, _) => 0,
            (_, Bank::D) => regs.d[reg as usize].0[lane],
            _ => regs.w[reg as usize].0[lane].into(),
        };
        let mut old = [0u64; 32];
        match space {
            Space::Shared => {
                let addrs = self.shared_addresses(addrs, m, size, "atomic")?;
                self.count_shared(&addrs, m, size);
                let id = warp.id as usize;
                self.dirty[id] = true;
                for lane in lanes(m) {
                    let check = self.shared.check_atomic(addrs[lane], size, lane as u32, &self.clocks[id], false);
                    check.or_else(conflict)?;
                    let (b, c) = (operand(&warp.regs, op.b, lane), operand(&warp.regs, op.c, lane));
                    let at = addrs[lane] as usize / 4;
                    let words = &mut self.shared.words;
                    old[lane] = words[at].into();
                    if size == 8 {
                        old[lane] |= u64::from(words[at + 1]) << 32;
                    }
                    let new = combine(op, old[lane], b, c);
                    words[at] = new as u32;
                    if size == 8 {
                        words[at + 1] = (new >> 32) as u32;
                    }
                }
            }
            Space::Global => {
                self.resolve(slot, addrs, m, size, true)?;
                for lane in lanes(m) {
                    let (b, c) = (operand(&warp.regs, op.b, lane), operand(&warp.regs, op.c, lane));
                    let Some(a) = self.allocation_of(addrs[lane], size, true) else { continue };
                    let offset = (addrs[lane] - a.base) as usize;
                    if self.checks && !a.is_written(offset, size as usize) {
                        return unwritten(lane as u32, addrs[lane], size);
                    }
                    old[lane] = if size == 8 {
                        let _guard = self.lock64.lock().unwrap_or_else(|e| e.into_inner());
                        let (low, high) = (a.word(offset / 4), a.word(offset / 4 + 1));
                        let old = u64::from(low) | u64::from(high) << 32;
                        let new = combine(op, old, b, c);
                        a.words(offset / 4, 1)[0].store(new as u32, Relaxed);
                        a.words(offset / 4 + 1, 1)[0].store((new >> 32) as u32, Relaxed);
                        old
                    } else {
                        a.update(offset / 4, |old| combine(op, old.into(), b, c) as u32).into()
                    };
                }
                self.count_global(addrs, m, size);
            }
            _ => {
                let message = format!("atomic in {space} memory");
                return trap(FaultKind::BadOperand, m.trailing_zeros(), Some(addrs[0]), message);
            }
        }
        if op.dst != NONE {
            match op.bank {
                Bank::D => warp.regs.d[op.dst as usize].put(m, &old),
                _ => warp.regs.w[op.dst as usize].put(m, &old.map(|v| v as u32)),
            }
        }
        Ok(())
    }
}

/// The new value of an atomic operation.
fn combine(op: &AtomOp, old: u64, b: u64, c: u64) -> u64 {
    let signed = |v: u64| if op.ty.bits() == 64 { v as i64 } else { i64::from(v as u32 as i32) };
    match (op.kind, op.ty) {
        (AtomKind::Add, Ty::F32) => {
            let sum = f32::from_bits(old as u32) + f32::from_bits(b as u32);
            u64::from(if sum.is_nan() { 0x7fff_ffff } else { sum.to_bits() })
        }
        (AtomKind::Add, Ty::F64) => (f64::from_bits(old) + f64::from_bits(b)).to_bits(),
        (AtomKind::Add, _) => old.wrapping_add(b),
        (AtomKind::Min, ty) if ty.is_signed() => signed(old).min(signed(b)) as u64,
        (AtomKind::Max, ty) if ty.is_signed() => signed(old).max(signed(b)) as u64,
        (AtomKind::Min, _) => old.min(b),
        (AtomKind::Max, _) => old.max(b),
        (AtomKind::Inc, _) => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        (AtomKind::Dec, _) => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
        (AtomKind::Exch, _) => b,
        (AtomKind::Cas, _) => {
            if old == b {
                c
            } else {
                old
            }
        }
        (AtomKind::And, _) => old & b,
        (AtomKind::Or, _) => old | b,
        (AtomKind::Xor, _) => old ^ b,
    }
}

/// Lanes by the memory that their generic addresses point into: space, base of its window, lanes.
fn windows(addrs: &[u64; 32], m: u32) -> impl Iterator<Item = (Space, u64, u32)> {
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
fn inside(addrs: &[u64; 32], base: u64, mask: u32) -> [u64; 32] {
    let first = addrs[mask.trailing_zeros() as usize & 31];
    std::array::from_fn(|i| if mask >> i & 1 != 0 { addrs[i] } else { first } - base)
}

fn conflict<T>(c: Conflict) -> Outcome<T> {
    trap(c.kind, c.lane, Some(c.address.into()), c.message)
}

fn unwritten<T>(lane: u32, address: u64, size: u32) -> Outcome<T> {
    trap(FaultKind::Uninitialised, lane, Some(address), format!("{size} bytes of global memory, not all ever written"))
}

/// Words of 32 lanes that lie one after the other.
#[inline]
fn copy_in<const N: usize>(cells: &[std::sync::atomic::AtomicU32], raw: &mut Raw) {
    for (lane, cells) in cells.chunks_exact(N).enumerate().take(32) {
        for k in 0..N {
            raw[k][lane] = cells[k].load(Relaxed);
        }
    }
}

#[inline]
fn fetch<const N: usize>(words: &[u32], addrs: &[u32; 32], raw: &mut Raw) {
    for lane in 0..32 {
        let at = addrs[lane] as usize / 4;
        let from = &words[at..at + N];
        for k in 0..N {
            raw[k][lane] = from[k];
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
            raw[k][lane] = cell.load(Relaxed);
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
            cell.store(raw[k][lane], Relaxed);
        }
    }
}

/// A word with `size` (below 4: part of it) bytes at byte `shift` replaced.
#[inline(always)]
fn merge_part(old: u32, new: u32, shift: u32, size: u32) -> u32 {
    if size >= 4 {
        return new;
    }
    let mask = ((1u32 << (size * 8)) - 1) << (shift * 8);
    old & !mask | (new << (shift * 8)) & mask
}
