//! What every way to learn needs: pictures decoded and divided, weights, listeners; and in the end thresholds and a model file.

use super::events::{Ended, Event};
use super::features::FeatureCache;
use super::holdout::{hold_out, without_fold};
use super::pictures::Pictures;
use super::settings::{Calibrate, Settings};
use crate::data::digest::{Digests, groups};
use crate::data::layout::TrainSet;
use crate::detector::file::{Config, Contents, save};
use crate::detector::provenance::{Calibration, Origin, Training, now};
use crate::detector::{Detector, Learning};
use crate::engine::params::Values;
use crate::model::{TensorSource, resnet};
use crate::output::{Place, checkpoint_of};
use crate::program::Program;
use crate::score::assembly::Assembly;
use crate::score::scorer::{Gives, Scorer};
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A run's pictures, weights and listeners.
pub struct Job<'a> {
    pub s: &'a Settings,
    pub source: &'a dyn TensorSource,
    /// Before the first picture was decoded.
    pub started: Instant,
    /// With its batch norms folded.
    pub backbone: Arc<Values<f32>>,
    pub events: &'a (dyn Fn(Event) + Sync),
    pub stop: &'a AtomicBool,
    pub pictures: Arc<Pictures>,
    pub normal: Vec<usize>,
    pub held_back: Vec<usize>,
    pub anomalous: Vec<usize>,
    /// What networks see of the normal pictures, and of the anomalous ones.
    pub normal_views: Vec<usize>,
    pub anomalous_views: Vec<usize>,
    /// Labelled pictures that only a threshold is taken from, and which of them are anomalous.
    pub validation: Option<(Pictures, Vec<bool>)>,
    /// Where the run can be gone on from; a part of a cross-validation cannot.
    pub checkpoint: Option<PathBuf>,
}

/// What was learned.
pub struct Learned {
    /// With what only the pictures could tell among its options.
    pub detector: Arc<dyn Detector>,
    pub networks: Vec<Values<f32>>,
}

/// What thresholds rest on, and which pictures that were.
pub struct Calibrated {
    calibration: Calibration,
    on: Digests,
}

/// Score and highest map value of the pictures that are done.
fn outcomes(assembly: &mut Assembly<()>) -> Vec<(f64, f64)> {
    std::iter::from_fn(|| assembly.take()).filter_map(|(_, s)| s.map(|s| (s.score, f64::from(s.map.peak())))).collect()
}

fn expect_to_go_on(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
}

impl<'a> Job<'a> {
    /// Decodes the pictures, unless it is stopped, and holds some normal ones back.
    pub fn open(
        s: &'a Settings,
        set: TrainSet,
        source: &'a dyn TensorSource,
        backbone: Values<f32>,
        events: &'a (dyn Fn(Event) + Sync),
        stop: &'a AtomicBool,
        uses_anomalies: bool,
    ) -> Result<Self> {
        let (started, good) = (Instant::now(), set.good.len());
        // Labelled anomalies that nobody uses are not even read.
        let labelled = if uses_anomalies { set.anomalous } else { vec![] };
        let total = good + labelled.len();
        let sources = set.good.into_iter().chain(labelled).map(|sample| sample.source).collect();
        let open = |sources: Vec<_>, total: usize| {
            let decoded = |done| {
                events(Event::Decoded(done, total));
                expect_to_go_on(stop)
            };
            Pictures::open(sources, s.architecture.framer(&s.framing), s.budget, &decoded)
        };
        let pictures = open(sources, total)?;
        let (labels, sources): (Vec<bool>, Vec<_>) =
            set.validation.into_iter().map(|s| (s.anomalous, s.source)).unzip();
        let validation = match s.calibrate {
            // Of its own, so that what is learned from has the same digest with and without it.
            Calibrate::BestF1 => {
                let count = sources.len();
                Some((open(sources, count)?, labels))
            }
            _ => None,
        };
        let all = std::iter::once(&pictures).chain(validation.iter().map(|v| &v.0));
        all.flat_map(Pictures::warnings).for_each(|warning| events(Event::Warning(warning)));
        let all: Vec<usize> = (0..good).collect();
        let (normal, held_back) = hold_out(&all, pictures.digests(), s.calibrate.held_back(good), s.seed);
        let anomalous: Vec<usize> = (good..total).collect();
        let elastic = uses_anomalies && anomalous.is_empty();
        pictures.doubts(good).into_iter().for_each(|doubt| events(Event::Warning(&doubt)));
        events(Event::Data { normal: normal.len(), held_back: held_back.len(), anomalous: anomalous.len(), elastic });
        let (normal_views, anomalous_views) = (pictures.views_of(&normal), pictures.views_of(&anomalous));
        let (backbone, pictures) = (Arc::new(backbone), Arc::new(pictures));
        let checkpoint = Some(checkpoint_of(&s.out));
        Ok(Job {
            s,
            source,
            started,
            backbone,
            events,
            stop,
            pictures,
            normal,
            held_back,
            anomalous,
            normal_views,
            anomalous_views,
            validation,
            checkpoint,
        })
    }

