//! `mma.sync`: 16x8 products of tensor cores.
//!
//! Products are exact, their sum with the accumulator is formed in f64 in a fixed order and rounded once to f32. The
//! hardware sums in an order and with a rounding of its own, within a few f32 units in the last place of this. Of bytes all is exact,
//! but for what leaves 32 bits, which wraps around.

use crate::lower::lanes::round::f16_value;
use crate::lower::op::{MmaKind, MmaOp, NONE, Regs};

/// Fragment layouts (PTX ISA, "Matrix fragments for mma.m16n8kX"), with g = lane / 4 and t = lane % 4:
/// accumulators: rows g and g + 8, columns 2t and 2t + 1. Operands, 32 bits a register: tf32 has k = t (+ 4), two 16-bit
/// values have k = 2t and 2t + 1 (+ 8), four bytes have k = 4t to 4t + 3 (+ 16).
pub fn mma(regs: &mut Regs, op: &MmaOp) {
    if let MmaKind::Bytes { a, b } = op.kind {
        return mma_bytes(regs, op, a, b);
    }
    let mut a = [[0f64; 16]; 16];
    let mut b = [[0f64; 8]; 16];
    let words = |reg: u16| &regs.w[reg as usize].0;
    let pair = |v: u32| -> [f64; 2] {
        match op.kind {
            MmaKind::Bf16 => [f32::from_bits(v << 16).into(), f32::from_bits(v & 0xffff_0000).into()],
            _ => [f16_value(v & 0xffff).into(), f16_value(v >> 16).into()],
        }
    };
    for (i, &reg) in op.a.iter().enumerate().filter(|(_, r)| **r != NONE) {
        let (low, part) = (i % 2 * 8, i / 2);
        for (lane, &v) in words(reg).iter().enumerate() {
            let (g, t) = (lane / 4, lane % 4);
            if op.kind == MmaKind::Tf32 {
                a[g + low][t + 4 * part] = f32::from_bits(v & !0x1fff).into();
            } else {
                let [x, y] = pair(v);
                a[g + low][2 * t + 8 * part] = x;
                a[g + low][2 * t + 8 * part + 1] = y;
            }
        }
    }
    for (part, &reg) in op.b.iter().enumerate().filter(|(_, r)| **r != NONE) {
        for (lane, &v) in words(reg).iter().enumerate() {
            let (g, t) = (lane / 4, lane % 4);
            if op.kind == MmaKind::Tf32 {
                b[t + 4 * part][g] = f32::from_bits(v & !0x1fff).into();
            } else {
                let [x, y] = pair(v);
                b[2 * t + 8 * part][g] = x;
                b[2 * t + 8 * part + 1][g] = y;
            }
        }
    }
    let mut c = [[0f64; 8]; 16];
    for (i, &reg) in op.c.iter().enumerate() {
        for (lane, &v) in words(reg).iter().enumerate() {
            c[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2] = f32::from_bits(v).into();
        }
    }
    let sum = match op.k {
        4 => product::<4>(&a, &b),
        8 => product::<8>(&a, &b),
        _ => product::<16>(&a, &b),
    };
    let mut out = [[0u32; 8]; 16];
    for row in 0..16 {
        for j in 0..8 {
            let v = (sum[row][j] + c[row][j]) as f32;
            out[row][j] = if v.is_nan() { 0x7fff_ffff } else { v.to_bits() };
        }
    }
    for (i, &reg) in op.d.iter().enumerate() {
        let d = &mut regs.w[reg as usize].0;
        for (lane, d) in d.iter_mut().enumerate() {
            *d = out[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
        }
    }
}

/// Sums of exact products in f64, k ascending.
fn product<const K: usize>(a: &[[f64; 16]; 16], b: &[[f64; 8]; 16]) -> [[f64; 8]; 16] {
    let mut out = [[0f64; 8]; 16];
    for (a, out) in a.iter().zip(&mut out) {
        let mut sum = [0f64; 8];
        for (&a, b) in a.iter().zip(b).take(K) {
            for j in 0..8 {
                sum[j] = a.mul_add(b[j], sum[j]);
            }
        }
        *out = sum;
    }
    out
}

/// Of bytes, signed or not as `a_signed` and `b_signed` say.
fn mma_bytes(regs: &mut Regs, op: &MmaOp, a_signed: bool, b_signed: bool) {
    let value = |byte: u8, signed: bool| if signed { i32::from(byte as i8) } else { i32::from(byte) };
    let mut a = [[0i32; 32]; 16];
    for (i, &reg) in op.a.iter().enumerate().filter(|(_, r)| **r != NONE) {
        for (lane, v) in regs.w[reg as usize].0.iter().enumerate() {
            let to = &mut a[lane / 4 + i % 2 * 8][lane % 4 * 4 + i / 2 * 16..][..4];
            to.iter_mut().zip(v.to_le_bytes()).for_each(|(to, byte)| *to = value(byte, a_signed));
        }
    }
    let mut b = [[0i32; 8]; 32];
    for (i, &reg) in op.b.iter().enumerate().filter(|(_, r)| **r != NONE) {
        for (lane, v) in regs.w[reg as usize].0.iter().enumerate() {
            let to = &mut b[lane % 4 * 4 + i * 16..][..4];
            to.iter_mut().zip(v.to_le_bytes()).for_each(|(to, byte)| to[lane / 4] = value(byte, b_signed));
        }
    }
    let mut sum = [[0i32; 8]; 16];
    for (i, &reg) in op.c.iter().enumerate() {
        for (lane, &v) in regs.w[reg as usize].0.iter().enumerate() {
            sum[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2] = v as i32;
        }
    }
    for (a, sum) in a.iter().zip(&mut sum) {
        for (&a, b) in a.iter().zip(&b).take(op.k as usize) {
            for j in 0..8 {
                sum[j] = sum[j].wrapping_add(a.wrapping_mul(b[j]));
            }
        }
    }
    for (i, &reg) in op.d.iter().enumerate() {
        let d = &mut regs.w[reg as usize].0;
        for (lane, d) in d.iter_mut().enumerate() {
            *d = sum[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2] as u32;
        }
    }
}
