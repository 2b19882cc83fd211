//! Memory, control flow and synchronisation: what these instructions become.

use crate::lower::calls::by_address;
use crate::lower::class::Class;
use crate::lower::entry::{Lower, Result};
use crate::lower::instruction::Mods;
use crate::lower::op::{
    AtomKind, AtomOp, BarKind, BarOp, CpAsync, LdMatrix, MemOp, MmaKind, MmaOp, NONE, Op, WarpKind, WarpOp,
};
use crate::text::ast::{Function, Instr};
use crate::text::ty::{Bank, Operand, Space, Ty};

fn space(name: &str) -> Option<Space> {
    Some(match name {
        "global" => Space::Global,
        "shared" | "shared::cta" => Space::Shared,
        "local" => Space::Local,
        "const" => Space::Const,
        "param" => Space::Param,
        _ => return None,
    })
}

/// Cache hints change nothing here.
fn hint(name: &str) -> Option<()> {
    let hints = ["ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc"];
    (hints.contains(&name) || name.starts_with("L1::") || name.starts_with("L2::") && name != "L2::cache_hint")
        .then_some(())
}

impl<'a> Lower<'a> {
    pub fn lower_other(&mut self, f: &'a Function, m: &mut Mods<'a>, instr: &Instr) -> Result<()> {
        match m.name {
            "ld" | "ldu" | "st" => self.load_store(m, instr),
            "atom" | "red" => self.atomic(m, instr),
            "cp" => self.cp_async(m, instr),
            "prefetch" | "prefetchu" => {
                self.push(Op::Nop, Class::Control);
                Ok(())
            }
            "bra" | "brx" | "call" | "ret" | "exit" | "trap" | "nanosleep" | "membar" | "fence" | "activemask" => {
                self.control(f, m, instr)
            }
            "bar" | "barrier" => self.barrier(m, instr),
            "shfl" | "vote" | "match" | "redux" => self.warp(m, instr),
            "ldmatrix" => self.ldmatrix(m, instr),
            "mma" => self.mma(m, instr),
            "system" => self.system(m, instr),
            _ => self.fail(format!("instruction `{}` is not supported", m.opcode)),
        }
    }

    fn load_store(&mut self, m: &mut Mods, instr: &Instr) -> Result<()> {
        let load = m.name != "st";
        let strong = m.one_of(&["relaxed", "acquire", "release"]).is_some();
        if strong {
            let scope = m.one_of(&["cta", "gpu", "sys"]);
            self.need(m, scope)?;
        } else if m.one_of(&["weak", "volatile"]).is_none() && m.name == "ldu" && !m.has("global") {
            return self.unsupported(m);
        }
        let named = m.find(space).unwrap_or(Space::Generic);
        while m.find(hint).is_some() {}
        let n = m.one_of(&["v2", "v4"]).map_or(1, |v| if v == "v2" { 2 } else { 4 });
        let ty = self.need_ty(m)?;
        self.finish(m)?;
        if ty == Ty::Pred || ty.bytes() * n > 16 || matches!(ty, Ty::F16x2 | Ty::Bf16x2 | Ty::Bf16 | Ty::Tf32) {
            return self.fail(format!("`{}`: no such access", m.opcode));
        }
        let [first, second] = self.operands(instr)?;
        let (value, target) = if load { (first, second) } else { (second, first) };
        let (addr, space) = self.address(target, named)?;
        if !load && matches!(space, Space::Const | Space::Param) {
            return self.fail(format!("store to {space} memory"));
        }
        let single = std::slice::from_ref(value);
        let values: &[Operand] = match value {
            Operand::Vector(parts) => parts,
            _ => single,
        };
        if values.len() != n as usize {
            return self.fail(format!("`{}` with {} values", m.opcode, values.len()));
        }
        // The registers may be wider than the type.
        let reg_bits = values.iter().map(|v| self.declared_bits(v, ty)).max().unwrap_or(32);
        let bank = if reg_bits == 64 { Bank::D } else { Bank::W };
        if reg_bits < ty.bits() || bank != ty.bank() && ty.bank() == Bank::D {
            return self.fail(format!("`{}` with registers of {reg_bits} bits", m.opcode));
        }
        let as_ty = match (bank, ty.bank()) {
            (a, b) if a == b => ty,
            (Bank::D, _) => Ty::B64,
            _ => Ty::B32,
        };
        let mut regs = [0; 4];
        for (reg, value) in regs.iter_mut().zip(values) {
            *reg = if load { self.dst(value, as_ty)? } else { self.src(value, as_ty)? };
        }
        if matches!(space, Space::Shared | Space::Generic) {
            self.touch_shared(ty.bytes() * n);
        }
        let class = match (space, load) {
            (Space::Global | Space::Generic, true) => Class::LoadGlobal,
            (Space::Global | Space::Generic, false) => Class::StoreGlobal,
            (Space::Shared, true) => Class::LoadShared,
            (Space::Shared, false) => Class::StoreShared,
            (Space::Local, _) => Class::Local,
            _ => Class::Constant,
        };
        let op = MemOp { space, width: ty.bytes(), n, signed: ty.is_signed(), reg_bits, bank, regs, addr, strong };
        let index = self.routine.mem.len() as u32;
        self.routine.mem.push(op);
        self.push(if load { Op::Ld(index) } else { Op::St(index) }, class);
        Ok(())
    }

