//! Cases of the convolution of pixels.

use super::{Conv2d, Conv2dPixels};
use crate::Error;
use crate::engine::ops::Activation;
use crate::engine::ops::case::Case;
use crate::engine::tensor::{DType, Shape};
use crate::engine::toolkit::{Quantization, Stored};

/// Name, picture (n, h, w), filters (k, r, s), vertical stride, padding.
type Sizes = (&'static str, [usize; 3], [usize; 3], usize, [usize; 2]);

#[rustfmt::skip]
const SIZES: [Sizes; 5] = [
    ("stem",                        [2, 20, 18], [64, 7, 7], 2, [3, 3]),
    ("stem of more than a block",   [1, 34, 37], [33, 7, 7], 2, [3, 3]),
    ("uneven, no padding",          [1, 9, 12],  [5, 3, 4],  1, [0, 0]),
    ("1x1",                         [3, 5, 9],   [4, 1, 1],  3, [0, 0]),
    ("padding beyond the picture",  [1, 3, 4],   [34, 5, 3], 2, [3, 4]),
];

/// Scales are powers of two and weights of few bits, so that every type has the same numbers to make bytes of.
pub fn cases() -> Vec<Case> {
    let bytes = |zero| Stored::Bytes(Quantization { scale: 4096.0, zero });
    let kept = [
        ("", Activation::None, Stored::Real),
        (", relu, to bytes", Activation::Relu, bytes(0)),
        (", to bytes", Activation::LeakyRelu(0.25), bytes(128)),
    ];
    let case = |(name, [n, h, w], [k, r, s], stride, pad): Sizes, (what, act, y): (&str, Activation, Stored)| {
        let (x, weights) = ([n, h, w, 3], [k, r, s, 3]);
        let inputs = [x, weights, [1, 1, 1, k], [1, 1, 1, k]];
        Case::new("conv2d_pixels", format!("{name}{what}"), &inputs, move |t, v| {
            let sizes = Conv2d::new(Shape(x), Shape(weights), [stride, 2], pad).map_err(Error::Invalid)?;
            let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
            t.conv2d_pixels(Conv2dPixels { sizes, mean, std, act, y }, [v[0], v[1], v[2], v[3]])
        })
        .whole(&[DType::U8, DType::I16])
    };
    SIZES.into_iter().flat_map(|sizes| kept.map(|how| case(sizes, how))).collect()
}
