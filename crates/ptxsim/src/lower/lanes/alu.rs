//! Integer, logical, move and predicate operations: what each computes on 32 lanes.

use crate::lower::op::{Alu, AluFn, blend, blend64};
use crate::text::ty::{Bank, Ty};

/// Banks of a list of sources.
pub const fn sources(list: &[Bank]) -> [Option<Bank>; 4] {
    let mut out = [None; 4];
    let mut i = 0;
    while i < list.len() {
        out[i] = Some(list[i]);
        i += 1;
    }
    out
}

/// `alu!(w; w a, w b => expression)`: an operation with a destination in bank w (32 bits), d (64 bits) or p, and up to
/// four sources named a, b, c, e in this order; the expression computes one lane.
macro_rules! alu {
    ($D:ident; $($S:ident $n:ident),* => $e:expr) => {{
        #[allow(unused_parens)]
        fn operation(r: &mut $crate::lower::op::Regs, m: u32, x: &$crate::lower::op::Args) {
            $(let $n = $crate::lower::lanes::alu::alu!(@load $S, r, x.$n);)*
            let out = $crate::lower::lanes::alu::alu!(@run $D, i, { $(let $n = $crate::lower::lanes::alu::alu!(@lane $S, $n, i);)* $e });
            $crate::lower::lanes::alu::alu!(@store $D, r, m, x.d, out)
        }
        $crate::lower::op::Alu {
            f: operation as $crate::lower::op::AluFn,
            dst: $crate::lower::lanes::alu::alu!(@bank $D),
            src: $crate::lower::lanes::alu::sources(&[$($crate::lower::lanes::alu::alu!(@bank $S)),*]),
        }
    }};
    (@load p, $r:ident, $i:expr) => { $r.p[$i as usize] };
    (@load $S:ident, $r:ident, $i:expr) => { &$r.$S[$i as usize].0 };
    (@lane p, $v:ident, $i:ident) => { $v & $crate::lower::op::BIT[$i] != 0 };
    (@lane $S:ident, $v:ident, $i:ident) => { $v[$i] };
    (@run p, $i:ident, $e:expr) => {{
        let mut o = 0u32;
        for $i in 0..32usize { o |= u32::from($e) << $i; }
        o
    }};
    (@run w, $i:ident, $e:expr) => {{
        let mut o = [0u32; 32];
        for $i in 0..32usize { o[$i] = $e; }
        o
    }};
    (@run d, $i:ident, $e:expr) => {{
        let mut o = [0u64; 32];
        for $i in 0..32usize { o[$i] = $e; }
        o
    }};
    (@store p, $r:ident, $m:ident, $i:expr, $o:ident) => {{
        let d = &mut $r.p[$i as usize];
        *d = *d & !$m | $o & $m;
    }};
    (@store $D:ident, $r:ident, $m:ident, $i:expr, $o:ident) => { $r.$D[$i as usize].put($m, &$o) };
    (@bank p) => { $crate::text::ty::Bank::P };
    (@bank w) => { $crate::text::ty::Bank::W };
    (@bank d) => { $crate::text::ty::Bank::D };
}
pub(crate) use alu;

fn sx16(a: u32) -> i32 {
    i32::from(a as u16 as i16)
}

/// Picks the variant for a type: 16 bits, 32 bits, 64 bits.
macro_rules! by_width {
    ($ty:expr; $h:expr, $w:expr, $d:expr) => {
        match $ty.bits() {
            16 => Some($h),
            32 => Some($w),
            64 => Some($d),
            _ => None,
        }
    };
}

pub fn add(ty: Ty) -> Option<Alu> {
    by_width!(ty; alu!(w; w a, w b => a.wrapping_add(b) & 0xffff), alu!(w; w a, w b => a.wrapping_add(b)),
        alu!(d; d a, d b => a.wrapping_add(b)))
}

pub fn sub(ty: Ty) -> Option<Alu> {
    by_width!(ty; alu!(w; w a, w b => a.wrapping_sub(b) & 0xffff), alu!(w; w a, w b => a.wrapping_sub(b)),
        alu!(d; d a, d b => a.wrapping_sub(b)))
}

pub fn add_sat() -> Alu {
    alu!(w; w a, w b => (a as i32).saturating_add(b as i32) as u32)
}

pub fn sub_sat() -> Alu {
    alu!(w; w a, w b => (a as i32).saturating_sub(b as i32) as u32)
}

