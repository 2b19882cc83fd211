//! What the auto-encoder is trained with, as properties: whoever trains, plans or measures asks for these, never for a name.

use super::discriminator::Level;
use crate::{Error, Result};

/// A row of the paper's ablation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Reconstruction of normal features alone, eq. (2).
    Recon,
    /// With an energy-based discriminator of positions that knows some anomalous images, eqs. (11) to (13).
    CkaPatch,
    /// The same with a discriminator of whole images, eqs. (8) and (9).
    CkaImage,
}

impl Strategy {
    /// Names, each with a line of help.
    pub const NAMES: &[(&str, &str)] = &[
        ("recon", "Reconstruction of normal pictures only"),
        ("ckapatch", "With a discriminator of patches (the paper's method)"),
        ("ckaimg", "With a discriminator of whole pictures"),
    ];

    pub fn find(name: &str) -> Result<Self> {
        match name {
            "recon" => Ok(Strategy::Recon),
            "ckapatch" => Ok(Strategy::CkaPatch),
            "ckaimg" => Ok(Strategy::CkaImage),
            _ => Err(Error::Usage(format!("unknown strategy '{name}'"))),
        }
    }

    /// What a discriminator judges; none if there is no discriminator.
    pub fn discriminator(self) -> Option<Level> {
        match self {
            Strategy::Recon => None,
            Strategy::CkaPatch => Some(Level::Patch),
            Strategy::CkaImage => Some(Level::Image),
        }
    }

    /// Whether a step takes anomalous pictures beside normal ones.
    pub fn uses_anomalies(self) -> bool {
        match self {
            Strategy::Recon => false,
            Strategy::CkaPatch | Strategy::CkaImage => true,
        }
    }
}
