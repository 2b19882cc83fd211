//! `cvt` against definitions: nearest by search over all patterns, integers in 128 bits.

mod common;

use common::{eval, singles};

/// Value of a pattern with the given field widths.
fn value(bits: u64, mantissa: i32, exponent: i32) -> f64 {
    let m = (bits & ((1 << mantissa) - 1)) as f64 / 2f64.powi(mantissa);
    let e = (bits >> mantissa & ((1 << exponent) - 1)) as i32;
    let bias = (1 << (exponent - 1)) - 1;
    if e == 0 { m * 2f64.powi(1 - bias) } else { (1.0 + m) * 2f64.powi(e - bias) }
}

/// |v| between two neighbouring patterns; rounded by `mode`. Infinity counts as one step beyond the largest number.
fn round(v: f64, mantissa: i32, exponent: i32, mode: &str) -> u64 {
    let infinity = ((1u64 << exponent) - 1) << mantissa;
    let sign = u64::from(v.is_sign_negative()) << (mantissa + exponent);
    if v.is_infinite() {
        return infinity | sign;
    }
    let at = |p: u64| if p == infinity { 2f64.powi(1 << (exponent - 1)) } else { value(p, mantissa, exponent) };
    let (mut low, mut high) = (0, infinity);
    while high - low > 1 {
        let mid = (low + high) / 2;
        if at(mid) <= v.abs() { low = mid } else { high = mid }
    }
    if v.abs() >= at(infinity) {
        (low, high) = (infinity - 1, infinity);
    }
    let (down, up) = (v.abs() - at(low), at(high) - v.abs());
    let p = match mode {
        _ if down == 0.0 => low,
        "rz" => low,
        "rm" => {
            if v < 0.0 {
                high
            } else {
                low
            }
        }
        "rp" => {
            if v > 0.0 {
                high
            } else {
                low
            }
        }
        "rna" => {
            if down >= up {
                high
            } else {
                low
            }
        }
        _ => {
            if down > up || down == up && low & 1 == 1 {
                high
            } else {
                low
            }
        }
    };
    p | sign
}

/// f32 patterns around every kind of boundary: ties of bf16, f16 and tf32, overflow, denormals.
fn f32s() -> Vec<u64> {
    let mut list = vec![0u64, 1, 0x7f_ffff, 0x80_0000, 0x3f80_0000, 0x7f7f_ffff, 0x7f80_0000];
    // Around every tie: halfway between two values of each format, in normal and denormal range.
    for base in
        [0x3f80_0000u64, 0x3f81_0000, 0x3880_0000, 0x3380_0000, 0x3300_0000, 0x477f_e000, 0x477f_f000, 0x7f7f_0000]
    {
        for tie in [0x8000u64, 0x1000, 0x0800, 0x1_8000, 0x3000, 0x1_0000, 0x2000, 0] {
            for nudge in [-1i64, 0, 1] {
                list.push((base + tie).wrapping_add_signed(nudge) & 0x7fff_ffff);
            }
        }
    }
    list.retain(|b| *b <= 0x7f80_0000);
    let negative: Vec<u64> = list.iter().map(|b| b | 0x8000_0000).collect();
    list.extend(negative);
    list
}

fn f(bits: u64) -> f64 {
    f32::from_bits(bits as u32).into()
}

