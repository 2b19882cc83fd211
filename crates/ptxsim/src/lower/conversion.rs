//! Comparisons and conversions: what `setp`, `set`, `cvt`, `cvta` and `isspacep` become.

use crate::lower::class::Class;
use crate::lower::entry::{Lower, Result};
use crate::lower::instruction::Mods;
use crate::lower::lanes::alu;
use crate::lower::lanes::convert::{self, Spec};
use crate::lower::lanes::float;
use crate::lower::lanes::round::Mode;
use crate::lower::op::{Alu, Args, Op};
use crate::lower::windows::{LOCAL_WINDOW, SHARED_WINDOW};
use crate::text::ast::Instr;
use crate::text::ty::{Bank, Operand, Ty};

impl<'a> Lower<'a> {
    /// Comparison, boolean operator and type of `setp` and `set`.
    fn comparison(&mut self, m: &mut Mods<'a>) -> Result<(Alu, Option<&'a str>, Ty)> {
        let names = [
            "eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu", "geu",
            "num", "nan",
        ];
        let name = m.one_of(&names);
        let name = self.need(m, name)?;
        let combine = m.one_of(&["and", "or", "xor"]);
        let ftz = m.take("ftz");
        let ty = self.need_ty(m)?;
        let alu = match ty.is_float() {
            true => float::compare(name, ty, ftz),
            false if ftz => None,
            false => alu::compare(name, ty),
        };
        Ok((self.need(m, alu)?, combine, ty))
    }

    /// A comparison into a fresh predicate, combined with a further one if there is a third source.
    fn compare(
        &mut self,
        (alu, combine, ty): (Alu, Option<&str>, Ty),
        sources: &[Operand],
        inverted: bool,
    ) -> Result<u16> {
        let ([a, b], c) = match sources {
            [a, b] => ([a, b], None),
            [a, b, c] => ([a, b], Some(c)),
            _ => return self.fail("wrong number of operands"),
        };
        if c.is_some() != combine.is_some() {
            return self.fail("a boolean operator and a third source go together");
        }
        let (a, b) = (self.src(a, ty)?, self.src(b, ty)?);
        let t = self.new_reg(Bank::P)?;
        self.push_alu(alu, t, &[a, b], Class::Compare);
        if inverted {
            self.push_alu(alu::not(Ty::Pred), t, &[t], Class::Compare);
        }
        if let (Some(c), Some(combine)) = (c, combine) {
            let c = match c {
                Operand::NotReg(reg) => {
                    let reg = self.src(&Operand::Reg(*reg), Ty::Pred)?;
                    let n = self.new_reg(Bank::P)?;
                    self.push_alu(alu::not(Ty::Pred), n, &[reg], Class::Compare);
                    n
                }
                c => self.src(c, Ty::Pred)?,
            };
            if let Some(alu) = alu::logic(combine, Ty::Pred) {
                self.push_alu(alu, t, &[t, c], Class::Compare);
            }
        }
        Ok(t)
    }

    pub fn setp(&mut self, m: &mut Mods<'a>, instr: &Instr) -> Result<()> {
        let comparison = self.comparison(m)?;
        self.finish(m)?;
        let Some((d, sources)) = instr.operands.split_first() else { return self.fail("operands are missing") };
        if let (Operand::Reg(_), (alu, None, ty), [a, b]) = (d, comparison, sources) {
            return self.alu(alu, Class::Compare, (d, Ty::Pred), &[(a, ty), (b, ty)]);
        }
        let (p, q) = match d {
            Operand::Pair(p, q) => (&**p, Some(&**q)),
            p => (p, None),
        };
        let p = self.dst(p, Ty::Pred)?;
        let yes = self.compare(comparison, sources, false)?;
        if let Some(q) = q {
            let no = self.compare(comparison, sources, true)?;
            let q = self.dst(q, Ty::Pred)?;
            self.push_alu(alu::mov(Bank::P), q, &[no], Class::Compare);
        }
        self.push_alu(alu::mov(Bank::P), p, &[yes], Class::Compare);
        Ok(())
    }

    pub fn set(&mut self, m: &mut Mods<'a>, instr: &Instr) -> Result<()> {
        // set.cmp{.bool}{.ftz}.dtype.stype: the first type is the destination's.
        let dst = self.need_ty(m)?;
        if !matches!(dst, Ty::U32 | Ty::S32 | Ty::F32 | Ty::F16 | Ty::Bf16) {
            return self.unsupported(m);
        }
        let comparison = self.comparison(m)?;
        self.finish(m)?;
        let Some((d, sources)) = instr.operands.split_first() else { return self.fail("operands are missing") };
        let d = self.dst(d, dst)?;
        let t = self.compare(comparison, sources, false)?;
        if let Some(one) = match dst {
            Ty::F16 => Some(0x3c00),
            Ty::Bf16 => Some(0x3f80),
            _ => None,
        } {
            let (one, zero) = (self.word(one)?, self.word(0)?);
            self.push_alu(alu::selp(Bank::W), d, &[one, zero, t], Class::Compare);
            return Ok(());
        }
        self.push_alu(alu::from_predicate(dst == Ty::F32), d, &[t], Class::Compare);
        Ok(())
    }

