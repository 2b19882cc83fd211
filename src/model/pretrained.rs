//! Backbone weights by what somebody calls them: a file, a name from the registry, or `random`.

use super::TensorSource;
use super::init::RandomBackbone;
use crate::Result;
use crate::weights::{Archive, registry};
use std::borrow::Cow;

/// Weights of a backbone, opened.
pub enum Pretrained {
    File(Archive),
    Random(RandomBackbone),
}

impl Pretrained {
    /// `random`, a file, or the name of weights that were fetched.
    pub fn open(name: &str, seed: u64) -> Result<Self> {
        if name == "random" {
            return Ok(Pretrained::Random(RandomBackbone { seed }));
        }
        Ok(Pretrained::File(Archive::open(registry::locate(name)?)?))
    }
}

impl TensorSource for Pretrained {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>> {
        match self {
            Pretrained::File(archive) => archive.f32(name, shape),
            Pretrained::Random(random) => random.tensor(name, shape),
        }
    }

    fn describe(&self) -> String {
        match self {
            Pretrained::File(archive) => archive.path().display().to_string(),
            Pretrained::Random(random) => random.describe(),
        }
    }
}
