//! The training loop: pictures in, model file out, with checkpoints on the way.
//!
//! Every random choice is a function of the seed and of where the run is (epoch, step, picture), so resuming needs no
//! state of a generator, and going on after an interruption gives the bits of a run that was never interrupted.

use super::checkpoint::{self, Position, Sums, Trained};
use super::features::{CacheKind, FeatureCache, Place};
use super::pictures::Pictures;
use super::step::{self, Hyper, StepProgram, StepSpec, Strategy};
use super::threshold::quantile;
use crate::data::elastic::elastic;
use crate::data::folder::TrainSet;
use crate::engine::device::{Backend, Session};
use crate::engine::ops::optimizer::expect_trainable;
use crate::engine::params::Values;
use crate::model::features::Feed;
use crate::model::file::{Config, Contents, save};
use crate::model::init::{self, named_rng};
use crate::model::{Architecture, TensorSource, resnet};
use crate::score::scorer::Scorer;
use crate::{Result, invalid};
use rand::{Rng, RngExt, seq::SliceRandom};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// torchvision's defaults for `ElasticTransform`, as the paper uses it.
const ELASTIC_ALPHA: f32 = 200.0;
const ELASTIC_SIGMA: f32 = 5.0;

/// What to train, on what, and where to put it.
pub struct Settings {
    pub architecture: Architecture,
    /// Where to compute, in anything but `F16`.
    pub backend: Backend,
    pub strategy: Strategy,
    pub hyper: Hyper,
    pub epochs: usize,
    pub batch: usize,
    pub seed: u64,
    /// Draw a new order every epoch; off, pictures come in the order of their names.
    pub shuffle: bool,
    /// Share of the normal pictures held back for the threshold.
    pub holdout: f64,
    /// Quantile of the held-back pictures' scores that becomes the threshold.
    pub quantile: f64,
    pub topk: Option<usize>,
    pub sigma: f64,
    pub cache: CacheKind,
    /// Bytes that decoded pictures, and again that features, may take in memory.
    pub budget: usize,
    /// Epochs between checkpoints; 0 writes one only when interrupted.
    pub checkpoint_every: usize,
    /// Go on from the checkpoint beside `out`.
    pub resume: bool,
    pub out: PathBuf,
    /// Said of the backbone in the model file: where its weights came from.
    pub weights: String,
}

impl Settings {
    /// One setting a line: those that change the numbers. A run resumes only with the same ones.
    fn text(&self, normal: usize, anomalous: usize, cached: bool) -> Result<String> {
        let (a, h) = (&self.architecture, &self.hyper);
        Ok(format!(
            "backbone {}\nlayers {:?}\nimage_size {}\nstrategy {:?}\n{:?}\nbatch {}\nseed {}\nshuffle {}\nholdout {}\n\
             normal pictures {normal}\nanomalous pictures {anomalous}\nfeatures cached {cached}\n{}",
            a.backbone.name,
            a.layers,
            a.image_size,
            self.strategy,
            h,
            self.batch,
            self.seed,
            self.shuffle,
            self.holdout,
            self.backend.identity()?,
        ))
    }
}

/// What a run tells while it goes on.
pub enum Event<'a> {
    /// Pictures decoded, of how many.
    Decoded(usize, usize),
    /// Pictures whose features are computed, of how many.
    Features(usize, usize),
    /// How many pictures are used for what, before the first step.
    Data {
        normal: usize,
        held_back: usize,
        anomalous: usize,
        elastic: bool,
    },
    /// The first step comes next: after how many epochs, and steps of the next one. Not (0, 0) in a resumed run.
    Start {
        epoch: usize,
        step: usize,
    },
    /// A step is done; counted from 1.
    Step {
        epoch: usize,
        step: usize,
        steps: usize,
        losses: Sums,
    },
    Epoch(&'a EpochLog),
}

/// One line of the log.
#[derive(Clone, Debug, serde::Serialize)]
pub struct EpochLog {
    pub epoch: usize,
    pub seconds: f64,
    /// Means over the epoch's steps.
    pub d_loss: f64,
    pub recon: f64,
    pub adv: f64,
    pub loss: f64,
}

