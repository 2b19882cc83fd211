//! What a run tells while it goes on, and how it ends.

use crate::detector::provenance::Calibration;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// What a run tells while it goes on.
pub enum Event<'a> {
    /// Pictures decoded, of how many.
    Decoded(usize, usize),
    /// Why a picture may not look as it was meant, with its name.
    Warning(&'a str),
    /// Pictures whose features are computed, of how many.
    Features(usize, usize),
    /// How many pictures are used for what, before anything is learned.
    Data {
        normal: usize,
        held_back: usize,
        anomalous: usize,
        elastic: bool,
    },
    /// The first step comes next: after how many epochs, and steps of the next one. Not (0, 0) in a resumed run, whose parts so
    /// far took so long, each up to its last checkpoint.
    Start {
        epoch: usize,
        step: usize,
        seconds: f64,
    },
    /// A step is done; counted from 1.
    Step {
        epoch: usize,
        step: usize,
        steps: usize,
        losses: &'a Losses,
    },
    Epoch(&'a EpochLog),
    /// A cross-validation is `before + done` of `of` steps far, of which `done` belong to the learning without this fold, counted
    /// from 1, and to the scores of its pictures, which are the last.
    Fold {
        fold: usize,
        folds: usize,
        before: usize,
        done: usize,
        of: usize,
    },
    /// A fit at once: the stage, how much of it is done, and of how much.
    Fitting(&'static str, usize, usize),
}

/// Values by the names of the losses.
#[derive(Clone, Debug)]
pub struct Losses {
    pub names: &'static [&'static str],
    pub values: Vec<f64>,
}

impl Losses {
    pub fn zero(names: &'static [&'static str]) -> Self {
        Losses { names, values: vec![0.0; names.len()] }
    }

    /// The loss `name`; 0 if there is none.
    pub fn get(&self, name: &str) -> f64 {
        self.names.iter().zip(&self.values).find(|(n, _)| **n == name).map_or(0.0, |(_, v)| *v)
    }
}

/// One line of the log.
#[derive(Clone, Debug)]
pub struct EpochLog {
    pub epoch: usize,
    pub seconds: f64,
    /// Means over the epoch's steps.
    pub losses: Losses,
}

/// One flat object: epoch, seconds, and each loss by its name.
impl Serialize for EpochLog {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("epoch", &self.epoch)?;
        map.serialize_entry("seconds", &self.seconds)?;
        for (name, value) in self.losses.names.iter().zip(&self.losses.values) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// How a run ended.
pub enum Ended {
    /// The model file is written; its threshold and what that rests on, if there are scores to take it from.
    Finished { threshold: Option<f64>, calibration: Option<Calibration> },
    /// Stopped on request; a checkpoint is written unless the first step was still to come.
    Interrupted { saved: bool },
}
