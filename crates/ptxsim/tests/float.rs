//! Floating-point arithmetic against exact integer arithmetic and the definitions of IEEE 754 and the PTX ISA.

mod common;

use common::{eval, pairs, singles};

/// Finite f32 values between 2^-30 and 2^10 in magnitude, some with full mantissas.
fn moderate() -> Vec<f32> {
    let mut values = vec![0.0, -0.0, 1.0, -1.0, 3.0, 0.1, -0.3, 1.0 / 3.0, 1023.999, -777.777, 2f32.powi(-30), 1e-6];
    let mut state = 12345u32;
    for _ in 0..12 {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        let exponent = 127 - 20 + (state >> 27);
        values.push(f32::from_bits((state & 0x8000_0000) | exponent << 23 | state >> 3 & 0x7f_ffff));
    }
    values
}

const SPECIAL: [u32; 16] = [
    0,
    0x8000_0000,
    1,
    0x8000_0001,
    0x007f_ffff,
    0x0080_0000,
    0x3f80_0000,
    0xbf80_0000,
    0x7f7f_ffff,
    0xff7f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_0000,
    0x7f80_0001,
    0xffc1_2345,
    0x4049_0fdb,
];

fn bits(values: &[f32]) -> Vec<u64> {
    values.iter().map(|v| v.to_bits().into()).collect()
}

fn special() -> Vec<u64> {
    SPECIAL.map(u64::from).to_vec()
}

/// v * 2^scale, exact.
fn fixed(v: f32, scale: i32) -> i128 {
    let b = v.to_bits();
    let (e, m) = (((b >> 23 & 255) as i32).max(1), i128::from(b & 0x7f_ffff) | i128::from(b >> 23 & 255 != 0) << 23);
    let shift = e - 150 + scale;
    assert!(m == 0 || shift >= -m.trailing_zeros().cast_signed(), "{v} has bits below 2^-{scale}");
    let m = if shift >= 0 { m << shift } else { m >> -shift };
    if b >> 31 == 1 { -m } else { m }
}

/// Whether `r` is what `mode` makes of a value `x`, given as the sign of x - y for any f32 y.
fn rounded(r: f32, mode: &str, compare: impl Fn(f32) -> i32, middle: impl Fn(f32, f32) -> i32) -> bool {
    let c = compare(r);
    if c == 0 {
        return true;
    }
    // The neighbour on the other side of x.
    let other = if c > 0 { r.next_up() } else { r.next_down() };
    if compare(other) == c || compare(other) == 0 {
        return false;
    }
    match mode {
        "rm" => c > 0,
        "rp" => c < 0,
        "rz" => (c > 0) != r.is_sign_negative() || r == 0.0,
        _ => match middle(r, other) {
            0 => r.to_bits() & 1 == 0,
            side => side == -c,
        },
    }
}

