//! Cases of the optimizers: one update of a small network, from its gradients; the result are the new parameters.

use super::{Adam, Decay, LrSchedule, Sgd};
use crate::Result;
use crate::engine::ops::case::Case;
use crate::engine::ops::energy::Term;
use crate::engine::params::{Init, Parameter};
use crate::engine::tape::{NetId, Tape, Var};

/// A linear layer whose gradients are computed but not yet applied: its parameters.
fn layer(t: &mut Tape, x: Var) -> Result<(NetId, Var)> {
    let net = t.network("net");
    let w = t.param(net, "weight", &[7, t.shape(x).c()], Init::Zeros)?;
    let y = t.linear(x, w)?;
    let loss = t.energy(y, Term::Low, 0..t.shape(x).n())?;
    t.backward(loss, net)?;
    Ok((net, w))
}

pub fn cases() -> Vec<Case> {
    // Five steps are two of the warm-up, two of the cosine, and one behind its end.
    const SCHEDULE: LrSchedule = LrSchedule::Cosine { warmup: 2, steps: 4 };
    let adam = |net| Adam { net, lr: 1e-3, betas: (0.5, 0.999), eps: 1e-8, schedule: LrSchedule::Constant };
    let sgd = |name: &str, x, steps: usize, nesterov, schedule| {
        Case::new("sgd", name, &[x], move |t, v| {
            let (net, w) = layer(t, v[0])?;
            (0..steps).try_for_each(|_| t.sgd(Sgd { net, lr: 0.1, momentum: 0.9, nesterov, schedule }))?;
            Ok(w)
        })
        .forward_only()
    };
    // A step of the optimizer first: a network that was never written is all 0. Another behind it rounds the parameters.
    let decay = |name: &str, x, how, which: fn(&Parameter) -> bool| {
        Case::new("weight_decay", name, &[x], move |t, v| {
            let (net, w) = layer(t, v[0])?;
            let step = Sgd { net, lr: 0.1, momentum: 0.0, nesterov: false, schedule: SCHEDULE };
            t.sgd(step)?;
            t.weight_decay(net, 0.5, how, which)?;
            t.sgd(step)?;
            Ok(w)
        })
        .forward_only()
    };
    let decoupled = Decay::Decoupled { lr: 0.1, schedule: SCHEDULE };
    let x = [3, 1, 1, 5];
    let clip = |name: &str, x, max| {
        Case::new("clip_grad_norm", name, &[x], move |t, v| {
            let (net, w) = layer(t, v[0])?;
            t.clip_grad_norm(net, max)?;
            t.adam(adam(net))?;
            Ok(w)
        })
        .forward_only()
    };
    vec![
        Case::new("adam", "one step", &[x], move |t, v| {
            let (net, w) = layer(t, v[0])?;
            t.adam(adam(net))?;
            Ok(w)
        })
        .forward_only(),
        Case::new("adam", "three steps", &[[3, 1, 1, 300]], move |t, v| {
            let (net, w) = layer(t, v[0])?;
            (0..3).try_for_each(|_| t.adam(adam(net)))?;
            Ok(w)
        })
        .forward_only(),
        Case::new("adam", "five steps of a schedule", &[[3, 1, 1, 300]], move |t, v| {
            let (net, w) = layer(t, v[0])?;
            (0..5).try_for_each(|_| t.adam(Adam { schedule: SCHEDULE, ..adam(net) }))?;
            Ok(w)
        })
        .forward_only(),
        sgd("one step", x, 1, false, LrSchedule::Constant),
        sgd("five steps of a schedule", [3, 1, 1, 300], 5, false, SCHEDULE),
        sgd("three steps with Nesterov's momentum", [3, 1, 1, 300], 3, true, LrSchedule::Constant),
        decay("of the gradients", x, Decay::L2, |_| true),
        decay("of the gradients, several blocks", [2, 1, 1, 300], Decay::L2, |p| p.name == "weight"),
        decay("of the parameters", x, decoupled, |p| p.name == "weight"),
        decay("of the parameters, several blocks", [2, 1, 1, 300], decoupled, |_| true),
        clip("clips", x, 1e-3),
        clip("leaves alone", x, 1e3),
        clip("clips several blocks", [2, 1, 1, 300], 1e-3),
    ]
}
