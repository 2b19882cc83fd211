//! What is measured: a scoring pass or a training step, with random weights and random input unless real ones are given.

use crate::detector::{BatchSpec, Detector, Learning, StepSpec};
use crate::engine::device::Session;
use crate::engine::params::Values;
use crate::engine::tape::Var;
use crate::engine::tensor::{DType, Shape, Tensor};
use crate::model::features::Feed;
use crate::model::init::{self, RandomBackbone, named_rng};
use crate::model::{Architecture, resnet};
use crate::program::Program;
use crate::{Error, Result};
use rand::Rng;
use std::sync::Arc;

/// Something to plan or to measure.
#[derive(Clone, Debug)]
pub struct Workload {
    pub detector: Arc<dyn Detector>,
    pub architecture: Architecture,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A batch, from pixels to maps and scores.
    Score { batch: usize },
    /// One step of that many normal pictures, and as many anomalous ones where the detector uses them; of a detector that is
    /// fitted at once, the features of one batch. `cached`: with features of normal pictures instead of the pictures.
    Train { batch: usize, cached: bool },
}

impl Workload {
    /// The programs that run one after the other.
    pub fn record(&self, dtype: DType) -> Result<Vec<Program>> {
        let architecture = &self.architecture;
        let of_batch = |batch| BatchSpec { architecture, batch, feed: Feed::Pixels, dtype };
        match (self.kind, self.detector.learning()) {
            (Kind::Score { batch }, _) => Ok(vec![self.detector.scoring(&of_batch(batch))?]),
            (Kind::Train { batch, cached }, Learning::Steps(how)) => how.record(&StepSpec {
                architecture,
                normal: batch,
                anomalous: batch,
                normal_feed: if cached { Feed::Features } else { Feed::Pixels },
                // Pseudo-anomalies differ from step to step, so their features never come from a cache.
                anomalous_feed: Feed::Pixels,
                dtype,
            }),
            (Kind::Train { cached: true, .. }, Learning::Fit(_)) => {
                let name = self.detector.method().name;
                Err(Error::Usage(format!("{name} is fitted at once: no step of it takes features from a cache")))
            }
            (Kind::Train { batch, cached: false }, Learning::Fit(how)) => Ok(vec![how.features(&of_batch(batch))?]),
        }
    }

    fn random_backbone(&self) -> Result<Values<f32>> {
        resnet::load(&self.architecture, &RandomBackbone { seed: 0 })
    }

    /// Fills a session of one of the programs with random weights and input.
    pub fn fill(&self, session: &mut dyn Session, program: &Program) -> Result<()> {
        program.fill(session, &self.random_backbone()?, 0)?;
        random_input(program).iter().try_for_each(|(v, bytes)| session.write_bytes(*v, bytes))
    }

    /// The backbone and the other networks that scoring needs, random.
    pub fn random_networks(&self) -> Result<(Values<f32>, Vec<Values<f32>>)> {
        let architecture = &self.architecture;
        let spec = BatchSpec { architecture, batch: 1, feed: Feed::Features, dtype: DType::F32 };
        let program = self.detector.scoring(&spec)?;
        let others =
            program.networks.iter().map(|n| program.tape.parameters(n.id)).filter(|l| l.network != resnet::NETWORK);
        Ok((self.random_backbone()?, others.map(|parameters| init::network(parameters, 0)).collect()))
    }
}

/// Random values for every input of a program.
pub fn random_input(program: &Program) -> Vec<(Var, Vec<u8>)> {
    let mut rng = named_rng(0, "input");
    let tape = &program.tape;
    program.inputs().map(|v| (v, random(&mut rng, tape.info(v).dtype, tape.shape(v).len()))).collect()
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