#[test]
fn to_narrow_floats() {
    let list = f32s();
    singles("cvt.rn.bf16.f32 %ho, %f3;", "%ho", &list, |a| round(f(a), 7, 8, "rn"));
    singles("cvt.rz.bf16.f32 %ho, %f3;", "%ho", &list, |a| round(f(a), 7, 8, "rz"));
    for mode in ["rn", "rz", "rm", "rp"] {
        singles(&format!("cvt.{mode}.f16.f32 %ho, %f3;"), "%ho", &list, |a| round(f(a), 10, 5, mode));
    }
    singles("cvt.rna.tf32.f32 %ro, %f3;", "%ro", &list, |a| {
        if a & 0x7fff_ffff == 0x7f80_0000 { a } else { round(f(a), 10, 8, "rna") << 13 }
    });
    // Pairs: the first source is the upper half.
    singles("cvt.rn.bf16x2.f32 %ro, %f3, 0f3F800000;", "%ro", &list, |a| round(f(a), 7, 8, "rn") << 16 | 0x3f80);
    singles("cvt.rn.f16x2.f32 %ro, 0f3F800000, %f3;", "%ro", &list, |a| 0x3c00 << 16 | round(f(a), 10, 5, "rn"));
    singles("cvt.rz.bf16x2.f32 %ro, %f3, %f3;", "%ro", &list, |a| round(f(a), 7, 8, "rz") * 0x1_0001);
    singles("cvt.rn.relu.bf16x2.f32 %ro, %f3, %f3;", "%ro", &list, |a| {
        if f(a) <= 0.0 { 0 } else { round(f(a), 7, 8, "rn") * 0x1_0001 }
    });
    // NaN.
    for (op, nan) in [("cvt.rn.bf16.f32 %ho", 0x7fff), ("cvt.rn.f16.f32 %ho", 0x7fff)] {
        assert_eq!(eval(&format!("{op}, %f3;"), "%ho", &[[0x7f80_0001], [0xffc0_0000]]), [nan, nan]);
    }
    assert_eq!(eval("cvt.rna.tf32.f32 %ro, %f3;", "%ro", &[[0x7fc0_0000]])[0] & 0x7f80_0000, 0x7f80_0000);
}

#[test]
fn between_floats() {
    let halves: Vec<u64> = (0..0x7c01).chain(0x8000..0xfc01).step_by(7).collect();
    let sign = |bits: u64, v: f64| if bits >> 15 == 1 { -v } else { v };
    singles("cvt.f32.f16 %f0, %h3;", "%f0", &halves, |a| {
        let v = if a & 0x7fff == 0x7c00 { f64::INFINITY } else { value(a & 0x7fff, 10, 5) };
        (sign(a, v) as f32).to_bits().into()
    });
    singles("cvt.f32.bf16 %f0, %h3;", "%f0", &halves, |a| a << 16);
    singles("cvt.f64.f32 %d0, %f3;", "%d0", &f32s(), |a| f(a).to_bits());
    let doubles: Vec<u64> =
        [0.1, -0.1, 1.0 + 2f64.powi(-24), 1.0 + 3.0 * 2f64.powi(-24), 1e39, -1e39, 1e-46, 1e-40, 1e300]
            .iter()
            .map(|v: &f64| v.to_bits())
            .collect();
    for mode in ["rn", "rz", "rm", "rp"] {
        singles(&format!("cvt.{mode}.f32.f64 %f0, %d3;"), "%f0", &doubles, |a| round(f64::from_bits(a), 23, 8, mode));
    }
    // To integral values, ties to even among them; the sign of zero stays.
    let list: Vec<u64> = [0.5f32, 1.5, 2.5, -0.5, -1.5, 0.49999997, 8388609.0, -0.0, 1e30, -2.7, 2.2]
        .iter()
        .map(|v| v.to_bits().into())
        .collect();
    for (mode, f) in
        [("rni", f64::round_ties_even as fn(f64) -> f64), ("rzi", f64::trunc), ("rmi", f64::floor), ("rpi", f64::ceil)]
    {
        singles(&format!("cvt.{mode}.f32.f32 %f0, %f3;"), "%f0", &list, |a| {
            (f(f32::from_bits(a as u32).into()) as f32).to_bits().into()
        });
    }
    singles("cvt.sat.f32.f32 %f0, %f3;", "%f0", &f32s(), |a| {
        u64::from((if f(a) > 0.0 { f(a).min(1.0) } else { 0.0 } as f32).to_bits())
    });
    assert_eq!(eval("cvt.sat.f32.f32 %f0, %f3;", "%f0", &[[0x7fc0_0000]]), [0]);
    assert_eq!(eval("cvt.ftz.f32.f32 %f0, %f3;", "%f0", &[[1], [0x8000_0001]]), [0, 0x8000_0000]);
}

