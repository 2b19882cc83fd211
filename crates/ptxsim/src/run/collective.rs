//! Warp-synchronous operations: shuffles, votes, matches, reductions and the warp barrier.

use crate::error::FaultKind;
use crate::lower::op::{NONE, Regs, WarpKind, WarpOp};
use crate::run::exec::{Block, Outcome, trap};
use crate::run::warp::Warp;

fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    (0..32).filter(move |l| mask >> l & 1 != 0)
}

impl Block<'_> {
    /// Executes for lanes `m`; false if some of the lanes named are elsewhere and must come first.
    pub fn warp_op(&mut self, warp: &mut Warp, index: u32, m: u32) -> Outcome<bool> {
        let routine = self.routine;
        let op = &routine.warps[index as usize];
        let mut masks = warp.regs.w[op.mask as usize].0;
        if m == !0 && masks.iter().all(|&v| v == !0) {
            execute(&mut warp.regs, op, !0, self.checks)?;
            self.warp_barrier(warp);
            return Ok(true);
        }
        if !self.checks {
            // As on hardware, where nobody waits for lanes that are not there.
            masks = masks.map(|mask| mask & warp.live);
        }
        let mut rest = m;
        let mut groups = vec![];
        while rest != 0 {
            let lane = rest.trailing_zeros();
            let members = masks[lane as usize];
            let agree = lanes(rest).filter(|&l| masks[l] == members).fold(0, |g, l| g | 1 << l);
            if members & !warp.live != 0 {
                let gone = members & !warp.live;
                let message =
                    format!("mask {members:#010x} names lanes {gone:#010x}, which have exited or do not exist");
                return trap(FaultKind::BadMask, lane, None, message);
            }
            if agree & !members != 0 {
                let lane = (agree & !members).trailing_zeros();
                let message = format!("mask {members:#010x} does not name the executing lane {lane}");
                return trap(FaultKind::BadMask, lane, None, message);
            }
            if members & m & !agree != 0 {
                let message = format!("lanes of mask {members:#010x} execute with different masks");
                return trap(FaultKind::BadMask, lane, None, message);
            }
            if members & !m != 0 {
                return self.wait_for(warp, m, members);
            }
            groups.push(members);
            rest &= !agree;
        }
        for members in groups {
            execute(&mut warp.regs, op, members, self.checks)?;
        }
        self.warp_barrier(warp);
        Ok(true)
    }
}

/// Where a lane reads from, and whether that is inside its segment.
fn source(kind: WarpKind, lane: u32, b: u32, c: u32) -> (u32, bool) {
    let (b, clamp, segment) = (b & 31, c & 31, c >> 8 & 31);
    let first = lane & segment;
    let last = first | clamp & !segment;
    let (from, inside) = match kind {
        WarpKind::ShflUp => {
            let from = lane.wrapping_sub(b);
            (from, from as i32 >= last as i32)
        }
        WarpKind::ShflDown => (lane + b, lane + b <= last),
        WarpKind::ShflBfly => (lane ^ b, lane ^ b <= last),
        _ => {
            let from = first | b & !segment;
            (from, from <= last)
        }
    };
    if inside { (from & 31, true) } else { (lane, false) }
}

fn execute(regs: &mut Regs, op: &WarpOp, m: u32, strict: bool) -> Outcome<()> {
    match op.kind {
        WarpKind::Sync => Ok(()),
        WarpKind::ShflUp | WarpKind::ShflDown | WarpKind::ShflBfly | WarpKind::ShflIdx => shuffle(regs, op, m, strict),
        WarpKind::VoteAll | WarpKind::VoteAny | WarpKind::VoteUni | WarpKind::VoteBallot => {
            let votes = (regs.p[op.a as usize] ^ if op.negated { !0 } else { 0 }) & m;
            let holds = match op.kind {
                WarpKind::VoteAll => votes == m,
                WarpKind::VoteAny => votes != 0,
                _ => votes == m || votes == 0,
            };
            if op.kind == WarpKind::VoteBallot {
                regs.w[op.dst as usize].put(m, &[votes; 32]);
            } else {
                put_predicate(regs, op.dst, m, if holds { !0 } else { 0 });
            }
            Ok(())
        }
        WarpKind::MatchAny32 | WarpKind::MatchAll32 | WarpKind::MatchAny64 | WarpKind::MatchAll64 => {
            let values: [u64; 32] = if matches!(op.kind, WarpKind::MatchAny64 | WarpKind::MatchAll64) {
                regs.d[op.a as usize].0
            } else {
                regs.w[op.a as usize].0.map(u64::from)
            };
            let equal = |v: u64| lanes(m).filter(|&l| values[l] == v).fold(0, |g, l| g | 1u32 << l);
            let mut out = [0; 32];
            for lane in lanes(m) {
                let same = equal(values[lane]);
                let all = matches!(op.kind, WarpKind::MatchAll32 | WarpKind::MatchAll64);
                out[lane] = if all && same != m { 0 } else { same };
            }
            regs.w[op.dst as usize].put(m, &out);
            if op.pred != NONE {
                let all = out[m.trailing_zeros() as usize] == m;
                put_predicate(regs, op.pred, m, if all { !0 } else { 0 });
            }
            Ok(())
        }
        _ => {
            let values = regs.w[op.a as usize].0;
            let combine = |a: u32, b: u32| match op.kind {
                WarpKind::ReduxAddU => a.wrapping_add(b),
                WarpKind::ReduxMinU => a.min(b),
                WarpKind::ReduxMaxU => a.max(b),
                WarpKind::ReduxMinS => (a as i32).min(b as i32) as u32,
                WarpKind::ReduxMaxS => (a as i32).max(b as i32) as u32,
                WarpKind::ReduxAnd => a & b,
                WarpKind::ReduxOr => a | b,
                _ => a ^ b,
            };
            let result = lanes(m).map(|l| values[l]).reduce(combine).unwrap_or(0);
            regs.w[op.dst as usize].put(m, &[result; 32]);
            Ok(())
        }
    }
}

fn put_predicate(regs: &mut Regs, reg: u16, m: u32, bits: u32) {
    let p = &mut regs.p[reg as usize];
    *p = *p & !m | bits & m;
}

fn shuffle(regs: &mut Regs, op: &WarpOp, m: u32, strict: bool) -> Outcome<()> {
    let (a, b, c) = (regs.w[op.a as usize].0, regs.w[op.b as usize].0, regs.w[op.c as usize].0);
    let mut out = [0; 32];
    let mut inside = 0;
    for lane in lanes(m) {
        let (from, valid) = source(op.kind, lane as u32, b[lane], c[lane]);
        if m >> from & 1 == 0 && strict {
            let message = format!("reads lane {from}, which is not in the member mask {m:#010x}");
            return trap(FaultKind::BadMask, lane as u32, None, message);
        }
        out[lane] = a[from as usize];
        inside |= u32::from(valid) << lane;
    }
    regs.w[op.dst as usize].put(m, &out);
    if op.pred != NONE {
        put_predicate(regs, op.pred, m, inside);
    }
    Ok(())
}
