//! Floating-point arithmetic. f32 and f64 in round-to-nearest use the host's IEEE operations; directed modes and the
//! narrow formats go through `round`. Approximate instructions (`ex2.approx`, `rcp.approx`, …) give the f64 result
//! rounded once, which is at least as accurate as any hardware.

use crate::lower::lanes::alu::alu;
use crate::lower::lanes::round::{BF16, Exact, F16, Format, Mode, add_odd, decode, directed_f32, directed_f64, encode};
use crate::lower::op::Alu;
use crate::text::ty::Ty;

const NAN: u32 = 0x7fff_ffff;

#[inline(always)]
pub fn f(bits: u32) -> f32 {
    f32::from_bits(bits)
}

#[inline(always)]
pub fn g(bits: u64) -> f64 {
    f64::from_bits(bits)
}

/// Result bits; f32 arithmetic makes only the canonical NaN.
#[inline(always)]
fn o(v: f32) -> u32 {
    if v.is_nan() { NAN } else { v.to_bits() }
}

/// Denormals to zero, sign kept.
#[inline(always)]
pub fn flush(bits: u32) -> u32 {
    if bits & 0x7f80_0000 == 0 { bits & 0x8000_0000 } else { bits }
}

#[inline(always)]
fn z(bits: u32) -> f32 {
    f32::from_bits(flush(bits))
}

/// Into [0, 1]; NaN to +0.
#[inline(always)]
pub fn saturate(v: f32) -> f32 {
    if v >= 1.0 {
        1.0
    } else if v > 0.0 {
        v
    } else {
        0.0
    }
}

fn saturate64(v: f64) -> f64 {
    if v > 0.0 { v.min(1.0) } else { 0.0 }
}

/// Modifiers of an arithmetic instruction.
#[derive(Clone, Copy, Default)]
pub struct Flags {
    pub ftz: bool,
    pub sat: bool,
    pub relu: bool,
    pub nan: bool,
    pub mode: Option<Mode>,
}

/// The four variants of an f32 operation in round-to-nearest.
macro_rules! f32_op {
    ($flags:expr; $($n:ident),* => $e:expr) => {
        match ($flags.ftz, $flags.sat) {
            (false, false) => alu!(w; $(w $n),* => { $(let $n = f($n);)* o($e) }),
            (true, false) => alu!(w; $(w $n),* => { $(let $n = z($n);)* flush(o($e)) }),
            (false, true) => alu!(w; $(w $n),* => { $(let $n = f($n);)* saturate($e).to_bits() }),
            (true, true) => alu!(w; $(w $n),* => { $(let $n = z($n);)* flush(saturate($e).to_bits()) }),
        }
    };
}

macro_rules! f32_modes {
    ($flags:expr, $op:expr; $a:ident, $b:expr, $c:expr; $($n:ident),*) => {
        match $flags.mode {
            Some(Mode::Rz) => f32_op!($flags; $($n),* => directed_f32($op, $a, $b, $c, Mode::Rz)),
            Some(Mode::Rm) => f32_op!($flags; $($n),* => directed_f32($op, $a, $b, $c, Mode::Rm)),
            _ => f32_op!($flags; $($n),* => directed_f32($op, $a, $b, $c, Mode::Rp)),
        }
    };
}

macro_rules! f64_modes {
    ($flags:expr, $op:expr; $a:expr, $b:expr, $c:expr; $($n:ident),*) => {
        match $flags.mode {
            Some(Mode::Rz) => alu!(d; $(d $n),* => directed_f64($op, $a, $b, $c, Mode::Rz).to_bits()),
            Some(Mode::Rm) => alu!(d; $(d $n),* => directed_f64($op, $a, $b, $c, Mode::Rm).to_bits()),
            _ => alu!(d; $(d $n),* => directed_f64($op, $a, $b, $c, Mode::Rp).to_bits()),
        }
    };
}

fn nearest(flags: Flags) -> bool {
    matches!(flags.mode, None | Some(Mode::Rn))
}