    /// The same without one of `folds` parts of its normal pictures, which is held back.
    pub fn without<'b>(&'b self, fold: usize, folds: usize, events: &'b (dyn Fn(Event) + Sync)) -> Job<'b> {
        let (normal, held_back) = without_fold(&self.normal, self.pictures.digests(), (fold, folds), self.s.seed);
        Job {
            s: self.s,
            source: self.source,
            started: self.started,
            backbone: self.backbone.clone(),
            events,
            stop: self.stop,
            pictures: self.pictures.clone(),
            normal_views: self.pictures.views_of(&normal),
            normal,
            held_back,
            anomalous: self.anomalous.clone(),
            anomalous_views: self.anomalous_views.clone(),
            validation: None,
            checkpoint: None,
        }
    }

    /// Views of normal pictures in a step.
    pub fn batch(&self) -> usize {
        self.s.batch.min(self.normal_views.len())
    }

    /// Steps of an epoch. Views that fill no whole batch are left to another epoch's order.
    pub fn steps(&self) -> usize {
        self.normal_views.len() / self.batch()
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub fn expect_to_go_on(&self) -> Result<()> {
        expect_to_go_on(self.stop)
    }

    /// Where features are kept, if they are: in memory or beside the model file.
    pub fn place(&self) -> Option<Place<'_>> {
        let folder = self.s.out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.s.cache.place(self.s.budget, folder)
    }

    /// What `program` reports of these views, if it is kept.
    pub fn features(&self, program: &Program, views: &[usize]) -> Result<Option<FeatureCache>> {
        let Some(place) = self.place() else { return Ok(None) };
        let mut heard = |done: usize| {
            (self.events)(Event::Features(done, views.len()));
            self.expect_to_go_on()
        };
        let pictures = (&*self.pictures, views);
        FeatureCache::build(&place, program, &self.backbone, &self.s.backend, pictures, &mut heard).map(Some)
    }

    /// What the model file says before there is a threshold.
    pub fn config(&self, detector: Arc<dyn Detector>) -> Config {
        let extra = [("weights".to_string(), self.s.weights.clone())].into();
        let framing = self.s.framing.clone();
        Config { extra, framing, ..Config::new(detector, self.s.architecture.clone()) }
    }