#[test]
fn floats_to_integers() {
    let list: Vec<u64> = [
        0.0f32,
        -0.0,
        0.5,
        1.5,
        2.5,
        -0.5,
        -1.5,
        127.5,
        128.0,
        -128.5,
        255.5,
        256.0,
        32767.5,
        -40000.0,
        65536.0,
        2147483520.0,
        2147483648.0,
        -2147483648.0,
        4294967040.0,
        4294967296.0,
        9.2e18,
        1.8e19,
        -9.3e18,
        1e38,
        -1e38,
        f32::INFINITY,
        f32::NEG_INFINITY,
        1e-40,
    ]
    .iter()
    .map(|v| v.to_bits().into())
    .collect();
    for (mode, round) in
        [("rni", f64::round_ties_even as fn(f64) -> f64), ("rzi", f64::trunc), ("rmi", f64::floor), ("rpi", f64::ceil)]
    {
        for (ty, low, high, reg) in [
            ("s32", i128::from(i32::MIN), i128::from(i32::MAX), "%ro"),
            ("u32", 0, i128::from(u32::MAX), "%ro"),
            ("s64", i128::from(i64::MIN), i128::from(i64::MAX), "%rdo"),
            ("u64", 0, i128::from(u64::MAX), "%rdo"),
            ("s16", -32768, 32767, "%ho"),
            ("u16", 0, 65535, "%ho"),
        ] {
            let mask = match reg {
                "%ro" => 0xffff_ffff,
                "%ho" => 0xffff,
                _ => u64::MAX,
            };
            singles(&format!("cvt.{mode}.{ty}.f32 {reg}, %f3;"), reg, &list, |a| {
                (round(f(a)) as i128).clamp(low, high) as u64 & mask
            });
        }
    }
    // "NaN inputs are converted to 0."
    assert_eq!(eval("cvt.rzi.s32.f32 %ro, %f3;", "%ro", &[[0x7fc0_0000]]), [0]);
    assert_eq!(eval("cvt.rni.u64.f32 %rdo, %f3;", "%rdo", &[[0xffc0_0000]]), [0]);
    assert_eq!(eval("cvt.rzi.s64.f64 %rdo, %d3;", "%rdo", &[[(-7.9f64).to_bits()]]), [-7i64 as u64]);
    assert_eq!(
        eval("cvt.rzi.u8.f32 %ho, %f3;", "%ho", &[[300f32.to_bits().into()], [(-3f32).to_bits().into()]]),
        [255, 0]
    );
}

