//! `cp.async`: copies from global to shared memory that land when their thread waits for them.

use crate::error::FaultKind;
use crate::lower::op::NONE;
use crate::run::access::global::unwritten;
use crate::run::access::shared::{conflict, count};
use crate::run::access::{Raw, addresses, lanes};
use crate::run::exec::{Block, Outcome, trap};
use crate::run::trace::Touch;
use crate::run::warp::{Copy, Warp};

impl Block<'_> {
    pub fn copy_async(&mut self, warp: &mut Warp, index: u32, m: u32) -> Outcome<()> {
        let routine = self.routine;
        let op = &routine.copies[index as usize];
        let slot = (routine.mem.len() + index as usize) as u32;
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
        let id = warp.id as usize;
        self.dirty[id] = true;
        let pattern = self.shared_patterns.find(&to, m, bytes);
        count(&mut self.counters, pattern);
        self.shared.check_write(&to, bytes, pattern, &self.clocks[id], true, |_, _| false).or_else(conflict)?;
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
        let Some(segment) = self.view.find(from, from.saturating_add(length.into()), false, &mut 0) else {
            let (kind, message) = self.view.explain(from, length.into(), false);
            return trap(kind, lane as u32, Some(from), message);
        };
        if let Some(trace) = &self.view.trace {
            trace.note(segment.allocation, from, length.into(), Touch::Read);
        }
        let a = self.view.allocation(segment.allocation);
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
}
