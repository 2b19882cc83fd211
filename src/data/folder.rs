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

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::image::Source;
use super::listing::{EXTENSIONS, entries, is_picture};
use crate::error::Result;
use crate::invalid;

const LAYOUT: &str = "a dataset holds train/good, test/good, test/<type> and ground_truth/<type>/<stem>_mask.png";

/// The pictures to train on.
#[derive(Clone, Debug)]
pub struct TrainSet {
    /// At least one.
    pub good: Vec<Source>,
    /// Empty when the dataset has no `train/anomalous`.
    pub anomalous: Vec<Source>,
}

impl TrainSet {
    /// Lists `root/train`. A missing or empty `train/good` is an error, as is a `train/anomalous` without pictures.
    pub fn open(root: &Path) -> Result<Self> {
        check_root(root)?;
        let sources = |folder: &str| -> Result<Vec<Source>> {
            Ok(pictures(&root.join(folder))?.into_iter().map(Source::from).collect())
        };
        let good = sources("train/good")?;
        let labelled = root.join("train/anomalous").exists();
        let anomalous = if labelled { sources("train/anomalous")? } else { Vec::new() };
        Ok(Self { good, anomalous })
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
        let mut kinds: Vec<PathBuf> = entries(&test)?.into_iter().filter(|p| p.is_dir()).collect();
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

/// The pictures directly inside `folder`, sorted by name; none is an error.
fn pictures(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = entries(folder)?.into_iter().filter(|p| is_picture(p) && !p.is_dir()).collect();
    if found.is_empty() {
        invalid!("{}: no pictures in it, expected {} files ({LAYOUT})", folder.display(), EXTENSIONS.join(", "));
    }
    found.sort();
    Ok(found)
}