    /// The race shadow must tell accesses of this many bytes apart.
    fn touch_shared(&mut self, bytes: u32) {
        self.routine.granule = self.routine.granule.min(bytes.trailing_zeros());
    }

    fn atomic(&mut self, m: &mut Mods, instr: &Instr) -> Result<()> {
        m.one_of(&["relaxed", "acquire", "release", "acq_rel"]);
        m.one_of(&["cta", "gpu", "sys"]);
        let named = m.find(space).unwrap_or(Space::Generic);
        while m.find(hint).is_some() {}
        let names = ["add", "min", "max", "inc", "dec", "exch", "cas", "and", "or", "xor"];
        let name = m.one_of(&names);
        let kind = match self.need(m, name)? {
            "add" => AtomKind::Add,
            "min" => AtomKind::Min,
            "max" => AtomKind::Max,
            "inc" => AtomKind::Inc,
            "dec" => AtomKind::Dec,
            "exch" => AtomKind::Exch,
            "cas" => AtomKind::Cas,
            "and" => AtomKind::And,
            "or" => AtomKind::Or,
            _ => AtomKind::Xor,
        };
        let ty = self.need_ty(m)?;
        self.finish(m)?;
        let supported = match ty {
            Ty::U32 | Ty::S32 | Ty::B32 | Ty::U64 | Ty::S64 | Ty::B64 => true,
            Ty::F32 | Ty::F64 => kind == AtomKind::Add,
            _ => false,
        };
        if !supported || !matches!(named, Space::Global | Space::Shared | Space::Generic) {
            return self.fail(format!("`{}` is not supported", m.opcode));
        }
        let returns = m.name == "atom";
        let operands = &instr.operands[..];
        let (d, rest) = match operands.split_first() {
            Some((d, rest)) if returns => (Some(d), rest),
            _ => (None, operands),
        };
        let wanted = if kind == AtomKind::Cas { 3 } else { 2 };
        if rest.len() != wanted {
            return self.fail(format!("`{}` with a wrong number of operands", m.opcode));
        }
        let dst = match d {
            None | Some(Operand::Sink) => NONE,
            Some(d) => self.dst(d, ty)?,
        };
        let (addr, space) = self.address(&rest[0], named)?;
        let b = self.src(&rest[1], ty)?;
        let c = self.maybe(rest.get(2), ty)?;
        if space != Space::Shared && (dst != NONE || ty.is_float() || kind == AtomKind::Exch || kind == AtomKind::Cas) {
            self.routine.ordered = true;
        }
        if space != Space::Global {
            self.touch_shared(ty.bytes());
        }
        let index = self.routine.atoms.len() as u32;
        self.routine.atoms.push(AtomOp { kind, ty, space, bank: ty.bank(), dst, addr, b, c });
        self.push(Op::Atom(index), Class::Atomic);
        Ok(())
    }