#[test]
fn all_rounding_modes() {
    let values = moderate();
    let rows: Vec<[u64; 3]> = bits(&values)
        .iter()
        .flat_map(|&a| bits(&values).into_iter().flat_map(move |b| [[a, b, 0x3dcc_cccd], [a, b, 0xc0e0_0000]]))
        .collect();
    const S: i32 = 100;
    for mode in ["rn", "rz", "rm", "rp"] {
        for name in ["add", "sub", "mul", "fma"] {
            let third = if name == "fma" { ", %f5" } else { "" };
            let found = eval(&format!("{name}.{mode}.f32 %f0, %f3, %f4{third};"), "%f0", &rows);
            for (row, found) in rows.iter().zip(found) {
                let [a, b, c] = row.map(|v| f32::from_bits(v as u32));
                let product = fixed(a, S / 2) * fixed(b, S / 2);
                let exact = match name {
                    "add" => fixed(a, S) + fixed(b, S),
                    "sub" => fixed(a, S) - fixed(b, S),
                    "mul" => product,
                    _ => product + fixed(c, S),
                };
                let r = f32::from_bits(found as u32);
                let at = |y: f32| fixed_or_far(y, S);
                let compare = |y: f32| (exact - at(y)).signum() as i32;
                let ok = rounded(r, mode, compare, |y, z| (2 * exact - at(y) - at(z)).signum() as i32);
                assert!(ok, "{name}.{mode} of {a:e}, {b:e}, {c:e} gave {r:e}");
            }
        }
        let found = eval(&format!("div.{mode}.f32 %f0, %f3, %f4;"), "%f0", &rows);
        for (row, found) in rows.iter().zip(found) {
            let [a, b, _] = row.map(|v| f32::from_bits(v as u32));
            let r = f32::from_bits(found as u32);
            if b == 0.0 || a == 0.0 {
                continue;
            }
            // a / b compared with y: a compared with y * b, the other way round for negative b.
            let (a, d) = (fixed(a, 100), fixed(b, 50));
            let sign = d.signum();
            let compare = |y: f32| ((a - fixed_or_far(y, 50) * d) * sign).signum() as i32;
            let middle =
                |y: f32, z: f32| ((2 * a - (fixed_or_far(y, 50) + fixed_or_far(z, 50)) * d) * sign).signum() as i32;
            if r.abs() > 1e-3 && r.abs() < 1e3 {
                assert!(rounded(r, mode, compare, middle), "div.{mode}: {r:e}");
            }
        }
        let found = eval(&format!("sqrt.{mode}.f32 %f0, %f3;"), "%f0", &rows);
        for (row, found) in rows.iter().zip(found) {
            let (a, r) = (f32::from_bits(row[0] as u32), f32::from_bits(found as u32));
            if a > 1e-4 {
                let a = fixed(a, 100);
                let square = |v: i128| v * v;
                let compare = |y: f32| (a - square(fixed(y, 50))).signum() as i32;
                let middle = |y: f32, z: f32| (4 * a - square(fixed(y, 50) + fixed(z, 50))).signum() as i32;
                assert!(rounded(r, mode, compare, middle), "sqrt.{mode}: {r:e}");
            }
        }
    }
}

/// As `fixed`; a neighbour of 0 or of a tiny value is far enough below the last place that its sign is all that counts.
fn fixed_or_far(y: f32, scale: i32) -> i128 {
    if y.abs() < 2f32.powi(24 - scale) {
        fixed((y * 2f32.powi(60)).clamp(-1e-3, 1e-3), 30).signum()
    } else {
        fixed(y, scale)
    }
}

#[test]
fn nan_is_canonical_and_infinities_follow_ieee() {
    for (name, f) in [
        ("add", (|a, b| a + b) as fn(f32, f32) -> f32),
        ("sub", |a, b| a - b),
        ("mul", |a, b| a * b),
        ("div.rn", |a, b| a / b),
    ] {
        pairs(&format!("{name}.f32 %f0, %f3, %f4;"), "%f0", &special(), |a, b| {
            let v = f(f32::from_bits(a as u32), f32::from_bits(b as u32));
            u64::from(if v.is_nan() { 0x7fff_ffff } else { v.to_bits() })
        });
    }
    // inf - inf, 0 * inf, 0 / 0 in a directed mode too.
    pairs("add.rm.f32 %f0, %f3, %f4;", "%f0", &[0x7f80_0000, 0xff80_0000], |a, b| if a == b { a } else { 0x7fff_ffff });
    // x + (-x) is -0 only when rounding down.
    assert_eq!(eval("sub.rm.f32 %f0, %f3, %f3;", "%f0", &[[0x3f80_0000]]), [0x8000_0000]);
    assert_eq!(eval("sub.rn.f32 %f0, %f3, %f3;", "%f0", &[[0x3f80_0000]]), [0]);
    // Overflow: to infinity or to the largest number.
    for (mode, plus, minus) in [
        ("rn", 0x7f80_0000, 0xff80_0000),
        ("rz", 0x7f7f_ffff, 0xff7f_ffff),
        ("rm", 0x7f7f_ffff, 0xff80_0000),
        ("rp", 0x7f80_0000, 0xff7f_ffffu64),
    ] {
        let rows = [[0x7f7f_ffff], [0xff7f_ffff]];
        assert_eq!(eval(&format!("mul.{mode}.f32 %f0, %f3, 0f40000000;"), "%f0", &rows), [plus, minus], "{mode}");
    }
}