/// Carry (or borrow) out of a + b + c.
pub fn carry(wide: bool, subtract: bool) -> Alu {
    match (wide, subtract) {
        (false, false) => alu!(p; w a, w b, p c => (u64::from(a) + u64::from(b) + u64::from(c)) >> 32 != 0),
        (false, true) => alu!(p; w a, w b, p c => u64::from(a) < u64::from(b) + u64::from(c)),
        (true, false) => alu!(p; d a, d b, p c => (u128::from(a) + u128::from(b) + u128::from(c)) >> 64 != 0),
        (true, true) => alu!(p; d a, d b, p c => u128::from(a) < u128::from(b) + u128::from(c)),
    }
}

/// The sums (differences) themselves.
pub fn add_carry(wide: bool, subtract: bool) -> Alu {
    match (wide, subtract) {
        (false, false) => alu!(w; w a, w b, p c => a.wrapping_add(b).wrapping_add(c.into())),
        (false, true) => alu!(w; w a, w b, p c => a.wrapping_sub(b).wrapping_sub(c.into())),
        (true, false) => alu!(d; d a, d b, p c => a.wrapping_add(b).wrapping_add(c.into())),
        (true, true) => alu!(d; d a, d b, p c => a.wrapping_sub(b).wrapping_sub(c.into())),
    }
}

/// `part` is `lo`, `hi` or `wide`.
pub fn mul(part: &str, ty: Ty) -> Option<Alu> {
    Some(match (part, ty) {
        ("lo", Ty::U16 | Ty::S16) => alu!(w; w a, w b => a.wrapping_mul(b) & 0xffff),
        ("lo", Ty::U32 | Ty::S32) => alu!(w; w a, w b => a.wrapping_mul(b)),
        ("lo", Ty::U64 | Ty::S64) => alu!(d; d a, d b => a.wrapping_mul(b)),
        // Also lanes that are off are computed, from whatever their registers hold: nothing here may panic.
        ("hi", Ty::U16) => alu!(w; w a, w b => a.wrapping_mul(b) >> 16),
        ("hi", Ty::S16) => alu!(w; w a, w b => (sx16(a) * sx16(b)) as u32 >> 16),
        ("hi", Ty::U32) => alu!(w; w a, w b => ((u64::from(a) * u64::from(b)) >> 32) as u32),
        ("hi", Ty::S32) => alu!(w; w a, w b => ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32),
        ("hi", Ty::U64) => alu!(d; d a, d b => ((u128::from(a) * u128::from(b)) >> 64) as u64),
        ("hi", Ty::S64) => alu!(d; d a, d b => ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64),
        ("wide", Ty::U16) => alu!(w; w a, w b => a.wrapping_mul(b)),
        ("wide", Ty::S16) => alu!(w; w a, w b => (sx16(a) * sx16(b)) as u32),
        ("wide", Ty::U32) => alu!(d; w a, w b => u64::from(a) * u64::from(b)),
        ("wide", Ty::S32) => alu!(d; w a, w b => (i64::from(a as i32) * i64::from(b as i32)) as u64),
        _ => return None,
    })
}