    /// Score and highest map value of these of `pictures`, whose indices they are.
    pub fn outcomes(&self, learned: &Learned, pictures: &Pictures, indices: &[usize]) -> Result<Vec<(f64, f64)>> {
        let config = self.config(learned.detector.clone());
        let trained = learned.networks.iter().find(|v| v.parameters.network == resnet::NETWORK);
        let trained = trained.map(|v| resnet::load(&self.s.architecture, v)).transpose()?;
        let backbone = trained.as_ref().unwrap_or(&self.backbone);
        let mut scorer =
            Scorer::new(&config, backbone, &learned.networks, self.batch(), &self.s.backend, Gives::ScoresAndMaps)?;
        let (mut assembly, mut all) = (Assembly::new(&mut scorer), Vec::new());
        for &picture in indices {
            let mut view = pictures.views(picture)?;
            assembly.push((), pictures.frame(picture).clone(), |_, i| view(i))?;
            all.extend(outcomes(&mut assembly));
        }
        assembly.finish()?;
        all.extend(outcomes(&mut assembly));
        Ok(all)
    }

    /// Thresholds by what the normal pictures of these indices, which training did not see, came to; none of no pictures. Of
    /// equal pictures one counts: a copy is no further evidence.
    pub fn calibrated(&self, origin: Origin, indices: &[usize], outcomes: &[(f64, f64)]) -> Option<Calibrated> {
        let different = groups(self.pictures.digests_of(indices));
        let outcomes: Vec<_> = different.iter().map(|equal| outcomes[equal[0]]).collect();
        let calibration = Calibration::new(origin, self.s.quantile, &outcomes);
        (!outcomes.is_empty()).then(|| Calibrated { calibration, on: self.pictures.digests_of(indices).collect() })
    }

    /// Thresholds by the validation pictures.
    pub fn calibrated_by_f1(&self, learned: &Learned) -> Result<Option<Calibrated>> {
        let Some((pictures, labels)) = &self.validation else { return Ok(None) };
        let indices: Vec<usize> = (0..pictures.len()).collect();
        let outcomes = self.outcomes(learned, pictures, &indices)?;
        let different = groups(pictures.digests().iter().zip(labels));
        let labelled = |i: usize| (outcomes[i].0, outcomes[i].1, labels[i]);
        let outcomes: Vec<_> = different.iter().map(|equal| labelled(equal[0])).collect();
        let calibration = Calibration::best_f1(self.s.quantile, &outcomes)?;
        Ok(Some(Calibrated { calibration, on: pictures.digests().iter().copied().collect() }))
    }

    /// Writes the model file.
    pub fn finish(&self, learned: &Learned, calibrated: Option<Calibrated>) -> Result<Ended> {
        let mut config = self.config(learned.detector.clone());
        config.training = Some(self.training()?);
        config.trained_on =
            self.pictures.digests_of(&self.normal).chain(self.pictures.digests_of(&self.anomalous)).collect();
        if let Some(Calibrated { calibration, on }) = calibrated {
            config.calibrated_on = on;
            let (threshold, pixel_threshold) = calibration.thresholds()?;
            (config.threshold, config.pixel_threshold) = (Some(threshold), Some(pixel_threshold));
            config.calibration = Some(calibration);
        }
        let (networks, threshold) = (&learned.networks[..], config.threshold);
        save(&self.s.out, &Contents { config: &config, backbone: self.source, networks, state: vec![] })?;
        Ok(Ended::Finished { threshold, calibration: config.calibration })
    }

    fn training(&self) -> Result<Training> {
        let s = self.s;
        let options = s.detector.options();
        let option = |name: &str| Some((name.to_string(), options.text(name)?.to_string()));
        let device = format!("{}, {}", s.backend, s.backend.identity()?);
        Ok(Training {
            version: env!("CARGO_PKG_VERSION").into(),
            date: now()?,
            device,
            seed: s.seed,
            epochs: matches!(s.detector.learning(), Learning::Steps(_)).then_some(s.epochs),
            batch_size: s.batch,
            options: options.specs().iter().filter_map(|spec| option(spec.name)).collect(),
            normal: self.normal.len(),
            held_back: self.held_back.len(),
            anomalous: self.anomalous.len(),
            normal_class: s.normal_class.clone(),
            data: self.pictures.digest().into(),
        })
    }
}