/// add, sub, mul, fma, div, sqrt, rcp for f32.
pub fn f32_arith(name: &str, fl: Flags) -> Option<Alu> {
    let rn = nearest(fl);
    Some(match name {
        "add" if rn => f32_op!(fl; a, b => a + b),
        "sub" if rn => f32_op!(fl; a, b => a - b),
        "mul" if rn => f32_op!(fl; a, b => a * b),
        "fma" if rn => f32_op!(fl; a, b, c => a.mul_add(b, c)),
        "div" if rn => f32_op!(fl; a, b => a / b),
        "sqrt" if rn => f32_op!(fl; a => a.sqrt()),
        "rcp" if rn => f32_op!(fl; a => 1.0 / a),
        "add" => f32_modes!(fl, Exact::Add; a, b, 0.0; a, b),
        "sub" => f32_modes!(fl, Exact::Add; a, -b, 0.0; a, b),
        "mul" => f32_modes!(fl, Exact::Mul; a, b, 0.0; a, b),
        "fma" => f32_modes!(fl, Exact::Fma; a, b, c; a, b, c),
        "div" => f32_modes!(fl, Exact::Div; a, b, 0.0; a, b),
        "sqrt" => f32_modes!(fl, Exact::Sqrt; a, 0.0, 0.0; a),
        "rcp" => match fl.mode {
            Some(Mode::Rz) => f32_op!(fl; a => directed_f32(Exact::Div, 1.0, a, 0.0, Mode::Rz)),
            Some(Mode::Rm) => f32_op!(fl; a => directed_f32(Exact::Div, 1.0, a, 0.0, Mode::Rm)),
            _ => f32_op!(fl; a => directed_f32(Exact::Div, 1.0, a, 0.0, Mode::Rp)),
        },
        _ => return None,
    })
}

pub fn f64_arith(name: &str, fl: Flags) -> Option<Alu> {
    if fl.ftz || fl.sat {
        return None;
    }
    let rn = nearest(fl);
    Some(match name {
        "add" if rn => alu!(d; d a, d b => (g(a) + g(b)).to_bits()),
        "sub" if rn => alu!(d; d a, d b => (g(a) - g(b)).to_bits()),
        "mul" if rn => alu!(d; d a, d b => (g(a) * g(b)).to_bits()),
        "fma" if rn => alu!(d; d a, d b, d c => g(a).mul_add(g(b), g(c)).to_bits()),
        "div" if rn => alu!(d; d a, d b => (g(a) / g(b)).to_bits()),
        "sqrt" if rn => alu!(d; d a => g(a).sqrt().to_bits()),
        "rcp" if rn => alu!(d; d a => (1.0 / g(a)).to_bits()),
        "add" => f64_modes!(fl, Exact::Add; g(a), g(b), 0.0; a, b),
        "sub" => f64_modes!(fl, Exact::Add; g(a), -g(b), 0.0; a, b),
        "mul" => f64_modes!(fl, Exact::Mul; g(a), g(b), 0.0; a, b),
        "fma" => f64_modes!(fl, Exact::Fma; g(a), g(b), g(c); a, b, c),
        "div" => f64_modes!(fl, Exact::Div; g(a), g(b), 0.0; a, b),
        "sqrt" => f64_modes!(fl, Exact::Sqrt; g(a), 0.0, 0.0; a),
        "rcp" => f64_modes!(fl, Exact::Div; 1.0, g(a), 0.0; a),
        _ => return None,
    })
}

/// `.approx` functions of f32 (and f64's reciprocals).
pub fn approx(name: &str, ty: Ty, fl: Flags) -> Option<Alu> {
    if ty == Ty::F64 {
        return Some(match name {
            "rcp" => alu!(d; d a => (1.0 / g(a)).to_bits()),
            "rsqrt" => alu!(d; d a => (1.0 / g(a).sqrt()).to_bits()),
            _ => return None,
        });
    }
    if ty != Ty::F32 {
        return None;
    }
    Some(match name {
        "rcp" => f32_op!(fl; a => 1.0 / a),
        "sqrt" => f32_op!(fl; a => a.sqrt()),
        "rsqrt" => f32_op!(fl; a => (1.0 / f64::from(a).sqrt()) as f32),
        "ex2" => f32_op!(fl; a => f64::from(a).exp2() as f32),
        "lg2" => f32_op!(fl; a => f64::from(a).log2() as f32),
        "sin" => f32_op!(fl; a => f64::from(a).sin() as f32),
        "cos" => f32_op!(fl; a => f64::from(a).cos() as f32),
        "tanh" => f32_op!(fl; a => f64::from(a).tanh() as f32),
        "div" => f32_op!(fl; a, b => a / b),
        _ => return None,
    })
}

