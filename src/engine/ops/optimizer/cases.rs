//! Cases of the optimizer: one update of a small network, from its gradients; the result are the new parameters.

use super::Adam;
use crate::Result;
use crate::engine::ops::case::Case;
use crate::engine::ops::energy::Term;
use crate::engine::params::Init;
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
    let adam = |net| Adam { net, lr: 1e-3, betas: (0.5, 0.999), eps: 1e-8 };
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
        clip("clips", x, 1e-3),
        clip("leaves alone", x, 1e3),
        clip("clips several blocks", [2, 1, 1, 300], 1e-3),
    ]
}
