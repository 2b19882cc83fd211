//! `ldmatrix` and `mma`: fragment layouts against plain products of matrices with position-coded values.
//!
//! Layouts are written down here once more from the figures of the PTX ISA, per element.

mod common;

use common::{Setup, bytes, kernel_with};
use ptxsim::Class;

fn bf16(v: f32) -> u32 {
    assert_eq!(v.to_bits() & 0xffff, 0, "{v} is no bf16");
    v.to_bits() >> 16
}

fn f16(v: f32) -> u32 {
    half::f16::from_f32(v).to_bits().into()
}

/// One shape: element types, k, and where element (row, k) of A and (k, column) of B sit: (lane, register, half).
struct Shape {
    name: &'static str,
    k: usize,
    a_regs: usize,
    b_regs: usize,
    wide: bool,
    encode: fn(f32) -> u32,
}

const SHAPES: [Shape; 6] = [
    Shape { name: "m16n8k4.row.col.f32.tf32.tf32.f32", k: 4, a_regs: 2, b_regs: 1, wide: true, encode: f32::to_bits },
    Shape { name: "m16n8k8.row.col.f32.tf32.tf32.f32", k: 8, a_regs: 4, b_regs: 2, wide: true, encode: f32::to_bits },
    Shape { name: "m16n8k8.row.col.f32.bf16.bf16.f32", k: 8, a_regs: 2, b_regs: 1, wide: false, encode: bf16 },
    Shape { name: "m16n8k16.row.col.f32.bf16.bf16.f32", k: 16, a_regs: 4, b_regs: 2, wide: false, encode: bf16 },
    Shape { name: "m16n8k8.row.col.f32.f16.f16.f32", k: 8, a_regs: 2, b_regs: 1, wide: false, encode: f16 },
    Shape { name: "m16n8k16.row.col.f32.f16.f16.f32", k: 16, a_regs: 4, b_regs: 2, wide: false, encode: f16 },
];

impl Shape {
    /// ISA: for .tf32, row = groupID (a0, a2) or groupID + 8 (a1, a3), column = threadID_in_group (a0, a1) or + 4.
    /// For 16 bits a_i: row = groupID for i in 0..2, 4..6, else + 8; column = threadID_in_group * 2 + (i & 1), + 8 for
    /// i >= 4.
    fn a(&self, row: usize, k: usize) -> (usize, usize, usize) {
        let group = row % 8;
        if self.wide {
            (group * 4 + k % 4, row / 8 + 2 * (k / 4), 0)
        } else {
            (group * 4 + k % 8 / 2, row / 8 + 2 * (k / 8), k % 2)
        }
    }

    fn b(&self, k: usize, column: usize) -> (usize, usize, usize) {
        if self.wide { (column * 4 + k % 4, k / 4, 0) } else { (column * 4 + k % 8 / 2, k / 8, k % 2) }
    }
}

/// c0, c1: row = groupID; c2, c3: groupID + 8; column = threadID_in_group * 2 + (i & 1).
fn c(row: usize, column: usize) -> (usize, usize) {
    (row % 8 * 4 + column / 2, row / 8 * 2 + column % 2)
}

/// Runs one mma on given fragments: per lane 4 a, 2 b, 4 c words.
fn mma(shape: &Shape, fragments: &[[u32; 10]; 32]) -> (Vec<u32>, ptxsim::Counters) {
    run(shape.name, [shape.a_regs, shape.b_regs], fragments)
}

fn run(name: &str, [a_regs, b_regs]: [usize; 2], fragments: &[[u32; 10]; 32]) -> (Vec<u32>, ptxsim::Counters) {
    let list = |prefix: &str, from: usize, n: usize| {
        (from..from + n).map(|i| format!("{prefix}{i}")).collect::<Vec<_>>().join(",")
    };
    let mut body = "mul.lo.u32 %r4, %r1, 40; cvt.u64.u32 %rd3, %r4; add.u64 %rd3, %rd2, %rd3; \
                    mul.wide.u32 %rd4, %r1, 16; add.u64 %rd4, %rd1, %rd4; "
        .to_string();
    for i in 0..10 {
        body += &format!("ld.global.b32 %r{}, [%rd3+{}]; ", 10 + i, 4 * i);
    }
    for i in 0..4 {
        body += &format!("mov.b32 %f{i}, %r{}; ", 16 + i);
    }
    body += &format!(
        "mma.sync.aligned.{} {{%f0,%f1,%f2,%f3}}, {{{}}}, {{{}}}, {{%f0,%f1,%f2,%f3}}; ",
        name,
        list("%r", 10, a_regs),
        list("%r", 14, b_regs),
    );
    body += "st.global.v4.f32 [%rd4], {%f0,%f1,%f2,%f3};";
    let setup = Setup::new(32 * 16, &bytes(fragments.as_flattened()));
    let counters = setup.run(&kernel_with("", "", &body), 1, 32, 0).unwrap_or_else(|e| panic!("{e}"));
    (setup.words(), counters)
}

