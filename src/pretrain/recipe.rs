//! What is learned, from which pictures, and how: all that the numbers depend on, besides the device.

use crate::data::formula::Formula;
use crate::engine::ops::optimizer::LrSchedule;
use crate::model::Architecture;
use crate::{Error, Result};
use serde::Serialize;

/// Of a family: heads and labels stay small beside the backbone.
const MAX_CLASSES: usize = 4096;
/// Of pictures, whose contact sheets are held as a whole.
const MAX_SIZE: usize = 512;
const MAX_BATCH: usize = 4096;
/// Optimizers count steps in f32.
const MAX_STEPS: usize = 1 << 24;

/// What the network is asked of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// Its class, by a linear head on the means of the last layer.
    Pooled,
    /// The class at every position of the maps of all chosen layers, where pictures are mosaics of several classes.
    Dense,
}

impl Objective {
    pub const NAMES: &'static [(&'static str, &'static str)] = &[
        ("pooled", "the class of a picture, from the means of the last layer"),
        ("dense", "the class at every position of a mosaic, from each layer"),
    ];

    pub fn find(name: &str) -> Result<Self> {
        match name {
            "pooled" => Ok(Objective::Pooled),
            "dense" => Ok(Objective::Dense),
            _ => Err(Error::Usage(format!("unknown objective '{name}': expected pooled or dense"))),
        }
    }
}

/// What turns gradients into steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// With Nesterov's momentum.
    Sgd {
        momentum: f64,
    },
    Adam,
}

/// All that the numbers depend on. Serialized, it is what a checkpoint is resumed by and what the backbone's file tells.
#[derive(Clone, Debug, Serialize)]
pub struct Recipe {
    /// The last of its layers is the last that is learned; heads of the dense objective are on each of them.
    #[serde(flatten)]
    pub architecture: Architecture,
    pub objective: Objective,
    #[serde(rename = "classes-per-family")]
    pub classes_per_family: usize,
    pub optimizer: Optimizer,
    /// After the warm-up.
    pub lr: f64,
    /// Of convolutions' and heads' weights.
    #[serde(rename = "weight-decay")]
    pub weight_decay: f64,
    /// Steps in which the rate rises; then it falls to 0 as half a cosine.
    pub warmup: u32,
    pub steps: u32,
    pub batch: usize,
    #[serde(rename = "label-smoothing")]
    pub smoothing: f64,
    pub seed: u64,
}

impl Recipe {
    pub fn formula(&self) -> Formula {
        Formula { size: self.architecture.image_size, classes_per_family: self.classes_per_family, seed: self.seed }
    }

    pub fn schedule(&self) -> LrSchedule {
        LrSchedule::Cosine { warmup: self.warmup as usize, steps: self.steps as usize }
    }

    /// Refuses what cannot be computed with, or drawn.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::Usage(what));
        let bounds = [
            ("--classes-per-family", self.classes_per_family, 1, MAX_CLASSES),
            ("--image-size", self.architecture.image_size, 1, MAX_SIZE),
            ("--batch-size", self.batch, 2, MAX_BATCH),
            ("--steps", self.steps as usize, 1, MAX_STEPS),
        ];
        if let Some((flag, value, least, most)) = bounds.into_iter().find(|(_, v, least, most)| v < least || v > most) {
            // Batch norms need two values of a channel, which with one picture could be one.
            return wrong(format!("{flag} {value}: expected a number from {least} to {most}"));
        }
        for (flag, value) in [("--lr", self.lr), ("--weight-decay", self.weight_decay)] {
            if !(value.is_finite() && value >= 0.0) {
                return wrong(format!("{flag} {value}: expected a number from 0"));
            }
        }
        let momentum = if let Optimizer::Sgd { momentum } = self.optimizer { momentum } else { 0.0 };
        for (flag, value) in [("--momentum", momentum), ("--label-smoothing", self.smoothing)] {
            if !(0.0..1.0).contains(&value) {
                return wrong(format!("{flag} {value}: expected a number from 0 to below 1"));
            }
        }
        if self.warmup >= self.steps {
            return wrong(format!("--warmup {}: expected fewer than the {} steps of --steps", self.warmup, self.steps));
        }
        Ok(())
    }
}
