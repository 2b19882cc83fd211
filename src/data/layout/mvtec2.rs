//! MVTec AD 2 (Heckler-Kram et al. 2025, <https://www.mvtec.com/company/research/datasets/mvtec-ad-2>): eight objects, each with
//! `train/good`, `validation/good` and `test_public/{good,bad,ground_truth/bad}`. What is in `test_private` and
//! `test_private_mixed` is nobody's but their server's to judge: it is passed over, as is any other folder.

use super::folder::{categories, each, has_normal};
use super::{Category, Layout, Options, TestSet, TrainSet, name_of};
use crate::data::listing::{self, GROUND_TRUTH};
use crate::error::Result;
use crate::invalid;
use std::path::Path;

const TEST: &str = "test_public";
const HOLDS: &str = "train/good, validation/good, test_public/{good,bad,ground_truth/bad}";

pub const LAYOUT: Layout = Layout {
    name: "mvtec2",
    others: &[],
    looks: "train/good, validation/good, test_public/{good,bad,ground_truth/bad}; or folders like that",
    normal: "good",
    classes: false,
    recognise: |root| is_category(root) || !categories(root, TEST).is_empty(),
    read,
};

/// Whether it is one object, perhaps without its pictures to train on.
fn is_category(root: &Path) -> bool {
    root.join(TEST).is_dir() && (has_normal(&root.join("train")) || !root.join("train").is_dir())
}

fn read(root: &Path, _: &Options) -> Result<Vec<Category>> {
    if is_category(root) {
        return Ok(vec![category(String::new(), root)]);
    }
    if categories(root, TEST).is_empty() {
        invalid!("{}: not a dataset of layout mvtec2 ({})", root.display(), LAYOUT.looks);
    }
    each(root, TEST, category)
}

fn category(name: String, root: &Path) -> Category {
    Category::of_folders(name, root, train(root), TEST, test(root))
}

fn train(root: &Path) -> Result<TrainSet> {
    if !has_normal(&root.join("train")) {
        invalid!("{}: there is no train/good in it; an object holds {HOLDS}", root.display());
    }
    TrainSet::open(root)
}

fn test(root: &Path) -> Result<TestSet> {
    let folder = root.join(TEST);
    let there = |name: &str| Some(folder.join(name)).filter(|f| f.is_dir());
    let [normal, anomalous, masks] = ["good", "bad", "ground_truth/bad"].map(there);
    if normal.is_none() && anomalous.is_none() {
        invalid!("{}: there is no {TEST}/good or {TEST}/bad in it; an object holds {HOLDS}", root.display());
    }
    let mut set = TestSet::of_folders(normal.as_deref(), anomalous.as_deref(), masks.as_deref())?;
    for image in set.images.iter_mut().filter(|i| i.anomalous) {
        image.kind = "bad".into();
    }
    set.passed_over.add(listing::folders(&folder, TEST)?.1);
    set.passed_over.others(&folder, TEST, |f| ["good", "bad", GROUND_TRUTH].contains(&name_of(f).as_str()));
    let masks = format!("{TEST}/{GROUND_TRUTH}");
    set.passed_over.others(&root.join(&masks), &masks, |f| name_of(f) == "bad");
    Ok(set)
}
