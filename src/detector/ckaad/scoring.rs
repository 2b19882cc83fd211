//! Scoring as one program: features, reconstruction, error maps, upsampling, blur, score.

use super::autoencoder;
use super::strategy::Normalization;
use crate::detector::BatchSpec;
use crate::engine::tape::{Tape, Var};
use crate::model::layers::Norm;
use crate::model::{features, resnet};
use crate::program::{Group, Network, Program, Role};
use crate::{Result, invalid};

/// How error maps become one map and a score.
#[derive(Clone, Copy, Debug)]
pub struct Judgement {
    /// Standard deviation of the blur in map pixels; 0 leaves the map as it is.
    pub sigma: f64,
    /// Number of largest map values whose mean is the score; `None` takes all.
    pub topk: Option<usize>,
}

/// Records scoring of a batch, eq. (14).
pub fn record(spec: &BatchSpec, normalization: Normalization, judgement: Judgement) -> Result<Program> {
    let a = spec.architecture;
    let Judgement { sigma, topk } = judgement;
    if sigma < 0.0 || sigma.is_nan() {
        invalid!("sigma must be 0 or more, found {sigma}");
    }
    let mut tape = Tape::new(spec.dtype);
    let t = &mut tape;
    let backbone = t.network(resnet::NETWORK);
    let ae = t.network(autoencoder::NETWORK);
    let (vars, maps) = features::record(t, backbone, a, spec.batch, spec.feed)?;
    let norm = match normalization {
        Normalization::Instance => Norm::Instance,
        Normalization::Batch => Norm::Running,
    };
    let recon = autoencoder::record(t, ae, a, norm, &maps)?;
    t.set_label("anomaly_map");
    let pairs: Vec<(Var, Var)> = maps.into_iter().zip(recon).collect();
    let errors = t.cosine_map(&pairs)?;
    let map = t.anomaly_map(&errors, a.image_size, sigma)?;
    let score = t.topk_mean(map, topk)?;
    Ok(Program {
        groups: vec![Group { pictures: vec![(Role::Scored, spec.batch)], feed: spec.feed, vars }],
        networks: [backbone, ae].map(|id| Network { id, trained: false }).into(),
        reports: vec![("map", t.output(map)), ("score", t.output(score))],
        taps: vec![],
        tape,
    })
}