    fn cp_async(&mut self, m: &mut Mods, instr: &Instr) -> Result<()> {
        if !m.take("async") || m.has("bulk") || m.has("mbarrier") {
            return self.fail(format!("instruction `{}` is not supported", m.opcode));
        }
        let class = Class::AsyncCopy;
        if let Some(form) = m.one_of(&["commit_group", "wait_group", "wait_all"]) {
            self.finish(m)?;
            match (form, &instr.operands[..]) {
                ("commit_group", []) => self.push(Op::CpCommit, class),
                ("wait_all", []) => self.push(Op::CpWait(u32::MAX), class),
                ("wait_group", [Operand::Int(n)]) => match u32::try_from(*n) {
                    Ok(n) if n < u32::MAX => self.push(Op::CpWait(n), class),
                    _ => return self.fail(format!("cp.async.wait_group {n}")),
                },
                _ => return self.fail(format!("`{}` with these operands", m.opcode)),
            }
            return Ok(());
        }
        let cache = m.one_of(&["ca", "cg"]);
        let cache = self.need(m, cache)?;
        let to = m.one_of(&["shared", "shared::cta"]);
        self.need(m, to)?;
        let from = m.take("global").then_some(());
        self.need(m, from)?;
        while m.find(hint).is_some() {}
        self.finish(m)?;
        let (to, from, size, more) = match &instr.operands[..] {
            [to, from, Operand::Int(size)] => (to, from, *size, None),
            [to, from, Operand::Int(size), more] => (to, from, *size, Some(more)),
            _ => return self.fail(format!("`{}` with these operands", m.opcode)),
        };
        let bytes = match (cache, size) {
            ("ca", 4 | 8 | 16) | (_, 16) => size as u32,
            _ => return self.fail(format!("`{}` of {size} bytes", m.opcode)),
        };
        let (mut src_size, mut ignore, mut ignore_negated) = (NONE, NONE, false);
        match more {
            Some(Operand::NotReg(reg)) => {
                (ignore, ignore_negated) = (self.src(&Operand::Reg(*reg), Ty::Pred)?, true);
            }
            Some(more) if self.declared_bits(more, Ty::B32) == 1 => ignore = self.src(more, Ty::Pred)?,
            Some(more) => src_size = self.src(more, Ty::B32)?,
            None => {}
        }
        let (shared, _) = self.address(to, Space::Shared)?;
        let (global, _) = self.address(from, Space::Global)?;
        self.touch_shared(bytes);
        let index = self.routine.copies.len() as u32;
        self.routine.copies.push(CpAsync { shared, global, bytes, src_size, ignore, ignore_negated });
        self.push(Op::CpAsync(index), class);
        Ok(())
    }

    fn label(&self, operand: &Operand) -> Result<usize> {
        match operand {
            Operand::Label(label) => Ok(*label),
            Operand::Name { name, .. } => self.fail(format!("label `{name}` does not exist")),
            _ => self.fail("a label is needed"),
        }
    }

