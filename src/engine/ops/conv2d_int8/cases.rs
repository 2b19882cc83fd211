//! Cases of the convolution of bytes, and of the transposed one.

use super::{Activation, Conv2d, Options, Quantized};
use crate::Error;
use crate::engine::ops::case::Case;
use crate::engine::tensor::{DType, Shape};
use crate::engine::toolkit::{Quantization, Stored};

/// Name, input (n, h, w, c), filters (k, r, s), stride, padding; of a transposed convolution what is left over at the end, too.
type Sizes = (&'static str, [usize; 4], [usize; 3], [usize; 2], [usize; 2]);
type Transposed = (&'static str, [usize; 4], [usize; 3], [usize; 2], [usize; 2], [usize; 2]);

#[rustfmt::skip]
const SIZES: [Sizes; 12] = [
    ("1x1",                     [2, 3, 4, 5], [3, 1, 1], [1, 1], [0, 0]),
    ("1x1 one channel out",     [1, 3, 3, 6], [1, 1, 1], [1, 1], [0, 0]),
    ("3x3",                     [2, 5, 4, 3], [4, 3, 3], [1, 1], [1, 1]),
    ("3x3 on one pixel",        [2, 1, 1, 16],[2, 3, 3], [1, 1], [1, 1]),
    ("3x2 uneven",              [2, 5, 7, 2], [3, 3, 2], [1, 3], [2, 0]),
    ("7x7 stride 2, stem",      [1, 9, 8, 3], [4, 7, 7], [2, 2], [3, 3]),
    ("3x3 17 to 19 channels",   [1, 3, 3, 17],[19, 3, 3],[1, 1], [1, 1]),
    // Shapes of the networks, scaled down, and what leads to every tile of a GPU.
    ("3x3 on 12x12",            [1, 12, 12, 64],[64, 3, 3],[1, 1],[1, 1]),
    ("3x3 stride 2 to 8x8",     [1, 16, 16, 32],[64, 3, 3],[2, 2],[1, 1]),
    ("3x3 deep, few pixels",    [1, 2, 2, 256],[72, 3, 3],[1, 1],[1, 1]),
    ("1x1 stride 2, to 136",    [3, 7, 9, 48],[136, 1, 1],[2, 2],[0, 0]),
    ("1x1 tall, fewer out",     [2, 16, 16, 80],[18, 1, 1],[1, 1],[0, 0]),
];

#[rustfmt::skip]
const TRANSPOSED: [Transposed; 7] = [
    ("2x2 stride 2",                [2, 3, 2, 4], [3, 2, 2], [2, 2], [0, 0], [0, 0]),
    ("3x3",                         [2, 4, 3, 2], [3, 3, 3], [1, 1], [1, 1], [0, 0]),
    ("3x3 uneven",                  [2, 2, 3, 3], [2, 3, 3], [3, 2], [1, 0], [2, 1]),
    ("1x1 stride 3",                [1, 3, 2, 2], [2, 1, 1], [3, 3], [0, 0], [1, 0]),
    ("2x2 stride 2 to 16x16",       [1, 8, 8, 64], [32, 2, 2], [2, 2], [0, 0], [0, 0]),
    ("2x2 stride 2, deep",          [1, 2, 3, 288], [144, 2, 2], [2, 2], [0, 0], [0, 0]),
    ("3x3 stride 2, output padding",[1, 5, 4, 32], [48, 3, 3], [2, 2], [1, 1], [1, 1]),
];

const UNSIGNED: Quantization = Quantization { scale: 1.0 / 1024.0, zero: 0 };
const SIGNED: Quantization = Quantization { scale: 1.0 / 1024.0, zero: 128 };

/// What is fused, and how the result is kept.
type Fused = (&'static str, bool, Option<Stored>, Activation, Stored);

/// Whether with a bias, and with which residual. Every scale here is a power of two and every real input few bits long, so that
/// all types have the same numbers, and the same halves among them, to make bytes of.
const FUSED: [Fused; 6] = {
    const fn kept(scale: f32, zero: u8) -> Stored {
        Stored::Bytes(Quantization { scale, zero })
    }
    [
        ("to bytes", false, None, Activation::None, kept(0.5, 128)),
        ("with bias and relu, to bytes", true, None, Activation::Relu, kept(0.25, 0)),
        ("with residual", false, Some(Stored::Real), Activation::None, Stored::Real),
        ("with residual in bytes and relu", false, Some(kept(0.125, 0)), Activation::Relu, Stored::Real),
        ("with all, to bytes", true, Some(kept(0.125, 128)), Activation::LeakyRelu(0.25), kept(0.5, 128)),
        ("with all but bytes", true, Some(Stored::Real), Activation::LeakyRelu(0.25), Stored::Real),
    ]
};

/// Inputs: x, weights, the residual if there is one, scale, the bias if there is one.
fn fused(name: String, (_, x, [k, r, s], stride, pad): Sizes, of_x: Quantization, how: Fused) -> Case {
    let (_, bias, residual, act, y) = how;
    let out = [0, 1].map(|i| (x[1 + i] + 2 * pad[i] - [r, s][i]) / stride[i] + 1);
    let mut inputs = vec![x, [k, r, s, x[3]]];
    inputs.extend(residual.map(|_| [x[0], out[0], out[1], k]));
    inputs.extend([[1, 1, 1, k]].repeat(1 + usize::from(bias)));
    let types: &[DType] = match residual {
        Some(Stored::Bytes(_)) => &[DType::U8, DType::I8, DType::U8],
        _ => &[DType::U8, DType::I8],
    };
    Case::new("conv2d_int8", name, &inputs, move |t, v| {
        let (of_residual, rest) = v[2..].split_at(usize::from(residual.is_some()));
        let (residual, of_residual) = (residual.unwrap_or_default(), of_residual.first().copied());
        let o = Options { stride, pad, bias: rest.get(1).copied(), residual: of_residual, act, ..Default::default() };
        t.conv2d_int8(v[0], v[1], rest[0], Quantized { x: of_x, residual, y }, o)
    })
    .whole(types)
}

pub fn cases() -> Vec<Case> {
    const PLAIN: Fused = ("", false, None, Activation::None, Stored::Real);
    let zeros = [("", UNSIGNED), (", less 128", SIGNED)];
    let plain = SIZES
        .into_iter()
        .flat_map(|sizes| zeros.map(|(what, of_x)| fused(format!("{}{what}", sizes.0), sizes, of_x, PLAIN)));
    let (odd, aligned) = (SIZES[2], SIZES[7]);
    let with = [odd, aligned].into_iter().flat_map(|sizes| FUSED.map(|how| (sizes, how)));
    let with = with.map(|(sizes, how)| fused(format!("{} {}", sizes.0, how.0), sizes, SIGNED, how));
    let transposed = TRANSPOSED.into_iter().enumerate().flat_map(|(i, (name, x, [out, r, s], stride, pad, rest))| {
        let side = |side: usize| (x[1 + side] - 1) * stride[side] + [r, s][side] + rest[side] - 2 * pad[side];
        let (of, weights) = (Shape([x[0], side(0), side(1), out]), [x[3], r, s, out]);
        let y = if i % 2 == 0 { Stored::Real } else { Stored::Bytes(Quantization { scale: 0.5, zero: 128 }) };
        zeros.map(|(what, of_x)| {
            let inputs = [x, weights, [1, 1, 1, out]];
            let case = Case::new("conv2d_int8", format!("transposed, {name}{what}"), &inputs, move |t, v| {
                let sizes = Conv2d::new(of, Shape(weights), stride, pad).map_err(Error::Invalid)?;
                let q = Quantized { x: of_x, residual: Stored::Real, y };
                t.conv_transpose2d_int8(v[0], v[1], v[2], q, sizes)
            });
            case.whole(&[DType::U8, DType::I8])
        })
    });
    plain.chain(with).chain(transposed).collect()
}