#[test]
fn integers_to_floats() {
    let list = [
        0u64,
        1,
        0xffff_ffff,
        0x7fff_ffff,
        0x8000_0000,
        0x0100_0001,
        0x0100_0003,
        0x0100_0002,
        0x8000_0080,
        0x8000_0180,
        0xffff_ff7f,
        0xffff_ff80,
        0x1234_5678,
    ];
    for mode in ["rn", "rz", "rm", "rp"] {
        singles(&format!("cvt.{mode}.f32.u32 %f0, %r3;"), "%f0", &list, |a| round(a as u32 as f64, 23, 8, mode));
        singles(&format!("cvt.{mode}.f32.s32 %f0, %r3;"), "%f0", &list, |a| round(a as u32 as i32 as f64, 23, 8, mode));
        singles(&format!("cvt.{mode}.f16.s32 %ho, %r3;"), "%ho", &list, |a| round(a as u32 as i32 as f64, 10, 5, mode));
    }
    singles("cvt.rn.f32.u16 %f0, %h3;", "%f0", &list, |a| round(a as u16 as f64, 23, 8, "rn"));
    singles("cvt.rn.f32.s16 %f0, %h3;", "%f0", &list, |a| round(a as u16 as i16 as f64, 23, 8, "rn"));
    singles("cvt.rn.f64.s32 %d0, %r3;", "%d0", &list, |a| (a as u32 as i32 as f64).to_bits());
    // 64 bits do not fit f64: compare with the neighbours in 128-bit integers.
    let wide = [
        u64::MAX,
        1 << 63,
        (1 << 63) + 1,
        (1 << 53) + 1,
        (1 << 53) + 3,
        0xffff_ff7f_ffff_ffff,
        0xffff_ff80_0000_0000,
        0xffff_ff80_0000_0001,
        12345678901234567,
        0x8000_0080_0000_0000,
        0x8000_0080_0000_0001,
    ];
    for mode in ["rn", "rz", "rm", "rp"] {
        singles(&format!("cvt.{mode}.f32.u64 %f0, %rd3;"), "%f0", &wide, |a| {
            let shift = 40 - a.leading_zeros(); // 24 bits stay
            let (q, rest, half) = (a >> shift, a & ((1 << shift) - 1), 1u64 << (shift - 1));
            let up = match mode {
                "rn" => rest > half || rest == half && q & 1 == 1,
                "rp" => rest > 0,
                _ => false,
            };
            (((q + u64::from(up)) as f64 * 2f64.powi(shift as i32)) as f32).to_bits().into()
        });
        singles(&format!("cvt.{mode}.f64.u64 %d0, %rd3;"), "%d0", &wide, |a| {
            let shift = 11 - a.leading_zeros().min(11);
            let (q, rest, half) = (a >> shift, a & ((1u64 << shift) - 1), (1u64 << shift) / 2);
            let up = match mode {
                "rn" => shift > 0 && (rest > half || rest == half && q & 1 == 1),
                "rp" => rest > 0,
                _ => false,
            };
            ((q + u64::from(up)) as f64 * 2f64.powi(shift as i32)).to_bits()
        });
    }
    singles("cvt.rn.f32.s64 %f0, %rd3;", "%f0", &[-16777217i64 as u64, i64::MIN as u64, -1i64 as u64], |a| {
        round(a as i64 as f64, 23, 8, "rn")
    });
}

#[test]
fn between_integers() {
    let list = [
        0u64,
        1,
        0x7f,
        0x80,
        0xff,
        0x100,
        0x7fff,
        0x8000,
        0xffff,
        0x1_0000,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0x1_0000_0000,
        0x7fff_ffff_ffff_ffff,
        0x8000_0000_0000_0000,
        u64::MAX,
    ];
    let read = |bits: u64, ty: &str| -> i128 {
        match ty {
            "u8" => (bits as u8).into(),
            "s8" => (bits as i8).into(),
            "u16" => (bits as u16).into(),
            "s16" => (bits as i16).into(),
            "u32" => (bits as u32).into(),
            "s32" => (bits as i32).into(),
            "u64" => bits.into(),
            _ => (bits as i64).into(),
        }
    };
    let limits = |ty: &str| -> (i128, i128) {
        let bits: u32 = ty[1..].parse().unwrap();
        if ty.starts_with('u') { (0, (1 << bits) - 1) } else { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) }
    };
    let types = ["u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64"];
    let register = |ty: &str, d: bool| match (&ty[1..], d) {
        ("64", true) => "%rdo",
        ("64", false) => "%rd3",
        ("32", true) => "%ro",
        ("32", false) => "%r3",
        (_, true) => "%ho",
        (_, false) => "%h3",
    };
    for dst in types {
        for src in types {
            let (d, s) = (register(dst, true), register(src, false));
            // 8-bit results are extended to the 16 bits of their register.
            let show = |v: i128| match dst {
                "s8" => v as i8 as u16 as u64,
                "u8" => v as u8 as u64,
                "u16" | "s16" => v as u16 as u64,
                "u32" | "s32" => v as u32 as u64,
                _ => v as u64,
            };
            singles(&format!("cvt.{dst}.{src} {d}, {s};"), d, &list, |a| show(read(a, src)));
            let (low, high) = limits(dst);
            singles(&format!("cvt.sat.{dst}.{src} {d}, {s};"), d, &list, |a| show(read(a, src).clamp(low, high)));
        }
    }
}
