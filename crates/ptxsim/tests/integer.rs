//! Integer, logic, bit-field and predicate instructions against plain 128-bit arithmetic.

mod common;

use common::{eval, pairs, singles};

const W: [u64; 14] =
    [0, 1, 2, 3, 31, 32, 33, 0x7fff, 0x8000, 0xffff, 0x1234_5678, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

const D: [u64; 9] =
    [0, 1, 63, 64, 0xffff_ffff, 0x1_0000_0000, 0x7fff_ffff_ffff_ffff, 0x8000_0000_0000_0000, 0xffff_ffff_ffff_ffff];

fn s(a: u64) -> i128 {
    i128::from(a as u32 as i32)
}

fn u(a: u64) -> i128 {
    i128::from(a as u32)
}

fn low(v: i128) -> u64 {
    u64::from(v as u32)
}

#[test]
fn additive() {
    pairs("add.s32 %ro, %r3, %r4;", "%ro", &W, |a, b| low(s(a) + s(b)));
    pairs("add.u32 %ro, %r3, %r4;", "%ro", &W, |a, b| low(u(a) + u(b)));
    pairs("sub.u32 %ro, %r3, %r4;", "%ro", &W, |a, b| low(u(a) - u(b)));
    let clamp = |v: i128| low(v.clamp(i32::MIN.into(), i32::MAX.into()));
    pairs("add.sat.s32 %ro, %r3, %r4;", "%ro", &W, |a, b| clamp(s(a) + s(b)));
    pairs("sub.sat.s32 %ro, %r3, %r4;", "%ro", &W, |a, b| clamp(s(a) - s(b)));
    pairs("add.s64 %rdo, %rd3, %rd4;", "%rdo", &D, |a, b| (i128::from(a) + i128::from(b)) as u64);
    pairs("sub.s64 %rdo, %rd3, %rd4;", "%rdo", &D, |a, b| (i128::from(a) - i128::from(b)) as u64);
    pairs("add.s16 %ho, %h3, %h4;", "%ho", &W, |a, b| (u(a) + u(b)) as u64 & 0xffff);
    pairs("sub.u16 %ho, %h3, %h4;", "%ho", &W, |a, b| (u(a) - u(b)) as u64 & 0xffff);
    singles("neg.s32 %ro, %r3;", "%ro", &W, |a| low(-s(a)));
    singles("abs.s32 %ro, %r3;", "%ro", &W, |a| low(s(a).abs()));
    singles("neg.s64 %rdo, %rd3;", "%rdo", &D, |a| (-i128::from(a)) as u64);
    singles("abs.s64 %rdo, %rd3;", "%rdo", &D, |a| i128::from(a as i64).unsigned_abs() as u64);
    pairs("sad.s32 %ro, %r3, %r4, 7;", "%ro", &W, |a, b| low((s(a) - s(b)).abs() + 7));
    pairs("sad.u32 %ro, %r3, %r4, 7;", "%ro", &W, |a, b| low((u(a) - u(b)).abs() + 7));
}

#[test]
fn carries() {
    let wide = "add.cc.u32 %r10, %r3, %r4; addc.u32 %r11, %r5, %r6; mov.b64 %rdo, {%r10, %r11};";
    let rows: Vec<[u64; 4]> = W.iter().flat_map(|&a| W.iter().map(move |&b| [a, b, b, a])).collect();
    for (r, found) in rows.iter().zip(eval(wide, "%rdo", &rows)) {
        assert_eq!(found, (r[0] | r[2] << 32).wrapping_add(r[1] | r[3] << 32), "{r:x?}");
    }
    let wide = "sub.cc.u32 %r10, %r3, %r4; subc.u32 %r11, %r5, %r6; mov.b64 %rdo, {%r10, %r11};";
    for (r, found) in rows.iter().zip(eval(wide, "%rdo", &rows)) {
        assert_eq!(found, (r[0] | r[2] << 32).wrapping_sub(r[1] | r[3] << 32), "{r:x?}");
    }
    // 32x32 + 64 bits through mad.cc.
    let mad = "mad.lo.cc.u32 %r10, %r3, %r4, %r5; madc.hi.u32 %r11, %r3, %r4, %r6; mov.b64 %rdo, {%r10, %r11};";
    for (r, found) in rows.iter().zip(eval(mad, "%rdo", &rows)) {
        assert_eq!(found, (r[0] * r[1]).wrapping_add(r[2] | r[3] << 32), "{r:x?}");
    }
}

#[test]
fn products() {
    pairs("mul.lo.s32 %ro, %r3, %r4;", "%ro", &W, |a, b| low(s(a) * s(b)));
    pairs("mul.hi.s32 %ro, %r3, %r4;", "%ro", &W, |a, b| low((s(a) * s(b)) >> 32));
    pairs("mul.hi.u32 %ro, %r3, %r4;", "%ro", &W, |a, b| low((u(a) * u(b)) >> 32));
    pairs("mul.wide.s32 %rdo, %r3, %r4;", "%rdo", &W, |a, b| (s(a) * s(b)) as u64);
    pairs("mul.wide.u32 %rdo, %r3, %r4;", "%rdo", &W, |a, b| (u(a) * u(b)) as u64);
    pairs("mul.wide.s16 %ro, %h3, %h4;", "%ro", &W, |a, b| {
        low(i128::from(a as u16 as i16) * i128::from(b as u16 as i16))
    });
    pairs("mul.wide.u16 %ro, %h3, %h4;", "%ro", &W, |a, b| low(i128::from(a as u16) * i128::from(b as u16)));
    pairs("mul.lo.s16 %ho, %h3, %h4;", "%ho", &W, |a, b| (u(a) * u(b)) as u64 & 0xffff);
    pairs("mul.hi.s64 %rdo, %rd3, %rd4;", "%rdo", &D, |a, b| {
        ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64
    });
    pairs("mul.hi.u64 %rdo, %rd3, %rd4;", "%rdo", &D, |a, b| ((u128::from(a) * u128::from(b)) >> 64) as u64);
    pairs("mul.lo.s64 %rdo, %rd3, %rd4;", "%rdo", &D, |a, b| (u128::from(a) * u128::from(b)) as u64);
    pairs("mad.lo.s32 %ro, %r3, %r4, %r3;", "%ro", &W, |a, b| low(s(a) * s(b) + s(a)));
    pairs("mad.hi.u32 %ro, %r3, %r4, %r3;", "%ro", &W, |a, b| low(((u(a) * u(b)) >> 32) + u(a)));
    pairs("mad.wide.s32 %rdo, %r3, %r4, %rd4;", "%rdo", &W, |a, b| (s(a) * s(b) + i128::from(b)) as u64);
    pairs("mad.wide.u32 %rdo, %r3, %r4, %rd3;", "%rdo", &W, |a, b| (u(a) * u(b) + i128::from(a)) as u64);
    pairs("mul24.lo.u32 %ro, %r3, %r4;", "%ro", &W, |a, b| low((u(a) & 0xff_ffff) * (u(b) & 0xff_ffff)));
    pairs("dp4a.s32.u32 %ro, %r3, %r4, 5;", "%ro", &W, |a, b| {
        let byte = |v: u64, i: u32| (v >> (8 * i)) as u8;
        low((0..4).map(|i| i128::from(byte(a, i) as i8) * i128::from(byte(b, i))).sum::<i128>() + 5)
    });
}

#[test]
fn quotients() {
    let divisors: Vec<u64> = W.iter().copied().filter(|&v| v != 0).collect();
    pairs("div.s32 %ro, %r3, %r4;", "%ro", &divisors, |a, b| low(s(a) / s(b)));
    pairs("div.u32 %ro, %r3, %r4;", "%ro", &divisors, |a, b| low(u(a) / u(b)));
    pairs("rem.s32 %ro, %r3, %r4;", "%ro", &divisors, |a, b| low(s(a) % s(b)));
    pairs("rem.u32 %ro, %r3, %r4;", "%ro", &divisors, |a, b| low(u(a) % u(b)));
    let divisors: Vec<u64> = D.iter().copied().filter(|&v| v != 0).collect();
    pairs("div.s64 %rdo, %rd3, %rd4;", "%rdo", &divisors, |a, b| (i128::from(a as i64) / i128::from(b as i64)) as u64);
    pairs("div.u64 %rdo, %rd3, %rd4;", "%rdo", &divisors, |a, b| a / b);
    pairs("rem.s64 %rdo, %rd3, %rd4;", "%rdo", &divisors, |a, b| (i128::from(a as i64) % i128::from(b as i64)) as u64);
    pairs("rem.u64 %rdo, %rd3, %rd4;", "%rdo", &divisors, |a, b| a % b);
    // Overflow wraps; a zero divisor gives something, not a panic.
    assert_eq!(eval("div.s32 %ro, %r3, 0;", "%ro", &[[5]]).len(), 1);
    assert_eq!(eval("rem.s16 %ho, %h3, 0;", "%ho", &[[5]]).len(), 1);
}

#[test]
fn order() {
    pairs("min.s32 %ro, %r3, %r4;", "%ro", &W, |a, b| low(s(a).min(s(b))));
    pairs("max.s32 %ro, %r3, %r4;", "%ro", &W, |a, b| low(s(a).max(s(b))));
    pairs("min.u32 %ro, %r3, %r4;", "%ro", &W, |a, b| low(u(a).min(u(b))));
    pairs("max.u64 %rdo, %rd3, %rd4;", "%rdo", &D, |a, b| a.max(b));
    pairs("min.s64 %rdo, %rd3, %rd4;", "%rdo", &D, |a, b| (a as i64).min(b as i64) as u64);
    pairs("max.s16 %ho, %h3, %h4;", "%ho", &W, |a, b| u64::from((a as i16).max(b as i16) as u16));
    for (name, holds) in [
        ("eq", (|o| o == 0) as fn(i32) -> bool),
        ("ne", |o| o != 0),
        ("lt", |o| o < 0),
        ("le", |o| o <= 0),
        ("gt", |o| o > 0),
        ("ge", |o| o >= 0),
    ] {
        let sign = |a: i128, b: i128| u64::from(holds((a > b) as i32 - (a < b) as i32));
        pairs(&format!("setp.{name}.s32 %po, %r3, %r4;"), "%po", &W, |a, b| sign(s(a), s(b)));
        pairs(&format!("setp.{name}.u32 %po, %r3, %r4;"), "%po", &W, |a, b| sign(u(a), u(b)));
        pairs(&format!("setp.{name}.u64 %po, %rd3, %rd4;"), "%po", &D, |a, b| sign(a.into(), b.into()));
        pairs(&format!("setp.{name}.s64 %po, %rd3, %rd4;"), "%po", &D, |a, b| {
            sign((a as i64).into(), (b as i64).into())
        });
        pairs(&format!("setp.{name}.s16 %po, %h3, %h4;"), "%po", &W, |a, b| sign((a as i16).into(), (b as i16).into()));
        pairs(&format!("set.{name}.u32.s32 %ro, %r3, %r4;"), "%ro", &W, |a, b| {
            if sign(s(a), s(b)) == 1 { 0xffff_ffff } else { 0 }
        });
    }
    pairs("setp.lo.u32 %po, %r3, %r4;", "%po", &W, |a, b| u64::from(u(a) < u(b)));
    pairs("setp.hs.u32 %po, %r3, %r4;", "%po", &W, |a, b| u64::from(u(a) >= u(b)));
    // Combined with a third predicate, both destinations.
    let body = "setp.lt.and.s32 %p10|%p11, %r3, %r4, !%p3; selp.u32 %r10, 1, 0, %p10; selp.u32 %ro, 2, 0, %p11; \
                or.b32 %ro, %ro, %r10;";
    pairs(body, "%ro", &W, |a, b| {
        let (p, c) = (s(a) < s(b), a == 0);
        u64::from(p && c) | u64::from(!p && c) << 1
    });
    pairs("selp.b64 %rdo, %rd3, %rd4, %p3;", "%rdo", &D, |a, b| if a != 0 { a } else { b });
    pairs("slct.b32.s32 %ro, %r3, %r4, %r3;", "%ro", &W, |a, b| if s(a) >= 0 { low(s(a)) } else { low(s(b)) });
}

#[test]
fn logic() {
    pairs("and.b32 %ro, %r3, %r4;", "%ro", &W, |a, b| a & b);
    pairs("or.b64 %rdo, %rd3, %rd4;", "%rdo", &D, |a, b| a | b);
    pairs("xor.b16 %ho, %h3, %h4;", "%ho", &W, |a, b| (a ^ b) & 0xffff);
    pairs("xor.pred %po, %p3, %p4;", "%po", &W, |a, b| u64::from((a != 0) ^ (b != 0)));
    singles("not.b16 %ho, %h3;", "%ho", &W, |a| !a & 0xffff);
    singles("not.pred %po, %p3;", "%po", &W, |a| u64::from(a == 0));
    singles("cnot.b32 %ro, %r3;", "%ro", &W, |a| u64::from(a == 0));
    for table in [0x00, 0x80, 0xfe, 0x96, 0xe8, 0xca, 0x1b, 0xff] {
        pairs(&format!("lop3.b32 %ro, %r3, %r4, 0x5a5a00ff, {table};"), "%ro", &W, |a, b| {
            let c = 0x5a5a_00ffu64;
            (0..32).fold(0, |out, i| {
                let index = (a >> i & 1) << 2 | (b >> i & 1) << 1 | c >> i & 1;
                out | (table >> index & 1) << i
            })
        });
    }
}

#[test]
fn shifts() {
    pairs("shl.b32 %ro, %r3, %r4;", "%ro", &W, |a, b| if b >= 32 { 0 } else { low(u(a) << b) });
    pairs("shr.u32 %ro, %r3, %r4;", "%ro", &W, |a, b| if b >= 32 { 0 } else { a >> b });
    pairs("shr.s32 %ro, %r3, %r4;", "%ro", &W, |a, b| low(s(a) >> b.min(100)));
    pairs("shl.b64 %rdo, %rd3, %r4;", "%rdo", &D, |a, b| if b as u32 >= 64 { 0 } else { a << (b as u32) });
    pairs("shr.u64 %rdo, %rd3, %r4;", "%rdo", &D, |a, b| if b as u32 >= 64 { 0 } else { a >> (b as u32) });
    pairs("shr.s64 %rdo, %rd3, %r4;", "%rdo", &D, |a, b| (i128::from(a as i64) >> (b as u32).min(100)) as u64);
    pairs("shl.b16 %ho, %h3, %r4;", "%ho", &W, |a, b| if b >= 16 { 0 } else { a << b & 0xffff });
    pairs("shr.s16 %ho, %h3, %r4;", "%ho", &W, |a, b| (i128::from(a as i16) >> b.min(100)) as u64 & 0xffff);
    let both = |a: u64, b: u64| u128::from(b as u32) << 32 | u128::from(a as u32);
    pairs("shf.l.wrap.b32 %ro, %r3, %r4, %r4;", "%ro", &W, |a, b| ((both(a, b) << (b & 31)) >> 32) as u32 as u64);
    pairs("shf.r.wrap.b32 %ro, %r3, %r4, %r4;", "%ro", &W, |a, b| (both(a, b) >> (b & 31)) as u32 as u64);
    pairs("shf.l.clamp.b32 %ro, %r3, %r4, %r4;", "%ro", &W, |a, b| ((both(a, b) << b.min(32)) >> 32) as u32 as u64);
    pairs("shf.r.clamp.b32 %ro, %r3, %r4, %r4;", "%ro", &W, |a, b| (both(a, b) >> b.min(32)) as u32 as u64);
}

/// The ISA's pseudo code of bfe.
fn bfe(a: u64, pos: u64, len: u64, width: u64, signed: bool) -> u64 {
    let (pos, len, msb) = (pos & 0xff, len & 0xff, width - 1);
    let bit = |i: u64| a >> i & 1;
    let sign = if !signed || len == 0 { 0 } else { bit((pos + len - 1).min(msb)) };
    (0..=msb).fold(0, |d, i| d | (if i < len && pos + i <= msb { bit(pos + i) } else { sign }) << i)
}

#[test]
fn fields() {
    for (pos, len) in [(0, 0), (0, 1), (4, 8), (31, 1), (31, 8), (0, 32), (5, 200), (40, 3), (16, 16), (28, 4)] {
        singles(&format!("bfe.u32 %ro, %r3, {pos}, {len};"), "%ro", &W, |a| bfe(a, pos, len, 32, false));
        singles(&format!("bfe.s32 %ro, %r3, {pos}, {len};"), "%ro", &W, |a| bfe(a, pos, len, 32, true));
        singles(&format!("bfe.u64 %rdo, %rd3, {pos}, {len};"), "%rdo", &D, |a| bfe(a, pos, len, 64, false));
        singles(&format!("bfe.s64 %rdo, %rd3, {pos}, {len};"), "%rdo", &D, |a| bfe(a, pos, len, 64, true));
        let bfi = |a: u64, b: u64, width: u64| {
            (0..width).fold(0, |d, i| d | (if i >= pos && i < pos + len { a >> (i - pos) } else { b >> i } & 1) << i)
        };
        pairs(&format!("bfi.b32 %ro, %r3, %r4, {pos}, {len};"), "%ro", &W, |a, b| bfi(a, b, 32));
        pairs(&format!("bfi.b64 %rdo, %rd3, %rd4, {pos}, {len};"), "%rdo", &D, |a, b| bfi(a, b, 64));
    }
    singles("clz.b32 %ro, %r3;", "%ro", &W, |a| (a as u32).leading_zeros().into());
    singles("clz.b64 %ro, %rd3;", "%ro", &D, |a| a.leading_zeros().into());
    singles("popc.b32 %ro, %r3;", "%ro", &W, |a| (0..32).map(|i| a >> i & 1).sum());
    singles("popc.b64 %ro, %rd3;", "%ro", &D, |a| (0..64).map(|i| a >> i & 1).sum());
    singles("brev.b32 %ro, %r3;", "%ro", &W, |a| (0..32).fold(0, |d, i| d | (a >> i & 1) << (31 - i)));
    let find = |a: u64, width: u32| (0..width).rev().find(|&i| a >> i & 1 == 1);
    singles("bfind.u32 %ro, %r3;", "%ro", &W, |a| find(a, 32).map_or(0xffff_ffff, u64::from));
    singles("bfind.shiftamt.u32 %ro, %r3;", "%ro", &W, |a| find(a, 32).map_or(0xffff_ffff, |i| u64::from(31 - i)));
    // For signed types the highest bit that is not the sign.
    singles("bfind.s32 %ro, %r3;", "%ro", &W, |a| {
        find(if a >> 31 == 1 { !a & 0xffff_ffff } else { a }, 32).map_or(0xffff_ffff, u64::from)
    });
    singles("bfind.u64 %ro, %rd3;", "%ro", &D, |a| find(a, 64).map_or(0xffff_ffff, u64::from));
}

#[test]
fn permutations() {
    for selector in [0x3210u64, 0x7654, 0x0123, 0x7531, 0xba98, 0xfedc, 0x4040, 0x8c8c] {
        pairs(&format!("prmt.b32 %ro, %r3, %r4, {selector};"), "%ro", &W, |a, b| {
            let all = a | b << 32;
            (0..4).fold(0, |d, i| {
                let s = selector >> (4 * i) & 15;
                let byte = all >> (8 * (s & 7)) & 0xff;
                d | (if s & 8 == 0 { byte } else { (byte >> 7) * 0xff }) << (8 * i)
            })
        });
    }
    // The tables of the named modes (bytes of {b, a}, most significant first).
    for (mode, tables) in [
        ("f4e", [0x3210u64, 0x4321, 0x5432, 0x6543]),
        ("b4e", [0x5670, 0x6701, 0x7012, 0x0123]),
        ("rc8", [0x0000, 0x1111, 0x2222, 0x3333]),
        ("ecl", [0x3210, 0x3211, 0x3222, 0x3333]),
        ("ecr", [0x0000, 0x1110, 0x2210, 0x3210]),
        ("rc16", [0x1010, 0x3232, 0x1010, 0x3232]),
    ] {
        for (c, table) in tables.iter().enumerate() {
            let body = format!("prmt.b32.{mode} %ro, %r3, %r4, {c};");
            let rows = [[0x0302_0100u64, 0x0706_0504]];
            let wanted = (0..4).fold(0, |d, i| d | (table >> (4 * i) & 15) << (8 * i));
            assert_eq!(eval(&body, "%ro", &rows), [wanted], "{body}");
        }
    }
}

#[test]
fn moves() {
    pairs("mov.b64 %rdo, {%r3, %r4};", "%rdo", &W, |a, b| a | b << 32);
    pairs("mov.b32 %ro, {%h3, %h4};", "%ro", &W, |a, b| a & 0xffff | (b & 0xffff) << 16);
    singles("mov.b64 {%r10, %r11}, %rd3; sub.u32 %ro, %r10, %r11;", "%ro", &D, |a| {
        u64::from((a as u32).wrapping_sub((a >> 32) as u32))
    });
    singles("mov.b64 {_, %ro}, %rd3;", "%ro", &D, |a| a >> 32);
    // The source is one of the destinations.
    singles("mov.b32 %r10, %r3; mov.b32 {%h10, %h11}, %r10; mov.b32 %ro, {%h11, %h10};", "%ro", &W, |a| {
        a >> 16 | (a & 0xffff) << 16
    });
    singles("mov.b64 %rdo, {%h3, %h3, %h3, %h3};", "%rdo", &W, |a| (a & 0xffff) * 0x0001_0001_0001_0001);
}
