//! A detector ready to score: the program of one batch with its weights in place.

use crate::detector::BatchSpec;
use crate::detector::file::{Config, ModelFile};
use crate::engine::device::{Backend, Session};
use crate::engine::params::Values;
use crate::engine::tape::Var;
use crate::model::features::Feed;
use crate::model::resnet;
use crate::program::Program;
use crate::{Result, invalid};
use std::collections::VecDeque;
use std::time::Instant;

/// Scores batches of resized pictures.
pub struct Scorer {
    session: Box<dyn Session>,
    input: Var,
    map: Var,
    score: Var,
    size: usize,
    batch: usize,
    /// Pictures in each batch on its way.
    submitted: VecDeque<usize>,
    maps: Vec<f32>,
    scores: Vec<f32>,
}

/// The outcome for one picture.
#[derive(Clone, Debug)]
pub struct Scored {
    pub score: f64,
    /// The blurred anomaly map, size x size.
    pub map: Vec<f32>,
}

impl Scored {
    /// The highest value of the map.
    pub fn peak(&self) -> f32 {
        self.map.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }
}

impl Scorer {
    /// Plans scoring for up to `batch` pictures at a time. `backbone` is folded; `networks` are those beside it.
    pub fn new(
        config: &Config,
        backbone: &Values<f32>,
        networks: &[Values<f32>],
        batch: usize,
        backend: &Backend,
    ) -> Result<Self> {
        Self::filled(config, batch, backend, |session, program| {
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
    pub fn from_file(model: &ModelFile, batch: usize, backend: &Backend) -> Result<Self> {
        Self::filled(&model.config, batch, backend, |session, program| model.load_into(session, program))
    }

    fn filled(
        config: &Config,
        batch: usize,
        backend: &Backend,
        fill: impl FnOnce(&mut dyn Session, &Program) -> Result<()>,
    ) -> Result<Self> {
        let architecture = &config.architecture;
        let spec = BatchSpec { architecture, batch, feed: Feed::Pixels, dtype: backend.dtype() };
        let program = config.detector.scoring(&spec)?;
        let inputs: Vec<Var> = program.inputs().collect();
        let [input] = inputs[..] else { invalid!("scoring takes pixels, one input; found {}", inputs.len()) };
        let (map, score) = (program.report("map")?, program.report("score")?);
        // One picture at a time is about latency, a batch about throughput.
        let mut session = backend.open_lanes(program.tape.clone(), if batch == 1 { 1 } else { 2 })?;
        fill(&mut *session, &program)?;
        let size = architecture.image_size;
        let (maps, scores) = (vec![0.0; batch * size * size], vec![0.0; batch]);
        Ok(Scorer { session, input, map, score, size, batch, submitted: VecDeque::new(), maps, scores })
    }

    /// Side of the pictures it takes.
    pub fn image_size(&self) -> usize {
        self.size
    }

    /// Largest number of pictures in one call of [`Scorer::score`].
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Batches that can be on their way at once.
    pub fn lanes(&self) -> usize {
        self.session.lanes()
    }

    /// Scores up to `batch` pictures of size x size x 3 bytes. Pictures do not influence each other.
    pub fn score(&mut self, pictures: &[&[u8]]) -> Result<Vec<Scored>> {
        self.submit(pictures)?;
        self.collect()
    }

    /// Starts scoring up to `batch` pictures. No more than [`Scorer::lanes`] batches may be on their way.
    pub fn submit(&mut self, pictures: &[&[u8]]) -> Result<()> {
        let each = self.size * self.size * 3;
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
        self.session.read_bytes(self.map, bytemuck::cast_slice_mut(&mut self.maps))?;
        self.session.read_bytes(self.score, bytemuck::cast_slice_mut(&mut self.scores))?;
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
        let (maps, scores) = (&mut self.maps, &mut self.scores);
        let mut outputs = [(self.map, bytemuck::cast_slice_mut(maps)), (self.score, bytemuck::cast_slice_mut(scores))];
        self.session.collect(&mut outputs)?;
        if scores[..count].iter().any(|s| !s.is_finite()) {
            invalid!("the model gives scores that are not numbers: its weights are broken");
        }
        let maps = maps.chunks_exact(self.size * self.size);
        Ok(maps.zip(scores).take(count).map(|(m, s)| Scored { score: f64::from(*s), map: m.to_vec() }).collect())
    }
}