/// -0 is less than +0; a NaN gives way to a number unless `nan`.
fn min_max<T: PartialOrd + Copy>(
    a: T,
    b: T,
    max: bool,
    nan: bool,
    is_nan: fn(T) -> bool,
    minus: fn(T) -> bool,
    qnan: T,
) -> T {
    match (is_nan(a), is_nan(b)) {
        (true, true) => qnan,
        (true, false) => {
            if nan {
                qnan
            } else {
                b
            }
        }
        (false, true) => {
            if nan {
                qnan
            } else {
                a
            }
        }
        _ => {
            let a_less = a < b || a == b && minus(a);
            if a_less != max { a } else { b }
        }
    }
}

#[inline(always)]
fn min32(a: f32, b: f32) -> f32 {
    let less = a < b || a == b && a.is_sign_negative();
    if a.is_nan() || !less && !b.is_nan() { b } else { a }
}

#[inline(always)]
fn max32(a: f32, b: f32) -> f32 {
    let more = a > b || a == b && a.is_sign_positive();
    if a.is_nan() || !more && !b.is_nan() { b } else { a }
}

fn narrow_min_max(a: u32, b: u32, format: Format, max: bool, nan: bool) -> u32 {
    let v = min_max(decode(a, format), decode(b, format), max, nan, f64::is_nan, f64::is_sign_negative, f64::NAN);
    encode(v, format, Mode::Rn)
}

pub fn min_max_op(max: bool, ty: Ty, fl: Flags) -> Option<Alu> {
    macro_rules! narrow {
        ($format:expr, $double:expr) => {
            match (max, fl.nan, $double) {
                (false, false, false) => alu!(w; w a, w b => narrow_min_max(a, b, $format, false, false)),
                (false, true, false) => alu!(w; w a, w b => narrow_min_max(a, b, $format, false, true)),
                (true, false, false) => alu!(w; w a, w b => narrow_min_max(a, b, $format, true, false)),
                (true, true, false) => alu!(w; w a, w b => narrow_min_max(a, b, $format, true, true)),
                (false, false, true) => alu!(w; w a, w b => halves2(a, b, |a, b| narrow_min_max(a, b, $format, false, false))),
                (false, true, true) => alu!(w; w a, w b => halves2(a, b, |a, b| narrow_min_max(a, b, $format, false, true))),
                (true, false, true) => alu!(w; w a, w b => halves2(a, b, |a, b| narrow_min_max(a, b, $format, true, false))),
                (true, true, true) => alu!(w; w a, w b => halves2(a, b, |a, b| narrow_min_max(a, b, $format, true, true))),
            }
        };
    }
    if fl.sat || fl.relu || fl.mode.is_some() || fl.ftz && ty != Ty::F32 || fl.nan && ty == Ty::F64 {
        return None;
    }
    Some(match ty {
        Ty::F32 => match (max, fl.nan) {
            (false, false) => f32_op!(fl; a, b => min32(a, b)),
            (true, false) => f32_op!(fl; a, b => max32(a, b)),
            (false, true) => f32_op!(fl; a, b => if a.is_nan() { a } else if b.is_nan() { b } else { min32(a, b) }),
            (true, true) => f32_op!(fl; a, b => if a.is_nan() { a } else if b.is_nan() { b } else { max32(a, b) }),
        },
        Ty::F64 if max => {
            alu!(d; d a, d b => min_max(g(a), g(b), true, false, f64::is_nan, f64::is_sign_negative, f64::NAN).to_bits())
        }
        Ty::F64 => {
            alu!(d; d a, d b => min_max(g(a), g(b), false, false, f64::is_nan, f64::is_sign_negative, f64::NAN).to_bits())
        }
        Ty::F16 => narrow!(F16, false),
        Ty::F16x2 => narrow!(F16, true),
        Ty::Bf16 => narrow!(BF16, false),
        Ty::Bf16x2 => narrow!(BF16, true),
        _ => return None,
    })
}

