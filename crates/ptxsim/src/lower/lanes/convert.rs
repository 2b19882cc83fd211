//! `cvt`: every width, rounding mode and saturation. The common conversions have code of their own; the others share
//! one routine that is told types and modifiers through the two unused argument fields.

use crate::lower::lanes::alu::{alu, raw};
use crate::lower::lanes::float::{Flags, f, flush, g};
use crate::lower::lanes::round::{
    BF16, F16, F32, Format, Mode, TF32, decode, encode, f16_bits, f16_value, integer_to_f64,
};
use crate::lower::op::{Alu, Args, Regs};
use crate::text::ty::{Bank, Ty};

/// Rounding to an integral value: `.rni`, `.rzi`, `.rmi`, `.rpi`.
pub fn integral_mode(name: &str) -> Option<Mode> {
    name.strip_suffix('i').and_then(Mode::parse)
}

/// Everything a conversion is made of.
#[derive(Clone, Copy)]
pub struct Spec {
    pub dst: Ty,
    pub src: Ty,
    pub flags: Flags,
    /// Round to an integral value.
    pub integral: Option<Mode>,
}

const TYPES: [Ty; 13] = [
    Ty::U8,
    Ty::U16,
    Ty::U32,
    Ty::U64,
    Ty::S8,
    Ty::S16,
    Ty::S32,
    Ty::S64,
    Ty::F16,
    Ty::Bf16,
    Ty::Tf32,
    Ty::F32,
    Ty::F64,
];

fn type_code(ty: Ty) -> Option<u16> {
    TYPES.iter().position(|&t| t == ty).map(|i| i as u16)
}

fn mode_code(mode: Option<Mode>) -> u16 {
    mode.map_or(7, |m| m as u16)
}

impl Spec {
    /// As two argument fields.
    fn pack(&self) -> Option<(u16, u16)> {
        let c = type_code(self.dst)? | type_code(self.src)? << 4 | mode_code(self.flags.mode) << 8;
        let e = mode_code(self.integral)
            | u16::from(self.flags.ftz) << 3
            | u16::from(self.flags.sat) << 4
            | u16::from(self.flags.relu) << 5;
        Some((c, e))
    }

    fn unpack(c: u16, e: u16) -> Spec {
        let ty = |code: u16| TYPES[usize::from(code & 15).min(TYPES.len() - 1)];
        let mode = |code: u16| Mode::ALL.get(usize::from(code & 7)).copied();
        let flags =
            Flags { ftz: e >> 3 & 1 != 0, sat: e >> 4 & 1 != 0, relu: e >> 5 & 1 != 0, nan: false, mode: mode(c >> 8) };
        Spec { dst: ty(c), src: ty(c >> 4), flags, integral: mode(e) }
    }
}

/// Value of a source: an integer or an exact float.
#[derive(Clone, Copy)]
enum Value {
    Int(i128),
    Float(f64),
}

fn load(bits: u64, ty: Ty, ftz: bool) -> Value {
    Value::Int(match ty {
        Ty::U8 => i128::from(bits as u8),
        Ty::U16 => i128::from(bits as u16),
        Ty::U32 => i128::from(bits as u32),
        Ty::U64 => i128::from(bits),
        Ty::S8 => i128::from(bits as i8),
        Ty::S16 => i128::from(bits as i16),
        Ty::S32 => i128::from(bits as i32),
        Ty::S64 => i128::from(bits as i64),
        Ty::F16 => return Value::Float(decode(bits as u16 as u32, F16)),
        Ty::Bf16 => return Value::Float(decode(bits as u16 as u32, BF16)),
        Ty::F64 => return Value::Float(g(bits)),
        _ => {
            let bits = bits as u32;
            return Value::Float(f(if ftz { flush(bits) } else { bits }).into());
        }
    })
}

fn to_integral(v: f64, mode: Mode) -> f64 {
    match mode {
        Mode::Rn => v.round_ties_even(),
        Mode::Rz => v.trunc(),
        Mode::Rm => v.floor(),
        Mode::Rp => v.ceil(),
        Mode::Na => v.round(),
    }
}