#[test]
fn mma_layouts_and_values() {
    for shape in &SHAPES {
        // Small integers that tell every position apart; all products and sums are exact.
        let a = |row: usize, k: usize| (row * 5 + k * 3) as f32 % 31.0 - 9.0;
        let b = |k: usize, column: usize| (k * 7 + column * 11) as f32 % 29.0 - 13.0;
        let c0 = |row: usize, column: usize| (row * 8 + column) as f32 * 0.5;
        let mut fragments = [[0u32; 10]; 32];
        for k in 0..shape.k {
            for row in 0..16 {
                let (lane, reg, half) = shape.a(row, k);
                fragments[lane][reg] |= (shape.encode)(a(row, k)) << (16 * half);
            }
            for column in 0..8 {
                let (lane, reg, half) = shape.b(k, column);
                fragments[lane][4 + reg] |= (shape.encode)(b(k, column)) << (16 * half);
            }
        }
        for row in 0..16 {
            for column in 0..8 {
                let (lane, reg) = c(row, column);
                fragments[lane][6 + reg] = c0(row, column).to_bits();
            }
        }
        let (found, counters) = mma(shape, &fragments);
        for row in 0..16 {
            for column in 0..8 {
                let wanted = (0..shape.k).map(|k| a(row, k) * b(k, column)).sum::<f32>() + c0(row, column);
                let (lane, reg) = c(row, column);
                let found = f32::from_bits(found[lane * 4 + reg]);
                assert_eq!(found, wanted, "{} ({row}, {column})", shape.name);
            }
        }
        assert_eq!(counters.of(Class::Mma), 1);
        assert_eq!(counters.mma_flops, 2 * 16 * 8 * shape.k as u64);
    }
}

/// Bytes of every value, signed and not: sums are those of 64 bits, wrapped around where 32 do not hold them.
///
/// ISA, for .u8 and .s8, .m16n8k32 (.m16n8k16 has the first halves): a_i: row = groupID for i in 0..4, 8..12, else + 8;
/// column = threadID_in_group * 4 + (i & 3), + 16 for i >= 8. b_i: row = threadID_in_group * 4 + (i & 3), + 16 for i >= 4;
/// column = groupID. Accumulators as elsewhere.
#[test]
fn mma_of_bytes() {
    let value = |v: usize, signed: bool| if signed { i64::from(v as u8 as i8) } else { i64::from(v as u8) };
    for (k, regs) in [(16, [2, 1]), (32, [4, 2])] {
        for (of_a, a_signed) in [("u8", false), ("s8", true)] {
            for (of_b, b_signed) in [("u8", false), ("s8", true)] {
                let a = |row: usize, k: usize| row * 37 + k * 101 + 3;
                let b = |k: usize, column: usize| k * 59 + column * 83 + 11;
                let c0 = |row: usize, column: usize| match row {
                    0 => i64::from(i32::MAX) - column as i64,
                    1 => i64::from(i32::MIN) + column as i64,
                    _ => (row * 8 + column) as i64 * -1001,
                };
                let mut fragments = [[0u32; 10]; 32];
                for k in 0..k {
                    for row in 0..16 {
                        let (lane, reg) = (row % 8 * 4 + k % 16 / 4, row / 8 + 2 * (k / 16));
                        fragments[lane][reg] |= u32::from(a(row, k) as u8) << (8 * (k % 4));
                    }
                    for column in 0..8 {
                        let (lane, reg) = (column * 4 + k % 16 / 4, k / 16);
                        fragments[lane][4 + reg] |= u32::from(b(k, column) as u8) << (8 * (k % 4));
                    }
                }
                for (row, column) in (0..16).flat_map(|row| (0..8).map(move |column| (row, column))) {
                    let (lane, reg) = c(row, column);
                    fragments[lane][6 + reg] = c0(row, column) as u32;
                }
                let name = format!("m16n8k{k}.row.col.s32.{of_a}.{of_b}.s32");
                let (found, counters) = run(&name, regs, &fragments);
                for (row, column) in (0..16).flat_map(|row| (0..8).map(move |column| (row, column))) {
                    let products = (0..k).map(|k| value(a(row, k), a_signed) * value(b(k, column), b_signed));
                    let wanted = (products.sum::<i64>() + c0(row, column)) as i32;
                    let (lane, reg) = c(row, column);
                    assert_eq!(found[lane * 4 + reg] as i32, wanted, "{name} ({row}, {column})");
                }
                assert_eq!(counters.of(Class::Mma), 1);
                assert_eq!(counters.mma_flops, 2 * 16 * 8 * k as u64);
            }
        }
    }
}

