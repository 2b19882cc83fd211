//! What each PTX instruction becomes. Every modifier must be used up: one that is left is an error.

use crate::lower::class::Class;
use crate::lower::entry::{Lower, Result};
use crate::lower::lanes::alu;
use crate::lower::lanes::float::{self, Flags};
use crate::lower::lanes::round::Mode;
use crate::lower::op::{Alu, NONE, Op, P_TRUE};
use crate::text::ast::{Function, Instr};
use crate::text::ty::{Bank, Operand, Ty};

/// The modifiers of an opcode.
pub struct Mods<'t> {
    pub opcode: &'t str,
    pub name: &'t str,
    rest: Vec<&'t str>,
}

impl<'t> Mods<'t> {
    fn new(opcode: &'t str) -> Mods<'t> {
        let mut parts = opcode.split('.');
        Mods { opcode, name: parts.next().unwrap_or(""), rest: parts.collect() }
    }

    pub fn has(&self, name: &str) -> bool {
        self.rest.contains(&name)
    }

    pub fn take(&mut self, name: &str) -> bool {
        let found = self.rest.iter().position(|m| *m == name);
        found.map(|i| self.rest.remove(i)).is_some()
    }

    /// The first modifier that `f` knows.
    pub fn find<T>(&mut self, f: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (i, value) = self.rest.iter().enumerate().find_map(|(i, m)| f(m).map(|v| (i, v)))?;
        self.rest.remove(i);
        Some(value)
    }

    pub fn one_of(&mut self, names: &[&'t str]) -> Option<&'t str> {
        let i = self.rest.iter().position(|m| names.contains(m))?;
        Some(self.rest.remove(i))
    }

    pub fn ty(&mut self) -> Option<Ty> {
        self.find(Ty::parse)
    }

    pub fn flags(&mut self) -> Flags {
        Flags {
            ftz: self.take("ftz"),
            sat: self.take("sat"),
            relu: self.take("relu"),
            nan: self.take("NaN"),
            mode: self.find(Mode::parse),
        }
    }

    pub fn left(&self) -> Option<&'t str> {
        self.rest.first().copied()
    }
}

impl<'a> Lower<'a> {
    pub fn unsupported<T>(&self, mods: &Mods) -> Result<T> {
        match mods.left() {
            Some(left) => self.fail(format!("`{}`: modifier .{left} is not supported", mods.opcode)),
            None => self.fail(format!("instruction `{}` is not supported", mods.opcode)),
        }
    }

    /// All modifiers must have been understood.
    pub fn finish(&self, mods: &Mods) -> Result<()> {
        if mods.left().is_some() { self.unsupported(mods) } else { Ok(()) }
    }

    pub fn need<T>(&self, mods: &Mods, found: Option<T>) -> Result<T> {
        match found {
            Some(found) => Ok(found),
            None => self.unsupported(mods),
        }
    }

    pub fn need_ty(&self, mods: &mut Mods) -> Result<Ty> {
        match mods.ty() {
            Some(ty) => Ok(ty),
            None => self.fail(format!("`{}` has no type that is supported", mods.opcode)),
        }
    }

    /// The operands, exactly `N` of them.
    pub fn operands<'o, const N: usize>(&self, instr: &'o Instr) -> Result<&'o [Operand; N]> {
        match instr.operands.as_slice().try_into() {
            Ok(operands) => Ok(operands),
            Err(_) => self.fail(format!("`{}` takes {N} operands, found {}", instr.opcode, instr.operands.len())),
        }
    }

