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
mod job;
mod part;
pub mod pictures;
pub mod settings;
mod steps;

pub use checkpoint::beside;

use crate::data::folder::TrainSet;
use crate::detector::Learning;
use crate::engine::ops::optimizer::expect_trainable;
use crate::model::{TensorSource, resnet};
use crate::{Error, Result};
use events::{Ended, Event};
use job::Job;
use settings::Settings;
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
    let open = |uses_anomalies| Job::open(s, set, source, backbone, events, stop, uses_anomalies);
    let ended = match s.detector.learning() {
        Learning::Steps(how) => {
            checkpoint::expect_to_resume(s)?;
            steps::run(how, &open(how.uses_anomalies())?)
        }
        Learning::Fit(how) => {
            fit::expect_fittable(s)?;
            fit::run(how, &open(false)?)
        }
    };
    match ended {
        Err(Error::Cancelled) => Ok(Ended::Interrupted { saved: false }),
        ended => ended,
    }
}
