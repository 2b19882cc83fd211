//! One training step as one program: features, reconstruction, the discriminator's update, then the auto-encoder's.
//!
//! Normal and anomalous images run as one batch where the norm permits it: with instance norms no sample sees another.

use super::strategy::{Adversary, Normalization, Strategy};
use super::{autoencoder, discriminator};
use crate::Result;
use crate::detector::StepSpec;
use crate::engine::ops::concat::Axis;
use crate::engine::ops::optimizer::{Adam, LrSchedule};
use crate::engine::tape::{NetId, Tape, Var};
use crate::model::layers::{self, Norm};
use crate::model::{features, resnet};
use crate::program::{Group, Network, Program, Role};
use std::ops::Range;

/// Settings of the alternating update. Defaults are the paper's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hyper {
    pub lr: f64,
    pub d_lr: f64,
    /// Weighs generated features; `1 - gamma` weighs the collected anomalies.
    pub gamma: f64,
    /// Weight of the adversarial term in the auto-encoder's loss.
    pub adv: f64,
    /// Weight of the error over collected anomalies that is subtracted from the loss.
    pub sub: f64,
    pub betas: (f64, f64),
    pub eps: f64,
    /// Gradient-norm clip of the discriminator.
    pub clip: f64,
    /// Energy above which nothing pushes any further.
    pub margin: f64,
}

impl Default for Hyper {
    fn default() -> Self {
        Hyper {
            lr: 1e-3,
            d_lr: 1e-4,
            gamma: 0.5,
            adv: 0.02,
            sub: 0.02,
            betas: (0.5, 0.999),
            eps: 1e-8,
            clip: 1.0,
            margin: 5.0,
        }
    }
}

/// Records one step of the alternating update (the reference's `Trainer.step`). To a batch norm, normal and anomalous pictures
/// are two batches, the normal ones first.
///
/// Reports `recon` and `loss`, with a discriminator also `d_loss` and `adv`, where it is subtracted also `recon_anomalous`.
/// Taps: `features` and `reconstructions` of the whole batch, `energies` (or logits) of the features.
pub fn record(spec: &StepSpec, strategy: Strategy, normalization: Normalization, h: Hyper) -> Result<Program> {
    let a = spec.architecture;
    let mut tape = Tape::new(spec.dtype);
    let t = &mut tape;
    let backbone = t.network(resnet::NETWORK);
    let ae = t.network(autoencoder::NETWORK);
    let disc = t.network(discriminator::NETWORK);
    let n = spec.normal;
    let m = if strategy.uses_anomalies() { spec.anomalous } else { 0 };
    let mut statistics = vec![];
    let Batch { groups, maps: of_groups } = batch(t, backbone, spec, m, normalization == Normalization::Batch)?;
    let maps = joined(t, &of_groups)?;
    let recon = match normalization {
        Normalization::Instance => autoencoder::record(t, ae, a, Norm::Instance, &maps)?,
        Normalization::Batch => {
            let of_group = |maps: &Vec<Var>| autoencoder::record(t, ae, a, Norm::Batch(&mut statistics), maps);
            let recon = of_groups.iter().map(of_group).collect::<Result<Vec<_>>>()?;
            joined(t, &recon)?
        }
    };
    let mut energies = vec![];

    let mut adversarial = None;
    if let Some(adversary) = strategy.adversary(&h) {
        let level = adversary.level;
        energies = discriminator::record(t, disc, a, level, &maps)?;
        let of_recon = discriminator::record(t, disc, a, level, &recon)?;
        let d_loss = update_discriminator(t, disc, &adversary, &h, &energies, &of_recon, n)?;
        // The generator's term is judged by the discriminator as it is after its update.
        let of_recon = discriminator::record(t, disc, a, level, &recon)?;
        let adv = adversarial_term(t, &adversary, &of_recon)?;
        adversarial = Some((t.output(d_loss), t.output(adv)));
    }

    t.set_label("recon_loss");
    let error = |t: &mut Tape, images: Range<usize>| -> Result<Var> {
        let layers = maps.iter().zip(&recon).map(|(&f, &g)| Ok((1.0, t.cosine_loss(f, g, images.clone())?)));
        let layers: Vec<(f64, Var)> = layers.collect::<Result<_>>()?;
        t.weighted_sum(&layers)
    };
    let rec = error(t, 0..n)?;
    let mut terms = vec![(1.0, rec)];
    let subtracted = if strategy.subtracts() && m > 0 { Some(error(t, n..n + m)?) } else { None };
    terms.extend(subtracted.map(|of_anomalies| (-h.sub, of_anomalies)));
    terms.extend(adversarial.map(|(_, adv)| (h.adv, adv)));
    let total = t.weighted_sum(&terms)?;
    t.backward(total, ae)?;
    t.set_label("ae.update");
    layers::update_running(t, ae, &statistics)?;
    t.adam(Adam { net: ae, lr: h.lr, betas: h.betas, eps: h.eps, schedule: LrSchedule::Constant })?;
    let mut reports = vec![("recon", t.output(rec)), ("loss", t.output(total))];
    reports.extend(subtracted.map(|of_anomalies| ("recon_anomalous", t.output(of_anomalies))));
    let mut networks = vec![Network { id: backbone, trained: false }, Network { id: ae, trained: true }];
    if let Some((d_loss, adv)) = adversarial {
        reports.extend([("d_loss", d_loss), ("adv", adv)]);
        networks.push(Network { id: disc, trained: true });
    }
    let taps = vec![("features", maps), ("reconstructions", recon), ("energies", energies)];
    Ok(Program { tape, groups, networks, reports, taps })
}

