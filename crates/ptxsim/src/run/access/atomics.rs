//! `atom` and `red` in global and shared memory, lane by lane in ascending order.

use crate::error::FaultKind;
use crate::lower::op::{AtomKind, AtomOp, NONE, Regs};
use crate::run::access::global::unwritten;
use crate::run::access::shared::conflict;
use crate::run::access::{addresses, inside, lanes, windows};
use crate::run::exec::{Block, Outcome, trap};
use crate::run::trace::Touch;
use crate::run::warp::Warp;
use crate::text::ty::{Bank, Space, Ty};

impl Block<'_> {
    pub fn atomic(&mut self, warp: &mut Warp, index: u32, m: u32) -> Outcome<()> {
        let routine = self.routine;
        let op = &routine.atoms[index as usize];
        let slot = (routine.mem.len() + routine.copies.len() + index as usize) as u32;
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
                self.resolve(slot, addrs, m, size, Touch::Atomic)?;
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
                        a.store(offset / 4, new as u32);
                        a.store(offset / 4 + 1, (new >> 32) as u32);
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