/// tf32 operands are f32 registers of which the low 13 bits do not count.
#[test]
fn tf32_ignores_low_bits() {
    let mut fragments = [[0u32; 10]; 32];
    for lane in &mut fragments {
        lane[..6].fill(0x3f80_0000 | 0x1fff);
    }
    let (found, _) = mma(&SHAPES[1], &fragments);
    assert!(found.iter().all(|&v| f32::from_bits(v) == 8.0));
}

/// Documented rounding: exact products, one rounding of the whole sum. 2^24 + 1 + 1 is lost if rounded twice.
#[test]
fn sums_are_rounded_once() {
    let shape = &SHAPES[3];
    let mut fragments = [[0u32; 10]; 32];
    for column in 0..8 {
        for k in 0..2 {
            let (lane, reg, half) = shape.b(k, column);
            fragments[lane][4 + reg] |= bf16(1.0) << (16 * half);
        }
    }
    for row in 0..16 {
        for k in 0..2 {
            let (lane, reg, half) = shape.a(row, k);
            fragments[lane][reg] |= bf16(1.0) << (16 * half);
        }
    }
    for lane in &mut fragments {
        lane[6..].fill(2f32.powi(24).to_bits());
    }
    let (found, _) = mma(shape, &fragments);
    assert!(found.iter().all(|&v| f32::from_bits(v) == 2f32.powi(24) + 2.0));
    // Infinity and NaN pass through; NaN is canonical.
    fragments[0][6] = 0x7f80_0000;
    fragments[0][7] = 0x7f80_0001;
    let (found, _) = mma(shape, &fragments);
    assert_eq!(found[..2], [0x7f80_0000, 0x7fff_ffff]);
}

/// Row r, column c of matrix j holds j * 1000 + r * 16 + c; rows are scattered in shared memory.
#[test]
fn ldmatrix_layouts() {
    for (n, trans) in [(1, false), (2, false), (4, false), (1, true), (2, true), (4, true)] {
        let value = |j: usize, r: usize, c: usize| (j * 1000 + r * 16 + c) as u32;
        // Row of matrix j, row r sits at 16 * place(j, r); all 32 rows of 16 bytes.
        let place = |j: usize, r: usize| (j * 8 + r) * 5 % 32;
        let mut shared = [0u32; 128];
        for j in 0..4 {
            for r in 0..8 {
                for c in 0..8 {
                    shared[place(j, r) * 4 + c / 2] |= value(j, r, c) << (c % 2 * 16);
                }
            }
        }
        let regs = |n: usize| (0..n).map(|i| format!("%r{}", 20 + i)).collect::<Vec<_>>().join(",");
        let body = format!(
            "mul.wide.u32 %rd3, %r1, 16; add.u64 %rd4, %rd2, %rd3; ld.global.v4.u32 {{%r10,%r11,%r12,%r13}}, [%rd4]; \
             mov.u32 %r14, s; shl.b32 %r15, %r1, 4; add.u32 %r16, %r14, %r15; st.shared.v4.u32 [%r16], {{%r10,%r11,%r12,%r13}}; \
             bar.warp.sync -1; mul.lo.u32 %r17, %r1, 5; and.b32 %r17, %r17, 31; shl.b32 %r17, %r17, 4; add.u32 %r17, %r14, %r17; \
             mov.u32 %r20, 0; mov.u32 %r21, 0; mov.u32 %r22, 0; mov.u32 %r23, 0; \
             ldmatrix.sync.aligned.m8n8.x{n}{}.shared.b16 {{{}}}, [%r17]; add.u64 %rd5, %rd1, %rd3; \
             st.global.v4.u32 [%rd5], {{%r20,%r21,%r22,%r23}};",
            if trans { ".trans" } else { "" },
            regs(n),
        );
        let setup = Setup::new(512, &bytes(&shared));
        let counters = setup.run(&kernel_with(".shared .align 16 .b8 s[512];", "", &body), 1, 32, 0).unwrap();
        let found = setup.words();
        for lane in 0..32 {
            for j in 0..n {
                // ISA: thread T gets row T / 4, elements 2 * (T % 4) and the next; transposed: the same of the columns.
                let (r, c) = (lane / 4, lane % 4 * 2);
                let (low, high) =
                    if trans { (value(j, c, r), value(j, c + 1, r)) } else { (value(j, r, c), value(j, r, c + 1)) };
                assert_eq!(found[lane * 4 + j], low | high << 16, "x{n} trans {trans} lane {lane} matrix {j}");
            }
        }
        assert_eq!(counters.of(Class::LoadMatrix), 1);
    }
}
