//! Backbone weights by what somebody calls them: a file, a name from the registry, `formula`, `imagenet` or `random`.

use super::folded::{self, Stored};
use super::init::RandomBackbone;
use super::{Architecture, TensorSource};
use crate::weights::{Archive, registry};
use crate::{Error, Result, invalid};
use std::borrow::Cow;
use std::path::Path;

/// Weights of a backbone, opened.
pub enum Pretrained {
    File(Box<BackboneFile>),
    Random(RandomBackbone),
}

/// A file that holds a backbone's tensors, all of them under one prefix: `model.` or `module.encoder_q.` as training
/// frameworks write it, mostly none.
pub struct BackboneFile {
    pub archive: Archive,
    prefix: String,
    /// Torchvision's names of its tensors, where its batch norms are folded into the convolutions.
    folded: Option<Vec<String>>,
}

/// Every ResNet has it, and little else is called so.
const FIRST: &str = "conv1.weight";
/// Both are there beside it in a ResNet, but not in its blocks.
const BESIDE: [&str; 1] = ["layer1.0.conv1.weight"];
/// One of them is there, too: of a folded one the second.
const NORM: [&str; 2] = ["bn1.weight", folded::BIAS];

/// Filters that were never trained.
pub const RANDOM: &str = "random";

/// The weights that are usual with a backbone: the built-in ones where they are of it, else ImageNet's.
pub fn usual_weights(architecture: &Architecture) -> &'static str {
    if expect_built_in(architecture).is_ok() { registry::FORMULA } else { IMAGENET }
}

/// What stands for the download of every backbone, which is called as the backbone is.
pub const IMAGENET: &str = "imagenet";

/// The name or file that is meant: `imagenet` is the backbone's own name.
pub fn meant<'a>(name: &'a str, backbone: &'a str) -> &'a str {
    if name == IMAGENET { backbone } else { name }
}

/// Refuses networks that the built-in weights are not of.
fn expect_built_in(architecture: &Architecture) -> Result<()> {
    let (backbone, last) = (architecture.backbone.name, architecture.layers.last().copied());
    if backbone == "resnet18" && last <= Some(3) {
        return Ok(());
    }
    let layers = last.map_or(String::new(), |l| format!(" up to layer {l}"));
    Err(Error::Usage(format!(
        "--weights {}: these are of resnet18 up to layer 3, not of {backbone}{layers}; \"imagenet\" stands for the download",
        registry::FORMULA
    )))
}

impl Pretrained {
    /// `random`, `formula`, a file, the name of weights that were fetched, or `imagenet` for the backbone's own.
    pub fn open(name: &str, architecture: &Architecture, seed: u64) -> Result<Self> {
        match meant(name, architecture.backbone.name) {
            RANDOM => return Ok(Pretrained::Random(RandomBackbone { seed })),
            registry::FORMULA => expect_built_in(architecture)?,
            _ => {}
        }
        let archive = registry::open(meant(name, architecture.backbone.name))?;
        Ok(Pretrained::File(Box::new(BackboneFile::new(archive)?)))
    }

    /// The file that is read, if there is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Pretrained::File(file) => file.archive.file(),
            Pretrained::Random(_) => None,
        }
    }
}

/// What all names of a backbone's tensors begin with; nothing where there is none. A file with several networks under different
/// prefixes is refused.
pub fn prefix_of(archive: &Archive) -> Result<String> {
    let has = |prefix: &str, name: &str| archive.contains(&format!("{prefix}{name}"));
    let whole = |prefix: &&str| BESIDE.iter().all(|n| has(prefix, n)) && NORM.iter().any(|n| has(prefix, n));
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
        let inside = || archive.names().filter_map(|name| name.strip_prefix(&*prefix));
        let folded = inside().any(|name| name == folded::BIAS);
        let folded = folded.then(|| inside().map(|name| folded::torchvision(name).into_owned()).collect());
        Ok(BackboneFile { archive, prefix, folded })
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>> {
        let of = |name: &str| self.archive.f32(&format!("{}{name}", self.prefix), shape);
        match folded::stored(name) {
            Stored::As(stored) if self.folded.is_some() => of(&stored),
            Stored::All(value) if self.folded.is_some() => Ok(vec![value; shape.iter().product()].into()),
            _ => of(name),
        }
    }

    fn names(&self) -> Vec<&str> {
        match &self.folded {
            Some(names) => names.iter().map(String::as_str).collect(),
            None => self.archive.names().filter_map(|n| n.strip_prefix(&*self.prefix)).collect(),
        }
    }

    /// The file; of the built-in one, which changes with the program, also the beginning of its digest.
    fn describe(&self) -> String {
        let digest = self.archive.metadata().get("sha256").filter(|_| self.archive.file().is_none());
        let digest = digest.map_or(String::new(), |d| format!(", sha256 {}", d.chars().take(8).collect::<String>()));
        format!("{}{digest}", self.archive.path().display())
    }

    /// What all names of the backbone's tensors begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl TensorSource for Pretrained {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>> {
        match self {
            Pretrained::File(file) => file.tensor(name, shape),
            Pretrained::Random(random) => random.tensor(name, shape),
        }
    }

    fn names(&self) -> Vec<&str> {
        match self {
            Pretrained::File(file) => file.names(),
            Pretrained::Random(random) => random.names(),
        }
    }

    fn describe(&self) -> String {
        match self {
            Pretrained::File(file) => file.describe(),
            Pretrained::Random(random) => random.describe(),
        }
    }
}
