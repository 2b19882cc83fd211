//! The seam between a method of anomaly detection and everything that trains, scores, plans, measures or stores one.
//!
//! A method is a folder here: it records its programs and says which options, losses and networks it has. Adding one means
//! that folder and a row in [`METHODS`]; what trains, scores, plans, measures and stores names no method. (`experiment/mixture` does: it
//! shows CKAAD's losses on points of the plane.)

pub mod ckaad;
pub mod file;
pub mod gradcheck;
pub mod options;
pub mod patchcore;
pub mod provenance;
pub mod quantized;

use crate::engine::params::Values;
use crate::engine::tensor::{DType, Shape};
use crate::model::Architecture;
use crate::model::features::Feed;
use crate::output::Place;
use crate::program::Program;
use crate::{Error, Result};
use options::{OptionSpec, Options};
use std::fmt::Debug;
use std::sync::Arc;

/// Every method there is; the first is the default.
pub const METHODS: [&Method; 2] = [&ckaad::METHOD, &patchcore::METHOD];

/// What is known of a method before any of its detectors exists.
#[derive(Debug)]
pub struct Method {
    /// On the command line and in model files.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    pub options: &'static [OptionSpec],
    /// A detector with these options.
    pub detector: fn(Options) -> Result<Arc<dyn Detector>>,
    /// Its networks, by name, each with a program that reports a `loss` whose gradients can be checked; see [`gradcheck`].
    pub networks: &'static [(&'static str, RecordLoss)],
}

/// Records, in tensors of a type, a loss of a small network that is fed features.
pub type RecordLoss = fn(&Architecture, DType) -> Result<Program>;

impl Method {
    pub fn find(name: &str) -> Result<&'static Method> {
        let names = || METHODS.map(|m| m.name).join(", ");
        let unknown = || Error::Usage(format!("unknown detector '{name}'; there are {}", names()));
        METHODS.into_iter().find(|m| m.name == name).ok_or_else(unknown)
    }
}

/// A method with its options set: what one model file holds, without the numbers.
pub trait Detector: Debug + Send + Sync {
    fn method(&self) -> &'static Method;

    fn options(&self) -> &Options;

    fn learning(&self) -> Learning<'_>;

    /// Options of the method that change nothing here, as others of them are.
    fn unused_options(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// How many of a map's highest values make its score by their mean, all where that is none: of a map that more than one batch
    /// entry was needed for, or that counts in parts only.
    fn highest(&self) -> Option<usize>;

    /// Records scoring of a batch: one group of scored pictures; reports `map` (n, size, size, 1) and `score` (n, 1, 1, 1).
    fn scoring(&self, spec: &BatchSpec) -> Result<Program>;
}

/// The two ways to learn what is normal.
pub enum Learning<'a> {
    Steps(&'a dyn Steps),
    Fit(&'a dyn Fit),
}

/// Learning step by step, by gradients.
pub trait Steps {
    /// Whether a step takes anomalous pictures beside normal ones.
    fn uses_anomalies(&self) -> bool;

    /// Whether a step changes the backbone, which is frozen otherwise: then it takes pixels, as no features can be kept, and records
    /// a backbone that is not folded, with parameters of torchvision's names.
    fn trains_backbone(&self) -> bool {
        false
    }

    /// What a log holds of every epoch, in its order; what no program reports is 0 there.
    fn losses(&self) -> &'static [&'static str];

    /// Those of the losses that people are shown, in their order.
    fn shown(&self) -> &'static [&'static str];

    /// Records one step: programs that run one after the other. Each trains networks of its own; another that uses them
    /// gets their parameters from it after its run.
    fn record(&self, spec: &StepSpec) -> Result<Vec<Program>>;
}

/// Learning at once, from features of all normal pictures, without gradients.
pub trait Fit {
    /// Records what is learned from: one group of normal pictures; its only report, whose first axis counts pictures, is
    /// kept of every picture.
    fn features(&self, spec: &BatchSpec) -> Result<Program>;

    /// Learns. What is made of every picture's features on the way goes to `place`. `progress` hears the name of a stage, how
    /// much of it is done, and of how much; its errors end the work.
    fn fit(&self, features: &dyn Features, place: &Place, seed: u64, progress: &mut Progress) -> Result<Fitted>;
}

pub type Progress<'a> = dyn FnMut(&'static str, usize, usize) -> Result<()> + 'a;

/// What a [`Fit`] learns from: one tensor a picture.
pub trait Features: Sync {
    /// Pictures.
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shape of one picture's tensor, (1, h, w, c).
    fn shape(&self) -> Shape;

    /// Copies one picture's tensor.
    fn read(&self, picture: usize, to: &mut [f32]) -> Result<()>;
}

/// What came of a fit.
pub struct Fitted {
    /// With what only the pictures could tell among its options.
    pub detector: Arc<dyn Detector>,
    pub networks: Vec<Values<f32>>,
}

/// A batch of one role to record a program for.
#[derive(Clone, Debug)]
pub struct BatchSpec<'a> {
    pub architecture: &'a Architecture,
    pub batch: usize,
    pub feed: Feed,
    pub dtype: DType,
}

/// A training step to record.
#[derive(Clone, Debug)]
pub struct StepSpec<'a> {
    pub architecture: &'a Architecture,
    pub normal: usize,
    /// Of no meaning where the detector uses none.
    pub anomalous: usize,
    pub normal_feed: Feed,
    pub anomalous_feed: Feed,
    pub dtype: DType,
}
