//! A detector ready to score: the program of one batch of squares with its weights in place.

use super::map::Map;
use crate::data::framing::{Framer, Framing};
use crate::detector::file::{Config, ModelFile};
use crate::engine::device::{Backend, Session};
use crate::engine::params::Values;
use crate::engine::tape::Var;
use crate::model::resnet;
use crate::program::Program;
use crate::{Result, invalid};
use rayon::prelude::*;
use std::collections::VecDeque;
use std::time::Instant;

/// What a [`Scorer`] gives back. Maps are 256 KB a picture of 256 x 256: where nobody looks at them they stay on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gives {
    Scores,
    ScoresAndMaps,
}

/// Scores batches of squares. How pictures become squares, and their scores and maps one, is the matter of
/// [`Assembly`](super::assembly::Assembly).
pub struct Scorer {
    session: Box<dyn Session>,
    input: Var,
    /// The scores, then the maps where they are wanted.
    outputs: Vec<Var>,
    batch: usize,
    /// Pictures in each batch on its way.
    submitted: VecDeque<usize>,
    /// Makes the squares that it scores.
    framer: Framer,
    /// Of a map the number of highest values whose mean is the score, where it is not the network's own; none for all of them.
    highest: Option<usize>,
    /// What is wanted; maps are there wherever scores are made of them.
    gives: Gives,
}

/// The outcome for one picture.
#[derive(Clone, Debug)]
pub struct Scored {
    pub score: f64,
    /// The blurred anomaly map; of a scorer that gives scores alone, empty.
    pub map: Map,
}

impl Scorer {
    /// Plans scoring for up to `batch` pictures at a time. `backbone` is folded; `networks` are those beside it.
    pub fn new(
        config: &Config,
        backbone: &Values<f32>,
        networks: &[Values<f32>],
        batch: usize,
        backend: &Backend,
        gives: Gives,
    ) -> Result<Self> {
        let program = config.scoring(batch, backend.number)?;
        Self::of_program(&program, config, backend, gives, |session| {
            for network in &program.networks {
                let name = &program.tape.parameters(network.id).network;
                let other = || networks.iter().find(|v| v.parameters.network == *name);
                match (name == resnet::NETWORK).then_some(backbone).or_else(other) {
                    Some(values) => session.write_params(network.id, values)?,
                    None => invalid!("scoring needs network {name}, which is not there"),
                }
            }
            Ok(())
        })
    }

    /// The same from a model file.
    pub fn from_file(model: &ModelFile, batch: usize, backend: &Backend, gives: Gives) -> Result<Self> {
        let program = model.config.scoring(batch, backend.number)?;
        Self::of_program(&program, &model.config, backend, gives, |session| model.load_into(session, &program))
    }

    /// Plans a model's scoring program; `fill` fills its networks.
    pub fn of_program(
        program: &Program,
        config: &Config,
        backend: &Backend,
        gives: Gives,
        fill: impl FnOnce(&mut dyn Session) -> Result<()>,
    ) -> Result<Self> {
        let (batch, framer) = (program.pictures(), config.framer());
        let inputs: Vec<Var> = program.inputs().collect();
        let [input] = inputs[..] else { invalid!("scoring takes pixels, one input; found {}", inputs.len()) };
        let mut outputs = vec![program.report("score")?];
        if gives == Gives::ScoresAndMaps || framer.framing != Framing::default() {
            outputs.push(program.report("map")?);
        }
        let mut tape = program.tape.clone();
        tape.outputs.retain(|v| outputs.contains(v));
        // One picture at a time is about latency, a batch about throughput.
        let mut session = backend.open_lanes(tape, if batch == 1 { 1 } else { 2 })?;
        fill(&mut *session)?;
        let (submitted, highest) = (VecDeque::new(), config.detector.highest());
        Ok(Scorer { session, input, outputs, batch, submitted, framer, highest, gives })
    }

    /// Side of the squares it takes.
    pub fn image_size(&self) -> usize {
        self.framer.size
    }

    /// How pictures become these.
    pub fn framer(&self) -> &Framer {
        &self.framer
    }

    /// Of a map the number of highest values whose mean is the score, where it is not the network's own; none for all of them.
    pub fn highest(&self) -> Option<usize> {
        self.highest
    }

    /// Whether maps are wanted.
    pub fn gives_maps(&self) -> bool {
        self.gives == Gives::ScoresAndMaps
    }

    /// Largest number of squares in one call of [`Scorer::score`].
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Batches that can be on their way at once.
    pub fn lanes(&self) -> usize {
        self.session.lanes()
    }

    /// Scores up to `batch` squares of size x size x 3 bytes. They do not influence each other.
    pub fn score(&mut self, pictures: &[&[u8]]) -> Result<Vec<Scored>> {
        self.submit(pictures)?;
        self.collect()
    }

    /// Starts scoring up to `batch` squares. No more than [`Scorer::lanes`] batches may be on their way.
    pub fn submit(&mut self, pictures: &[&[u8]]) -> Result<()> {
        let each = self.framer.size * self.framer.size * 3;
        if pictures.len() > self.batch || pictures.iter().any(|p| p.len() != each) {
            invalid!("expected at most {} pictures of {each} bytes, found {}", self.batch, pictures.len());
        }
        self.session.submit(&[(self.input, pictures)])?;
        self.submitted.push_back(pictures.len());
        Ok(())
    }

    /// Scores as [`Scorer::score`], one stage behind the other: seconds to copy pixels in, to compute, and to copy out.
    pub fn timed(&mut self, pictures: &[&[u8]]) -> Result<[f64; 3]> {
        let begun = Instant::now();
        self.session.write_bytes(self.input, &pictures.concat())?;
        let written = begun.elapsed();
        self.session.run()?;
        self.session.synchronize()?;
        let computed = begun.elapsed();
        for v in &self.outputs {
            self.session.read::<f32>(*v)?;
        }
        let read = begun.elapsed();
        Ok([written, computed - written, read - computed].map(|d| d.as_secs_f64()))
    }

    /// The program and its memory.
    pub fn session(&mut self) -> &mut dyn Session {
        &mut *self.session
    }

    /// Waits for the oldest batch on its way; its outcomes.
    pub fn collect(&mut self) -> Result<Vec<Scored>> {
        let Some(count) = self.submitted.pop_front() else { invalid!("no batch is on its way") };
        let lent = self.session.collect(&self.outputs)?;
        let scores: Vec<f32> = bytemuck::pod_collect_to_vec(lent[0]);
        if scores[..count].iter().any(|s| !s.is_finite()) {
            invalid!("the model gives scores that are not numbers: its weights are broken");
        }
        let map = |i: usize| {
            let bytes = self.framer.size * self.framer.size * size_of::<f32>();
            Map::square(lent.get(1).map_or(vec![], |maps| bytemuck::pod_collect_to_vec(&maps[i * bytes..][..bytes])))
        };
        let scored = |i: usize| Scored { score: f64::from(scores[i]), map: map(i) };
        // Of a single picture the copy takes less time than it takes to wake another thread.
        Ok(if count > 1 { (0..count).into_par_iter().map(scored).collect() } else { (0..count).map(scored).collect() })
    }
}