    fn control(&mut self, f: &'a Function, m: &mut Mods, instr: &Instr) -> Result<()> {
        m.take("uni");
        match m.name {
            "bra" => {
                self.finish(m)?;
                let [to] = self.operands(instr)?;
                let label = self.label(to)?;
                self.branch(label);
            }
            "brx" => {
                let index = m.take("idx").then_some(());
                self.need(m, index)?;
                self.finish(m)?;
                let [index, table] = self.operands(instr)?;
                let index = self.src(index, Ty::U32)?;
                let Operand::Name { name, .. } = table else { return self.fail("a table of labels is needed") };
                let Some(targets) = f.tables.get(name) else {
                    return self.fail(format!("table of labels `{name}` does not exist"));
                };
                let labels = targets.iter().map(|t| self.label(t)).collect::<Result<Vec<_>>>()?;
                self.jump_table(index, labels);
            }
            "call" => {
                self.finish(m)?;
                if let Some(address) = by_address(instr) {
                    return self.call_at(f, instr, address);
                }
                let name = instr.operands.iter().find_map(|o| match o {
                    Operand::Name { name, .. } => Some(name),
                    _ => None,
                });
                let Some(name) = name else { return self.fail("call names no function") };
                self.call(name)?;
            }
            "ret" => {
                self.finish(m)?;
                self.leave();
            }
            "exit" => {
                self.finish(m)?;
                self.push(Op::Exit, Class::Control);
            }
            "trap" => {
                self.finish(m)?;
                self.push(Op::Trap, Class::Control);
            }
            "activemask" => {
                let ty = self.need_ty(m)?;
                self.finish(m)?;
                let [d] = self.operands(instr)?;
                let dst = self.dst(d, ty)?;
                self.push(Op::ActiveMask { dst }, Class::Warp);
            }
            // Accesses happen in program order here.
            "nanosleep" => self.push(Op::Nop, Class::Control),
            _ => {
                for part in [&["sc", "acq_rel"][..], &["cta", "gpu", "sys", "gl"][..]] {
                    m.one_of(part);
                }
                self.finish(m)?;
                self.push(Op::Nop, Class::Barrier);
            }
        }
        Ok(())
    }

    fn barrier(&mut self, m: &mut Mods, instr: &Instr) -> Result<()> {
        if m.name == "bar" && m.take("warp") {
            let sync = m.take("sync").then_some(());
            self.need(m, sync)?;
            self.finish(m)?;
            let [mask] = self.operands(instr)?;
            let mask = self.src(mask, Ty::B32)?;
            return self.push_warp(WarpOp {
                kind: WarpKind::Sync,
                dst: NONE,
                pred: NONE,
                a: NONE,
                b: NONE,
                c: NONE,
                mask,
                negated: false,
            });
        }
        m.take("cta");
        m.take("aligned");
        let form = m.one_of(&["sync", "arrive", "red"]);
        let form = self.need(m, form)?;
        let mut operands = instr.operands.as_slice();
        let mut bar = BarOp { kind: BarKind::Sync, id: 0, count: NONE, dst: NONE, src: NONE, negated: false };
        if form == "red" {
            let kind = m.one_of(&["popc", "and", "or"]);
            bar.kind = match self.need(m, kind)? {
                "popc" => BarKind::RedPopc,
                "and" => BarKind::RedAnd,
                _ => BarKind::RedOr,
            };
            let ty = self.need_ty(m)?;
            let ([d, rest @ ..], Ty::U32 | Ty::Pred) = (operands, ty) else { return self.unsupported(m) };
            bar.dst = self.dst(d, if bar.kind == BarKind::RedPopc { Ty::U32 } else { Ty::Pred })?;
            let Some((predicate, rest)) = rest.split_last() else { return self.fail("operands are missing") };
            (bar.src, bar.negated) = self.predicate(predicate)?;
            operands = rest;
        } else if form == "arrive" {
            bar.kind = BarKind::Arrive;
        }
        self.finish(m)?;
        match operands {
            [id] if bar.kind != BarKind::Arrive => bar.id = self.src(id, Ty::U32)?,
            [id, count] => (bar.id, bar.count) = (self.src(id, Ty::U32)?, self.src(count, Ty::U32)?),
            _ => return self.fail(format!("`{}` with a wrong number of operands", m.opcode)),
        }
        let index = self.routine.bars.len() as u32;
        self.routine.bars.push(bar);
        self.push(Op::Bar(index), Class::Barrier);
        Ok(())
    }

    /// A predicate source that may be negated.
    fn predicate(&mut self, operand: &Operand) -> Result<(u16, bool)> {
        match operand {
            Operand::NotReg(reg) => Ok((self.src(&Operand::Reg(*reg), Ty::Pred)?, true)),
            operand => Ok((self.src(operand, Ty::Pred)?, false)),
        }
    }

    fn push_warp(&mut self, op: WarpOp) -> Result<()> {
        let index = self.routine.warps.len() as u32;
        self.routine.warps.push(op);
        self.push(Op::Warp(index), Class::Warp);
        Ok(())
    }