/// How a run ended.
pub enum Ended {
    /// The model file is written; its threshold, if pictures were held back.
    Finished { threshold: Option<f64> },
    /// Stopped on request; a checkpoint is written unless the first step was still to come.
    Interrupted { saved: bool },
}

/// Pictures of one run, by use.
struct Data {
    pictures: Pictures,
    normal: Vec<usize>,
    held_back: Vec<usize>,
    anomalous: Vec<usize>,
}

/// Trains a detector. `stop` is looked at between steps.
pub fn run(
    s: &Settings,
    set: TrainSet,
    source: &dyn TensorSource,
    events: &(dyn Fn(Event) + Sync),
    stop: &AtomicBool,
) -> Result<Ended> {
    // What can be refused is refused before the pictures are decoded.
    expect_trainable(s.backend.dtype())?;
    let a = &s.architecture;
    let backbone: Values<f32> = resnet::load(a, source)?;
    let checkpoint = checkpoint::path_of(&s.out);
    if s.resume && !checkpoint.exists() {
        invalid!("{}: there is no checkpoint to resume from", checkpoint.display());
    }
    let data = open(s, set, events)?;
    let adversarial = s.strategy != Strategy::Recon;
    let distort = adversarial && data.anomalous.is_empty();
    let n = s.batch.min(data.normal.len());
    let m = match (adversarial, distort) {
        (false, _) => 0,
        (_, true) => n,
        (_, false) => s.batch.min(data.anomalous.len()),
    };
    events(Event::Data {
        normal: data.normal.len(),
        held_back: data.held_back.len(),
        anomalous: data.anomalous.len(),
        elastic: distort,
    });

    let folder = s.out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut heard = |done: usize| {
        events(Event::Features(done, data.pictures.len()));
        if stop.load(Ordering::Relaxed) { Err(interrupted_early()) } else { Ok(()) }
    };
    let built = FeatureCache::build(
        Place { kind: s.cache, budget: s.budget, folder },
        a,
        &backbone,
        s.backend,
        &data.pictures,
        n,
        &mut heard,
    );
    let mut cache = match built {
        Err(_) if stop.load(Ordering::Relaxed) => return Ok(Ended::Interrupted { saved: false }),
        built => built?,
    };
    let feed = if cache.is_some() { Feed::Features } else { Feed::Pixels };
    let spec = StepSpec {
        architecture: a.clone(),
        strategy: s.strategy,
        hyper: s.hyper,
        normal: n,
        anomalous: m,
        normal_feed: feed,
        anomalous_feed: if distort { Feed::Pixels } else { feed },
        dtype: s.backend.dtype(),
    };
    let program = step::record(&spec)?;
    let mut session = s.backend.open(program.tape.clone())?;
    if !session.tape().layout(program.backbone).is_empty() {
        session.write_params(program.backbone, &backbone)?;
    }
    let trained = Trained { ae: program.ae, discriminator: adversarial.then_some(program.discriminator) };
    for net in [Some(program.ae), trained.discriminator].into_iter().flatten() {
        let fresh = init::network(session.tape().layout(net), s.seed);
        session.write_params(net, &fresh)?;
    }

    if let Some(cache) = &mut cache {
        cache.keep_on_device(&mut *session)?;
    }

    let mut config =
        Config { architecture: a.clone(), topk: s.topk, sigma: s.sigma, threshold: None, extra: Default::default() };
    config.extra.insert("weights".into(), s.weights.clone());
    let text = s.text(data.normal.len(), data.anomalous.len(), cache.is_some())?;
    let mut at = Position::default();
    if s.resume {
        at = checkpoint::read(&checkpoint, &text, source, &mut *session, &trained)?;
    }
    events(Event::Start { epoch: at.epoch, step: at.step });
    let save_checkpoint = |session: &dyn Session, at: &Position| -> Result<()> {
        checkpoint::write(&checkpoint, &config, &text, at, source, session, &trained)
    };

    let steps = data.normal.len() / n;
    let mut feeder = Feeder::new(s, &spec, &data, distort);
    while at.epoch < s.epochs {
        let started = std::time::Instant::now();
        let order = feeder.order(at.epoch);
        while at.step < steps {
            if stop.load(Ordering::Relaxed) {
                if at.updates == 0 {
                    // Nothing to keep, and an earlier run's checkpoint may be there.
                    return Ok(Ended::Interrupted { saved: false });
                }
                save_checkpoint(&*session, &at)?;
                return Ok(Ended::Interrupted { saved: true });
            }
            let normal = &order[at.step * n..][..n];
            feeder.fill(&mut *session, &program, cache.as_mut(), normal, at)?;
            session.run()?;
            let losses = read_losses(&*session, &program)?;
            if !losses.0.iter().all(|l| l.is_finite()) {
                invalid!(
                    "training diverged in epoch {}, step {}: losses {:?}; nothing was written since the last checkpoint. Try a lower --lr",
                    at.epoch + 1,
                    at.step + 1,
                    losses.0
                );
            }
            at.step += 1;
            at.updates += 1;
            at.sums.0.iter_mut().zip(losses.0).for_each(|(sum, l)| *sum += l);
            events(Event::Step { epoch: at.epoch + 1, step: at.step, steps, losses });
        }
        let [d_loss, recon, adv, loss] = at.sums.0.map(|sum| sum / steps as f64);
        let seconds = started.elapsed().as_secs_f64();
        events(Event::Epoch(&EpochLog { epoch: at.epoch + 1, seconds, d_loss, recon, adv, loss }));
        at = Position { epoch: at.epoch + 1, updates: at.updates, ..Position::default() };
        if s.checkpoint_every > 0 && (at.epoch % s.checkpoint_every == 0 || at.epoch == s.epochs) {
            save_checkpoint(&*session, &at)?;
        }
    }

    let ae = checkpoint::parameters(&*session, program.ae)?;
    let discriminator = trained.discriminator.map(|d| checkpoint::parameters(&*session, d)).transpose()?;
    drop(session);
    for values in [Some(&ae), discriminator.as_ref()].into_iter().flatten() {
        checkpoint::expect_finite(values)?;
    }
    if !data.held_back.is_empty() {
        let mut scorer = Scorer::new(&config, &backbone, &ae, n, s.backend)?;
        config.threshold = Some(quantile(&scores(&mut scorer, &data.pictures, &data.held_back)?, s.quantile)?);
    }
    save(
        &s.out,
        &Contents { config: &config, backbone: source, ae: &ae, discriminator: discriminator.as_ref(), state: vec![] },
    )?;
    Ok(Ended::Finished { threshold: config.threshold })
}

