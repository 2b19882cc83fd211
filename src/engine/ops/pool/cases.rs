//! Cases of max and mean pooling.

use crate::engine::ops::case::Case;
use crate::engine::toolkit::Quantization;

/// Name, input, kernel, stride, padding.
type Sizes = (&'static str, [usize; 4], usize, usize, usize);

const SIZES: [Sizes; 10] = [
    ("3x3 stride 2, stem", [2, 8, 6, 5], 3, 2, 1),
    ("3x3 stride 2, odd", [1, 7, 5, 3], 3, 2, 1),
    ("2x2 stride 2, a row left over", [2, 5, 4, 3], 2, 2, 0),
    ("3x3 overlapping, wide padding", [1, 4, 4, 2], 3, 1, 2),
    ("one pixel", [2, 1, 1, 3], 1, 1, 0),
    ("16-byte packs", [2, 7, 6, 16], 3, 2, 1),
    ("one channel, more outputs than a block has threads", [1, 20, 21, 1], 2, 1, 0),
    ("a window over everything", [1, 3, 3, 8], 3, 1, 0),
    ("3x3 stride 1, patches", [2, 5, 4, 8], 3, 1, 1),
    ("positions that no window covers", [2, 7, 8, 4], 2, 3, 0),
];

/// Two values that differ by less than a step of the differences would make one of a maximum wrong; among these none do.
pub fn cases() -> Vec<Case> {
    let max = |(name, x, kernel, stride, pad): Sizes| {
        Case::new("max_pool", name, &[x], move |t, v| t.max_pool(v[0], kernel, stride, pad))
    };
    let mean = |(name, x, kernel, stride, pad): Sizes| {
        Case::new("mean_pool", name, &[x], move |t, v| t.mean_pool(v[0], kernel, stride, pad))
    };
    let bytes = |(name, x, kernel, stride, pad): Sizes| {
        Case::new("max_pool", format!("{name}, bytes"), &[x], move |t, v| {
            let bytes = t.quantize(v[0], Quantization { scale: 1.0 / 128.0, zero: 128 })?;
            t.max_pool(bytes, kernel, stride, pad)
        })
        .forward_only()
    };
    SIZES.map(max).into_iter().chain(SIZES.map(mean)).chain(SIZES.map(bytes)).collect()
}