#[test]
fn flush_and_saturate() {
    let flush = |a: u64| if a & 0x7f80_0000 == 0 { a & 0x8000_0000 } else { a };
    let f = |a: u64| f32::from_bits(a as u32);
    let nan = |v: f32| u64::from(if v.is_nan() { 0x7fff_ffff } else { v.to_bits() });
    pairs("mul.ftz.f32 %f0, %f3, %f4;", "%f0", &special(), |a, b| flush(nan(f(flush(a)) * f(flush(b)))));
    pairs("add.ftz.f32 %f0, %f3, %f4;", "%f0", &special(), |a, b| flush(nan(f(flush(a)) + f(flush(b)))));
    // Without .ftz denormals count.
    assert_eq!(eval("add.f32 %f0, %f3, %f3;", "%f0", &[[1]]), [2]);
    pairs("add.sat.f32 %f0, %f3, %f4;", "%f0", &special(), |a, b| {
        let v = f(a) + f(b);
        u64::from(if v.is_nan() || v <= 0.0 { 0 } else { v.min(1.0).to_bits() })
    });
    pairs("setp.gt.ftz.f32 %po, %f3, %f4;", "%po", &special(), |a, b| u64::from(f(flush(a)) > f(flush(b))));
}

#[test]
fn minima_and_maxima() {
    let f = |a: u64| f32::from_bits(a as u32);
    // Total order of numbers with -0 below +0.
    let key = |a: u64| if a >> 31 == 1 { -((a & 0x7fff_ffff) as i64) - 1 } else { a as i64 };
    for (name, max) in [("min", false), ("max", true)] {
        let pick = |a: u64, b: u64| if (key(a) > key(b)) == max { a } else { b };
        pairs(&format!("{name}.f32 %f0, %f3, %f4;"), "%f0", &special(), |a, b| match (f(a).is_nan(), f(b).is_nan()) {
            (true, true) => 0x7fff_ffff,
            (true, false) => b,
            (false, true) => a,
            _ => pick(a, b),
        });
        pairs(&format!("{name}.NaN.f32 %f0, %f3, %f4;"), "%f0", &special(), |a, b| {
            if f(a).is_nan() || f(b).is_nan() { 0x7fff_ffff } else { pick(a, b) }
        });
    }
    let h = [0u64, 0x8000, 0x3c00, 0xbc00, 0x7c00, 0xfc00, 0x7e00, 1, 0x7bff];
    pairs("max.f16 %ho, %h3, %h4;", "%ho", &h, |a, b| {
        let key = |a: u64| if a >> 15 == 1 { -((a & 0x7fff) as i64) - 1 } else { a as i64 };
        match (a == 0x7e00, b == 0x7e00) {
            (true, true) => 0x7fff,
            (true, false) => b,
            (false, true) => a,
            _ => {
                if key(a) > key(b) {
                    a
                } else {
                    b
                }
            }
        }
    });
}

