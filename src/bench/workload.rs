//! What is measured: a scoring pass or a training step, with random weights and random input unless real ones are given.

use crate::Result;
use crate::engine::device::Session;
use crate::engine::params::Values;
use crate::engine::tape::{NetId, Tape, Var};
use crate::engine::tensor::{DType, Shape, Tensor};
use crate::model::features::Feed;
use crate::model::init::{self, RandomBackbone, named_rng};
use crate::model::{Architecture, autoencoder, resnet};
use crate::score::program::{self, ScoreSpec};
use crate::train::step::{self, Hyper, StepSpec, Strategy};
use rand::Rng;

/// A program to plan or to measure.
#[derive(Clone, Debug)]
pub struct Workload {
    pub architecture: Architecture,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub enum Kind {
    /// A batch, from pixels to maps and scores.
    Score { batch: usize },
    /// One step of the alternating update. `cached`: with features of normal pictures instead of the pictures.
    Train { normal: usize, anomalous: usize, strategy: Strategy, cached: bool },
}

impl Kind {
    /// A step of `n` normal pictures and, where there is a discriminator, as many anomalous ones.
    pub fn train(n: usize, strategy: Strategy, cached: bool) -> Self {
        Kind::Train { normal: n, anomalous: if strategy == Strategy::Recon { 0 } else { n }, strategy, cached }
    }

    /// Pictures that one run takes.
    pub fn images(&self) -> usize {
        match self {
            Kind::Score { batch } => *batch,
            Kind::Train { normal, anomalous, .. } => normal + anomalous,
        }
    }
}

/// A recorded workload: what to fill and what to read.
pub struct Recorded {
    pub tape: Tape,
    pub inputs: Vec<Var>,
    pub outputs: Vec<Var>,
    backbone: NetId,
    trained: Vec<NetId>,
}

impl Workload {
    pub fn record(&self, dtype: DType) -> Result<Recorded> {
        let architecture = self.architecture.clone();
        match self.kind {
            Kind::Score { batch } => {
                let (feed, sigma, topk) = (Feed::Pixels, 4.0, Some(100));
                let p = program::record(&ScoreSpec { architecture, batch, feed, sigma, topk, dtype })?;
                let (inputs, outputs, trained) = (p.input, vec![p.map, p.score], vec![p.ae]);
                Ok(Recorded { tape: p.tape, inputs, outputs, backbone: p.backbone, trained })
            }
            Kind::Train { normal, anomalous, strategy, cached } => {
                let hyper = Hyper::default();
                // Pseudo-anomalies differ from step to step, so their features never come from a cache.
                let (normal_feed, anomalous_feed) = (if cached { Feed::Features } else { Feed::Pixels }, Feed::Pixels);
                let p = step::record(&StepSpec {
                    architecture,
                    strategy,
                    hyper,
                    normal,
                    anomalous,
                    normal_feed,
                    anomalous_feed,
                    dtype,
                })?;
                let inputs = [p.normal, p.anomalous].concat();
                let outputs = vec![p.losses.recon, p.losses.total];
                let trained = if strategy == Strategy::Recon { vec![p.ae] } else { vec![p.ae, p.discriminator] };
                Ok(Recorded { tape: p.tape, inputs, outputs, backbone: p.backbone, trained })
            }
        }
    }

    /// Backbone and auto-encoder of a scorer, random.
    pub fn random_networks(&self) -> Result<[Values<f32>; 2]> {
        let mut tape = Tape::new(DType::F32);
        let net = tape.network(autoencoder::NETWORK);
        let (_, maps) = crate::model::features::record(&mut tape, net, &self.architecture, 1, Feed::Features)?;
        autoencoder::record(&mut tape, net, &self.architecture, &maps)?;
        Ok([self.random_backbone()?, init::network(tape.layout(net), 0)])
    }

    fn random_backbone(&self) -> Result<Values<f32>> {
        resnet::load(&self.architecture, &RandomBackbone { seed: 0 })
    }

    /// Fills a session of this workload's program with random weights and input.
    pub fn fill(&self, session: &mut dyn Session, r: &Recording) -> Result<()> {
        if !session.tape().layout(r.backbone).is_empty() {
            session.write_params(r.backbone, &self.random_backbone()?)?;
        }
        for net in &r.trained {
            let fresh = init::network(session.tape().layout(*net), 0);
            session.write_params(*net, &fresh)?;
        }
        for (v, bytes) in r.inputs.iter().zip(&r.random_input) {
            session.write_bytes(*v, bytes)?;
        }
        Ok(())
    }
}

/// What is left of a [`Recorded`] when a session has taken its tape, and random values for its inputs.
pub struct Recording {
    pub inputs: Vec<Var>,
    pub outputs: Vec<Var>,
    pub random_input: Vec<Vec<u8>>,
    backbone: NetId,
    trained: Vec<NetId>,
}

impl Recorded {
    pub fn split(self) -> (Tape, Recording) {
        let mut rng = named_rng(0, "input");
        let of = |v: &Var| random(&mut rng, self.tape.info(*v).dtype, self.tape.shape(*v).len());
        let random_input = self.inputs.iter().map(of).collect();
        let Recorded { tape, inputs, outputs, backbone, trained } = self;
        (tape, Recording { inputs, outputs, random_input, backbone, trained })
    }
}

/// Any bytes, or numbers between 0 and 2, as the rectified features of normal pictures are.
fn random(rng: &mut impl Rng, dtype: DType, len: usize) -> Vec<u8> {
    let scale = if dtype == DType::U8 { 127.0 } else { 1.0 };
    let numbers = (0..len).map(|_| rng.next_u32() as f32 / u32::MAX as f32 * 2.0 * scale);
    Tensor::rounded(Shape::vector(len), dtype, numbers).bytes().to_vec()
}

/// Pixels of one picture of side `size`, as [`random`].
pub fn random_picture(size: usize) -> Vec<u8> {
    random(&mut named_rng(0, "picture"), DType::U8, size * size * 3)
}