    pub fn lower_instr(&mut self, f: &'a Function, instr: &'a Instr) -> Result<()> {
        let mut mods = Mods::new(&instr.opcode);
        let m = &mut mods;
        match m.name {
            "mov" => self.mov(m, instr),
            "add" | "sub" | "mul" | "fma" | "mad" => self.arithmetic(m, instr),
            "addc" | "subc" | "madc" => self.with_carry(m, instr),
            "div" | "rcp" | "sqrt" | "rsqrt" | "ex2" | "lg2" | "sin" | "cos" | "tanh" => {
                self.special_function(m, instr)
            }
            "mul24" => {
                let part = m.one_of(&["lo", "hi"]).unwrap_or("");
                let ty = self.need_ty(m)?;
                let alu = self.need(m, alu::mul24(part, ty))?;
                self.same_type(m, instr, alu, ty, Class::Integer)
            }
            "rem" | "sad" | "min" | "max" | "abs" | "neg" | "and" | "or" | "xor" | "not" | "cnot" | "copysign" => {
                self.simple(m, instr)
            }
            "shl" | "shr" | "shf" | "bfe" | "bfi" | "bfind" | "clz" | "popc" | "brev" | "prmt" | "lop3" | "dp4a" => {
                self.bit_field(m, instr)
            }
            "setp" => self.setp(m, instr),
            "set" => self.set(m, instr),
            "selp" => {
                let ty = self.need_ty(m)?;
                self.finish(m)?;
                let [d, a, b, p] = self.operands(instr)?;
                self.alu(alu::selp(ty.bank()), Class::Move, (d, ty), &[(a, ty), (b, ty), (p, Ty::Pred)])
            }
            "slct" => {
                m.take("ftz");
                let ty = self.need_ty(m)?;
                let by = self.need_ty(m)?;
                self.finish(m)?;
                if !matches!(by, Ty::S32 | Ty::F32) {
                    return self.unsupported(m);
                }
                let [d, a, b, c] = self.operands(instr)?;
                self.alu(alu::slct(ty, by == Ty::F32), Class::Move, (d, ty), &[(a, ty), (b, ty), (c, by)])
            }
            "testp" => {
                let names = ["finite", "infinite", "number", "notanumber", "normal", "subnormal"];
                let name = m.one_of(&names).unwrap_or("");
                let ty = self.need_ty(m)?;
                let alu = self.need(m, float::testp(name, ty))?;
                self.finish(m)?;
                let [d, a] = self.operands(instr)?;
                self.alu(alu, Class::Compare, (d, Ty::Pred), &[(a, ty)])
            }
            "cvt" => self.cvt(m, instr),
            "cvta" | "isspacep" => self.cvta(m, instr),
            _ => self.lower_other(f, m, instr),
        }
    }

    /// `d, a, b, ...` all of one type.
    fn same_type(&mut self, m: &Mods, instr: &Instr, alu: Alu, ty: Ty, class: Class) -> Result<()> {
        self.finish(m)?;
        let Some((d, sources)) = instr.operands.split_first() else { return self.fail("operands are missing") };
        let sources: Vec<_> = sources.iter().map(|s| (s, ty)).collect();
        self.alu(alu, class, (d, ty), &sources)
    }

    fn mov(&mut self, m: &mut Mods, instr: &Instr) -> Result<()> {
        let ty = self.need_ty(m)?;
        self.finish(m)?;
        let [d, a] = self.operands(instr)?;
        match (d, a) {
            (Operand::Vector(parts), _) => {
                let a = self.src(a, ty)?;
                let names: &[&str] = match (ty.bits(), parts.len()) {
                    (64, 2) => &["lo32", "hi32"],
                    (32, 2) => &["lo16", "hi16"],
                    (64, 4) => &["part0", "part1", "part2", "part3"],
                    (32, 4) => &["byte0", "byte1", "byte2", "byte3"],
                    _ => return self.unsupported(m),
                };
                // All parts are read before any is written: the source may be one of the destinations.
                let bank = ty.bank();
                let copy = self.new_reg(bank)?;
                self.push_alu(alu::mov(bank), copy, &[a], Class::Move);
                for (name, part) in names.iter().zip(parts) {
                    if *part != Operand::Sink {
                        let d = self.dst(part, Ty::B32)?;
                        self.push_alu(alu::unpack(name), d, &[copy], Class::Move);
                    }
                }
                Ok(())
            }
            (_, Operand::Vector(parts)) => {
                let alu = match (ty.bits(), parts.len()) {
                    (64, 2) => alu::pack_2x32(),
                    (32, 2) => alu::pack_2x16(),
                    (64, 4) => alu::pack_4x16(),
                    (32, 4) => alu::pack_4x8(),
                    _ => return self.unsupported(m),
                };
                let sources: Vec<_> = parts.iter().map(|p| (p, Ty::B32)).collect();
                self.alu(alu, Class::Move, (d, ty), &sources)
            }
            (_, Operand::Special(name)) if name.starts_with("clock") || name == "globaltimer" => {
                let wide = name == "clock64" || name == "globaltimer";
                let wanted = if wide { Ty::U64 } else { Ty::U32 };
                if ty.bits() != wanted.bits() {
                    return self.fail(format!("`%{name}` has {} bits", wanted.bits()));
                }
                let dst = self.dst(d, ty)?;
                self.push(Op::Clock { dst, bank: ty.bank(), high: name == "clock_hi" }, Class::Move);
                Ok(())
            }
            (_, Operand::Int(value)) if ty == Ty::Pred => {
                let (dst, any) = (self.dst(d, ty)?, P_TRUE);
                self.push_alu(alu::to_predicate(*value != 0), dst, &[any], Class::Move);
                Ok(())
            }
            _ => self.alu(alu::mov(ty.bank()), Class::Move, (d, ty), &[(a, ty)]),
        }
    }