    fn warp(&mut self, m: &mut Mods, instr: &Instr) -> Result<()> {
        let sync = m.take("sync").then_some(());
        self.need(m, sync)?;
        let modes =
            ["up", "down", "bfly", "idx", "all", "any", "uni", "ballot", "add", "min", "max", "and", "or", "xor"];
        let mode = m.one_of(&modes);
        let mode = self.need(m, mode)?;
        let ty = self.need_ty(m)?;
        self.finish(m)?;
        use WarpKind as K;
        let kind = match (m.name, mode, ty) {
            ("shfl", "up", Ty::B32) => K::ShflUp,
            ("shfl", "down", Ty::B32) => K::ShflDown,
            ("shfl", "bfly", Ty::B32) => K::ShflBfly,
            ("shfl", "idx", Ty::B32) => K::ShflIdx,
            ("vote", "all", Ty::Pred) => K::VoteAll,
            ("vote", "any", Ty::Pred) => K::VoteAny,
            ("vote", "uni", Ty::Pred) => K::VoteUni,
            ("vote", "ballot", Ty::B32) => K::VoteBallot,
            ("match", "any", Ty::B32) => K::MatchAny32,
            ("match", "all", Ty::B32) => K::MatchAll32,
            ("match", "any", Ty::B64) => K::MatchAny64,
            ("match", "all", Ty::B64) => K::MatchAll64,
            ("redux", "add", Ty::U32 | Ty::S32) => K::ReduxAddU,
            ("redux", "min", Ty::U32) => K::ReduxMinU,
            ("redux", "max", Ty::U32) => K::ReduxMaxU,
            ("redux", "min", Ty::S32) => K::ReduxMinS,
            ("redux", "max", Ty::S32) => K::ReduxMaxS,
            ("redux", "and", Ty::B32) => K::ReduxAnd,
            ("redux", "or", Ty::B32) => K::ReduxOr,
            ("redux", "xor", Ty::B32) => K::ReduxXor,
            _ => return self.fail(format!("`{}` is not supported", m.opcode)),
        };
        let Some((d, sources)) = instr.operands.split_first() else { return self.fail("operands are missing") };
        let (d, pred) = match d {
            Operand::Pair(d, p) if matches!(m.name, "shfl" | "match") => (&**d, Some(&**p)),
            d => (d, None),
        };
        let mut op = WarpOp { kind, dst: 0, pred: NONE, a: 0, b: NONE, c: NONE, mask: 0, negated: false };
        op.dst = self.dst(d, if kind.banks().0 == Bank::P { Ty::Pred } else { Ty::B32 })?;
        if let Some(pred) = pred {
            op.pred = self.dst(pred, Ty::Pred)?;
        }
        match (m.name, sources) {
            ("shfl", [a, b, c, mask]) => {
                op.a = self.src(a, Ty::B32)?;
                (op.b, op.c) = (self.src(b, Ty::B32)?, self.src(c, Ty::B32)?);
                op.mask = self.src(mask, Ty::B32)?;
            }
            ("vote", [a, mask]) => {
                (op.a, op.negated) = self.predicate(a)?;
                op.mask = self.src(mask, Ty::B32)?;
            }
            ("match" | "redux", [a, mask]) => {
                op.a = self.src(a, if kind.banks().1 == Bank::D { Ty::B64 } else { Ty::B32 })?;
                op.mask = self.src(mask, Ty::B32)?;
            }
            _ => return self.fail(format!("`{}` with a wrong number of operands", m.opcode)),
        }
        self.push_warp(op)
    }

    /// The registers of a braced list.
    fn fragment<const N: usize>(&mut self, operand: &Operand, n: usize, dst: bool) -> Result<[u16; N]> {
        let single = std::slice::from_ref(operand);
        let parts: &[Operand] = match operand {
            Operand::Vector(parts) => parts,
            _ => single,
        };
        if parts.len() != n || n > N {
            return self.fail(format!("{n} registers are needed, found {}", parts.len()));
        }
        let mut out = [NONE; N];
        for (out, part) in out.iter_mut().zip(parts) {
            *out = match part {
                Operand::F32(bits) if !dst => self.word(*bits)?,
                part if dst => self.dst(part, Ty::B32)?,
                part => self.src(part, Ty::B32)?,
            };
        }
        Ok(out)
    }

