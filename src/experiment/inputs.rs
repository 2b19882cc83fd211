//! What a result depends on beside the experiment's file: pictures and weights, both by their contents, and the device.

use super::grid::Opened;
use crate::data::digest::Digest;
use crate::data::image::Source;
use crate::model::pretrained::{RANDOM, meant};
use crate::weights::registry;
use crate::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::path::PathBuf;

/// Digests of pictures, of what they are called and taken for, and of the weights' file; of the device, what it is called. Earlier
/// versions wrote digests of other things here, which equal none of these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    pub pictures: String,
    pub weights: String,
    pub device: String,
}

impl Inputs {
    /// `cuda in tf32`: which of a machine's GPUs it was changes nothing.
    pub fn kind_of_device(&self) -> String {
        match self.device.split_once(" in ") {
            Some((device, number)) => format!("{} in {number}", device.split(':').next().unwrap_or(device)),
            None => self.device.clone(),
        }
    }
}

/// Finds inputs. Every file is read once, however many datasets have it.
pub struct Finder<'a> {
    /// A name or file for every backbone.
    weights: &'a str,
    device: String,
    pictures: HashMap<PathBuf, String>,
    files: HashMap<String, String>,
}

impl<'a> Finder<'a> {
    pub fn new(weights: &'a str, device: String) -> Self {
        Finder { weights, device, pictures: HashMap::new(), files: HashMap::new() }
    }

    /// Of cells that are trained on some of a dataset's categories, with this backbone.
    pub fn find(&mut self, dataset: &Opened, categories: &[String], backbone: &str) -> Result<Inputs> {
        let pictures = self.pictures(dataset, categories);
        Ok(Inputs { pictures, weights: self.weights(backbone)?, device: self.device.clone() })
    }

    /// Of all files of some categories: their names, their contents and what they are taken for.
    fn pictures(&mut self, dataset: &Opened, categories: &[String]) -> String {
        let chosen = dataset.categories.iter().filter(|c| categories.contains(&c.name));
        let samples: Vec<_> = chosen.flat_map(|c| c.samples()).collect();
        let files = |sample: &crate::data::layout::Sample| {
            let masks = sample.masks.iter().map(|mask| Source::from(mask.clone()));
            std::iter::once(sample.source.clone()).chain(masks).collect::<Vec<_>>()
        };
        let unread: Vec<Source> = samples.iter().flat_map(|(_, sample)| files(sample)).collect();
        let unread: Vec<&Source> = unread.iter().filter(|s| !self.pictures.contains_key(s.path())).collect();
        // What cannot be read now fails later, by its name.
        let of = |source: &&Source| source.bytes().map_or("unreadable".into(), |b| Digest::of(&b).to_string());
        let read: Vec<(PathBuf, String)> =
            unread.par_iter().map(|source| (source.path().to_path_buf(), of(source))).collect();
        self.pictures.extend(read);
        let mut all = Sha256::new();
        for (split, sample) in samples {
            let contents: Vec<&String> = files(sample).iter().filter_map(|s| self.pictures.get(s.path())).collect();
            let name = sample.path().file_name().unwrap_or_default();
            all.update(format!("{split:?} {} {name:?} {contents:?}\n", sample.kind));
        }
        Digest::of_sha256(&all.finalize().into()).to_string()
    }

    fn weights(&mut self, backbone: &str) -> Result<String> {
        let name = meant(self.weights, backbone);
        match name {
            RANDOM => return Ok(name.into()),
            registry::FORMULA => return Ok(format!("sha256 {}", Digest::of(registry::FORMULA_FILE))),
            _ => {}
        }
        if let Some(found) = self.files.get(name) {
            return Ok(found.clone());
        }
        let path = registry::locate(name)?;
        let digest = Digest::of_file(&path).map_err(|e| Error::io(&path, e))?;
        Ok(self.files.entry(name.into()).or_insert(format!("sha256 {digest}")).clone())
    }
}