    fn float_class(ty: Ty, name: &str) -> Class {
        match ty {
            Ty::F64 => Class::Double,
            Ty::F32 if name == "fma" => Class::Ffma,
            Ty::F32 => Class::Float,
            _ => Class::Half,
        }
    }

    fn arithmetic(&mut self, m: &mut Mods, instr: &Instr) -> Result<()> {
        let part = m.one_of(&["lo", "hi", "wide"]);
        let carry = m.take("cc");
        let flags = m.flags();
        let ty = self.need_ty(m)?;
        if ty.is_float() {
            // mad.f32 is fma since sm_20.
            let name = if m.name == "mad" { "fma" } else { m.name };
            if part.is_some() || carry || flags.nan || name == "fma" && flags.mode.is_none() {
                return self.unsupported(m);
            }
            let alu = match ty {
                Ty::F32 if !flags.relu => float::f32_arith(name, flags),
                Ty::F64 if !flags.relu => float::f64_arith(name, flags),
                _ => float::narrow_arith(name, ty, flags),
            };
            let alu = self.need(m, alu)?;
            return self.same_type(m, instr, alu, ty, Self::float_class(ty, name));
        }
        let untyped = matches!(ty, Ty::Pred | Ty::B8 | Ty::B16 | Ty::B32 | Ty::B64);
        if untyped || flags.ftz || flags.relu || flags.nan || flags.mode.is_some() || flags.sat && ty != Ty::S32 {
            return self.unsupported(m);
        }
        let alu = match (m.name, part, flags.sat) {
            ("add", None, true) => Some(alu::add_sat()),
            ("sub", None, true) => Some(alu::sub_sat()),
            ("add", None, false) => alu::add(ty),
            ("sub", None, false) => alu::sub(ty),
            ("mul", Some(part), false) => alu::mul(part, ty),
            ("mad", Some(part), false) => alu::mad(part, ty),
            _ => None,
        };
        let alu = self.need(m, alu)?;
        if carry && m.name == "mad" {
            return self.mad_carry(m, instr, part, ty, (false, true));
        }
        if carry {
            if !matches!(m.name, "add" | "sub") || ty.bits() < 32 {
                return self.unsupported(m);
            }
            self.finish(m)?;
            let [d, a, b] = self.operands(instr)?;
            let (d, a, b) = (self.dst(d, ty)?, self.src(a, ty)?, self.src(b, ty)?);
            return self.add_with_carry(ty.bits() == 64, m.name == "sub", (false, true), d, a, b);
        }
        if part != Some("wide") {
            return self.same_type(m, instr, alu, ty, Class::Integer);
        }
        self.finish(m)?;
        let wide = if ty.bits() == 16 { Ty::B32 } else { Ty::B64 };
        match &instr.operands[..] {
            [d, a, b] => self.alu(alu, Class::Integer, (d, wide), &[(a, ty), (b, ty)]),
            [d, a, b, c] => self.alu(alu, Class::Integer, (d, wide), &[(a, ty), (b, ty), (c, wide)]),
            _ => self.fail("wrong number of operands"),
        }
    }

