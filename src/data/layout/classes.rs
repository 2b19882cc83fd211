//! Pictures in folders by class, split or not. Layouts of datasets with known classes read theirs through [`read_classes`].
//!
//! ```text
//! DIR/{train,val,test}/<class>/*     or     DIR/<class>/*
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::found::{Found, normal_classes};
use super::{Category, Layout, NORMAL, Options, Sample, Split, is_normal, name_of};
use crate::data::listing::{self, GROUND_TRUTH};
use crate::error::Result;
use crate::invalid;

pub const LAYOUT: Layout = Layout {
    name: "classes",
    others: &[],
    looks: "train/<class>, test/<class> and perhaps val/<class>; or <class> alone, one of them good, ok, normal or nominal",
    normal: "good, ok, normal or nominal; or --normal-class",
    classes: true,
    recognise: |root| {
        let classes = folders(root);
        let split = classes_of(root, "train").len() > 1 && !classes_of(root, "test").is_empty();
        let has_split = classes.iter().any(|c| Split::find(&name_of(c)).is_some());
        let flat = classes.len() > 1 && !has_split && classes.iter().any(|c| is_normal(&name_of(c)));
        split || flat
    },
    read: |root, options| {
        let is_class = |name: &str| !holds_masks(name);
        read_classes(root, &Classes { all: &[], usual: &NORMAL, kind: of_folder, is_class }, options)
    },
};

/// Whether a folder of this name says where anomalies are: it is no class.
pub fn holds_masks(name: &str) -> bool {
    [GROUND_TRUTH, "masks"].iter().any(|masks| masks.eq_ignore_ascii_case(name))
}

/// How to read folders of classes.
pub struct Classes {
    /// All that its owners publish, where they are known.
    pub all: &'static [&'static str],
    /// Those that are normal, unless others are asked for.
    pub usual: &'static [&'static str],
    /// The class of a picture, from its folder's name and its own.
    pub kind: fn(&str, &str) -> String,
    /// Whether a folder of this name is one, where there is no split.
    pub is_class: fn(&str) -> bool,
}

/// The class is what the folder is called.
pub fn of_folder(folder: &str, _: &str) -> String {
    folder.into()
}

fn folders(root: &Path) -> Vec<PathBuf> {
    listing::folders(root, "").map(|found| found.0).unwrap_or_default()
}

/// The names of the classes in a split.
pub fn classes_of(root: &Path, split: &str) -> BTreeSet<String> {
    folders(&root.join(split)).iter().map(|f| name_of(f)).collect()
}

/// Whether its classes are just these: those to train on, or where somebody has lost one, those of all splits. Of two none may
/// be lost, as then too little tells what it is.
pub fn has_classes(root: &Path, names: &[&str]) -> bool {
    let train = classes_of(root, "train");
    let known = |classes: &BTreeSet<String>| classes.iter().all(|class| names.contains(&class.as_str()));
    if known(&train) && train.len() == names.len() {
        return true;
    }
    // Masks are of layouts that have them.
    let masks = folders(root).iter().any(|f| holds_masks(&name_of(f)));
    let all: BTreeSet<String> = ["train", "val", "test"].iter().flat_map(|split| classes_of(root, split)).collect();
    !masks && !train.is_empty() && known(&all) && all.len() >= (names.len() - 1).max(2)
}

/// Reads folders of classes.
pub fn read_classes(root: &Path, how: &Classes, options: &Options) -> Result<Vec<Category>> {
    let (inside, passed_over) = listing::folders(root, "the dataset's folder")?;
    let mut found = Found::default();
    found.passed_over.add(passed_over);
    let has_split = inside.iter().any(|f| Split::find(&name_of(f)).is_some());
    let place = if has_split { root.join("train") } else { root.to_path_buf() };
    let there: Vec<String> = folders(&place).iter().map(|f| name_of(f)).collect();
    let lost: Vec<&str> =
        how.all.iter().copied().filter(|class| !there.iter().any(|name| name.eq_ignore_ascii_case(class))).collect();
    if !lost.is_empty() {
        let (place, lost, all) = (place.display(), lost.join(", "), how.all.join(", "));
        found.problems.push(format!("{place}: there is no {lost} in it; the classes are {all}"));
    }
    // Of each picture: its split, if there are any, its class and its path.
    let mut pictures: Vec<(Option<Split>, String, PathBuf)> = Vec::new();
    for folder in inside {
        let name = name_of(&folder);
        let classes = match Split::find(&name) {
            None if has_split || !(how.is_class)(&name) => {
                found.passed_over.folder(&name, &folder);
                continue;
            }
            None => vec![folder],
            Some(_) => {
                let (classes, passed_over) = listing::folders(&folder, &name)?;
                found.passed_over.add(passed_over);
                classes
            }
        };
        for class in classes {
            let class_name = name_of(&class);
            let of = |path: PathBuf| (Split::find(&name), (how.kind)(&class_name, &name_of(&path)), path);
            pictures.extend(found.below(&class).into_iter().map(of));
        }
    }
    let classes: BTreeSet<String> = pictures.iter().map(|p| p.1.clone()).collect();
    if classes.is_empty() {
        invalid!("{}: no pictures in folders by class ({})", root.display(), LAYOUT.looks);
    }
    let normal = normal_classes(root, &Vec::from_iter(classes), how.usual, options)?;
    let mut unsplit = Vec::new();
    for (split, class, path) in pictures {
        let anomalous = !normal.contains(&class);
        let sample = Sample::new(path, class, anomalous);
        match split {
            Some(split) => found.add(split, sample),
            None => unsplit.push(sample),
        }
    }
    if !unsplit.is_empty() {
        found.add_unsplit(unsplit, |s| s.kind.clone(), |s| s.path().to_path_buf());
    }
    Ok(vec![found.category("", root)])
}
