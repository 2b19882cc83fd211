//! What the device's own functions are written with (`text::provided`): printing, failed assertions, the heap.

use crate::lower::class::Class;
use crate::lower::entry::{Lower, Result};
use crate::lower::instruction::Mods;
use crate::lower::op::{NONE, Op, SystemKind, SystemOp};
use crate::text::ast::Instr;
use crate::text::ty::Ty;

impl Lower<'_> {
    pub fn system(&mut self, m: &mut Mods, instr: &Instr) -> Result<()> {
        if m.take("sync_grid") {
            self.finish(m)?;
            self.routine.grid = true;
            self.push(Op::SyncGrid, Class::Barrier);
            return Ok(());
        }
        let kind = m.find(|name| match name {
            "print" => Some(SystemKind::Print),
            "assert" => Some(SystemKind::Assert),
            "malloc" => Some(SystemKind::Malloc),
            "free" => Some(SystemKind::Free),
            _ => None,
        });
        let kind = self.need(m, kind)?;
        self.finish(m)?;
        let (mut dst, mut sources) = (NONE, &instr.operands[..]);
        if matches!(kind, SystemKind::Print | SystemKind::Malloc) {
            let Some((first, rest)) = sources.split_first() else { return self.fail("operands are missing") };
            (dst, sources) = (self.dst(first, Ty::B64)?, rest);
        }
        let mut args = [NONE; 4];
        for (slot, source) in args.iter_mut().zip(sources) {
            *slot = self.src(source, Ty::B64)?;
        }
        // What is printed, and the addresses that memory is found at, would depend on the order of blocks.
        self.routine.ordered |= kind != SystemKind::Assert;
        let index = self.routine.systems.len() as u32;
        self.routine.systems.push(SystemOp { kind, dst, args });
        self.push(Op::System(index), Class::Control);
        Ok(())
    }
}
