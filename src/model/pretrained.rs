//! Backbone weights by what somebody calls them: a file, a name from the registry, or `random`.

use super::TensorSource;
use super::init::RandomBackbone;
use crate::weights::{Archive, registry};
use crate::{Result, invalid};
use std::borrow::Cow;

/// Weights of a backbone, opened.
pub enum Pretrained {
    File(BackboneFile),
    Random(RandomBackbone),
}

/// A file that holds a backbone's tensors, all of them under one prefix: `model.` or `module.encoder_q.` as training
/// frameworks write it, mostly none.
pub struct BackboneFile {
    pub archive: Archive,
    prefix: String,
}

/// Every ResNet has it, and little else is called so.
const FIRST: &str = "conv1.weight";
/// Both are there beside it in a ResNet, but not in its blocks.
const BESIDE: [&str; 2] = ["bn1.weight", "layer1.0.conv1.weight"];

impl Pretrained {
    /// `random`, a file, or the name of weights that were fetched.
    pub fn open(name: &str, seed: u64) -> Result<Self> {
        if name == "random" {
            return Ok(Pretrained::Random(RandomBackbone { seed }));
        }
        Ok(Pretrained::File(BackboneFile::new(Archive::open(registry::locate(name)?)?)?))
    }
}

/// What all names of a backbone's tensors begin with; nothing where there is none. A file with several networks under different
/// prefixes is refused.
pub fn prefix_of(archive: &Archive) -> Result<String> {
    let whole = |prefix: &&str| BESIDE.iter().all(|name| archive.contains(&format!("{prefix}{name}")));
    let of = |name: &'_ str| name.strip_suffix(FIRST).map(str::to_string);
    let prefixes: Vec<String> = archive
        .names()
        .filter_map(of)
        .filter(|p| p.is_empty() || p.ends_with('.'))
        .filter(|p| whole(&p.as_str()))
        .collect();
    Ok(match &prefixes[..] {
        // What is missing is said when it is asked for.
        [] => String::new(),
        [one] => one.clone(),
        several if several.iter().any(String::is_empty) => String::new(),
        several => {
            let several: Vec<String> = several.iter().map(|p| format!("{p}*")).collect();
            invalid!(
                "{}: holds several networks, {}; save one of them to a file of its own",
                archive.path().display(),
                several.join(" and ")
            );
        }
    })
}

impl BackboneFile {
    /// Finds the prefix, as [`prefix_of`].
    pub fn new(archive: Archive) -> Result<Self> {
        let prefix = prefix_of(&archive)?;
        Ok(BackboneFile { archive, prefix })
    }

    /// What all names of the backbone's tensors begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl TensorSource for Pretrained {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>> {
        match self {
            Pretrained::File(file) => file.archive.f32(&format!("{}{name}", file.prefix), shape),
            Pretrained::Random(random) => random.tensor(name, shape),
        }
    }

    fn names(&self) -> Vec<&str> {
        match self {
            Pretrained::File(file) => file.archive.names().filter_map(|n| n.strip_prefix(&*file.prefix)).collect(),
            Pretrained::Random(random) => random.names(),
        }
    }

    fn describe(&self) -> String {
        match self {
            Pretrained::File(file) => file.archive.path().display().to_string(),
            Pretrained::Random(random) => random.describe(),
        }
    }
}
