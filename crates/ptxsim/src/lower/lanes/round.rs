//! Correct rounding: any value to any of the narrow float formats, and IEEE operations in the directed modes.

/// Rounding modes of PTX; `Na` is to nearest, ties away from zero (`.rna`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    Rn,
    Rz,
    Rm,
    Rp,
    Na,
}

impl Mode {
    pub const ALL: [Mode; 5] = [Mode::Rn, Mode::Rz, Mode::Rm, Mode::Rp, Mode::Na];

    /// `rn`, `rz`, `rm`, `rp`.
    pub fn parse(name: &str) -> Option<Mode> {
        Some(match name {
            "rn" => Mode::Rn,
            "rz" => Mode::Rz,
            "rm" => Mode::Rm,
            "rp" => Mode::Rp,
            _ => return None,
        })
    }
}

/// A binary float format of at most 32 bits: explicit mantissa bits, exponent bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    pub mantissa: u32,
    pub exponent: u32,
}

pub const F16: Format = Format { mantissa: 10, exponent: 5 };
pub const BF16: Format = Format { mantissa: 7, exponent: 8 };
pub const TF32: Format = Format { mantissa: 10, exponent: 8 };
pub const F32: Format = Format { mantissa: 23, exponent: 8 };

/// `x` rounded to the format; bits right-aligned. NaN becomes the canonical one (all ones but the sign).
#[inline]
pub fn encode(x: f64, format: Format, mode: Mode) -> u32 {
    let Format { mantissa, exponent } = format;
    let bits = x.to_bits();
    let negative = bits >> 63 != 0;
    let sign = (negative as u32) << (mantissa + exponent);
    let infinity = ((1u32 << exponent) - 1) << mantissa;
    if x.is_nan() {
        return infinity | ((1 << mantissa) - 1);
    }
    if x.is_infinite() {
        return sign | infinity;
    }
    if x == 0.0 {
        return sign;
    }
    let bias = (1i32 << (exponent - 1)) - 1;
    let field = (bits >> 52 & 0x7ff) as i32;
    let fraction = bits & ((1 << 52) - 1);
    let (e, m) = if field == 0 { (-1022, fraction) } else { (field - 1023, fraction | 1 << 52) };
    let shift = 52 - mantissa + (1 - bias - e).max(0) as u32;
    let (mut q, half, rest) =
        if shift > 63 { (0, 2, 1) } else { (m >> shift, 1 << (shift - 1), m & ((1 << shift) - 1)) };
    let up = match mode {
        Mode::Rn => rest > half || rest == half && q & 1 == 1,
        Mode::Na => rest >= half,
        Mode::Rz => false,
        Mode::Rm => negative && rest != 0,
        Mode::Rp => !negative && rest != 0,
    };
    q += u64::from(up);
    let result = if e >= 1 - bias { (((e + bias) as u64 - 1) << mantissa) + q } else { q };
    if result >= infinity.into() {
        let away = match mode {
            Mode::Rn | Mode::Na => true,
            Mode::Rz => false,
            Mode::Rm => negative,
            Mode::Rp => !negative,
        };
        return sign | if away { infinity } else { infinity - 1 };
    }
    sign | result as u32
}

/// The value of right-aligned bits of a format (exact).
#[inline]
pub fn decode(bits: u32, format: Format) -> f64 {
    let Format { mantissa, exponent } = format;
    let negative = bits >> (mantissa + exponent) & 1 != 0;
    let field = bits >> mantissa & ((1 << exponent) - 1);
    let fraction = bits & ((1 << mantissa) - 1);
    let bias = (1i32 << (exponent - 1)) - 1;
    let magnitude = if field == (1 << exponent) - 1 {
        if fraction == 0 { f64::INFINITY } else { f64::NAN }
    } else if field == 0 {
        f64::from(fraction) * power(1 - bias - mantissa as i32)
    } else {
        f64::from(fraction | 1 << mantissa) * power(field as i32 - bias - mantissa as i32)
    };
    if negative { -magnitude } else { magnitude }
}

/// Value of an f16 (low half of `bits`) without branches, so that loops over lanes become vectors.
#[inline(always)]
pub fn f16_value(bits: u32) -> f32 {
    let magnitude = (bits & 0x7fff) << 13;
    // The exponent's bias moves by 112; the product is exact and also puts denormals right.
    let finite = f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23);
    let v = if bits & 0x7c00 == 0x7c00 { magnitude | 0x7f80_0000 } else { finite.to_bits() };
    f32::from_bits(v | (bits & 0x8000) << 16)
}

/// f32 bits to f16 bits, nearest even, without branches.
#[inline(always)]
pub fn f16_bits(bits: u32) -> u32 {
    let a = bits & 0x7fff_ffff;
    // Below 2^-14 the last place is 2^-24, which is that of 0.5 in f32.
    let denormal = (f32::from_bits(a) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let normal = a.wrapping_add(0xfff + (a >> 13 & 1)).wrapping_sub(112 << 23) >> 13;
    let finite = if a < 0x3880_0000 { denormal } else { normal };
    // 65520 and more round to infinity.
    let magnitude = if a >= 0x477f_f000 { 0x7c00 } else { finite };
    if a > 0x7f80_0000 { 0x7fff } else { magnitude | (bits & 0x8000_0000) >> 16 }
}

/// 2^e for a normal result.
fn power(e: i32) -> f64 {
    f64::from_bits(((e + 1023) as u64) << 52)
}

/// Sum and its exact error.
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let s = a + b;
    let t = s - a;
    (s, (a - (s - t)) + (b - t))
}