fn interrupted_early() -> crate::Error {
    crate::Error::Invalid("interrupted before the first step".into())
}

/// Decodes the pictures and holds some normal ones back.
fn open(s: &Settings, set: TrainSet, events: &(dyn Fn(Event) + Sync)) -> Result<Data> {
    let good = set.good.len();
    // Labelled anomalies that the strategy does not use are not even read.
    let labelled = if s.strategy == Strategy::Recon { vec![] } else { set.anomalous };
    let total = good + labelled.len();
    let paths = set.good.into_iter().chain(labelled).collect();
    let pictures =
        Pictures::open(paths, s.architecture.image_size, s.budget, &|done| events(Event::Decoded(done, total)))?;
    let mut normal: Vec<usize> = (0..good).collect();
    normal.shuffle(&mut named_rng(s.seed, "holdout"));
    let held = ((good as f64 * s.holdout).round() as usize).min(good - 1);
    let mut held_back = normal.split_off(good - held);
    normal.sort_unstable();
    held_back.sort_unstable();
    Ok(Data { pictures, normal, held_back, anomalous: (good..total).collect() })
}

/// Scores of some of the pictures.
fn scores(scorer: &mut Scorer, pictures: &Pictures, indices: &[usize]) -> Result<Vec<f64>> {
    let mut all = Vec::new();
    for batch in indices.chunks(scorer.batch()) {
        let mut pixels = vec![0; batch.len() * pictures.each()];
        pictures.gather(batch, &mut pixels)?;
        let views: Vec<&[u8]> = pixels.chunks_exact(pictures.each()).collect();
        all.extend(scorer.score(&views)?.into_iter().map(|s| s.score));
    }
    Ok(all)
}