    /// `mad.cc`, `madc`: the product, then an addition with carry `(in, out)`.
    fn mad_carry(
        &mut self,
        m: &Mods,
        instr: &Instr,
        part: Option<&str>,
        ty: Ty,
        (carry_in, out): (bool, bool),
    ) -> Result<()> {
        self.finish(m)?;
        let product = part.filter(|p| *p != "wide" && ty.bits() >= 32).and_then(|part| alu::mul(part, ty));
        let product = self.need(m, product)?;
        let [d, a, b, c] = self.operands(instr)?;
        let (d, a, b, c) = (self.dst(d, ty)?, self.src(a, ty)?, self.src(b, ty)?, self.src(c, ty)?);
        let t = self.new_reg(ty.bank())?;
        self.push_alu(product, t, &[a, b], Class::Integer);
        self.add_with_carry(ty.bits() == 64, false, (carry_in, out), d, t, c)
    }

    /// d = a + b (or a - b), with the carry flag taken in, given out, or both.
    fn add_with_carry(
        &mut self,
        wide: bool,
        subtract: bool,
        (carry_in, out): (bool, bool),
        d: u16,
        a: u16,
        b: u16,
    ) -> Result<()> {
        let cc = self.carry_register()?;
        let none = if carry_in { cc } else { self.new_reg(Bank::P)? };
        let next = self.new_reg(Bank::P)?;
        if !carry_in {
            self.push_alu(alu::to_predicate(false), none, &[P_TRUE], Class::Integer);
        }
        if out {
            self.push_alu(alu::carry(wide, subtract), next, &[a, b, none], Class::Integer);
        }
        self.push_alu(alu::add_carry(wide, subtract), d, &[a, b, none], Class::Integer);
        if out {
            self.push_alu(alu::mov(Bank::P), cc, &[next], Class::Integer);
        }
        Ok(())
    }

    fn with_carry(&mut self, m: &mut Mods, instr: &Instr) -> Result<()> {
        let part = m.one_of(&["lo", "hi"]);
        let out = m.take("cc");
        let ty = self.need_ty(m)?;
        if m.name == "madc" {
            return self.mad_carry(m, instr, part, ty, (true, out));
        }
        self.finish(m)?;
        if part.is_some() || ty.is_float() || ty.bits() < 32 {
            return self.unsupported(m);
        }
        let [d, a, b] = self.operands(instr)?;
        let (d, a, b) = (self.dst(d, ty)?, self.src(a, ty)?, self.src(b, ty)?);
        self.add_with_carry(ty.bits() == 64, m.name == "subc", (true, out), d, a, b)
    }

    fn special_function(&mut self, m: &mut Mods, instr: &Instr) -> Result<()> {
        let (approx, full) = (m.take("approx"), m.take("full"));
        let flags = m.flags();
        let ty = self.need_ty(m)?;
        if flags.sat || flags.relu || flags.nan || full && m.name != "div" {
            return self.unsupported(m);
        }
        if m.name == "div" && !ty.is_float() {
            let alu = if approx || full || flags.mode.is_some() { None } else { alu::div(ty) };
            let alu = self.need(m, alu)?;
            return self.same_type(m, instr, alu, ty, Class::Integer);
        }
        let alu = match (approx || full, ty) {
            (true, Ty::F32 | Ty::F64) if flags.mode.is_none() => float::approx(m.name, ty, flags),
            (true, _) if flags.mode.is_none() => float::narrow_approx(m.name, ty),
            (false, Ty::F32) if flags.mode.is_some() => float::f32_arith(m.name, flags),
            (false, Ty::F64) if flags.mode.is_some() => float::f64_arith(m.name, flags),
            _ => None,
        };
        let alu = self.need(m, alu)?;
        self.same_type(m, instr, alu, ty, if ty == Ty::F64 { Class::Double } else { Class::Special })
    }