/// `a + b` rounded to odd: rounding it again to at most 51 bits is as good as rounding once.
pub fn add_odd(a: f64, b: f64) -> f64 {
    let (sum, error) = two_sum(a, b);
    to_odd(sum, error)
}

/// An exact value `hi + error` as f64, the last bit set if it is inexact.
fn to_odd(hi: f64, error: f64) -> f64 {
    if error == 0.0 || !hi.is_finite() || !error.is_finite() || hi.to_bits() & 1 == 1 {
        return hi;
    }
    // The exact value lies strictly between two neighbours, `hi` the even one: take the odd one.
    f64::from_bits(if (error > 0.0) == (hi > 0.0) { hi.to_bits() + 1 } else { hi.to_bits() - 1 })
}

/// Sign of an exact sum (grow-expansion, no overflow or underflow).
fn sign_of_sum(terms: &[f64]) -> f64 {
    let mut parts: Vec<f64> = vec![];
    for &term in terms {
        let mut carry = term;
        for part in &mut parts {
            (carry, *part) = two_sum(carry, *part);
        }
        parts.push(carry);
    }
    parts.iter().rev().find(|p| **p != 0.0).map_or(0.0, |p| p.signum())
}

fn two_product(a: f64, b: f64) -> [f64; 2] {
    let p = a * b;
    [p, a.mul_add(b, -p)]
}

/// The operations that exist in all four modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exact {
    Add,
    Mul,
    Fma,
    Div,
    Sqrt,
}

/// Sign of (exact result - `hi`).
fn residual(op: Exact, a: f64, b: f64, c: f64, hi: f64) -> f64 {
    match op {
        Exact::Add => sign_of_sum(&[a, b, -hi]),
        Exact::Mul | Exact::Fma => {
            let [p, e] = two_product(a, b);
            sign_of_sum(&[p, e, if op == Exact::Fma { c } else { 0.0 }, -hi])
        }
        Exact::Div => {
            let [p, e] = two_product(hi, b);
            sign_of_sum(&[a, -p, -e]) * b.signum()
        }
        Exact::Sqrt => {
            let [p, e] = two_product(hi, hi);
            sign_of_sum(&[a, -p, -e])
        }
    }
}

/// Moves a nearest-rounded result to the neighbour that the mode asks for. `next(bits, up)` on the magnitude.
macro_rules! directed {
    ($name:ident, $float:ty, $doc:literal) => {
        #[doc = $doc]
        pub fn $name(op: Exact, a: $float, b: $float, c: $float, mode: Mode) -> $float {
            let hi = match op {
                Exact::Add => a + b,
                Exact::Mul => a * b,
                Exact::Fma => a.mul_add(b, c),
                Exact::Div => a / b,
                Exact::Sqrt => a.sqrt(),
            };
            if mode == Mode::Rn || hi.is_nan() {
                return hi;
            }
            let sources: &[$float] = match op {
                Exact::Add | Exact::Mul | Exact::Div => &[a, b],
                Exact::Fma => &[a, b, c],
                Exact::Sqrt => &[a],
            };
            if sources.iter().any(|v| v.is_infinite()) || op == Exact::Div && b == 0.0 {
                return hi;
            }
            let r = if hi.is_infinite() {
                -f64::from(hi.signum())
            } else {
                residual(op, a.into(), b.into(), c.into(), hi.into())
            };
            if r == 0.0 {
                // An exact zero of operands with opposite signs is -0 when rounding down.
                let product = a * b;
                let cancels = match op {
                    Exact::Add => a != 0.0 || a.is_sign_negative() != b.is_sign_negative(),
                    Exact::Fma => product != 0.0 || product.is_sign_negative() != c.is_sign_negative(),
                    _ => false,
                };
                return if hi == 0.0 && cancels && mode == Mode::Rm { -0.0 } else { hi };
            }
            let negative = hi.is_sign_negative();
            match mode {
                Mode::Rp if r > 0.0 => hi.next_up(),
                Mode::Rm if r < 0.0 => hi.next_down(),
                Mode::Rz if (r > 0.0) == negative => {
                    if negative {
                        hi.next_up()
                    } else {
                        hi.next_down()
                    }
                }
                _ => hi,
            }
        }
    };
}

directed!(directed_f32, f32, "An f32 operation in any mode; intermediate values are exact in f64 pairs.");
directed!(directed_f64, f64, "An f64 operation in any mode; exact unless an intermediate error term underflows.");

/// |value| and sign to f64, rounded to odd (for a narrower format to follow) or in the given mode.
pub fn integer_to_f64(negative: bool, magnitude: u64, mode: Option<Mode>) -> f64 {
    let signed = |v: f64| if negative { -v } else { v };
    if magnitude < 1 << 53 {
        return signed(magnitude as f64);
    }
    let shift = 11 - magnitude.leading_zeros();
    let (q, rest) = (magnitude >> shift, magnitude & ((1 << shift) - 1));
    let up = match mode {
        None => return signed(((q | u64::from(rest != 0)) << shift) as f64),
        Some(Mode::Rn | Mode::Na) => return signed(magnitude as f64),
        Some(Mode::Rz) => false,
        Some(Mode::Rm) => negative && rest != 0,
        Some(Mode::Rp) => !negative && rest != 0,
    };
    signed((q + u64::from(up)) as f64 * (1u64 << shift) as f64)
}