/// Records the discriminator's loss, eqs. (8) and (11), and its update; returns the loss.
///
/// `real` are its outputs for features, `generated` those for what was generated of them: one (pictures, h, w, 1) per layer, the
/// first `n` pictures normal, the others collected anomalous ones.
pub fn update_discriminator(
    t: &mut Tape,
    disc: NetId,
    adversary: &Adversary,
    h: &Hyper,
    real: &[Var],
    generated: &[Var],
    n: usize,
) -> Result<Var> {
    t.set_label("d_loss");
    let mut terms = vec![];
    for (&real, &fake) in real.iter().zip(generated) {
        let all = t.shape(real).n();
        let (weight, term) = adversary.generated;
        let mut layer = vec![(1.0, t.energy(real, adversary.normal, 0..n)?), (weight, t.energy(fake, term, 0..all)?)];
        if let Some((weight, collected)) = adversary.collected
            && n < all
        {
            layer.push((weight, t.energy(real, collected, n..all)?));
        }
        terms.push((1.0, t.weighted_sum(&layer)?));
    }
    let d_loss = t.weighted_sum(&terms)?;
    t.backward(d_loss, disc)?;
    t.set_label("discriminator.update");
    t.clip_grad_norm(disc, h.clip)?;
    t.adam(Adam { net: disc, lr: h.d_lr, betas: h.betas, eps: h.eps, schedule: LrSchedule::Constant })?;
    Ok(d_loss)
}

/// Records the generator's term, eqs. (9) and (12), from a discriminator's outputs for what was generated, one a layer.
pub fn adversarial_term(t: &mut Tape, adversary: &Adversary, generated: &[Var]) -> Result<Var> {
    t.set_label("adv_loss");
    let of_layer = |&e: &Var| Ok((1.0, t.energy(e, adversary.wanted, 0..t.shape(e).n())?));
    let layers: Vec<(f64, Var)> = generated.iter().map(of_layer).collect::<Result<_>>()?;
    t.weighted_sum(&layers)
}

/// Features of a step's pictures.
struct Batch {
    groups: Vec<Group>,
    /// Of each group, finest layer first.
    maps: Vec<Vec<Var>>,
}

/// Records the features of `spec.normal` normal and `m` anomalous pictures, as one group unless they come in different forms or
/// are to be kept `apart`.
fn batch(t: &mut Tape, backbone: NetId, spec: &StepSpec, m: usize, apart: bool) -> Result<Batch> {
    let (normal, anomalous) = ((Role::Normal, spec.normal), (Role::Anomalous, m));
    let together = !apart && spec.normal_feed == spec.anomalous_feed;
    let groups = match m {
        0 => vec![(vec![normal], spec.normal_feed)],
        _ if together => vec![(vec![normal, anomalous], spec.normal_feed)],
        _ => vec![(vec![normal], spec.normal_feed), (vec![anomalous], spec.anomalous_feed)],
    };
    let mut batch = Batch { groups: vec![], maps: vec![] };
    for (pictures, feed) in groups {
        let of_all = pictures.iter().map(|(_, n)| n).sum();
        let (vars, maps) = features::record(t, backbone, spec.architecture, of_all, feed)?;
        batch.groups.push(Group { pictures, feed, vars });
        batch.maps.push(maps);
    }
    Ok(batch)
}

/// Maps of several groups as those of one batch.
fn joined(t: &mut Tape, maps: &[Vec<Var>]) -> Result<Vec<Var>> {
    let [first, rest @ ..] = maps else { return Ok(vec![]) };
    if rest.is_empty() {
        return Ok(first.clone());
    }
    t.set_label("batch");
    (0..first.len()).map(|i| t.concat(&maps.iter().map(|m| m[i]).collect::<Vec<_>>(), Axis::Batch)).collect()
}