#[test]
fn comparisons() {
    let f = |a: u64| f32::from_bits(a as u32);
    for (name, holds) in [
        ("eq", (|a, b| a == b) as fn(f32, f32) -> bool),
        ("lt", |a, b| a < b),
        ("le", |a, b| a <= b),
        ("gt", |a, b| a > b),
        ("ge", |a, b| a >= b),
    ] {
        pairs(&format!("setp.{name}.f32 %po, %f3, %f4;"), "%po", &special(), |a, b| u64::from(holds(f(a), f(b))));
        pairs(&format!("setp.{name}u.f32 %po, %f3, %f4;"), "%po", &special(), |a, b| {
            u64::from(f(a).is_nan() || f(b).is_nan() || holds(f(a), f(b)))
        });
    }
    let nan = |a: u64, b: u64| f(a).is_nan() || f(b).is_nan();
    pairs("setp.ne.f32 %po, %f3, %f4;", "%po", &special(), |a, b| u64::from(!nan(a, b) && f(a) != f(b)));
    pairs("setp.neu.f32 %po, %f3, %f4;", "%po", &special(), |a, b| u64::from(nan(a, b) || f(a) != f(b)));
    pairs("setp.num.f32 %po, %f3, %f4;", "%po", &special(), |a, b| u64::from(!nan(a, b)));
    pairs("setp.nan.f32 %po, %f3, %f4;", "%po", &special(), |a, b| u64::from(nan(a, b)));
    pairs("set.lt.f32.f32 %f0, %f3, %f4;", "%f0", &special(), |a, b| if f(a) < f(b) { 0x3f80_0000 } else { 0 });
    // 0, -0, 1, -1, infinity, NaN, and 1 in either format.
    let half = |a: u64| [0.0, -0.0, 1.0, -1.0, f32::INFINITY, f32::NAN][HALVES.iter().position(|h| *h == a).unwrap()];
    const HALVES: [u64; 6] = [0, 0x8000, 0x3c00, 0xbc00, 0x7c00, 0x7e00];
    pairs("set.le.f16.f16 %ho, %h3, %h4;", "%ho", &HALVES, |a, b| if half(a) <= half(b) { 0x3c00 } else { 0 });
    pairs("set.le.bf16.f16 %ho, %h3, %h4;", "%ho", &HALVES, |a, b| if half(a) <= half(b) { 0x3f80 } else { 0 });
    for (name, holds) in [
        ("finite", (|v| v.is_finite()) as fn(f32) -> bool),
        ("infinite", |v| v.is_infinite()),
        ("number", |v| !v.is_nan()),
        ("notanumber", |v| v.is_nan()),
        ("normal", |v| v.is_normal()),
        ("subnormal", |v| v.is_subnormal()),
    ] {
        singles(&format!("testp.{name}.f32 %po, %f3;"), "%po", &special(), |a| u64::from(holds(f(a))));
    }
    pairs("copysign.f32 %f0, %f3, %f4;", "%f0", &special(), |a, b| a & 0x8000_0000 | b & 0x7fff_ffff);
    singles("neg.f32 %f0, %f3;", "%f0", &special(), |a| a ^ 0x8000_0000);
    singles("abs.f32 %f0, %f3;", "%f0", &special(), |a| a & 0x7fff_ffff);
}

/// Approximate instructions: within the ISA's error bounds of the f64 function, exact where the ISA says so.
#[test]
fn approximations() {
    let values: Vec<f32> = (1..200).map(|i| i as f32 * 0.37 - 20.0).collect();
    for (name, f, bound) in [
        ("ex2.approx.ftz.f32", f64::exp2 as fn(f64) -> f64, 2f64.powi(-22)),
        ("sin.approx.f32", f64::sin, 2f64.powi(-20)),
        ("cos.approx.f32", f64::cos, 2f64.powi(-20)),
        ("tanh.approx.f32", f64::tanh, 2f64.powi(-11)),
        ("rcp.approx.ftz.f32", |x| 1.0 / x, 2f64.powi(-23)),
    ] {
        for (v, found) in values.iter().zip(eval(
            &format!("{name} %f0, %f3;"),
            "%f0",
            &bits(&values).iter().map(|&b| [b]).collect::<Vec<_>>(),
        )) {
            let (wanted, found) = (f((*v).into()), f64::from(f32::from_bits(found as u32)));
            assert!(
                (found - wanted).abs()
                    <= bound * wanted.abs().max(1e-30)
                        + if name.starts_with('s') || name.starts_with('c') { bound } else { 0.0 },
                "{name} {v}: {found}"
            );
        }
    }
    let positive: Vec<f32> = values.iter().map(|v| v.abs() + 0.01).collect();
    for (name, f, bound) in [
        ("lg2.approx.f32", f64::log2 as fn(f64) -> f64, 2f64.powi(-22)),
        ("rsqrt.approx.f32", |x| 1.0 / x.sqrt(), 2f64.powf(-22.9)),
        ("sqrt.approx.f32", f64::sqrt, 2f64.powi(-23)),
    ] {
        for (v, found) in positive.iter().zip(eval(
            &format!("{name} %f0, %f3;"),
            "%f0",
            &bits(&positive).iter().map(|&b| [b]).collect::<Vec<_>>(),
        )) {
            let (wanted, found) = (f((*v).into()), f64::from(f32::from_bits(found as u32)));
            assert!((found - wanted).abs() <= bound * wanted.abs().max(1.0), "{name} {v}: {found}");
        }
    }
    // Table of special values in the ISA.
    let (zero, inf, nan) = (0u64, 0x7f80_0000u64, 0x7fff_ffffu64);
    assert_eq!(
        eval("ex2.approx.f32 %f0, %f3;", "%f0", &[[0xff80_0000], [zero], [inf], [nan]]),
        [0, 0x3f80_0000, inf, nan]
    );
    assert_eq!(eval("lg2.approx.f32 %f0, %f3;", "%f0", &[[zero], [inf], [0xbf80_0000]]), [0xff80_0000, inf, nan]);
    assert_eq!(eval("rsqrt.approx.f32 %f0, %f3;", "%f0", &[[zero], [0x8000_0000], [inf]]), [inf, 0xff80_0000, 0]);
    assert_eq!(eval("rcp.rn.f32 %f0, %f3;", "%f0", &[[zero], [0x8000_0000], [inf]]), [inf, 0xff80_0000, 0]);
    assert_eq!(eval("div.full.f32 %f0, %f3, 0f40000000;", "%f0", &[[0x40c0_0000]]), [0x4040_0000]);
}