    pub fn cvt(&mut self, m: &mut Mods, instr: &Instr) -> Result<()> {
        let integral = m.find(convert::integral_mode);
        let away = m.take("rna");
        let mut flags = m.flags();
        let (dst, src) = (self.need_ty(m)?, self.need_ty(m)?);
        self.finish(m)?;
        if away {
            if dst != Ty::Tf32 || src != Ty::F32 || flags.mode.is_some() {
                return self.unsupported(m);
            }
            flags.mode = Some(Mode::Na);
        }
        if matches!(dst, Ty::Bf16x2 | Ty::F16x2) {
            let alu = if src == Ty::F32 && !flags.sat && !flags.nan { convert::cvt_pair(dst, flags) } else { None };
            let alu = self.need(m, alu)?;
            let [d, a, b] = self.operands(instr)?;
            return self.alu(alu, Class::Convert, (d, dst), &[(a, src), (b, src)]);
        }
        // What PTX demands of rounding modifiers.
        let precision = |ty: Ty| match ty {
            Ty::Bf16 => 8,
            Ty::F16 | Ty::Tf32 => 11,
            Ty::F32 => 24,
            _ => 53,
        };
        let loses = match (dst.is_float(), src.is_float()) {
            (true, true) => precision(dst) < precision(src) || (dst, src) == (Ty::F16, Ty::Bf16),
            (from_int, _) => from_int,
        };
        let fits = match (dst.is_float(), src.is_float()) {
            (false, true) => integral.is_some() && flags.mode.is_none(),
            (true, true) if loses => flags.mode.is_some() && integral.is_none(),
            (true, true) => flags.mode.is_none() && (integral.is_none() || dst == src),
            (true, false) => flags.mode.is_some() && integral.is_none(),
            (false, false) => flags.mode.is_none() && integral.is_none(),
        };
        let [d, a] = self.operands(instr)?;
        let bits = self.declared_bits(d, dst);
        let extends = dst.is_signed() && bits > dst.bits().max(16);
        if !fits || flags.nan || extends || dst == Ty::Tf32 && !away && flags.mode != Some(Mode::Rn) {
            return self.fail(format!("`{}` in this form is not supported", m.opcode));
        }
        let bank = |operand: &Operand, ty: Ty, bits: u32| match operand {
            Operand::Reg(_) if bits == 64 => Bank::D,
            Operand::Reg(_) => Bank::W,
            _ => ty.bank(),
        };
        let (to, from) = (bank(d, dst, bits), bank(a, src, self.declared_bits(a, src)));
        let as_ty = |bank: Bank| if bank == Bank::D { Ty::B64 } else { Ty::B32 };
        let (d, a) = (self.dst(d, as_ty(to))?, self.src(a, if from == src.bank() { src } else { as_ty(from) })?);
        let found = convert::cvt(Spec { dst, src, flags, integral }, to, from);
        let (alu, fields) = self.need(m, found)?;
        let (c, e) = fields.unwrap_or((0, 0));
        let args = Args { d, a, b: 0, c, e };
        self.push(Op::Alu { f: alu.f, dst: alu.dst, src: alu.src, args }, Class::Convert);
        Ok(())
    }

    /// Address conversions: the window of the space is added or taken away.
    pub fn cvta(&mut self, m: &mut Mods, instr: &Instr) -> Result<()> {
        let to = m.take("to");
        let space = m.one_of(&["global", "const", "shared", "shared::cta", "local", "param"]);
        let space = self.need(m, space)?;
        let [d, a] = self.operands(instr)?;
        if m.name == "isspacep" {
            self.finish(m)?;
            let window = match space {
                "shared" | "shared::cta" => SHARED_WINDOW,
                "local" => LOCAL_WINDOW,
                _ => return self.unsupported(m),
            };
            let (a, d) = (self.src(a, Ty::U64)?, self.dst(d, Ty::Pred)?);
            let (high, shift) = (self.new_reg(Bank::D)?, self.word(32)?);
            let window = self.long(window >> 32)?;
            if let (Some(shr), Some(eq)) = (alu::shr(Ty::U64), alu::compare("eq", Ty::U64)) {
                self.push_alu(shr, high, &[a, shift], Class::Move);
                self.push_alu(eq, d, &[high, window], Class::Move);
            }
            return Ok(());
        }
        let ty = self.need_ty(m)?;
        self.finish(m)?;
        if ty != Ty::U64 || space == "param" {
            return self.unsupported(m);
        }
        let window = match space {
            "shared" | "shared::cta" => SHARED_WINDOW,
            "local" => LOCAL_WINDOW,
            _ => 0,
        };
        let (d, a) = (self.dst(d, ty)?, self.src(a, ty)?);
        let window = self.long(window)?;
        let alu = if to { alu::sub(ty) } else { alu::add(ty) };
        let alu = self.need(m, alu)?;
        self.push_alu(alu, d, &[a, window], Class::Move);
        Ok(())
    }
}
