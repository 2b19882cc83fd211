//! Commutators with cracks (Kolektor, Tabernik et al. 2020, <https://www.vicos.si/resources/>): pictures with their masks beside them,
//! which alone say what is anomalous: a mask that marks nothing is of a normal picture.
//!
//! KolektorSDD has a folder of eight parts for each of 50 items, `kos01/Part0.jpg` and `Part0_label.bmp`, and no split;
//! KolektorSDD2 `train/10000.png` and `10000_GT.png`, and `test`.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::found::Found;
use super::{COARSE, Category, Layout, NORMAL, Options, Sample, Split, name_of};
use crate::data::image::marks_any;
use crate::data::listing;
use crate::error::Result;
use crate::output::folder_of;

pub const SDD: Layout = Layout {
    name: "kolektor_sdd",
    others: &["kolektor"],
    looks: "kos01/Part0.jpg and kos01/Part0_label.bmp",
    normal: "whose mask marks nothing",
    classes: false,
    recognise: |root| !items(root).is_empty(),
    read: read_sdd,
};

pub const SDD2: Layout = Layout {
    name: "kolektor_sdd2",
    others: &[],
    looks: "train/10000.png and train/10000_GT.png, and the same in test",
    normal: "whose mask marks nothing",
    classes: false,
    recognise: |root| {
        let train = listing::entries(&root.join("train")).map(|found| found.0).unwrap_or_default();
        train.iter().any(|file| name_of(file).ends_with(&format!("{MASK2}.png")))
    },
    read: read_sdd2,
};

const MASK: &str = "_label";
const MASK2: &str = "_GT";

/// The folders of items.
fn items(root: &Path) -> Vec<PathBuf> {
    let folders = listing::folders(root, "").map(|found| found.0).unwrap_or_default();
    let is_item = |f: &PathBuf| name_of(f).starts_with("kos") && f.join("Part0.jpg").is_file();
    folders.into_iter().filter(is_item).collect()
}

fn read_sdd(root: &Path, _: &Options) -> Result<Vec<Category>> {
    let mut found = Found::default();
    let samples = samples(root, MASK, &mut found);
    if !samples.is_empty() {
        // All of an item on one side: its parts are alike.
        found.add_unsplit(samples, |_| String::new(), |s| folder_of(s.path()));
    }
    Ok(vec![found.category("", root)])
}

fn read_sdd2(root: &Path, _: &Options) -> Result<Vec<Category>> {
    let mut found = Found::default();
    let splits = [Split::Train, Split::Test];
    found.passed_over.others(root, "", |folder| splits.iter().any(|split| split.name() == name_of(folder)));
    for split in splits {
        let samples = samples(&root.join(split.name()), MASK2, &mut found);
        samples.into_iter().for_each(|sample| found.add(split, sample));
    }
    Ok(vec![found.category("", root)])
}

/// The pictures below a folder that have a mask beside them, whose name ends so. Others are left out; masks may be of none.
fn samples(folder: &Path, ending: &str, found: &mut Found) -> Vec<Sample> {
    let stem = |path: &Path| path.with_extension("").to_string_lossy().into_owned();
    let (masks, pictures): (Vec<_>, Vec<_>) =
        found.below(folder).into_iter().partition(|path| stem(path).ends_with(ending));
    let with_mask: HashSet<String> = pictures.iter().map(|picture| stem(picture) + ending).collect();
    let (masks, without): (Vec<_>, Vec<_>) = masks.into_iter().partition(|mask| with_mask.contains(&stem(mask)));
    found.masks_of_none.extend(without);
    let masks: HashMap<String, PathBuf> = masks.into_iter().map(|mask| (stem(&mask), mask)).collect();
    let sample = |path: PathBuf| -> Result<Sample, String> {
        let Some(mask) = masks.get(&(stem(&path) + ending)) else {
            return Err(format!("{}: no mask beside it says whether it is normal", path.display()));
        };
        let anomalous = marks_any(mask).map_err(|e| e.to_string())?;
        let kind = if anomalous { COARSE } else { NORMAL[0] };
        let masks = if anomalous { vec![mask.clone()] } else { vec![] };
        Ok(Sample { masks, ..Sample::new(path, kind, anomalous) })
    };
    let (mut samples, all) = (Vec::new(), pictures.into_par_iter().map(sample).collect::<Vec<_>>());
    for one in all {
        match one {
            Ok(sample) => samples.push(sample),
            Err(why) => found.left_out.push(why),
        }
    }
    samples
}
