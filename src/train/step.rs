//! One training step as one program: features, reconstruction, the discriminator's update, then the auto-encoder's.
//!
//! Normal and anomalous images run as one batch, which instance norm permits: no sample sees another.

use crate::Result;
use crate::engine::ops::concat::Axis;
use crate::engine::ops::energy::Term;
use crate::engine::ops::optimizer::Adam;
use crate::engine::tape::{NetId, Tape, Var};
use crate::engine::tensor::DType;
use crate::model::discriminator::Level;
use crate::model::features::{self, Feed};
use crate::model::{Architecture, autoencoder, discriminator, resnet};

/// What the auto-encoder is trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Reconstruction of normal features alone, eq. (2).
    Recon,
    /// With an energy-based discriminator, per position or per image, that knows some anomalous images, eqs. (8) to (13).
    Adversarial(Level),
}

/// Settings of the alternating update. Defaults are the paper's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hyper {
    pub lr: f64,
    pub d_lr: f64,
    /// Weighs generated features; `1 - gamma` weighs the collected anomalies.
    pub gamma: f64,
    /// Weight of the adversarial term in the auto-encoder's loss.
    pub adv: f64,
    pub betas: (f64, f64),
    pub eps: f64,
    /// Gradient-norm clip of the discriminator.
    pub clip: f64,
    /// Energy above which nothing pushes any further.
    pub margin: f64,
}

impl Default for Hyper {
    fn default() -> Self {
        Hyper { lr: 1e-3, d_lr: 1e-4, gamma: 0.5, adv: 0.02, betas: (0.5, 0.999), eps: 1e-8, clip: 1.0, margin: 5.0 }
    }
}

/// Which program to record.
#[derive(Clone, Debug)]
pub struct StepSpec {
    pub architecture: Architecture,
    pub strategy: Strategy,
    pub hyper: Hyper,
    pub normal: usize,
    /// Ignored (none enter) when the strategy is reconstruction alone.
    pub anomalous: usize,
    pub normal_feed: Feed,
    pub anomalous_feed: Feed,
    pub dtype: DType,
}

/// The recorded step: what to fill before a run and what to read after it.
pub struct StepProgram {
    pub tape: Tape,
    /// Pixels or pictures (one variable), or one variable per layer. When both groups come alike, `normal` holds the
    /// whole batch, normal images first, and `anomalous` is empty.
    pub normal: Vec<Var>,
    pub anomalous: Vec<Var>,
    pub backbone: NetId,
    pub ae: NetId,
    pub discriminator: NetId,
    pub losses: Losses,
    /// Feature maps and reconstructions of the whole batch, and energies of the features: for tests and tools that
    /// declare them outputs.
    pub features: Vec<Var>,
    pub reconstructions: Vec<Var>,
    pub energies: Vec<Var>,
}

/// Scalars a step reports.
#[derive(Clone, Copy)]
pub struct Losses {
    pub recon: Var,
    pub total: Var,
    /// Discriminator's loss and adversarial term; absent when the strategy is reconstruction alone.
    pub adversarial: Option<(Var, Var)>,
}

/// Records one step of the alternating update (the reference's `Trainer.step`).
pub fn record(spec: &StepSpec) -> Result<StepProgram> {
    let a = &spec.architecture;
    let h = spec.hyper;
    let mut tape = Tape::new(spec.dtype);
    let t = &mut tape;
    let backbone = t.network(resnet::NETWORK);
    let ae = t.network(autoencoder::NETWORK);
    let disc = t.network(discriminator::NETWORK);
    let n = spec.normal;
    let m = if spec.strategy == Strategy::Recon { 0 } else { spec.anomalous };

    let (normal, anomalous, maps);
    if m == 0 || spec.normal_feed == spec.anomalous_feed {
        (normal, maps) = features::record(t, backbone, a, n + m, spec.normal_feed)?;
        anomalous = vec![];
    } else {
        let (of_normal, of_anomalous);
        (normal, of_normal) = features::record(t, backbone, a, n, spec.normal_feed)?;
        (anomalous, of_anomalous) = features::record(t, backbone, a, m, spec.anomalous_feed)?;
        t.set_label("batch");
        let join = |(&x, &y): (&Var, &Var)| t.concat(&[x, y], Axis::Batch);
        maps = of_normal.iter().zip(&of_anomalous).map(join).collect::<Result<Vec<Var>>>()?;
    }
    let recon = autoencoder::record(t, ae, a, &maps)?;
    let mut energies = vec![];

    let mut adversarial = None;
    if let Strategy::Adversarial(level) = spec.strategy {
        energies = discriminator::record(t, disc, a, level, &maps)?;
        let of_recon = discriminator::record(t, disc, a, level, &recon)?;
        t.set_label("d_loss");
        let high = Term::High { margin: h.margin };
        let mut terms = vec![];
        for (&real, &fake) in energies.iter().zip(&of_recon) {
            let low = t.energy(real, Term::Low, 0..n)?;
            let fake = t.energy(fake, high, 0..n + m)?;
            let mut layer = vec![(1.0, low), (h.gamma, fake)];
            if m > 0 {
                layer.push((1.0 - h.gamma, t.energy(real, high, n..n + m)?));
            }
            terms.push((1.0, t.weighted_sum(&layer)?));
        }
        let d_loss = t.weighted_sum(&terms)?;
        t.backward(d_loss, disc)?;
        t.set_label("discriminator.update");
        t.clip_grad_norm(disc, h.clip)?;
        t.adam(Adam { net: disc, lr: h.d_lr, betas: h.betas, eps: h.eps })?;
        // The generator's term is judged by the discriminator as it is after its update.
        let of_recon = discriminator::record(t, disc, a, level, &recon)?;
        t.set_label("adv_loss");
        let lows: Vec<Var> = of_recon.iter().map(|&e| t.energy(e, Term::Low, 0..n + m)).collect::<Result<_>>()?;
        let adv = t.weighted_sum(&lows.into_iter().map(|v| (1.0, v)).collect::<Vec<_>>())?;
        adversarial = Some((t.output(d_loss), t.output(adv)));
    }

    t.set_label("recon_loss");
    let per_layer: Vec<Var> = maps.iter().zip(&recon).map(|(&f, &g)| t.cosine_loss(f, g, n)).collect::<Result<_>>()?;
    let rec = t.weighted_sum(&per_layer.into_iter().map(|v| (1.0, v)).collect::<Vec<_>>())?;
    let mut terms = vec![(1.0, rec)];
    terms.extend(adversarial.map(|(_, adv)| (h.adv, adv)));
    let total = t.weighted_sum(&terms)?;
    t.backward(total, ae)?;
    t.set_label("ae.update");
    t.adam(Adam { net: ae, lr: h.lr, betas: h.betas, eps: h.eps })?;
    let losses = Losses { recon: t.output(rec), total: t.output(total), adversarial };
    Ok(StepProgram {
        normal,
        anomalous,
        backbone,
        ae,
        discriminator: disc,
        losses,
        features: maps,
        reconstructions: recon,
        energies,
        tape,
    })
}
