//! Cases of the instance norm.

use super::{Activation, Options};
use crate::engine::ops::case::Case;

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
    all.extend([
        plain("more rows than a block", [1, 7, 9, 2], EPS),
        plain("batch 1, one channel", [1, 3, 3, 1], EPS),
        plain("large eps", [2, 2, 2, 3], 0.5),
        // One position has no variance: the result is 0 whatever the input.
        plain("one position", [2, 1, 1, 3], EPS).forward_only(),
        Case::new("instance_norm", "residual is the input", &[[1, 3, 3, 2]], |t, v| {
            t.instance_norm(v[0], EPS, Options { residual: Some(v[0]), act: Activation::Relu, ..Default::default() })
        }),
    ]);
    all
}
