//! Cases of the batch norm, in training (an instance norm of views) and by running statistics, and of their update.

use super::BatchStatistics;
use crate::Result;
use crate::engine::ops::Activation;
use crate::engine::ops::case::Case;
use crate::engine::ops::instance_norm::Options;
use crate::engine::params::Init;
use crate::engine::tape::{NetId, Tape, Var, Whole};

const EPS: f64 = 1e-5;

/// Scale, shift, running mean and variance of a layer.
fn layer(t: &mut Tape, net: NetId, c: usize) -> Result<[Var; 4]> {
    let mut param = |name: &str, init| t.param(net, name, &[c], init);
    Ok([
        param("weight", Init::Ones)?,
        param("bias", Init::Zeros)?,
        param("running_mean", Init::Zeros)?,
        param("running_var", Init::Ones)?,
    ])
}

pub fn cases() -> Vec<Case> {
    let x = [3, 2, 5, 4];
    let training = |name: &str, x: [usize; 4], act| {
        let c = [1, 1, 1, x[3]];
        Case::new("instance_norm", format!("as a batch norm, {name}"), &[x, c, c], move |t, v| {
            Ok(t.batch_norm(v[0], EPS, Options { affine: Some((v[1], v[2])), residual: None, act })?.0)
        })
    };
    let with_residual = |name: &str, x: [usize; 4], act| {
        let c = [1, 1, 1, x[3]];
        Case::new("instance_norm", format!("as a batch norm, {name}"), &[x, c, c, x], move |t, v| {
            Ok(t.batch_norm(v[0], EPS, Options { affine: Some((v[1], v[2])), residual: Some(v[3]), act })?.0)
        })
    };
    // Variances are squares of the inputs.
    let by = |name: &str, x: [usize; 4], residual: bool, act| {
        let c = [1, 1, 1, x[3]];
        Case::new("batch_norm", name, &[x, c, c, c, x], move |t, v| {
            let o = Options { affine: Some((v[2], v[3])), residual: residual.then_some(v[4]), act };
            let var = t.activate(v[3], Activation::LeakyRelu(-1.0))?;
            t.batch_norm_by(v[0], [v[1], var], EPS, o)
        })
        .forward_only()
    };
    let running = |name: &str, x: [usize; 4], times: usize| {
        Case::new("running_stats", name, &[x], move |t, v| {
            let net = t.network("net");
            let [gamma, beta, ..] = layer(t, net, x[3])?;
            let o = Options { affine: Some((gamma, beta)), ..Default::default() };
            let (_, [m, r]) = t.batch_norm(v[0], EPS, o)?;
            let running = ["running_mean", "running_var"].map(String::from);
            let batch = BatchStatistics { running, mean: m, rstd: r, count: x[0] * x[1] * x[2], eps: EPS };
            (0..times).try_for_each(|_| t.running_stats(net, &batch, 0.1))?;
            // As they are kept; what 16-bit passes read is rounded by the optimizer only.
            t.whole(net, Whole::Params)
        })
        .forward_only()
    };
    vec![
        training("small", x, Activation::None),
        training("one picture", [1, 4, 4, 8], Activation::None),
        training("one position", [7, 1, 1, 5], Activation::LeakyRelu(0.1)),
        with_residual("residual", x, Activation::None),
        with_residual("several blocks", [4, 7, 9, 16], Activation::LeakyRelu(0.1)),
        by("small", x, false, Activation::None),
        by("residual and ReLU", x, true, Activation::Relu),
        by("odd channels", [2, 3, 3, 7], true, Activation::LeakyRelu(0.1)),
        by("several blocks", [2, 9, 11, 24], false, Activation::Relu),
        running("one batch", x, 1),
        running("three times", [2, 3, 3, 9], 3),
        running("many channels", [2, 2, 2, 300], 1),
    ]
}
