//! Cases of the transposed convolution.

use crate::engine::ops::case::Case;

/// Name, input (n, h, w, in), filters (kh, kw, out), stride, padding, output padding.
type Sizes = (&'static str, [usize; 4], [usize; 3], [usize; 2], [usize; 2], [usize; 2]);

#[rustfmt::skip]
const SIZES: [Sizes; 12] = [
    ("2x2 stride 2",                [2, 3, 2, 4], [2, 2, 3], [2, 2], [0, 0], [0, 0]),
    ("2x2 stride 2, batch 1",       [1, 1, 1, 3], [2, 2, 5], [2, 2], [0, 0], [0, 0]),
    ("2x2 stride 2, 17 to 18",      [1, 2, 3, 17],[2, 2, 18],[2, 2], [0, 0], [0, 0]),
    ("3x3",                         [2, 4, 3, 2], [3, 3, 3], [1, 1], [1, 1], [0, 0]),
    ("3x3 no padding",              [1, 3, 3, 2], [3, 3, 2], [1, 1], [0, 0], [0, 0]),
    ("3x3 stride 2, output padding",[1, 3, 4, 2], [3, 3, 3], [2, 2], [1, 1], [1, 1]),
    ("3x3 uneven",                  [2, 2, 3, 3], [3, 3, 2], [3, 2], [1, 0], [2, 1]),
    // Shapes of the decoder, scaled down, and what leads to every kernel and tile of a GPU.
    ("2x2 stride 2 to 16x16",       [1, 8, 8, 64], [2, 2, 32], [2, 2], [0, 0], [0, 0]),
    ("2x2 stride 2, tall",          [2, 32, 32, 8], [2, 2, 16], [2, 2], [0, 0], [0, 0]),
    ("2x2 stride 2, deep",          [1, 2, 2, 512], [2, 2, 24], [2, 2], [0, 0], [0, 0]),
    ("3x2 stride 3x2",              [1, 3, 5, 12], [3, 2, 6], [3, 2], [0, 0], [0, 0]),
    ("1x1 stride 3",                [1, 3, 2, 2], [1, 1, 2], [3, 3], [0, 0], [1, 0]),
];

pub fn cases() -> Vec<Case> {
    let case = |(name, x, [r, s, out], stride, pad, output_pad): Sizes| {
        Case::new("conv_transpose2d", name, &[x, [x[3], r, s, out]], move |t, v| {
            t.conv_transpose2d(v[0], v[1], stride, pad, output_pad)
        })
    };
    SIZES.map(case).into()
}