fn read_losses(session: &dyn Session, p: &StepProgram) -> Result<Sums> {
    let (mut d_loss, mut adv) = (0.0, 0.0);
    if let Some((d, a)) = p.losses.adversarial {
        (d_loss, adv) = (session.scalar(d)?, session.scalar(a)?);
    }
    Ok(Sums([d_loss, session.scalar(p.losses.recon)?, adv, session.scalar(p.losses.total)?]))
}

/// Chooses pictures and brings them into the session.
struct Feeder<'a> {
    s: &'a Settings,
    data: &'a Data,
    distort: bool,
    /// Images of each group.
    n: usize,
    m: usize,
    pixels: Vec<u8>,
}

impl<'a> Feeder<'a> {
    fn new(s: &'a Settings, spec: &StepSpec, data: &'a Data, distort: bool) -> Self {
        let (n, m) = (spec.normal, spec.anomalous);
        Feeder { s, data, distort, n, m, pixels: vec![0; (n + m) * data.pictures.each()] }
    }

    /// The normal pictures in the order of this epoch.
    fn order(&self, epoch: usize) -> Vec<usize> {
        let mut order = self.data.normal.clone();
        if self.s.shuffle {
            order.shuffle(&mut named_rng(self.s.seed, &format!("order.{epoch}")));
        }
        order
    }

    /// The labelled anomalous pictures of a step, drawn with replacement (in turn, when nothing is shuffled).
    fn anomalous(&self, at: Position) -> Vec<usize> {
        let all = &self.data.anomalous;
        if !self.s.shuffle {
            return (0..self.m).map(|i| all[(at.step * self.m + i) % all.len()]).collect();
        }
        let mut rng = named_rng(self.s.seed, &format!("anomalous.{}.{}", at.epoch, at.step));
        (0..self.m).map(|_| all[rng.random_range(0..all.len())]).collect()
    }

    fn fill(
        &mut self,
        session: &mut dyn Session,
        program: &StepProgram,
        cache: Option<&mut FeatureCache>,
        normal: &[usize],
        at: Position,
    ) -> Result<()> {
        let (n, m, each) = (self.n, self.m, self.data.pictures.each());
        let bad = if m == 0 || self.distort { vec![] } else { self.anomalous(at) };
        let Some(cache) = cache else {
            let (good_pixels, bad_pixels) = self.pixels.split_at_mut(n * each);
            self.data.pictures.gather(normal, good_pixels)?;
            if self.distort {
                distort_all(self.s, good_pixels, bad_pixels, at);
            } else {
                self.data.pictures.gather(&bad, bad_pixels)?;
            }
            return session.write(program.normal[0], &self.pixels);
        };
        cache.write(session, &program.normal, &[normal, &bad].concat())?;
        if let (true, Some(&v)) = (self.distort, program.anomalous.first()) {
            let (good_pixels, bad_pixels) = self.pixels.split_at_mut(n * each);
            self.data.pictures.gather(normal, good_pixels)?;
            distort_all(self.s, good_pixels, bad_pixels, at);
            session.write(v, bad_pixels)?;
        }
        Ok(())
    }
}

/// Pseudo-anomalies: every normal picture of the step, distorted.
fn distort_all(s: &Settings, good: &[u8], bad: &mut [u8], at: Position) {
    let size = s.architecture.image_size;
    let each = size * size * 3;
    bad.par_chunks_exact_mut(each).zip(good.par_chunks_exact(each)).enumerate().for_each(|(i, (bad, good))| {
        let seed = named_rng(s.seed, &format!("elastic.{}.{}.{i}", at.epoch, at.step)).next_u64();
        elastic(good, size, ELASTIC_ALPHA, ELASTIC_SIGMA, seed, bad);
    });
}