#[test]
fn doubles() {
    let values = [0.0, -0.0, 1.0, 0.1, -1e300, 1e300, f64::MIN_POSITIVE / 4.0, f64::INFINITY, 3.0].map(f64::to_bits);
    let g = f64::from_bits;
    let same = |v: f64| if v.is_nan() { 1 } else { v.to_bits() };
    for (name, f) in [
        ("add.f64", (|a, b| a + b) as fn(f64, f64) -> f64),
        ("mul.f64", |a, b| a * b),
        ("sub.f64", |a, b| a - b),
        ("div.rn.f64", |a, b| a / b),
    ] {
        let body =
            format!("{name} %d0, %d3, %d4; testp.notanumber.f64 %p10, %d0; mov.b64 %rdo, %d0; @%p10 mov.u64 %rdo, 1;");
        pairs(&body, "%rdo", &values, |a, b| same(f(g(a), g(b))));
    }
    // Directed: 1 + 2^-60 and 1/3.
    let tiny = 2f64.powi(-60).to_bits();
    for (mode, wanted) in [("rn", 1.0), ("rz", 1.0), ("rm", 1.0), ("rp", 1.0f64.next_up())] {
        let found = eval(&format!("add.{mode}.f64 %d0, %d3, %d4;"), "%d0", &[[1f64.to_bits(), tiny]]);
        assert_eq!(g(found[0]), wanted, "{mode}");
    }
    let third = 1.0f64 / 3.0; // rounds down
    for (mode, wanted) in [("rz", third), ("rm", third), ("rp", third.next_up())] {
        let found = eval(&format!("div.{mode}.f64 %d0, %d3, %d4;"), "%d0", &[[1f64.to_bits(), 3f64.to_bits()]]);
        assert_eq!(g(found[0]), wanted, "{mode}");
    }
    assert_eq!(eval("sqrt.rn.f64 %d0, %d3;", "%d0", &[[2f64.to_bits()]]), [2f64.sqrt().to_bits()]);
}

fn narrow_value(bits: u64, mantissa: i32, exponent: i32) -> f64 {
    let m = (bits & ((1 << mantissa) - 1)) as f64 / 2f64.powi(mantissa);
    let e = (bits >> mantissa & ((1 << exponent) - 1)) as i32;
    let bias = (1 << (exponent - 1)) - 1;
    let v = if e == 0 { m * 2f64.powi(1 - bias) } else { (1.0 + m) * 2f64.powi(e - bias) };
    if bits >> (mantissa + exponent) & 1 == 1 { -v } else { v }
}

