//! What is measured: a scoring pass or a training step, with random weights and random input unless real ones are given.

use crate::detector::quantized::{Source, fill};
use crate::detector::{BatchSpec, Detector, Learning, StepSpec};
use crate::engine::device::Session;
use crate::engine::ops::Op;
use crate::engine::ops::case::uniform;
use crate::engine::params::Values;
use crate::engine::quantized::{Scheme, layers, rewrite, values};
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::{DType, Shape, Tensor};
use crate::engine::toolkit::Number;
use crate::model::features::Feed;
use crate::model::init::{RandomBackbone, named_rng};
use crate::model::{Architecture, resnet};
use crate::program::Program;
use crate::{Error, Result};
use rand::Rng;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Something to plan or to measure.
#[derive(Clone, Debug)]
pub struct Workload {
    pub detector: Arc<dyn Detector>,
    pub architecture: Architecture,
    pub kind: Kind,
    /// What of scoring is quantised, in numbers of 8 bits; none: all but the first layer, by scales that serve to take the time.
    pub scheme: Option<Arc<Scheme>>,
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
    pub fn record(&self, number: Number) -> Result<Vec<Program>> {
        let (architecture, dtype) = (&self.architecture, number.storage());
        let of_batch = |batch| BatchSpec { architecture, batch, feed: Feed::Pixels, dtype };
        match (self.kind, self.detector.learning()) {
            (Kind::Score { batch }, _) => {
                let program = self.detector.scoring(&of_batch(batch))?;
                Ok(vec![if number == Number::Int8 { self.quantised(program)? } else { program }])
            }
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

    fn quantised(&self, program: Program) -> Result<Program> {
        let scheme = self.scheme.as_ref().map_or_else(|| any_scheme(&program.tape).into(), Arc::clone);
        Ok(Program { tape: rewrite(&program.tape, &scheme)?, ..program })
    }

    fn random_backbone(&self) -> Result<Values<f32>> {
        resnet::load(&self.architecture, &RandomBackbone { seed: 0 })
    }

    /// Fills a session of one of the programs with random weights and input.
    pub fn fill(&self, session: &mut dyn Session, program: &Program) -> Result<()> {
        if program.tape.records().iter().any(|r| matches!(r.op, Op::Conv2dInt8(_))) {
            fill(session, program, &Random)?;
        } else {
            program.fill(session, &self.random_backbone()?, 0)?;
        }
        random_input(program).iter().try_for_each(|(v, bytes)| session.write_bytes(*v, bytes))
    }
}

/// All layers but the first in 8 bits, by scales that serve to take the time.
fn any_scheme(tape: &Tape) -> Scheme {
    let layers: BTreeSet<String> = layers(tape).into_iter().skip(1).map(|layer| layer.name).collect();
    let scales = values(tape, &layers).into_iter().map(|value| (value.name, 0.02)).collect();
    Scheme { layers, scales }
}

/// Random weights of 8 bits, and what goes with them.
struct Random;

impl Source for Random {
    fn bytes(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [i8]>> {
        // Most of them small, as weights are.
        let numbers = uniform(name, shape.iter().product()).into_iter();
        Ok(numbers.map(|x| (127.0 * x * x * x) as i8).collect())
    }

    fn scales(&self, _: &str, channels: usize) -> Result<Cow<'_, [f32]>> {
        Ok(vec![1e-3; channels].into())
    }

    fn real(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>> {
        Ok(uniform(name, shape.iter().product()).into())
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