#[inline(always)]
fn halves2(a: u32, b: u32, f: impl Fn(u32, u32) -> u32) -> u32 {
    f(a & 0xffff, b & 0xffff) | f(a >> 16, b >> 16) << 16
}

#[inline(always)]
fn halves3(a: u32, b: u32, c: u32, f: impl Fn(u32, u32, u32) -> u32) -> u32 {
    f(a & 0xffff, b & 0xffff, c & 0xffff) | f(a >> 16, b >> 16, c >> 16) << 16
}

/// What follows the rounding of an f16 or bf16 result.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Nothing,
    Saturate,
    Relu,
}

fn finish(v: f64, format: Format, after: After) -> u32 {
    match after {
        After::Nothing => encode(v, format, Mode::Rn),
        After::Saturate => encode(saturate64(v), format, Mode::Rn),
        // NaN stays NaN, everything negative becomes +0.
        After::Relu => encode(if v <= 0.0 { 0.0 } else { v }, format, Mode::Rn),
    }
}

fn narrow_add(a: u32, b: u32, format: Format, after: After) -> u32 {
    finish(add_odd(decode(a, format), decode(b, format)), format, after)
}

fn narrow_mul(a: u32, b: u32, format: Format, after: After) -> u32 {
    finish(decode(a, format) * decode(b, format), format, after)
}

fn narrow_fma(a: u32, b: u32, c: u32, format: Format, after: After) -> u32 {
    finish(add_odd(decode(a, format) * decode(b, format), decode(c, format)), format, after)
}

/// Sign flip that leaves NaN handling to the arithmetic.
fn minus(bits: u32) -> u32 {
    bits ^ 0x8000
}

fn flush16(bits: u32) -> u32 {
    if bits & 0x7c00 == 0 { bits & 0x8000 } else { bits }
}

/// add, sub, mul, fma of f16, bf16 and their pairs, round to nearest.
pub fn narrow_arith(name: &str, ty: Ty, fl: Flags) -> Option<Alu> {
    if !nearest(fl) || fl.nan || fl.sat && fl.relu {
        return None;
    }
    let half = matches!(ty, Ty::F16 | Ty::F16x2);
    if (fl.ftz || fl.sat) && !half || fl.relu && name != "fma" {
        return None;
    }
    macro_rules! one {
        ($format:expr, $after:expr, $flush:expr) => {{
            match (name, matches!(ty, Ty::F16x2 | Ty::Bf16x2)) {
                ("add", false) => alu!(w; w a, w b => $flush(narrow_add($flush(a), $flush(b), $format, $after))),
                ("sub", false) => alu!(w; w a, w b => $flush(narrow_add($flush(a), $flush(minus(b)), $format, $after))),
                ("mul", false) => alu!(w; w a, w b => $flush(narrow_mul($flush(a), $flush(b), $format, $after))),
                ("fma", false) => {
                    alu!(w; w a, w b, w c => $flush(narrow_fma($flush(a), $flush(b), $flush(c), $format, $after)))
                }
                ("add", true) => {
                    alu!(w; w a, w b => halves2(a, b, |a, b| $flush(narrow_add($flush(a), $flush(b), $format, $after))))
                }
                ("sub", true) => {
                    alu!(w; w a, w b => halves2(a, b, |a, b| $flush(narrow_add($flush(a), $flush(minus(b)), $format, $after))))
                }
                ("mul", true) => {
                    alu!(w; w a, w b => halves2(a, b, |a, b| $flush(narrow_mul($flush(a), $flush(b), $format, $after))))
                }
                ("fma", true) => alu!(w; w a, w b, w c => {
                    halves3(a, b, c, |a, b, c| $flush(narrow_fma($flush(a), $flush(b), $flush(c), $format, $after)))
                }),
                _ => return None,
            }
        }};
    }
    Some(match (ty, fl.ftz, fl.sat, fl.relu) {
        (Ty::F16 | Ty::F16x2, false, false, false) => one!(F16, After::Nothing, (|v: u32| v)),
        (Ty::F16 | Ty::F16x2, true, false, false) => one!(F16, After::Nothing, flush16),
        (Ty::F16 | Ty::F16x2, false, true, false) => one!(F16, After::Saturate, (|v: u32| v)),
        (Ty::F16 | Ty::F16x2, true, true, false) => one!(F16, After::Saturate, flush16),
        (Ty::F16 | Ty::F16x2, false, false, true) => one!(F16, After::Relu, (|v: u32| v)),
        (Ty::F16 | Ty::F16x2, true, false, true) => one!(F16, After::Relu, flush16),
        (Ty::Bf16 | Ty::Bf16x2, false, false, false) => one!(BF16, After::Nothing, (|v: u32| v)),
        (Ty::Bf16 | Ty::Bf16x2, false, false, true) => one!(BF16, After::Relu, (|v: u32| v)),
        _ => return None,
    })
}

