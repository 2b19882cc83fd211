//! Where the pictures are: a dataset's folders (MVTec AD categories fit as they are), and lists of files to score.
//!
//! ```text
//! DIR/train/good/*               normal pictures to train on
//! DIR/train/anomalous/*          optional: pictures known to be anomalous somewhere
//! DIR/test/good/*                normal pictures to evaluate on
//! DIR/test/<type>/*              anomalous ones, one folder per defect type
//! DIR/ground_truth/<type>/<stem>_mask.png
//! ```
//!
//! Nothing is decoded here. Pictures are told by extension (any case), hidden files are skipped, and lists are sorted
//! by the bytes of the names, so that a seed means the same on every machine.

use std::ffi::OsStr;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use super::image::Source;
use crate::error::{Error, Result};
use crate::invalid;

/// Extensions that count as pictures inside a folder.
pub const EXTENSIONS: [&str; 7] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp"];

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

/// Hands the files that the arguments of `score` stand for to `take`, in order, until it returns false: a file as it is
/// (also when missing or oddly named, its reader will say so), a folder as all pictures below it, sorted (links to
/// folders are not followed), and `-` as the lines of `stdin`, each again a file or a folder, read one by one as they
/// come. A folder without any picture is an error.
pub fn each(paths: &[PathBuf], mut stdin: impl BufRead, take: &mut dyn FnMut(Source) -> bool) -> Result<()> {
    let mut take = |path: PathBuf| take(path.into());
    for path in paths {
        if path.as_os_str() != "-" {
            if !expand(path)?.into_iter().all(&mut take) {
                return Ok(());
            }
            continue;
        }
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            if stdin.read_until(b'\n', &mut line).map_err(|e| Error::io("standard input", e))? == 0 {
                break;
            }
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            let Ok(text) = str::from_utf8(text) else {
                invalid!("standard input: line {number} is not UTF-8, expected one path a line")
            };
            if !text.is_empty() && !expand(Path::new(text))?.into_iter().all(&mut take) {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn expand(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    let mut open = vec![path.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in entries(&folder)? {
            if entry.is_dir() {
                // A link to a folder above would never end.
                if !entry.is_symlink() {
                    open.push(entry);
                }
            } else if is_picture(&entry) {
                files.push(entry);
            }
        }
    }
    if files.is_empty() {
        invalid!("{}: no pictures in this folder or below it ({})", path.display(), EXTENSIONS.join(", "));
    }
    files.sort();
    Ok(files)
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

/// Everything in `folder` that is not hidden, unsorted.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.exists() {
        invalid!("{}: no such folder ({LAYOUT})", folder.display());
    }
    let listing = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut paths = Vec::new();
    for entry in listing {
        let entry = entry.map_err(|e| Error::io(folder, e))?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    EXTENSIONS.iter().any(|e| e.eq_ignore_ascii_case(extension))
}
