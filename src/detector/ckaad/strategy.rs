//! What the auto-encoder is trained with and normalised by, as properties: whoever trains, plans or measures asks for these, never for a name.

use super::discriminator::Level;
use super::step::Hyper;
use crate::engine::ops::energy::Term;
use crate::{Error, Result};

/// A row of the paper's ablation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Reconstruction of normal features alone, eq. (2).
    Recon,
    /// The same minus a part of the error over collected anomalies, eq. (4).
    ReconSub,
    /// With a discriminator that tells features of normal images from generated ones, eq. (7).
    Gan,
    /// With an energy-based discriminator of whole images that knows some anomalous ones, eqs. (8) and (9).
    CkaImage,
    /// The same with a discriminator of positions, eqs. (11) to (13).
    CkaPatch,
}

/// What a discriminator learns of its outputs, and what the auto-encoder then wants of them. Weights stand beside their terms.
#[derive(Clone, Copy, Debug)]
pub struct Adversary {
    pub level: Level,
    /// For features of normal pictures.
    pub normal: Term,
    /// For what the auto-encoder generates of all pictures.
    pub generated: (f64, Term),
    /// For features of collected anomalies; none if it is not told of them.
    pub collected: Option<(f64, Term)>,
    /// What the auto-encoder's own shall look like.
    pub wanted: Term,
}

impl Strategy {
    /// Names, each with a line of help.
    pub const NAMES: &[(&str, &str)] = &[
        ("recon", "Reconstruction of normal pictures only"),
        ("reconsub", "Reconstruction of normal pictures, and not of collected anomalies"),
        ("gan", "With a discriminator of whole pictures that is told of no anomalies"),
        ("ckaimg", "With a discriminator of whole pictures"),
        ("ckapatch", "With a discriminator of patches (the paper's method)"),
    ];

    pub fn find(name: &str) -> Result<Self> {
        match name {
            "recon" => Ok(Strategy::Recon),
            "reconsub" => Ok(Strategy::ReconSub),
            "gan" => Ok(Strategy::Gan),
            "ckaimg" => Ok(Strategy::CkaImage),
            "ckapatch" => Ok(Strategy::CkaPatch),
            _ => Err(Error::Usage(format!("unknown strategy '{name}'"))),
        }
    }

    /// The discriminator, if there is one.
    pub fn adversary(self, h: &Hyper) -> Option<Adversary> {
        let energy = |level| Adversary {
            level,
            normal: Term::Low,
            generated: (h.gamma, Term::High { margin: h.margin }),
            collected: Some((1.0 - h.gamma, Term::High { margin: h.margin })),
            wanted: Term::Low,
        };
        match self {
            Strategy::Recon | Strategy::ReconSub => None,
            Strategy::Gan => Some(Adversary {
                level: Level::Image,
                normal: Term::Real,
                generated: (1.0, Term::Generated),
                collected: None,
                wanted: Term::Real,
            }),
            Strategy::CkaImage => Some(energy(Level::Image)),
            Strategy::CkaPatch => Some(energy(Level::Patch)),
        }
    }

    /// Whether the auto-encoder is kept from reconstructing collected anomalies by their error itself.
    pub fn subtracts(self) -> bool {
        self == Strategy::ReconSub
    }

    /// Options that a step is the same without.
    pub fn unused_options(self, h: &Hyper) -> Vec<&'static str> {
        let mut unused = match self.adversary(h) {
            None => vec!["d-lr", "gamma", "adv", "margin"],
            Some(Adversary { collected: None, .. }) => vec!["gamma", "margin"],
            Some(_) => vec![],
        };
        if !self.subtracts() {
            unused.push("sub");
        }
        unused
    }

    /// Whether a step takes anomalous pictures beside normal ones.
    pub fn uses_anomalies(self) -> bool {
        self != Strategy::Recon
    }
}

/// What the auto-encoder's norms take their statistics from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalization {
    /// Every picture alone, the paper's choice.
    Instance,
    /// The batch in training, what was learned of batches in scoring.
    Batch,
}

impl Normalization {
    /// Names, each with a line of help.
    pub const NAMES: &[(&str, &str)] =
        &[("instance", "Every picture's own"), ("batch", "The batch's in training, running ones in scoring")];

    pub fn find(name: &str) -> Result<Self> {
        match name {
            "instance" => Ok(Normalization::Instance),
            "batch" => Ok(Normalization::Batch),
            _ => Err(Error::Usage(format!("unknown norm '{name}'"))),
        }
    }
}