/// `ex2.approx` and `tanh.approx` of f16 and bf16.
pub fn narrow_approx(name: &str, ty: Ty) -> Option<Alu> {
    fn exp(a: u32, format: Format) -> u32 {
        encode(decode(a, format).exp2(), format, Mode::Rn)
    }
    fn tanh(a: u32, format: Format) -> u32 {
        encode(decode(a, format).tanh(), format, Mode::Rn)
    }
    Some(match (name, ty) {
        ("ex2", Ty::F16) => alu!(w; w a => exp(a, F16)),
        ("ex2", Ty::F16x2) => alu!(w; w a => halves2(a, 0, |a, _| exp(a, F16))),
        ("ex2", Ty::Bf16) => alu!(w; w a => exp(a, BF16)),
        ("ex2", Ty::Bf16x2) => alu!(w; w a => halves2(a, 0, |a, _| exp(a, BF16))),
        ("tanh", Ty::F16) => alu!(w; w a => tanh(a, F16)),
        ("tanh", Ty::F16x2) => alu!(w; w a => halves2(a, 0, |a, _| tanh(a, F16))),
        ("tanh", Ty::Bf16) => alu!(w; w a => tanh(a, BF16)),
        ("tanh", Ty::Bf16x2) => alu!(w; w a => halves2(a, 0, |a, _| tanh(a, BF16))),
        _ => return None,
    })
}

/// neg and abs act on the sign bit alone.
pub fn sign(name: &str, ty: Ty, ftz: bool) -> Option<Alu> {
    Some(match (name, ty, ftz) {
        ("neg", Ty::F32, false) => alu!(w; w a => a ^ 0x8000_0000),
        ("neg", Ty::F32, true) => alu!(w; w a => flush(a) ^ 0x8000_0000),
        ("abs", Ty::F32, false) => alu!(w; w a => a & 0x7fff_ffff),
        ("abs", Ty::F32, true) => alu!(w; w a => flush(a) & 0x7fff_ffff),
        ("neg", Ty::F64, false) => alu!(d; d a => a ^ 1 << 63),
        ("abs", Ty::F64, false) => alu!(d; d a => a & !(1 << 63)),
        ("neg", Ty::F16, true) => alu!(w; w a => flush16(a) ^ 0x8000),
        ("abs", Ty::F16, true) => alu!(w; w a => flush16(a) & 0x7fff),
        ("neg", Ty::F16 | Ty::Bf16, false) => alu!(w; w a => a ^ 0x8000),
        ("abs", Ty::F16 | Ty::Bf16, false) => alu!(w; w a => a & 0x7fff),
        ("neg", Ty::F16x2 | Ty::Bf16x2, false) => alu!(w; w a => a ^ 0x8000_8000),
        ("abs", Ty::F16x2 | Ty::Bf16x2, false) => alu!(w; w a => a & 0x7fff_7fff),
        _ => return None,
    })
}

