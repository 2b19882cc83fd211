//! The two programs: a training step, and what a network that is being trained says of pictures.

use super::recipe::{Objective, Optimizer, Recipe};
use crate::Result;
use crate::engine::ops::conv2d;
use crate::engine::ops::optimizer::{Adam, Decay, Sgd};
use crate::engine::params::Init;
use crate::engine::tape::{NetId, Tape, Var};
use crate::engine::tensor::{DType, Shape};
use crate::model::layers::{self, Norm};
use crate::model::resnet;

/// Name of the network of linear heads.
pub const HEADS: &str = "heads";

/// A recorded program over a batch of pictures.
pub struct Program {
    pub tape: Tape,
    pub backbone: NetId,
    pub heads: NetId,
    /// (n, size, size, 3), bytes
    pub pixels: Var,
    /// Class numbers, one input for each of the heads, (n, h, w, 1); none where the program only tells logits.
    pub labels: Vec<Var>,
    /// Of each head, (n, h, w, classes).
    pub logits: Vec<Var>,
}

/// The maps that heads are put on, and the linear heads themselves.
fn heads(t: &mut Tape, net: NetId, recipe: &Recipe, maps: &[Var]) -> Result<Vec<Var>> {
    let classes = recipe.formula().classes();
    let on: Vec<Var> = match recipe.objective {
        Objective::Pooled => {
            let last = maps[maps.len() - 1];
            t.set_label("pool");
            vec![t.mean_pool(last, t.shape(last).h(), 1, 0)?]
        }
        Objective::Dense => maps.to_vec(),
    };
    let mut logits = Vec::new();
    for (i, x) in on.into_iter().enumerate() {
        t.set_label(format!("{HEADS}.{i}"));
        let c = t.shape(x).c();
        let bound = 1.0 / (c as f64).sqrt();
        let w = t.param(net, &format!("{i}.weight"), &[classes, c, 1, 1], Init::Uniform(bound))?;
        let bias = t.param(net, &format!("{i}.bias"), &[classes], Init::Uniform(bound))?;
        let o = conv2d::Options { bias: Some(bias), ..conv2d::Options::square(1, 0) };
        logits.push(t.conv2d(x, w, o)?);
    }
    Ok(logits)
}

fn input(t: &mut Tape, recipe: &Recipe, n: usize) -> Result<(Var, Var)> {
    let a = &recipe.architecture;
    let pixels = t.input(Shape([n, a.image_size, a.image_size, 3]), DType::U8)?;
    Ok((pixels, t.preprocess(pixels, a.image_size, a.mean, a.std)?))
}

/// Records a training step: forward in batch statistics, losses, gradients, running statistics, the optimizer. Returns which variable
/// is its loss, too, the mean of the heads'.
pub fn step(recipe: &Recipe, dtype: DType) -> Result<(Program, Var)> {
    let mut tape = Tape::new(dtype);
    let t = &mut tape;
    let (backbone, head) = (t.network(resnet::NETWORK), t.network(HEADS));
    let (pixels, x) = input(t, recipe, recipe.batch)?;
    let mut statistics = Vec::new();
    let maps = resnet::record_unfolded(t, backbone, &recipe.architecture, x, Norm::Batch(&mut statistics))?;
    let logits = heads(t, head, recipe, &maps)?;
    let (mut labels, mut terms) = (Vec::new(), Vec::new());
    for y in &logits {
        let Shape([n, h, w, _]) = t.shape(*y);
        let of = t.input(Shape([n, h, w, 1]), dtype.exact())?;
        terms.push((1.0 / logits.len() as f64, t.cross_entropy(*y, of, recipe.smoothing)?));
        labels.push(of);
    }
    let loss = t.weighted_sum(&terms)?;
    for net in [backbone, head] {
        t.backward(loss, net)?;
    }
    layers::update_running(t, backbone, &statistics)?;
    for net in [backbone, head] {
        if recipe.weight_decay > 0.0 {
            let how = match recipe.optimizer {
                Optimizer::Sgd { .. } => Decay::L2,
                Optimizer::Adam => Decay::Decoupled { lr: recipe.lr, schedule: recipe.schedule() },
            };
            t.weight_decay(net, recipe.weight_decay, how, |p| p.file_shape.len() == 4)?;
        }
        match recipe.optimizer {
            Optimizer::Sgd { momentum } => {
                t.sgd(Sgd { net, lr: recipe.lr, momentum, nesterov: true, schedule: recipe.schedule() })?
            }
            Optimizer::Adam => {
                t.adam(Adam { net, lr: recipe.lr, betas: (0.9, 0.999), eps: 1e-8, schedule: recipe.schedule() })?
            }
        }
    }
    let loss = t.output(loss);
    Ok((Program { backbone, heads: head, pixels, labels, logits, tape }, loss))
}

/// Records what the network says of a batch, by running statistics, its batch norms folded.
pub fn inference(recipe: &Recipe, batch: usize, dtype: DType) -> Result<Program> {
    let mut tape = Tape::new(dtype);
    let t = &mut tape;
    let (backbone, head) = (t.network(resnet::NETWORK), t.network(HEADS));
    let (pixels, x) = input(t, recipe, batch)?;
    let maps = resnet::record(t, backbone, &recipe.architecture, x)?;
    let logits = heads(t, head, recipe, &maps)?;
    logits.iter().for_each(|y| {
        t.output(*y);
    });
    Ok(Program { backbone, heads: head, pixels, labels: vec![], logits, tape })
}
