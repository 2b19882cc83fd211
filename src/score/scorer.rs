//! A detector ready to score: the program of one batch with its weights in place.

use super::program::{self, ScoreSpec};
use crate::Result;
use crate::engine::device::{Arena, Backend, Session};
use crate::engine::params::Values;
use crate::engine::tape::{NetId, Var};
use crate::model::features::Feed;
use crate::model::file::{Config, ModelFile};

/// Scores batches of resized pictures.
pub struct Scorer {
    session: Box<dyn Session>,
    input: Var,
    map: Var,
    score: Var,
    size: usize,
    batch: usize,
    pixels: Vec<u8>,
    maps: Vec<f32>,
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
            session.write_arena(backbone_net, Arena::Params, backbone)?;
            session.write_arena(ae_net, Arena::Params, ae)
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
        let mut session = backend.open(p.tape)?;
        fill(&mut *session, p.backbone, p.ae)?;
        let size = config.architecture.image_size;
        let (pixels, maps) = (vec![0; batch * size * size * 3], vec![0.0; batch * size * size]);
        Ok(Scorer { session, input: p.input[0], map: p.map, score: p.score, size, batch, pixels, maps })
    }

    /// Side of the pictures it takes.
    pub fn image_size(&self) -> usize {
        self.size
    }

    /// Largest number of pictures in one call of [`Scorer::score`].
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Scores up to `batch` pictures of size x size x 3 bytes. Pictures do not influence each other.
    pub fn score(&mut self, pictures: &[&[u8]]) -> Result<Vec<Scored>> {
        let each = self.size * self.size * 3;
        if pictures.len() > self.batch || pictures.iter().any(|p| p.len() != each) {
            crate::invalid!("expected at most {} pictures of {each} bytes, found {}", self.batch, pictures.len());
        }
        for (to, picture) in self.pixels.chunks_exact_mut(each).zip(pictures) {
            to.copy_from_slice(picture);
        }
        self.session.write(self.input, &self.pixels)?;
        self.session.run()?;
        self.session.read_into(self.map, &mut self.maps)?;
        let scores = self.session.read::<f32>(self.score)?;
        if scores[..pictures.len()].iter().any(|s| !s.is_finite()) {
            crate::invalid!("the model gives scores that are not numbers: its weights are broken");
        }
        let maps = self.maps.chunks_exact(self.size * self.size);
        Ok(maps.zip(scores).take(pictures.len()).map(|(m, s)| Scored { score: s as f64, map: m.to_vec() }).collect())
    }
}
