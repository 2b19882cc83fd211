//! MVTec AD 2 (Heckler-Kram et al. 2025, <https://www.mvtec.com/company/research/datasets/mvtec-ad-2>): eight objects, each with
//! `train/good`, `validation/good` and `test_public/{good,bad,ground_truth/bad}`. What is in `test_private` and
//! `test_private_mixed` is nobody's but their server's to judge: it is passed over.

use super::folder::has_normal;
use super::{Category, Layout, NORMAL, Options, Sample, TestSet, TrainSet, name_of};
use crate::data::listing;
use crate::error::Result;
use crate::invalid;
use std::path::{Path, PathBuf};

const TEST: &str = "test_public";

pub const LAYOUT: Layout = Layout {
    name: "mvtec2",
    others: &[],
    looks: "train/good, validation/good, test_public/{good,bad,ground_truth/bad}; or folders like that",
    normal: "good",
    classes: false,
    recognise: |root| is_category(root) || !categories(root).is_empty(),
    read,
};

fn is_category(root: &Path) -> bool {
    root.join(TEST).is_dir() && has_normal(&root.join("train"))
}

fn categories(root: &Path) -> Vec<PathBuf> {
    let folders = listing::folders(root, "").map(|found| found.0).unwrap_or_default();
    folders.into_iter().filter(|folder| is_category(folder)).collect()
}

fn read(root: &Path, _: &Options) -> Result<Vec<Category>> {
    if is_category(root) {
        return Ok(vec![category(String::new(), root)?]);
    }
    let categories = categories(root);
    if categories.is_empty() {
        invalid!("{}: not a dataset of layout mvtec2 ({})", root.display(), LAYOUT.looks);
    }
    categories.iter().map(|folder| category(name_of(folder), folder)).collect()
}

fn category(name: String, root: &Path) -> Result<Category> {
    let validation = root.join("validation");
    let validation = match validation.is_dir() {
        true => listing::below(&validation)?.pictures,
        false => vec![],
    };
    let mut notes = Vec::new();
    if !validation.is_empty() {
        notes.push(format!("{} pictures of validation are used neither to train nor to test", validation.len()));
    }
    let test = test(root);
    let validation = validation.into_iter().map(|path| Sample::new(path, NORMAL[0], false)).collect();
    Ok(Category { name, train: TrainSet::open(root), validation, test, notes })
}

fn test(root: &Path) -> Result<TestSet> {
    let there = |name: &str| Some(root.join(TEST).join(name)).filter(|f| f.is_dir());
    let [normal, anomalous, masks] = ["good", "bad", "ground_truth/bad"].map(there);
    let mut set = TestSet::of_folders(normal.as_deref(), anomalous.as_deref(), masks.as_deref())?;
    for image in set.images.iter_mut().filter(|i| i.anomalous) {
        image.kind = "bad".into();
    }
    for private in ["test_private", "test_private_mixed"].map(|name| (name, root.join(name))) {
        if private.1.is_dir() {
            set.passed_over.folder(private.0, &private.1);
        }
    }
    Ok(set)
}