/// The pattern nearest to v among all finite ones, ties to the even pattern; found by search, not by bit tricks.
fn nearest(v: f64, mantissa: i32, exponent: i32) -> u64 {
    let infinity = ((1u64 << exponent) - 1) << mantissa;
    let value =
        |p: u64| if p == infinity { 2f64.powi(1 << (exponent - 1)) } else { narrow_value(p, mantissa, exponent) };
    let (mut low, mut high) = (0, infinity);
    while high - low > 1 {
        let mid = (low + high) / 2;
        if value(mid) <= v.abs() { low = mid } else { high = mid }
    }
    let (down, up) = (v.abs() - value(low), value(high) - v.abs());
    let p = if down < up || down == up && low & 1 == 0 { low } else { high };
    p | u64::from(v.is_sign_negative()) << (mantissa + exponent)
}

/// f16 and bf16: the exact result (all these fit f64) rounded once.
#[test]
fn narrow_arithmetic() {
    let h = [0x0000u64, 0x8000, 0x3c00, 0x3c01, 0xbc00, 0x0001, 0x03ff, 0x0400, 0x7bff, 0x5640, 0x3555, 0x9555, 0x2e66];
    let b = [0x0000u64, 0x8000, 0x3f80, 0x3f81, 0xbf80, 0x4049, 0x3eab, 0xbdcd, 0x42c8, 0x4479, 0x3a83];
    let check = |ty: &str, values: &[u64], m: i32, e: i32| {
        let v = |p: u64| narrow_value(p, m, e);
        let sign = |r: f64, exact_zero: u64| if r == 0.0 { exact_zero } else { nearest(r, m, e) };
        let minus = 0x8000;
        pairs(&format!("mul.{ty} %ho, %h3, %h4;"), "%ho", values, |a, b| nearest(v(a) * v(b), m, e));
        pairs(&format!("add.{ty} %ho, %h3, %h4;"), "%ho", values, |a, b| {
            sign(v(a) + v(b), if a == minus && b == minus { minus } else { 0 })
        });
        pairs(&format!("fma.rn.{ty} %ho, %h3, %h4, %h3;"), "%ho", values, |a, b| {
            let negative = |p: u64| p >> 15 == 1;
            let zero = if negative(a) && negative(a) != negative(b) { minus } else { 0 };
            sign(v(a) * v(b) + v(a), if v(a) == 0.0 { zero } else { 0 })
        });
        pairs(&format!("mov.b32 %r10, {{%h3, %h4}}; fma.rn.{ty}x2 %ro, %r10, %r10, %r10;"), "%ro", values, |a, b| {
            let one = |a: u64| if v(a) == 0.0 && a == minus { 0 } else { sign(v(a) * v(a) + v(a), 0) };
            one(a) | one(b) << 16
        });
    };
    check("f16", &h, 10, 5);
    // add and sub of bf16 need sm_90; the rest of the arithmetic is the same code.
    check("bf16", &b, 7, 8);
    // Infinity and NaN.
    assert_eq!(eval("fma.rn.bf16 %ho, %h3, %h4, %h5;", "%ho", &[[0x7f80, 0x3f80, 0xff80]]), [0x7fff]);
    assert_eq!(eval("add.f16 %ho, %h3, %h4;", "%ho", &[[0x7bff, 0x7bff]]), [0x7c00]);
    assert_eq!(eval("fma.rn.relu.f16 %ho, %h3, %h4, %h5;", "%ho", &[[0xbc00, 0x3c00, 0]]), [0]);
    // An inexact sum that double rounding through f32 gets wrong: 1 + 2^-11 (a tie) + 2^-24 in one fma.
    assert_eq!(
        eval("fma.rn.f16 %ho, %h3, %h4, %h5;", "%ho", &[[0x3c01, 0x3c01, 0x0001]]),
        [nearest(narrow_value(0x3c01, 10, 5).powi(2) + narrow_value(1, 10, 5), 10, 5)]
    );
}
