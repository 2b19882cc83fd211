//! Training: pictures in, model file out. A detector that learns by gradients goes through [`steps`], with checkpoints on
//! the way; one that learns at once through [`fit`]. What both need is prepared and finished by a [`job`].
//!
//! Every random choice is a function of the seed and of where the run is (epoch, step, picture), so resuming needs no
//! state of a generator, and going on after an interruption gives the bits of a run that was never interrupted.

mod checkpoint;
pub mod events;
pub mod features;
mod feeder;
mod fit;
mod holdout;
mod job;
mod part;
pub mod pictures;
pub mod settings;
pub mod setup;
mod steps;

use crate::data::digest::groups;
use crate::data::layout::TrainSet;
use crate::detector::Learning;
use crate::detector::provenance::Origin;
use crate::engine::ops::optimizer::expect_trainable;
use crate::error::plural;
use crate::model::{TensorSource, resnet};
use crate::{Error, Result};
use events::{Ended, Event};
use job::{Job, Learned};
use settings::{Calibrate, Settings};
use std::sync::atomic::AtomicBool;

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
    let backbone = resnet::load(&s.architecture, source)?;
    let uses_anomalies = match s.detector.learning() {
        Learning::Steps(how) => {
            checkpoint::expect_to_resume(s)?;
            how.uses_anomalies()
        }
        Learning::Fit(_) => {
            fit::expect_fittable(s)?;
            false
        }
    };
    if let Calibrate::CrossValidation { folds } = s.calibrate {
        expect_folds(folds, set.good.len(), "normal picture")?;
    }
    if s.calibrate == Calibrate::BestF1 {
        expect_both_kinds(&set)?;
    }
    let ended = Job::open(s, set, source, backbone, events, stop, uses_anomalies).and_then(|job| learn_all(&job));
    match ended {
        Err(Error::Cancelled) => Ok(Ended::Interrupted { saved: false }),
        ended => ended,
    }
}

fn expect_folds(folds: usize, pictures: usize, what: &str) -> Result<()> {
    if (2..=pictures).contains(&folds) {
        return Ok(());
    }
    let (folds, of) = (plural(folds, "fold"), plural(pictures, what));
    let text = format!(
        "{folds} of {of}: expected at least 2, and no more than pictures; --folds sets another number, --holdout holds a share back instead"
    );
    Err(Error::Usage(text))
}

fn expect_both_kinds(set: &TrainSet) -> Result<()> {
    let of = |kind: bool| set.validation.iter().filter(|s| s.anomalous == kind).count();
    let (normal, anomalous) = (of(false), of(true));
    if normal > 0 && anomalous > 0 {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "the best F1 is that of labelled validation pictures of both kinds, and there are {normal} normal and {anomalous} \
         anomalous ones: leave it out, or run `ckaad threshold --best-f1` with others"
    )))
}

/// Learns from the pictures, and once more without each fold where the thresholds are cross-validated.
fn learn_all(job: &Job) -> Result<Ended> {
    if let Calibrate::CrossValidation { folds } = job.s.calibrate {
        expect_folds(folds, groups(job.pictures.digests_of(&job.normal)).len(), "different normal picture")?;
    }
    let learned = match learn(job)? {
        Outcome::Learned(learned) => learned,
        Outcome::Interrupted { saved } => return Ok(Ended::Interrupted { saved }),
    };
    let folds = match job.s.calibrate {
        Calibrate::CrossValidation { folds } => folds,
        Calibrate::BestF1 => return job.finish(&learned, job.calibrated_by_f1(&learned)?),
        Calibrate::HoldOut(_) => {
            let outcomes = job.outcomes(&learned, &job.pictures, &job.held_back)?;
            return job.finish(&learned, job.calibrated(Origin::HeldBack, &job.held_back, &outcomes));
        }
    };
    let (mut scored, mut outcomes) = (Vec::new(), Vec::new());
    // The steps of its learning, which a fit at once has none of, and its scores.
    let steps_of = |part: &Job| match job.s.detector.learning() {
        Learning::Steps(_) => job.s.epochs * part.steps() + 1,
        Learning::Fit(_) => 1,
    };
    // Parts are not of one size.
    let of = (0..folds).map(|fold| steps_of(&job.without(fold, folds, &|_| ()))).sum();
    let mut ended = 0;
    for fold in 0..folds {
        let before = ended;
        let tell = |done| (job.events)(Event::Fold { fold: fold + 1, folds, before, done, of });
        let heard = |event: Event| {
            // Of its own learning it tells how far it is.
            if let Event::Step { epoch, step, steps, .. } = event {
                tell((epoch - 1) * steps + step);
            }
        };
        tell(0);
        let part = job.without(fold, folds, &heard);
        match learn(&part)? {
            Outcome::Learned(without) => {
                scored.extend(&part.held_back);
                outcomes.extend(part.outcomes(&without, &part.pictures, &part.held_back)?);
                tell(steps_of(&part));
                ended += steps_of(&part);
            }
            // The detector itself is learned, and where there are checkpoints, one holds it.
            Outcome::Interrupted { .. } => {
                let saved = matches!(job.s.detector.learning(), Learning::Steps(_));
                return Ok(Ended::Interrupted { saved });
            }
        }
    }
    job.finish(&learned, job.calibrated(Origin::CrossValidation { folds }, &scored, &outcomes))
}

/// How learning ended.
enum Outcome {
    Learned(Learned),
    Interrupted { saved: bool },
}

fn learn(job: &Job) -> Result<Outcome> {
    match job.s.detector.learning() {
        Learning::Steps(how) => steps::run(how, job),
        Learning::Fit(how) => fit::run(how, job).map(Outcome::Learned),
    }
}