    fn simple(&mut self, m: &mut Mods, instr: &Instr) -> Result<()> {
        let flags = m.flags();
        let ty = self.need_ty(m)?;
        if flags.sat || flags.relu || flags.mode.is_some() || (flags.ftz || flags.nan) && !ty.is_float() {
            return self.unsupported(m);
        }
        let class = if ty.is_float() { Self::float_class(ty, m.name) } else { Class::Integer };
        let bare = matches!(ty, Ty::Pred | Ty::B16 | Ty::B32 | Ty::B64);
        let alu = match (m.name, ty.is_float()) {
            ("rem", false) => alu::rem(ty),
            ("sad", false) => alu::sad(ty),
            ("min", false) => alu::min(ty),
            ("max", false) => alu::max(ty),
            ("abs", false) => alu::abs(ty),
            ("neg", false) => alu::neg(ty),
            ("min", true) => float::min_max_op(false, ty, flags),
            ("max", true) => float::min_max_op(true, ty, flags),
            ("abs" | "neg", true) if !flags.nan => float::sign(m.name, ty, flags.ftz),
            ("copysign", true) if !flags.ftz && !flags.nan => float::copysign(ty),
            ("and" | "or" | "xor", false) if bare => alu::logic(m.name, ty),
            ("not", false) if bare => Some(alu::not(ty)),
            ("cnot", false) if bare && ty != Ty::Pred => Some(alu::cnot(ty)),
            _ => None,
        };
        let alu = self.need(m, alu)?;
        self.same_type(m, instr, alu, ty, class)
    }

    fn bit_field(&mut self, m: &mut Mods, instr: &Instr) -> Result<()> {
        let class = Class::Integer;
        let left = m.one_of(&["l", "r"]);
        let wrap = m.one_of(&["wrap", "clamp"]);
        let shift_amount = m.take("shiftamt");
        let ty = self.need_ty(m)?;
        let unsigned = Ty::U32;
        match m.name {
            "shl" | "shr" => {
                if m.name == "shl" && !matches!(ty, Ty::B16 | Ty::B32 | Ty::B64) {
                    return self.unsupported(m);
                }
                let alu = self.need(m, if m.name == "shl" { alu::shl(ty) } else { alu::shr(ty) })?;
                self.finish(m)?;
                let [d, a, b] = self.operands(instr)?;
                self.alu(alu, class, (d, ty), &[(a, ty), (b, unsigned)])
            }
            "shf" => {
                let (Some(left), Some(wrap), Ty::B32) = (left, wrap, ty) else { return self.unsupported(m) };
                let alu = alu::shf(left == "l", wrap == "clamp");
                self.same_type(m, instr, alu, ty, class)
            }
            "bfe" => {
                let alu = self.need(m, alu::bfe(ty))?;
                self.finish(m)?;
                let [d, a, b, c] = self.operands(instr)?;
                self.alu(alu, class, (d, ty), &[(a, ty), (b, unsigned), (c, unsigned)])
            }
            "bfi" => {
                let alu = self.need(m, alu::bfi(ty))?;
                self.finish(m)?;
                let [d, a, b, c, e] = self.operands(instr)?;
                self.alu(alu, class, (d, ty), &[(a, ty), (b, ty), (c, unsigned), (e, unsigned)])
            }
            "bfind" | "clz" | "popc" => {
                let alu = if m.name == "bfind" { alu::bfind(ty, shift_amount) } else { alu::bits(m.name, ty) };
                let alu = self.need(m, alu)?;
                self.finish(m)?;
                let [d, a] = self.operands(instr)?;
                self.alu(alu, class, (d, unsigned), &[(a, ty)])
            }
            "brev" => {
                let alu = self.need(m, alu::bits(m.name, ty))?;
                self.same_type(m, instr, alu, ty, class)
            }
            "prmt" => {
                let mode = m.one_of(&["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"]).unwrap_or("");
                let alu = self.need(m, alu::prmt(mode).filter(|_| ty == Ty::B32))?;
                self.same_type(m, instr, alu, ty, class)
            }
            "lop3" => {
                let alu = self.need(m, Some(alu::lop3()).filter(|_| ty == Ty::B32))?;
                self.same_type(m, instr, alu, ty, class)
            }
            _ => {
                let other = self.need_ty(m)?;
                if !matches!((ty, other), (Ty::U32 | Ty::S32, Ty::U32 | Ty::S32)) {
                    return self.unsupported(m);
                }
                self.same_type(m, instr, alu::dp4a(ty.is_signed(), other.is_signed()), Ty::B32, class)
            }
        }
    }

    /// An optional register.
    pub fn maybe(&mut self, operand: Option<&Operand>, ty: Ty) -> Result<u16> {
        operand.map_or(Ok(NONE), |o| self.src(o, ty))
    }
}
