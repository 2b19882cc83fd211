//! Cases of the convolution and of the fully connected layer.

use super::{Activation, Options};
use crate::engine::ops::case::Case;

/// Name, input (n, h, w, c), filters (k, r, s), stride, padding.
type Sizes = (&'static str, [usize; 4], [usize; 3], [usize; 2], [usize; 2]);

#[rustfmt::skip]
const SIZES: [Sizes; 25] = [
    ("1x1",                  [2, 3, 4, 5], [3, 1, 1], [1, 1], [0, 0]),
    ("1x1 stride 2, odd",    [2, 5, 3, 4], [3, 1, 1], [2, 2], [0, 0]),
    ("1x1 one channel out",  [1, 3, 3, 6], [1, 1, 1], [1, 1], [0, 0]),
    ("2x2 stride 2",         [1, 4, 6, 3], [2, 2, 2], [2, 2], [0, 0]),
    ("2x2 to one pixel",     [2, 2, 2, 5], [4, 2, 2], [2, 2], [0, 0]),
    ("3x3",                  [2, 5, 4, 3], [4, 3, 3], [1, 1], [1, 1]),
    ("3x3 no padding",       [1, 5, 6, 2], [3, 3, 3], [1, 1], [0, 0]),
    ("3x3 stride 2",         [2, 6, 6, 2], [3, 3, 3], [2, 2], [1, 1]),
    ("3x3 stride 2, odd",    [1, 7, 5, 2], [3, 3, 3], [2, 2], [1, 1]),
    ("3x3 on one pixel",     [2, 1, 1, 3], [2, 3, 3], [1, 1], [1, 1]),
    ("3x3 17 to 19 channels",[1, 3, 3, 17],[19, 3, 3],[1, 1], [1, 1]),
    ("3x2 uneven",           [2, 5, 7, 2], [3, 3, 2], [1, 3], [2, 0]),
    ("7x7 stride 2, stem",   [1, 9, 8, 3], [4, 7, 7], [2, 2], [3, 3]),
    // Shapes of the networks, scaled down, and what leads to every kernel and tile of a GPU.
    ("stem of 32 pixels",    [1, 32, 32, 3],[64, 7, 7],[2, 2],[3, 3]),
    ("3x3 on 8x8",           [1, 8, 8, 64],[64, 3, 3],[1, 1], [1, 1]),
    ("3x3 stride 2 to 8x8",  [1, 16, 16, 32],[64, 3, 3],[2, 2],[1, 1]),
    ("3x3 deep, few pixels", [1, 2, 2, 256],[72, 3, 3],[1, 1],[1, 1]),
    ("3x3 on one pixel, wide",[2, 1, 1, 40],[136, 3, 3],[1, 1],[1, 1]),
    ("3x3 20 to 12 channels",[1, 9, 7, 20],[12, 3, 3],[1, 1], [1, 1]),
    ("3x3 from one channel", [1, 12, 13, 1],[8, 3, 3],[1, 1], [1, 1]),
    ("1x1 to one channel",   [3, 8, 8, 96],[1, 1, 1], [1, 1], [0, 0]),
    ("1x1 tall, more out",   [2, 32, 32, 16],[64, 1, 1],[1, 1],[0, 0]),
    ("1x1 tall, fewer out",  [2, 32, 32, 64],[16, 1, 1],[1, 1],[0, 0]),
    ("1x1 large weights",    [1, 4, 4, 512],[256, 1, 1],[1, 1],[0, 0]),
    ("1x1 many positions",   [1, 96, 96, 4],[4, 1, 1],[1, 1], [0, 0]),
];

pub fn cases() -> Vec<Case> {
    let plain = SIZES.map(|(name, x, [k, r, s], stride, pad)| {
        Case::new("conv2d", name, &[x, [k, r, s, x[3]]], move |t, v| {
            t.conv2d(v[0], v[1], Options { stride, pad, ..Default::default() })
        })
    });
    let mut fused = Vec::new();
    for (name, act) in
        [("", Activation::None), (", relu", Activation::Relu), (", leaky relu", Activation::LeakyRelu(0.1))]
    {
        let o = Options { act, ..Options::square(1, 1) };
        let (x, w, b, y) = ([2, 4, 3, 3], [5, 3, 3, 3], [1, 1, 1, 5], [2, 4, 3, 5]);
        fused.extend([
            Case::new("conv2d", format!("3x3 alone{name}"), &[x, w], move |t, v| t.conv2d(v[0], v[1], o)),
            Case::new("conv2d", format!("3x3 with bias{name}"), &[x, w, b], move |t, v| {
                t.conv2d(v[0], v[1], Options { bias: Some(v[2]), ..o })
            }),
            Case::new("conv2d", format!("3x3 with residual{name}"), &[x, w, y], move |t, v| {
                t.conv2d(v[0], v[1], Options { residual: Some(v[2]), ..o })
            }),
            Case::new("conv2d", format!("3x3 with bias and residual{name}"), &[x, w, b, y], move |t, v| {
                t.conv2d(v[0], v[1], Options { bias: Some(v[2]), residual: Some(v[3]), ..o })
            }),
        ]);
    }
    let itself = Case::new("conv2d", "residual is the input", &[[1, 3, 3, 4], [4, 3, 3, 4]], |t, v| {
        t.conv2d(v[0], v[1], Options { residual: Some(v[0]), act: Activation::Relu, ..Options::square(1, 1) })
    });
    let linear = [("batch 1", 1, 6, 4), ("batch 3, one out", 3, 7, 1), ("batch 5", 5, 9, 8)]
        .map(|(name, n, c, k)| Case::new("linear", name, &[[n, 1, 1, c], [k, 1, 1, c]], |t, v| t.linear(v[0], v[1])));
    plain.into_iter().chain(fused).chain([itself]).chain(linear).collect()
}
