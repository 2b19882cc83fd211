//! Where a dataset's pictures are: its folders (MVTec AD categories fit as they are).
//!
//! ```text
//! DIR/train/good/*               normal pictures to train on
//! DIR/train/anomalous/*          optional: pictures known to be anomalous somewhere
//! DIR/test/good/*                normal pictures to evaluate on
//! DIR/test/<type>/*              anomalous ones, one folder per defect type
//! DIR/ground_truth/<type>/<stem>_mask.png
//! ```
//!
//! Nothing is decoded here.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::image::Source;
use super::listing::{self, PassedOver, entries};
use crate::error::{Error, Result};
use crate::invalid;

const LAYOUT: &str = "a dataset holds train/good, test/good, test/<type> and ground_truth/<type>/<stem>_mask.png";

/// The pictures to train on.
#[derive(Clone, Debug, Default)]
pub struct TrainSet {
    /// At least one.
    pub good: Vec<Source>,
    /// Empty when there are none, as in a dataset without `train/anomalous`.
    pub anomalous: Vec<Source>,
    /// Of the folders that were listed.
    pub passed_over: PassedOver,
}

impl TrainSet {
    /// Lists `root/train`. A missing or empty `train/good` is an error, as is a `train/anomalous` without pictures.
    pub fn open(root: &Path) -> Result<Self> {
        check_root(root)?;
        let good = root.join("train/good");
        if !good.is_dir()
            && let Ok(flat) = listing::below(root)
        {
            let (found, root) = (flat.pictures.len(), root.display());
            invalid!(
                "{root}: there is no train/good in it ({LAYOUT}). If the pictures below it ({found}) are all normal: --normal {root}"
            );
        }
        let anomalous = root.join("train/anomalous");
        Self::of_folders(&good, anomalous.exists().then_some(&*anomalous))
    }

    /// All pictures below a folder of normal ones and, if there is one, a folder of anomalous ones.
    pub fn of_folders(normal: &Path, anomalous: Option<&Path>) -> Result<Self> {
        let mut set = Self::default();
        for (folder, sources) in [(Some(normal), &mut set.good), (anomalous, &mut set.anomalous)] {
            let Some(folder) = folder else { continue };
            let found = listing::below(folder)?;
            sources.extend(found.pictures.into_iter().map(Source::from));
            set.passed_over.add(found.passed_over);
        }
        let names: HashSet<&Path> = set.good.iter().map(Source::path).collect();
        if let Some(both) = set.anomalous.iter().find(|s| names.contains(s.path())) {
            invalid!("{}: given as a normal picture and as an anomalous one", both.path().display());
        }
        Ok(set)
    }
}

/// One picture to evaluate on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestImage {
    pub path: PathBuf,
    /// The folder it lies in: `good` or a defect type.
    pub kind: String,
    /// `None` for a normal picture, and for an anomalous one without a mask file (which then counts as all zero).
    pub mask: Option<PathBuf>,
}

impl TestImage {
    pub fn is_anomalous(&self) -> bool {
        self.kind != "good"
    }
}

/// The pictures to evaluate on, sorted by type, then name.
#[derive(Clone, Debug)]
pub struct TestSet {
    pub images: Vec<TestImage>,
    /// How many anomalous pictures have no mask file, for the caller to report.
    pub without_mask: usize,
}

impl TestSet {
    /// Lists `root/test` and the masks in `root/ground_truth`. Which types are there is up to the dataset, but there
    /// has to be at least one picture, and a folder in `test` has to hold some.
    pub fn open(root: &Path) -> Result<Self> {
        check_root(root)?;
        let test = root.join("test");
        if !test.exists() {
            invalid!("{}: no such folder ({LAYOUT})", test.display());
        }
        let all = entries(&test).map_err(|e| Error::io(&test, e))?;
        let mut kinds: Vec<PathBuf> = all.into_iter().filter(|p| p.is_dir()).collect();
        kinds.sort();
        if kinds.is_empty() {
            invalid!("{}: no folders in it, expected good and one per defect type ({LAYOUT})", test.display());
        }
        let mut set = Self { images: Vec::new(), without_mask: 0 };
        for folder in kinds {
            let Some(kind) = folder.file_name().and_then(OsStr::to_str).map(str::to_owned) else {
                invalid!("{}: a defect type's name has to be UTF-8", folder.display());
            };
            for path in pictures(&folder)? {
                let mut image = TestImage { path, kind: kind.clone(), mask: None };
                if image.is_anomalous() {
                    let mut name = image.path.file_stem().unwrap_or_default().to_owned();
                    name.push("_mask.png");
                    let mask = root.join("ground_truth").join(&kind).join(name);
                    image.mask = mask.is_file().then_some(mask);
                    set.without_mask += usize::from(image.mask.is_none());
                }
                set.images.push(image);
            }
        }
        Ok(set)
    }

    /// Whether any mask was found: without one, pixel metrics have nothing to compare with.
    pub fn has_masks(&self) -> bool {
        self.images.iter().any(|i| i.mask.is_some())
    }
}

fn check_root(root: &Path) -> Result<()> {
    if !root.is_dir() {
        invalid!("{}: not a folder, expected a dataset ({LAYOUT})", root.display());
    }
    Ok(())
}

/// The pictures below `folder`, sorted by name; none is an error.
fn pictures(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(listing::below(folder).map_err(|e| Error::Invalid(format!("{e} ({LAYOUT})")))?.pictures)
}