pub fn mad(part: &str, ty: Ty) -> Option<Alu> {
    Some(match (part, ty) {
        ("lo", Ty::U16 | Ty::S16) => alu!(w; w a, w b, w c => a.wrapping_mul(b).wrapping_add(c) & 0xffff),
        ("lo", Ty::U32 | Ty::S32) => alu!(w; w a, w b, w c => a.wrapping_mul(b).wrapping_add(c)),
        ("lo", Ty::U64 | Ty::S64) => alu!(d; d a, d b, d c => a.wrapping_mul(b).wrapping_add(c)),
        ("hi", Ty::U16) => alu!(w; w a, w b, w c => (a.wrapping_mul(b) >> 16).wrapping_add(c) & 0xffff),
        ("hi", Ty::S16) => {
            alu!(w; w a, w b, w c => ((sx16(a) * sx16(b)) as u32 >> 16).wrapping_add(c) & 0xffff)
        }
        ("hi", Ty::U32) => alu!(w; w a, w b, w c => (((u64::from(a) * u64::from(b)) >> 32) as u32).wrapping_add(c)),
        ("hi", Ty::S32) => {
            alu!(w; w a, w b, w c => (((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32).wrapping_add(c))
        }
        ("hi", Ty::U64) => alu!(d; d a, d b, d c => (((u128::from(a) * u128::from(b)) >> 64) as u64).wrapping_add(c)),
        ("hi", Ty::S64) => {
            alu!(d; d a, d b, d c => (((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64).wrapping_add(c))
        }
        ("wide", Ty::U16) => alu!(w; w a, w b, w c => a.wrapping_mul(b).wrapping_add(c)),
        ("wide", Ty::S16) => alu!(w; w a, w b, w c => ((sx16(a) * sx16(b)) as u32).wrapping_add(c)),
        ("wide", Ty::U32) => alu!(d; w a, w b, d c => (u64::from(a) * u64::from(b)).wrapping_add(c)),
        ("wide", Ty::S32) => {
            alu!(d; w a, w b, d c => ((i64::from(a as i32) * i64::from(b as i32)) as u64).wrapping_add(c))
        }
        _ => return None,
    })
}

/// 24-bit products of the low 24 bits.
pub fn mul24(part: &str, ty: Ty) -> Option<Alu> {
    Some(match (part, ty) {
        ("lo", Ty::U32) => alu!(w; w a, w b => (a & 0xff_ffff).wrapping_mul(b & 0xff_ffff)),
        ("lo", Ty::S32) => alu!(w; w a, w b => ((a << 8) as i32 >> 8).wrapping_mul((b << 8) as i32 >> 8) as u32),
        _ => return None,
    })
}

/// Division by zero is unspecified in PTX; here all ones, as the hardware gives.
pub fn div(ty: Ty) -> Option<Alu> {
    Some(match ty {
        Ty::U16 => alu!(w; w a, w b => a.checked_div(b).unwrap_or(0xffff)),
        Ty::S16 => alu!(w; w a, w b => sx16(a).checked_div(sx16(b)).unwrap_or(-1) as u32 & 0xffff),
        Ty::U32 => alu!(w; w a, w b => a.checked_div(b).unwrap_or(!0)),
        Ty::S32 => alu!(w; w a, w b => if b == 0 { !0 } else { (a as i32).wrapping_div(b as i32) as u32 }),
        Ty::U64 => alu!(d; d a, d b => a.checked_div(b).unwrap_or(!0)),
        Ty::S64 => alu!(d; d a, d b => if b == 0 { !0 } else { (a as i64).wrapping_div(b as i64) as u64 }),
        _ => return None,
    })
}

/// By zero: the dividend.
pub fn rem(ty: Ty) -> Option<Alu> {
    Some(match ty {
        Ty::U16 | Ty::U32 => alu!(w; w a, w b => a.checked_rem(b).unwrap_or(a)),
        Ty::S16 => alu!(w; w a, w b => sx16(a).checked_rem(sx16(b)).unwrap_or(sx16(a)) as u32 & 0xffff),
        Ty::S32 => alu!(w; w a, w b => if b == 0 { a } else { (a as i32).wrapping_rem(b as i32) as u32 }),
        Ty::U64 => alu!(d; d a, d b => a.checked_rem(b).unwrap_or(a)),
        Ty::S64 => alu!(d; d a, d b => if b == 0 { a } else { (a as i64).wrapping_rem(b as i64) as u64 }),
        _ => return None,
    })
}

pub fn min(ty: Ty) -> Option<Alu> {
    Some(match ty {
        Ty::U16 | Ty::U32 => alu!(w; w a, w b => a.min(b)),
        Ty::S16 => alu!(w; w a, w b => sx16(a).min(sx16(b)) as u32 & 0xffff),
        Ty::S32 => alu!(w; w a, w b => (a as i32).min(b as i32) as u32),
        Ty::U64 => alu!(d; d a, d b => a.min(b)),
        Ty::S64 => alu!(d; d a, d b => (a as i64).min(b as i64) as u64),
        _ => return None,
    })
}

pub fn max(ty: Ty) -> Option<Alu> {
    Some(match ty {
        Ty::U16 | Ty::U32 => alu!(w; w a, w b => a.max(b)),
        Ty::S16 => alu!(w; w a, w b => sx16(a).max(sx16(b)) as u32 & 0xffff),
        Ty::S32 => alu!(w; w a, w b => (a as i32).max(b as i32) as u32),
        Ty::U64 => alu!(d; d a, d b => a.max(b)),
        Ty::S64 => alu!(d; d a, d b => (a as i64).max(b as i64) as u64),
        _ => return None,
    })
}

pub fn abs(ty: Ty) -> Option<Alu> {
    Some(match ty {
        Ty::S16 => alu!(w; w a => sx16(a).unsigned_abs() & 0xffff),
        Ty::S32 => alu!(w; w a => (a as i32).unsigned_abs()),
        Ty::S64 => alu!(d; d a => (a as i64).unsigned_abs()),
        _ => return None,
    })
}

pub fn neg(ty: Ty) -> Option<Alu> {
    Some(match ty {
        Ty::S16 => alu!(w; w a => a.wrapping_neg() & 0xffff),
        Ty::S32 => alu!(w; w a => a.wrapping_neg()),
        Ty::S64 => alu!(d; d a => a.wrapping_neg()),
        _ => return None,
    })
}

pub fn sad(ty: Ty) -> Option<Alu> {
    Some(match ty {
        Ty::U16 => alu!(w; w a, w b, w c => c.wrapping_add(a.abs_diff(b)) & 0xffff),
        Ty::S16 => alu!(w; w a, w b, w c => c.wrapping_add(sx16(a).abs_diff(sx16(b))) & 0xffff),
        Ty::U32 => alu!(w; w a, w b, w c => c.wrapping_add(a.abs_diff(b))),
        Ty::S32 => alu!(w; w a, w b, w c => c.wrapping_add((a as i32).abs_diff(b as i32))),
        Ty::U64 => alu!(d; d a, d b, d c => c.wrapping_add(a.abs_diff(b))),
        Ty::S64 => alu!(d; d a, d b, d c => c.wrapping_add((a as i64).abs_diff(b as i64))),
        _ => return None,
    })
}

/// and, or, xor on predicates and words.
pub fn logic(name: &str, ty: Ty) -> Option<Alu> {
    Some(match (name, ty.bank()) {
        ("and", Bank::P) => alu!(p; p a, p b => a & b),
        ("or", Bank::P) => alu!(p; p a, p b => a | b),
        ("xor", Bank::P) => alu!(p; p a, p b => a ^ b),
        ("and", Bank::W) => alu!(w; w a, w b => a & b),
        ("or", Bank::W) => alu!(w; w a, w b => a | b),
        ("xor", Bank::W) => alu!(w; w a, w b => a ^ b),
        ("and", Bank::D) => alu!(d; d a, d b => a & b),
        ("or", Bank::D) => alu!(d; d a, d b => a | b),
        ("xor", Bank::D) => alu!(d; d a, d b => a ^ b),
        _ => return None,
    })
}

pub fn not(ty: Ty) -> Alu {
    match ty.bits() {
        1 => alu!(p; p a => !a),
        16 => alu!(w; w a => !a & 0xffff),
        32 => alu!(w; w a => !a),
        _ => alu!(d; d a => !a),
    }
}

/// C's logical not.
pub fn cnot(ty: Ty) -> Alu {
    match ty.bank() {
        Bank::D => alu!(d; d a => u64::from(a == 0)),
        _ => alu!(w; w a => u32::from(a == 0)),
    }
}

/// Amounts of the width and more shift everything out.
pub fn shl(ty: Ty) -> Option<Alu> {
    by_width!(ty; alu!(w; w a, w b => a.checked_shl(b).unwrap_or(0) & 0xffff),
        alu!(w; w a, w b => if b < 32 { a << b } else { 0 }),
        alu!(d; d a, w b => if b < 64 { a << b } else { 0 }))
}

pub fn shr(ty: Ty) -> Option<Alu> {
    Some(match ty {
        Ty::S16 => alu!(w; w a, w b => (sx16(a) >> b.min(31)) as u32 & 0xffff),
        Ty::S32 => alu!(w; w a, w b => ((a as i32) >> b.min(31)) as u32),
        Ty::S64 => alu!(d; d a, w b => ((a as i64) >> b.min(63)) as u64),
        Ty::U16 | Ty::B16 | Ty::U32 | Ty::B32 => alu!(w; w a, w b => if b < 32 { a >> b } else { 0 }),
        Ty::U64 | Ty::B64 => alu!(d; d a, w b => if b < 64 { a >> b } else { 0 }),
        _ => return None,
    })
}

/// Funnel shift of {b, a}.
pub fn shf(left: bool, clamp: bool) -> Alu {
    match (left, clamp) {
        (true, false) => alu!(w; w a, w b, w c => ((u64::from(b) << 32 | u64::from(a)) << (c & 31) >> 32) as u32),
        (true, true) => alu!(w; w a, w b, w c => ((u64::from(b) << 32 | u64::from(a)) << c.min(32) >> 32) as u32),
        (false, false) => alu!(w; w a, w b, w c => ((u64::from(b) << 32 | u64::from(a)) >> (c & 31)) as u32),
        (false, true) => alu!(w; w a, w b, w c => ((u64::from(b) << 32 | u64::from(a)) >> c.min(32)) as u32),
    }
}

fn bfe_lane(a: u64, pos: u32, len: u32, width: u32, signed: bool) -> u64 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    // The sign: bit pos+len-1, or the top bit where the field reaches beyond.
    let top = (pos + len).saturating_sub(1).min(width - 1);
    let fill = signed && len > 0 && a >> top & 1 != 0;
    let mut out = if fill { !0u64 } else { 0 };
    for i in 0..len.min(width) {
        let bit = if pos + i < width { a >> (pos + i) & 1 } else { u64::from(fill) };
        out = out & !(1 << i) | bit << i;
    }
    out
}

pub fn bfe(ty: Ty) -> Option<Alu> {
    Some(match ty {
        Ty::U32 => alu!(w; w a, w b, w c => bfe_lane(a.into(), b, c, 32, false) as u32),
        Ty::S32 => alu!(w; w a, w b, w c => bfe_lane(a.into(), b, c, 32, true) as u32),
        Ty::U64 => alu!(d; d a, w b, w c => bfe_lane(a, b, c, 64, false)),
        Ty::S64 => alu!(d; d a, w b, w c => bfe_lane(a, b, c, 64, true)),
        _ => return None,
    })
}

/// Puts the low `len` bits of a into b at `pos`.
fn bfi_lane(a: u64, b: u64, pos: u32, len: u32, width: u32) -> u64 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    let field = if len >= 64 { !0 } else { (1u64 << len) - 1 };
    if pos >= width {
        return b;
    }
    b & !(field << pos) | (a & field) << pos
}

pub fn bfi(ty: Ty) -> Option<Alu> {
    Some(match ty {
        Ty::B32 => alu!(w; w a, w b, w c, w e => bfi_lane(a.into(), b.into(), c, e, 32) as u32),
        Ty::B64 => alu!(d; d a, d b, w c, w e => bfi_lane(a, b, c, e, 64)),
        _ => return None,
    })
}

/// Position of the highest significant bit, or (`shift`) how far to shift it to the top; all ones if there is none.
pub fn bfind(ty: Ty, shift: bool) -> Option<Alu> {
    fn lane(a: u64, width: u32, shift: bool) -> u32 {
        match a.checked_ilog2() {
            None => !0,
            Some(at) if shift => width - 1 - at,
            Some(at) => at,
        }
    }
    fn plain32(a: u32) -> u32 {
        if (a as i32) < 0 { !a } else { a }
    }
    fn plain64(a: u64) -> u64 {
        if (a as i64) < 0 { !a } else { a }
    }
    Some(match (ty, shift) {
        (Ty::U32, false) => alu!(w; w a => lane(a.into(), 32, false)),
        (Ty::U32, true) => alu!(w; w a => lane(a.into(), 32, true)),
        (Ty::S32, false) => alu!(w; w a => lane(plain32(a).into(), 32, false)),
        (Ty::S32, true) => alu!(w; w a => lane(plain32(a).into(), 32, true)),
        (Ty::U64, false) => alu!(w; d a => lane(a, 64, false)),
        (Ty::U64, true) => alu!(w; d a => lane(a, 64, true)),
        (Ty::S64, false) => alu!(w; d a => lane(plain64(a), 64, false)),
        (Ty::S64, true) => alu!(w; d a => lane(plain64(a), 64, true)),
        _ => return None,
    })
}

/// clz, popc, brev.
pub fn bits(name: &str, ty: Ty) -> Option<Alu> {
    Some(match (name, ty) {
        ("clz", Ty::B32) => alu!(w; w a => a.leading_zeros()),
        ("clz", Ty::B64) => alu!(w; d a => a.leading_zeros()),
        ("popc", Ty::B32) => alu!(w; w a => a.count_ones()),
        ("popc", Ty::B64) => alu!(w; d a => a.count_ones()),
        ("brev", Ty::B32) => alu!(w; w a => a.reverse_bits()),
        ("brev", Ty::B64) => alu!(d; d a => a.reverse_bits()),
        _ => return None,
    })
}

fn prmt_lane(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = u64::from(b) << 32 | u64::from(a);
    let mut out = 0;
    for i in 0..4 {
        let s = selector >> (4 * i) & 15;
        let byte = (bytes >> (8 * (s & 7))) as u8;
        let byte = if s & 8 != 0 { ((byte as i8) >> 7) as u8 } else { byte };
        out |= u32::from(byte) << (8 * i);
    }
    out
}

/// The selector that a named mode stands for, from the low two bits of c.
fn prmt_selector(mode: &str, c: u32) -> u32 {
    let i = c & 3;
    let pick = |f: &dyn Fn(u32) -> u32| (0..4).fold(0, |s, n| s | f(n) << (4 * n));
    match mode {
        "f4e" => pick(&|n| i + n),
        "b4e" => pick(&|n| (i + 8 - n) & 7),
        "rc8" => pick(&|_| i),
        "ecl" => pick(&|n| n.max(i)),
        "ecr" => pick(&|n| n.min(i)),
        _ => pick(&|n| (i & 1) * 2 + (n & 1)),
    }
}

pub fn prmt(mode: &str) -> Option<Alu> {
    Some(match mode {
        "" => alu!(w; w a, w b, w c => prmt_lane(a, b, c)),
        "f4e" => alu!(w; w a, w b, w c => prmt_lane(a, b, prmt_selector("f4e", c))),
        "b4e" => alu!(w; w a, w b, w c => prmt_lane(a, b, prmt_selector("b4e", c))),
        "rc8" => alu!(w; w a, w b, w c => prmt_lane(a, b, prmt_selector("rc8", c))),
        "ecl" => alu!(w; w a, w b, w c => prmt_lane(a, b, prmt_selector("ecl", c))),
        "ecr" => alu!(w; w a, w b, w c => prmt_lane(a, b, prmt_selector("ecr", c))),
        "rc16" => alu!(w; w a, w b, w c => prmt_lane(a, b, prmt_selector("rc16", c))),
        _ => return None,
    })
}

/// Any function of three bits; the table's bit a*4 + b*2 + c.
pub fn lop3() -> Alu {
    alu!(w; w a, w b, w c, w e => {
        let mut out = 0;
        for i in 0..8u32 {
            let take = 0u32.wrapping_sub(e >> i & 1);
            let (x, y, z) = (if i & 4 != 0 { a } else { !a }, if i & 2 != 0 { b } else { !b }, if i & 1 != 0 { c } else { !c });
            out |= take & x & y & z;
        }
        out
    })
}

pub fn selp(bank: Bank) -> Alu {
    match bank {
        Bank::D => alu!(d; d a, d b, p c => blend64(if c { !0 } else { 0 }, a, b)),
        _ => alu!(w; w a, w b, p c => blend(if c { !0 } else { 0 }, a, b)),
    }
}

/// a if c >= 0 else b.
pub fn slct(ty: Ty, float: bool) -> Alu {
    match (ty.bank(), float) {
        (Bank::D, false) => alu!(d; d a, d b, w c => if (c as i32) >= 0 { a } else { b }),
        (Bank::D, true) => alu!(d; d a, d b, w c => if f32::from_bits(c) >= 0.0 { a } else { b }),
        (_, false) => alu!(w; w a, w b, w c => if (c as i32) >= 0 { a } else { b }),
        (_, true) => alu!(w; w a, w b, w c => if f32::from_bits(c) >= 0.0 { a } else { b }),
    }
}

/// Copies between equal banks; a predicate is copied as such.
pub fn mov(bank: Bank) -> Alu {
    match bank {
        Bank::P => alu!(p; p a => a),
        Bank::W => alu!(w; w a => a),
        Bank::D => alu!(d; d a => a),
    }
}

/// Parts of a wider word, and words from parts.
pub fn unpack(name: &str) -> Alu {
    match name {
        "lo32" => alu!(w; d a => a as u32),
        "hi32" => alu!(w; d a => (a >> 32) as u32),
        "lo16" => alu!(w; w a => a & 0xffff),
        "hi16" => alu!(w; w a => a >> 16),
        "byte0" => alu!(w; w a => a & 0xff),
        "byte1" => alu!(w; w a => a >> 8 & 0xff),
        "byte2" => alu!(w; w a => a >> 16 & 0xff),
        "byte3" => alu!(w; w a => a >> 24),
        "part0" => alu!(w; d a => a as u32 & 0xffff),
        "part1" => alu!(w; d a => (a >> 16) as u32 & 0xffff),
        "part2" => alu!(w; d a => (a >> 32) as u32 & 0xffff),
        _ => alu!(w; d a => (a >> 48) as u32),
    }
}

pub fn pack_2x16() -> Alu {
    alu!(w; w a, w b => a & 0xffff | b << 16)
}

pub fn pack_2x32() -> Alu {
    alu!(d; w a, w b => u64::from(a) | u64::from(b) << 32)
}

pub fn pack_4x8() -> Alu {
    alu!(w; w a, w b, w c, w e => a & 0xff | (b & 0xff) << 8 | (c & 0xff) << 16 | e << 24)
}

pub fn pack_4x16() -> Alu {
    alu!(d; w a, w b, w c, w e => {
        u64::from(a & 0xffff) | u64::from(b & 0xffff) << 16 | u64::from(c & 0xffff) << 32 | u64::from(e & 0xffff) << 48
    })
}

pub fn to_predicate(set: bool) -> Alu {
    if set { alu!(p; p a => a | true) } else { alu!(p; p a => a & false) }
}

/// All ones where the predicate holds (`set.u32`), or 1.0 (`set.f32`).
pub fn from_predicate(one: bool) -> Alu {
    if one { alu!(w; p a => if a { 0x3f80_0000 } else { 0 }) } else { alu!(w; p a => if a { !0 } else { 0 }) }
}

/// dp4a: four byte products added to c; signs of a and b.
pub fn dp4a(a_signed: bool, b_signed: bool) -> Alu {
    fn byte(v: u32, i: u32, signed: bool) -> i32 {
        let byte = (v >> (8 * i)) as u8;
        if signed { (byte as i8).into() } else { byte.into() }
    }
    fn dot(a: u32, b: u32, c: u32, sa: bool, sb: bool) -> u32 {
        (0..4).fold(c, |sum, i| sum.wrapping_add((byte(a, i, sa) * byte(b, i, sb)) as u32))
    }
    match (a_signed, b_signed) {
        (true, true) => alu!(w; w a, w b, w c => dot(a, b, c, true, true)),
        (true, false) => alu!(w; w a, w b, w c => dot(a, b, c, true, false)),
        (false, true) => alu!(w; w a, w b, w c => dot(a, b, c, false, true)),
        (false, false) => alu!(w; w a, w b, w c => dot(a, b, c, false, false)),
    }
}

/// Integer comparisons by name (`lo`, `ls`, `hi`, `hs` are the unsigned words for lt, le, gt, ge).
pub fn compare(name: &str, ty: Ty) -> Option<Alu> {
    macro_rules! ops {
        ($bank:ident, $cast:expr) => {
            match name {
                "eq" => alu!(p; $bank a, $bank b => a == b),
                "ne" => alu!(p; $bank a, $bank b => a != b),
                "lt" | "lo" => alu!(p; $bank a, $bank b => $cast(a) < $cast(b)),
                "le" | "ls" => alu!(p; $bank a, $bank b => $cast(a) <= $cast(b)),
                "gt" | "hi" => alu!(p; $bank a, $bank b => $cast(a) > $cast(b)),
                "ge" | "hs" => alu!(p; $bank a, $bank b => $cast(a) >= $cast(b)),
                _ => return None,
            }
        };
    }
    if matches!(name, "lo" | "ls" | "hi" | "hs") && ty.is_signed() {
        return None;
    }
    Some(match ty {
        Ty::B16 | Ty::B32 | Ty::B64 if !matches!(name, "eq" | "ne") => return None,
        Ty::S16 => ops!(w, sx16),
        Ty::U16 | Ty::B16 | Ty::U32 | Ty::B32 => ops!(w, |v: u32| v),
        Ty::S32 => ops!(w, |v: u32| v as i32),
        Ty::U64 | Ty::B64 => ops!(d, |v: u64| v),
        Ty::S64 => ops!(d, |v: u64| v as i64),
        _ => return None,
    })
}

/// An operation whose last two argument fields are constants, not registers.
pub fn raw(f: AluFn, dst: Bank, src: Bank) -> Alu {
    Alu { f, dst, src: sources(&[src]) }
}
