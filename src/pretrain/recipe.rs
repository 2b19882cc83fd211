//! What is learned, from which pictures, and how: all that the numbers depend on, besides the device.

use crate::data::formula::Formula;
use crate::engine::ops::optimizer::LrSchedule;
use crate::model::Architecture;
use crate::{Error, Result};
use serde::Serialize;

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
    /// With momentum.
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

    /// Refuses what cannot be computed with.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::Usage(what));
        for (flag, value) in [("--lr", self.lr), ("--weight-decay", self.weight_decay)] {
            if !(value.is_finite() && value >= 0.0) {
                return wrong(format!("{flag} {value}: expected a number from 0"));
            }
        }
        if self.batch < 2 {
            return wrong(format!("--batch-size {}: batch norms need at least 2 pictures", self.batch));
        }
        if self.warmup >= self.steps {
            return wrong(format!("--warmup {}: expected fewer than the {} steps of --steps", self.warmup, self.steps));
        }
        Ok(())
    }
}
