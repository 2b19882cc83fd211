//! What every way to learn needs: pictures decoded and divided, weights, listeners; and in the end a threshold and a model file.

use super::events::{Ended, Event};
use super::features::{FeatureCache, Place};
use super::pictures::Pictures;
use super::settings::Settings;
use crate::data::folder::TrainSet;
use crate::detector::Detector;
use crate::detector::file::{Config, Contents, save};
use crate::engine::params::Values;
use crate::metrics::quantile::quantile;
use crate::model::TensorSource;
use crate::model::init::named_rng;
use crate::program::Program;
use crate::score::scorer::Scorer;
use crate::{Error, Result};
use rand::seq::SliceRandom;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A run's pictures, weights and listeners.
pub struct Job<'a> {
    pub s: &'a Settings,
    pub source: &'a dyn TensorSource,
    /// With its batch norms folded.
    pub backbone: Values<f32>,
    pub events: &'a (dyn Fn(Event) + Sync),
    pub stop: &'a AtomicBool,
    pub pictures: Pictures,
    pub normal: Vec<usize>,
    pub held_back: Vec<usize>,
    pub anomalous: Vec<usize>,
}

impl<'a> Job<'a> {
    /// Decodes the pictures and holds some normal ones back.
    pub fn open(
        s: &'a Settings,
        set: TrainSet,
        source: &'a dyn TensorSource,
        backbone: Values<f32>,
        events: &'a (dyn Fn(Event) + Sync),
        stop: &'a AtomicBool,
        uses_anomalies: bool,
    ) -> Result<Self> {
        let good = set.good.len();
        // Labelled anomalies that nobody uses are not even read.
        let labelled = if uses_anomalies { set.anomalous } else { vec![] };
        let total = good + labelled.len();
        let sources = set.good.into_iter().chain(labelled).collect();
        let pictures =
            Pictures::open(sources, s.architecture.image_size, s.budget, &|done| events(Event::Decoded(done, total)))?;
        let mut normal: Vec<usize> = (0..good).collect();
        normal.shuffle(&mut named_rng(s.seed, "holdout"));
        let held = ((good as f64 * s.holdout).round() as usize).min(good - 1);
        let mut held_back = normal.split_off(good - held);
        normal.sort_unstable();
        held_back.sort_unstable();
        let anomalous: Vec<usize> = (good..total).collect();
        let elastic = uses_anomalies && anomalous.is_empty();
        events(Event::Data { normal: normal.len(), held_back: held, anomalous: anomalous.len(), elastic });
        Ok(Job { s, source, backbone, events, stop, pictures, normal, held_back, anomalous })
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub fn expect_to_go_on(&self) -> Result<()> {
        if self.stopped() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// What `program` reports of the pictures of these indices, in memory or beside the model file.
    pub fn features(&self, program: &Program, indices: &[usize]) -> Result<Option<FeatureCache>> {
        let s = self.s;
        let folder = s.out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let place = Place { kind: s.cache, budget: s.budget, folder };
        let mut heard = |done: usize| {
            (self.events)(Event::Features(done, indices.len()));
            self.expect_to_go_on()
        };
        FeatureCache::build(place, program, &self.backbone, s.backend, (&self.pictures, indices), &mut heard)
    }

    /// What the model file says before there is a threshold.
    pub fn config(&self, detector: Arc<dyn Detector>) -> Config {
        let extra = [("weights".to_string(), self.s.weights.clone())].into();
        Config { detector, architecture: self.s.architecture.clone(), threshold: None, extra }
    }

    /// Sets the threshold by the pictures that were held back and writes the model file.
    pub fn finish(&self, mut config: Config, networks: &[Values<f32>]) -> Result<Ended> {
        if !self.held_back.is_empty() {
            let batch = self.s.batch.min(self.normal.len());
            let mut scorer = Scorer::new(&config, &self.backbone, networks, batch, self.s.backend)?;
            config.threshold = Some(quantile(&self.scores(&mut scorer, &self.held_back)?, self.s.quantile)?);
        }
        save(&self.s.out, &Contents { config: &config, backbone: self.source, networks, state: vec![] })?;
        Ok(Ended::Finished { threshold: config.threshold })
    }

    /// Scores of some of the pictures.
    fn scores(&self, scorer: &mut Scorer, indices: &[usize]) -> Result<Vec<f64>> {
        let mut all = Vec::new();
        for batch in indices.chunks(scorer.batch()) {
            let mut pixels = vec![0; batch.len() * self.pictures.each()];
            self.pictures.gather(batch, &mut pixels)?;
            let views: Vec<&[u8]> = pixels.chunks_exact(self.pictures.each()).collect();
            all.extend(scorer.score(&views)?.into_iter().map(|s| s.score));
        }
        Ok(all)
    }
}
