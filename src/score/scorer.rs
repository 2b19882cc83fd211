//! A detector ready to score: the program of one batch with its weights in place.

use super::program::{self, ScoreSpec};
use crate::Result;
use crate::engine::device::{Backend, Session};
use crate::engine::params::Values;
use crate::engine::tape::{NetId, Var};
use crate::model::features::Feed;
use crate::model::file::{Config, ModelFile};
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

impl Scorer {
    /// Plans scoring for up to `batch` pictures at a time.
    pub fn new(
        config: &Config,
        backbone: &Values<f32>,
        ae: &Values<f32>,
        batch: usize,
        backend: Backend,
    ) -> Result<Self> {
        Self::filled(config, batch, backend, |session, backbone_net, ae_net| {
            session.write_params(backbone_net, backbone)?;
            session.write_params(ae_net, ae)
        })
    }

    /// The same from a model file.
    pub fn from_file(model: &ModelFile, batch: usize, backend: Backend) -> Result<Self> {
        Self::filled(&model.config, batch, backend, |session, backbone, ae| model.load_into(session, backbone, ae))
    }

    fn filled(
        config: &Config,
        batch: usize,
        backend: Backend,
        fill: impl FnOnce(&mut dyn Session, NetId, NetId) -> Result<()>,
    ) -> Result<Self> {
        let spec = ScoreSpec {
            architecture: config.architecture.clone(),
            batch,
            feed: Feed::Pixels,
            sigma: config.sigma,
            topk: config.topk,
            dtype: backend.dtype(),
        };
        let p = program::record(&spec)?;
        // One picture at a time is about latency, a batch about throughput.
        let mut session = backend.open_lanes(p.tape, if batch == 1 { 1 } else { 2 })?;
        fill(&mut *session, p.backbone, p.ae)?;
        let size = config.architecture.image_size;
        let (maps, scores) = (vec![0.0; batch * size * size], vec![0.0; batch]);
        let (input, submitted) = (p.input[0], VecDeque::new());
        Ok(Scorer { session, input, map: p.map, score: p.score, size, batch, submitted, maps, scores })
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
            crate::invalid!("expected at most {} pictures of {each} bytes, found {}", self.batch, pictures.len());
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
        let Some(count) = self.submitted.pop_front() else { crate::invalid!("no batch is on its way") };
        let (maps, scores) = (&mut self.maps, &mut self.scores);
        let mut outputs = [(self.map, bytemuck::cast_slice_mut(maps)), (self.score, bytemuck::cast_slice_mut(scores))];
        self.session.collect(&mut outputs)?;
        if scores[..count].iter().any(|s| !s.is_finite()) {
            crate::invalid!("the model gives scores that are not numbers: its weights are broken");
        }
        let maps = maps.chunks_exact(self.size * self.size);
        Ok(maps.zip(scores).take(count).map(|(m, s)| Scored { score: f64::from(*s), map: m.to_vec() }).collect())
    }
}