/// The sign of a on the magnitude of b.
pub fn copysign(ty: Ty) -> Option<Alu> {
    Some(match ty {
        Ty::F32 => alu!(w; w a, w b => a & 0x8000_0000 | b & 0x7fff_ffff),
        Ty::F64 => alu!(d; d a, d b => a & 1 << 63 | b & !(1 << 63)),
        _ => return None,
    })
}

pub fn testp(name: &str, ty: Ty) -> Option<Alu> {
    Some(match (name, ty) {
        ("finite", Ty::F32) => alu!(p; w a => f(a).is_finite()),
        ("infinite", Ty::F32) => alu!(p; w a => f(a).is_infinite()),
        ("number", Ty::F32) => alu!(p; w a => !f(a).is_nan()),
        ("notanumber", Ty::F32) => alu!(p; w a => f(a).is_nan()),
        ("normal", Ty::F32) => alu!(p; w a => f(a).is_normal()),
        ("subnormal", Ty::F32) => alu!(p; w a => f(a).is_subnormal()),
        ("finite", Ty::F64) => alu!(p; d a => g(a).is_finite()),
        ("infinite", Ty::F64) => alu!(p; d a => g(a).is_infinite()),
        ("number", Ty::F64) => alu!(p; d a => !g(a).is_nan()),
        ("notanumber", Ty::F64) => alu!(p; d a => g(a).is_nan()),
        ("normal", Ty::F64) => alu!(p; d a => g(a).is_normal()),
        ("subnormal", Ty::F64) => alu!(p; d a => g(a).is_subnormal()),
        _ => return None,
    })
}

/// Ordered comparisons are false for NaN, those with a `u` true.
pub fn compare(name: &str, ty: Ty, ftz: bool) -> Option<Alu> {
    macro_rules! ops {
        ($bank:ident, $v:expr) => {
            match name {
                "eq" => alu!(p; $bank a, $bank b => $v(a) == $v(b)),
                "ne" => alu!(p; $bank a, $bank b => { let (a, b) = ($v(a), $v(b)); a != b && !a.is_nan() && !b.is_nan() }),
                "lt" => alu!(p; $bank a, $bank b => $v(a) < $v(b)),
                "le" => alu!(p; $bank a, $bank b => $v(a) <= $v(b)),
                "gt" => alu!(p; $bank a, $bank b => $v(a) > $v(b)),
                "ge" => alu!(p; $bank a, $bank b => $v(a) >= $v(b)),
                "equ" => alu!(p; $bank a, $bank b => { let (a, b) = ($v(a), $v(b)); a == b || a.is_nan() || b.is_nan() }),
                "neu" => alu!(p; $bank a, $bank b => $v(a) != $v(b)),
                "ltu" => alu!(p; $bank a, $bank b => { let (a, b) = ($v(a), $v(b)); a < b || a.is_nan() || b.is_nan() }),
                "leu" => alu!(p; $bank a, $bank b => { let (a, b) = ($v(a), $v(b)); a <= b || a.is_nan() || b.is_nan() }),
                "gtu" => alu!(p; $bank a, $bank b => { let (a, b) = ($v(a), $v(b)); a > b || a.is_nan() || b.is_nan() }),
                "geu" => alu!(p; $bank a, $bank b => { let (a, b) = ($v(a), $v(b)); a >= b || a.is_nan() || b.is_nan() }),
                "num" => alu!(p; $bank a, $bank b => !$v(a).is_nan() && !$v(b).is_nan()),
                "nan" => alu!(p; $bank a, $bank b => $v(a).is_nan() || $v(b).is_nan()),
                _ => return None,
            }
        };
    }
    Some(match (ty, ftz) {
        (Ty::F32, false) => ops!(w, f),
        (Ty::F32, true) => ops!(w, z),
        (Ty::F64, false) => ops!(d, g),
        (Ty::F16, false) => ops!(w, (|v| decode(v, F16))),
        (Ty::F16, true) => ops!(w, (|v| decode(flush16(v), F16))),
        (Ty::Bf16, false) => ops!(w, (|v| decode(v, BF16))),
        _ => return None,
    })
}
