//! Scoring as one program: features, reconstruction, error maps, upsampling, blur, score.

use crate::engine::tape::{NetId, Tape, Var};
use crate::engine::tensor::DType;
use crate::model::features::{self, Feed};
use crate::model::{Architecture, autoencoder, resnet};
use crate::{Result, invalid};

/// Which program to record.
#[derive(Clone, Debug)]
pub struct ScoreSpec {
    pub architecture: Architecture,
    pub batch: usize,
    pub feed: Feed,
    /// Standard deviation of the blur in map pixels; 0 leaves the map as it is.
    pub sigma: f64,
    /// Number of largest map values whose mean is the score; `None` takes all.
    pub topk: Option<usize>,
    pub dtype: DType,
}

/// The recorded program: what to fill before a run and what to read after it.
pub struct ScoreProgram {
    pub tape: Tape,
    pub input: Vec<Var>,
    pub backbone: NetId,
    pub ae: NetId,
    /// (batch, size, size, 1)
    pub map: Var,
    /// (batch, 1, 1, 1)
    pub score: Var,
}

/// Records scoring of a batch, eq. (14).
pub fn record(spec: &ScoreSpec) -> Result<ScoreProgram> {
    let a = &spec.architecture;
    if spec.sigma < 0.0 || spec.sigma.is_nan() {
        invalid!("sigma must be 0 or more, found {}", spec.sigma);
    }
    let mut tape = Tape::new(spec.dtype);
    let t = &mut tape;
    let backbone = t.network(resnet::NETWORK);
    let ae = t.network(autoencoder::NETWORK);
    let (input, maps) = features::record(t, backbone, a, spec.batch, spec.feed)?;
    let recon = autoencoder::record(t, ae, a, &maps)?;
    t.set_label("anomaly_map");
    let pairs: Vec<(Var, Var)> = maps.into_iter().zip(recon).collect();
    let errors = t.cosine_map(&pairs)?;
    let map = t.anomaly_map(&errors, a.image_size, spec.sigma)?;
    let score = t.topk_mean(map, spec.topk)?;
    let (map, score) = (t.output(map), t.output(score));
    Ok(ScoreProgram { tape, input, backbone, ae, map, score })
}
