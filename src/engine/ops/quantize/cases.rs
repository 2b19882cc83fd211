//! Cases of the rounding to bytes.

use crate::engine::ops::case::Case;
use crate::engine::tensor::Shape;
use crate::engine::toolkit::Quantization;

/// Scales are powers of two, so that every type has the same quotients, halves among them.
pub fn cases() -> Vec<Case> {
    let case = |(name, len, scale, zero): (&'static str, usize, f32, u8)| {
        Case::new("quantize", name, &[Shape::vector(len).0], move |t, v| t.quantize(v[0], Quantization { scale, zero }))
            .forward_only()
    };
    [
        ("never negative", 1000, 1.0 / 256.0, 0),
        ("of both signs", 1000, 1.0 / 128.0, 128),
        ("of both signs, too large for bytes", 514, 1.0 / 512.0, 128),
        ("few steps, many halves", 2047, 1.0 / 4.0, 128),
        ("fewer than a word has", 3, 1.0 / 64.0, 128),
    ]
    .map(case)
    .into()
}
