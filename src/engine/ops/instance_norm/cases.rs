//! Cases of the instance norm.

use super::{Activation, Options};
use crate::engine::ops::case::Case;
use crate::engine::ops::conv2d;

const EPS: f64 = 1e-5;

pub fn cases() -> Vec<Case> {
    let (x, c) = ([2, 3, 4, 5], [1, 1, 1, 5]);
    let mut all = Vec::new();
    for (name, act) in
        [("", Activation::None), (", relu", Activation::Relu), (", leaky relu", Activation::LeakyRelu(0.1))]
    {
        let o = Options { act, ..Default::default() };
        all.extend([
            Case::new("instance_norm", format!("plain{name}"), &[x], move |t, v| t.instance_norm(v[0], EPS, o)),
            Case::new("instance_norm", format!("affine{name}"), &[x, c, c], move |t, v| {
                t.instance_norm(v[0], EPS, Options { affine: Some((v[1], v[2])), ..o })
            }),
            Case::new("instance_norm", format!("residual{name}"), &[x, x], move |t, v| {
                t.instance_norm(v[0], EPS, Options { residual: Some(v[1]), ..o })
            }),
            Case::new("instance_norm", format!("affine, residual{name}"), &[x, c, c, x], move |t, v| {
                t.instance_norm(v[0], EPS, Options { affine: Some((v[1], v[2])), residual: Some(v[3]), ..o })
            }),
        ]);
    }
    let plain = |name: &str, x, eps| {
        Case::new("instance_norm", name, &[x], move |t, v| t.instance_norm(v[0], eps, Options::default()))
    };
    // Affine with everything that can be fused; what is special about the sizes on a GPU, where a block holds up to 2048
    // rows of 16 bytes or fewer of more, and larger maps are split over blocks.
    let fused = |name: &str, x: [usize; 4]| {
        let c = [1, 1, 1, x[3]];
        Case::new("instance_norm", name, &[x, c, c, x], move |t, v| {
            let act = Activation::LeakyRelu(0.1);
            t.instance_norm(v[0], EPS, Options { affine: Some((v[1], v[2])), residual: Some(v[3]), act })
        })
    };
    let normed = |name: &str, x: [usize; 4]| {
        let c = [1, 1, 1, x[3]];
        Case::new("instance_norm", name, &[x, c, c], move |t, v| {
            let act = Activation::Relu;
            t.instance_norm(v[0], EPS, Options { affine: Some((v[1], v[2])), act, ..Default::default() })
        })
    };
    all.extend([
        fused("16-byte packs", [2, 5, 7, 16]),
        normed("16-byte packs, relu", [3, 4, 4, 16]),
        normed("packs in f32 only, a lane idle", [2, 4, 4, 12]),
        normed("33 channels", [2, 3, 3, 33]),
        normed("several packs a thread", [1, 23, 24, 8]),
        fused("three channels, split", [2, 20, 30, 3]),
        fused("one channel, split", [1, 46, 45, 1]),
        normed("16-byte packs, split", [1, 46, 46, 8]),
        plain("split, no activation", [1, 46, 46, 8], EPS),
        plain("splits of several slabs", [1, 129, 128, 3], EPS).forward_only(),
        normed("one position, 16-byte packs", [1, 1, 1, 16]).forward_only(),
        plain("more rows than a block", [1, 7, 9, 2], EPS),
        plain("batch 1, one channel", [1, 3, 3, 1], EPS),
        plain("large eps", [2, 2, 2, 3], 0.5),
        // One position has no variance: the result is 0 whatever the input.
        plain("one position", [2, 1, 1, 3], EPS).forward_only(),
        Case::new("instance_norm", "residual is the input", &[[1, 3, 3, 2]], |t, v| {
            t.instance_norm(v[0], EPS, Options { residual: Some(v[0]), act: Activation::Relu, ..Default::default() })
        }),
    ]);
    all.extend(behind_convolutions());
    all
}

/// Norms right behind a convolution, which on a GPU leaves statistics or the parts of a split depth for them. Without
/// activations: a convolution's result rounded to 16 bits lies on the other side of the kink now and then.
fn behind_convolutions() -> Vec<Case> {
    let conv = |name: &str, x: [usize; 4], [k, r]: [usize; 2]| {
        let c = [1, 1, 1, k];
        Case::new("instance_norm", name, &[x, [k, r, r, x[3]], c, c], move |t, v| {
            let y = t.conv2d(v[0], v[1], conv2d::Options::square(1, r / 2))?;
            t.instance_norm(y, EPS, Options { affine: Some((v[2], v[3])), ..Default::default() })
        })
    };
    let transposed = |name: &str, x: [usize; 4], k: usize| {
        let y = [x[0], 2 * x[1], 2 * x[2], k];
        Case::new("instance_norm", name, &[x, [x[3], 2, 2, k], y], move |t, v| {
            let z = t.conv_transpose2d(v[0], v[1], [2; 2], [0; 2], [0; 2])?;
            let o = Options { residual: Some(v[2]), ..Default::default() };
            t.instance_norm(z, EPS, o)
        })
    };
    vec![
        conv("behind a split convolution", [2, 4, 4, 256], [16, 3]),
        conv("behind a split convolution, 5 channels", [1, 3, 5, 512], [5, 1]),
        transposed("behind a split transposed convolution", [1, 2, 2, 512], 24),
        conv("behind tiles of two images", [2, 33, 34, 4], [16, 1]),
        conv("behind tall tiles", [1, 33, 34, 16], [64, 1]),
        conv("behind tiles, 5 channels", [2, 16, 17, 3], [5, 3]),
        transposed("behind tiles of four pixels", [2, 17, 17, 8], 16),
        transposed("behind tiles of four pixels, 5 channels", [2, 9, 8, 6], 5),
        Case::new(
            "instance_norm",
            "behind a split convolution that is also the residual",
            &[[1, 4, 4, 256], [8, 1, 1, 256]],
            |t, v| {
                let y = t.conv2d(v[0], v[1], conv2d::Options::square(1, 0))?;
                t.instance_norm(y, EPS, Options { residual: Some(y), ..Default::default() })
            },
        ),
        Case::new(
            "instance_norm",
            "behind a split convolution with an activation",
            &[[1, 4, 4, 256], [8, 1, 1, 256]],
            |t, v| {
                let o = conv2d::Options { act: Activation::LeakyRelu(0.1), ..conv2d::Options::square(1, 0) };
                let y = t.conv2d(v[0], v[1], o)?;
                t.instance_norm(y, EPS, Options::default())
            },
        ),
    ]
}