/// Smallest and largest value of an integer type.
fn limits(ty: Ty) -> (i128, i128) {
    let bits = ty.bits();
    if ty.is_signed() { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
}

fn convert(bits: u64, spec: &Spec) -> u64 {
    let Spec { dst, src, flags, integral } = *spec;
    let mode = flags.mode.unwrap_or(Mode::Rn);
    let value = load(bits, src, flags.ftz);
    if !dst.is_float() {
        let (low, high) = limits(dst);
        let v = match value {
            // Out of range: wraps, or saturates if asked to.
            Value::Int(v) if flags.sat => v.clamp(low, high),
            Value::Int(v) => v,
            // Always saturates; NaN gives 0.
            Value::Float(v) => (to_integral(v, integral.unwrap_or(Mode::Rz)) as i128).clamp(low, high),
        };
        return match dst {
            Ty::U8 => (v as u8).into(),
            // 8-bit values live in 16-bit registers, extended.
            Ty::S8 => (v as i8 as u16).into(),
            Ty::U16 | Ty::S16 => (v as u16).into(),
            Ty::U32 | Ty::S32 => (v as u32).into(),
            _ => v as u64,
        };
    }
    let mut v = match value {
        Value::Int(v) => {
            let exact = if dst == Ty::F64 { Some(mode) } else { None };
            integer_to_f64(v < 0, v.unsigned_abs() as u64, exact)
        }
        Value::Float(v) => match integral {
            Some(mode) => to_integral(v, mode),
            None => v,
        },
    };
    if flags.sat {
        v = if v > 0.0 { v.min(1.0) } else { 0.0 };
    }
    if flags.relu && v <= 0.0 {
        v = 0.0;
    }
    match dst {
        Ty::F64 => v.to_bits(),
        Ty::F16 => encode(v, F16, mode).into(),
        Ty::Bf16 => encode(v, BF16, mode).into(),
        Ty::Tf32 => u64::from(encode(v, TF32, mode)) << 13,
        _ => {
            let bits = encode(v, F32, mode);
            u64::from(if flags.ftz { flush(bits) } else { bits })
        }
    }
}

fn general_ww(r: &mut Regs, m: u32, x: &Args) {
    let spec = Spec::unpack(x.c, x.e);
    let out = r.w[x.a as usize].0.map(|v| convert(v.into(), &spec) as u32);
    r.w[x.d as usize].put(m, &out);
}

fn general_wd(r: &mut Regs, m: u32, x: &Args) {
    let spec = Spec::unpack(x.c, x.e);
    let out = r.d[x.a as usize].0.map(|v| convert(v, &spec) as u32);
    r.w[x.d as usize].put(m, &out);
}

fn general_dw(r: &mut Regs, m: u32, x: &Args) {
    let spec = Spec::unpack(x.c, x.e);
    let out = r.w[x.a as usize].0.map(|v| convert(v.into(), &spec));
    r.d[x.d as usize].put(m, &out);
}

fn general_dd(r: &mut Regs, m: u32, x: &Args) {
    let spec = Spec::unpack(x.c, x.e);
    let out = r.d[x.a as usize].0.map(|v| convert(v, &spec));
    r.d[x.d as usize].put(m, &out);
}

/// Bits of a result that may be NaN.
#[inline(always)]
fn canonical(v: f32) -> u32 {
    if v.is_nan() { 0x7fff_ffff } else { v.to_bits() }
}

/// f32 to the upper half of f32, nearest even.
#[inline(always)]
fn bf16_bits(a: u32) -> u32 {
    let rounded = a.wrapping_add(0x7fff + (a >> 16 & 1)) >> 16;
    if f(a).is_nan() { 0x7fff } else { rounded }
}

/// f32 to tf32, ties away from zero.
#[inline(always)]
fn tf32_bits(a: u32) -> u32 {
    if f(a).is_nan() {
        0x7fff_ffff
    } else if a & 0x7f80_0000 == 0x7f80_0000 {
        a
    } else {
        (a + 0x1000) & !0x1fff
    }
}

/// The operation for a conversion between registers of the given banks, and its two constant fields if it needs them.
pub fn cvt(spec: Spec, dst: Bank, src: Bank) -> Option<(Alu, Option<(u16, u16)>)> {
    let Flags { ftz, sat, relu, mode, .. } = spec.flags;
    let plain = !ftz && !sat && !relu && spec.integral.is_none();
    let nearest = matches!(mode, None | Some(Mode::Rn));
    let fast = match (spec.dst, spec.src) {
        _ if sat || relu => None,
        (Ty::U32 | Ty::S32, Ty::U32 | Ty::S32) => Some(alu!(w; w a => a)),
        (Ty::U64 | Ty::S64, Ty::U64 | Ty::S64) => Some(alu!(d; d a => a)),
        (Ty::U64 | Ty::S64, Ty::U32) => Some(alu!(d; w a => a.into())),
        (Ty::U64 | Ty::S64, Ty::S32) => Some(alu!(d; w a => i64::from(a as i32) as u64)),
        (Ty::U32 | Ty::S32, Ty::U64 | Ty::S64) => Some(alu!(w; d a => a as u32)),
        (Ty::U32 | Ty::S32, Ty::U16) => Some(alu!(w; w a => a & 0xffff)),
        (Ty::U32 | Ty::S32, Ty::S16) => Some(alu!(w; w a => i32::from(a as i16) as u32)),
        (Ty::U16 | Ty::S16, Ty::U32 | Ty::S32 | Ty::U16 | Ty::S16) => Some(alu!(w; w a => a & 0xffff)),
        (Ty::U32 | Ty::S32 | Ty::U16 | Ty::S16, Ty::U8) => Some(alu!(w; w a => a & 0xff)),
        (Ty::F32, Ty::S32) if plain && nearest => Some(alu!(w; w a => (a as i32 as f32).to_bits())),
        (Ty::F32, Ty::U32) if plain && nearest => Some(alu!(w; w a => (a as f32).to_bits())),
        (Ty::S32, Ty::F32) if spec.integral == Some(Mode::Rz) && !ftz => Some(alu!(w; w a => f(a) as i32 as u32)),
        (Ty::U32, Ty::F32) if spec.integral == Some(Mode::Rz) && !ftz => Some(alu!(w; w a => f(a) as u32)),
        (Ty::F32, Ty::F32) if ftz && spec.integral.is_none() => Some(alu!(w; w a => flush(a))),
        (Ty::F32, Ty::F32) if plain => Some(alu!(w; w a => a)),
        (Ty::F64, Ty::F32) if plain => Some(alu!(d; w a => f64::from(f(a)).to_bits())),
        (Ty::F32, Ty::F64) if plain && nearest => Some(alu!(w; d a => (g(a) as f32).to_bits())),
        (Ty::F32, Ty::Bf16) if plain => Some(alu!(w; w a => a << 16)),
        (Ty::F32, Ty::F16) if plain => Some(alu!(w; w a => canonical(f16_value(a)))),
        (Ty::F16, Ty::F32) if plain && nearest => Some(alu!(w; w a => f16_bits(a))),
        (Ty::Bf16, Ty::F32) if plain && nearest => Some(alu!(w; w a => bf16_bits(a))),
        (Ty::Tf32, Ty::F32) if plain && mode == Some(Mode::Na) => Some(alu!(w; w a => tf32_bits(a))),
        _ => None,
    };
    if let Some(alu) = fast.filter(|alu| alu.dst == dst && alu.src[0] == Some(src)) {
        return Some((alu, None));
    }
    let fields = spec.pack()?;
    let routine = match (dst, src) {
        (Bank::W, Bank::W) => general_ww,
        (Bank::W, Bank::D) => general_wd,
        (Bank::D, Bank::W) => general_dw,
        (Bank::D, Bank::D) => general_dd,
        _ => return None,
    };
    Some((raw(routine, dst, src), Some(fields)))
}

fn pair(a: u32, b: u32, format: Format, mode: Mode, relu: bool) -> u32 {
    let one = |v: u32| {
        let v = f64::from(f(v));
        encode(if relu && v <= 0.0 { 0.0 } else { v }, format, mode)
    };
    one(a) << 16 | one(b)
}

/// Two f32 to a pair: a becomes the upper half.
pub fn cvt_pair(dst: Ty, flags: Flags) -> Option<Alu> {
    Some(match (dst, flags.mode?, flags.relu) {
        (Ty::Bf16x2, Mode::Rn, false) => alu!(w; w a, w b => bf16_bits(a) << 16 | bf16_bits(b)),
        (Ty::Bf16x2, Mode::Rn, true) => alu!(w; w a, w b => pair(a, b, BF16, Mode::Rn, true)),
        (Ty::Bf16x2, Mode::Rz, false) => alu!(w; w a, w b => pair(a, b, BF16, Mode::Rz, false)),
        (Ty::Bf16x2, Mode::Rz, true) => alu!(w; w a, w b => pair(a, b, BF16, Mode::Rz, true)),
        (Ty::F16x2, Mode::Rn, false) => alu!(w; w a, w b => (f16_bits(a) << 16) | f16_bits(b)),
        (Ty::F16x2, Mode::Rn, true) => alu!(w; w a, w b => pair(a, b, F16, Mode::Rn, true)),
        (Ty::F16x2, Mode::Rz, false) => alu!(w; w a, w b => pair(a, b, F16, Mode::Rz, false)),
        (Ty::F16x2, Mode::Rz, true) => alu!(w; w a, w b => pair(a, b, F16, Mode::Rz, true)),
        _ => return None,
    })
}