    fn ldmatrix(&mut self, m: &mut Mods, instr: &Instr) -> Result<()> {
        for part in ["sync", "aligned", "m8n8"] {
            let found = m.take(part).then_some(());
            self.need(m, found)?;
        }
        let n = m.one_of(&["x1", "x2", "x4"]);
        let n = match self.need(m, n)? {
            "x1" => 1,
            "x2" => 2,
            _ => 4,
        };
        let trans = m.take("trans");
        let shared = m.one_of(&["shared", "shared::cta"]);
        self.need(m, shared)?;
        let ty = self.need_ty(m)?;
        self.finish(m)?;
        if ty != Ty::B16 {
            return self.fail(format!("`{}` is not supported", m.opcode));
        }
        let [d, a] = self.operands(instr)?;
        let dst = self.fragment(d, n, true)?;
        let (addr, _) = self.address(a, Space::Shared)?;
        let index = self.routine.matrices.len() as u32;
        self.routine.matrices.push(LdMatrix { n: n as u32, trans, dst, addr });
        self.push(Op::LdMatrix(index), Class::LoadMatrix);
        Ok(())
    }

    fn mma(&mut self, m: &mut Mods, instr: &Instr) -> Result<()> {
        for part in ["sync", "aligned", "row", "col"] {
            let found = m.take(part).then_some(());
            self.need(m, found)?;
        }
        let shape = m.one_of(&["m16n8k4", "m16n8k8", "m16n8k16", "m16n8k32"]);
        let shape = self.need(m, shape)?;
        let types = [self.need_ty(m)?, self.need_ty(m)?, self.need_ty(m)?, self.need_ty(m)?];
        self.finish(m)?;
        let (kind, k, a_regs, b_regs) = match (shape, types) {
            ("m16n8k4", [Ty::F32, Ty::Tf32, Ty::Tf32, Ty::F32]) => (MmaKind::Tf32, 4, 2, 1),
            ("m16n8k8", [Ty::F32, Ty::Tf32, Ty::Tf32, Ty::F32]) => (MmaKind::Tf32, 8, 4, 2),
            ("m16n8k8", [Ty::F32, Ty::Bf16, Ty::Bf16, Ty::F32]) => (MmaKind::Bf16, 8, 2, 1),
            ("m16n8k16", [Ty::F32, Ty::Bf16, Ty::Bf16, Ty::F32]) => (MmaKind::Bf16, 16, 4, 2),
            ("m16n8k8", [Ty::F32, Ty::F16, Ty::F16, Ty::F32]) => (MmaKind::F16, 8, 2, 1),
            ("m16n8k16", [Ty::F32, Ty::F16, Ty::F16, Ty::F32]) => (MmaKind::F16, 16, 4, 2),
            (_, [Ty::S32, a @ (Ty::U8 | Ty::S8), b @ (Ty::U8 | Ty::S8), Ty::S32]) => {
                let kind = MmaKind::Bytes { a: a == Ty::S8, b: b == Ty::S8 };
                match shape {
                    "m16n8k16" => (kind, 16, 2, 1),
                    "m16n8k32" => (kind, 32, 4, 2),
                    _ => return self.fail(format!("`{}` is not supported", m.opcode)),
                }
            }
            _ => return self.fail(format!("`{}` is not supported", m.opcode)),
        };
        let [d, a, b, c] = self.operands(instr)?;
        let op = MmaOp {
            kind,
            k,
            a: self.fragment(a, a_regs, false)?,
            b: self.fragment(b, b_regs, false)?,
            c: self.fragment(c, 4, false)?,
            d: self.fragment(d, 4, true)?,
        };
        let index = self.routine.mmas.len() as u32;
        self.routine.mmas.push(op);
        self.push(Op::Mma(index), Class::Mma);
        Ok(())
    }
}
