//! The pictures that a command is given.

use super::options::plural;
use crate::data::image::{Picture, Source};
use crate::data::layout::TestSet;
use crate::data::listing::{Given, PassedOver};
use crate::error::rows_or_folders;
use crate::output::Outputs;
use crate::{Error, Result};
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

/// Pictures on the command line, or lists of them.
#[derive(Clone, Debug, clap::Args)]
pub struct Inputs {
    /// Pictures, folders of pictures (with all folders below), or - for a list on standard input
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Read the paths from this file (- is standard input), each ended by a zero byte, as `find -print0` writes them
    #[arg(long = "files0-from", value_name = "FILE", conflicts_with = "paths")]
    files0_from: Option<PathBuf>,
}

impl Inputs {
    /// What is given, none of it in the way of `outputs`. Nothing at all is an error.
    pub fn given(&self, outputs: &Outputs) -> Result<Vec<Given>> {
        if let Some(path) = &self.files0_from {
            return Ok(vec![if is_stdin(path) {
                stdin(0)
            } else {
                let file = File::open(path).map_err(|e| Error::io(path, e))?;
                Given::List { name: path.display().to_string(), from: Box::new(BufReader::new(file)), end: 0 }
            }]);
        }
        if self.paths.is_empty() {
            return Err(Error::Usage(
                "no pictures given: name files, folders, or - for a list on standard input".into(),
            ));
        }
        let given = |path: &PathBuf| {
            if is_stdin(path) {
                return Ok(stdin(b'\n'));
            }
            outputs.expect_apart(path)?;
            Ok(Given::Path(path.clone()))
        };
        self.paths.iter().map(given).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.files0_from.is_none()
    }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn stdin(end: u8) -> Given {
    Given::List { name: "standard input".into(), from: Box::new(BufReader::new(io::stdin())), end }
}

/// Says on standard error what was not taken.
pub fn tell_passed_over(passed_over: &PassedOver) {
    if !passed_over.is_empty() {
        note!("ckaad: passed over: {passed_over}");
    }
}

/// Says which masks were found where nobody named them, and which of no use.
pub fn tell_masks(set: &TestSet) {
    match set.masks_beside {
        0 => {}
        1 => note!("ckaad: 1 mask taken for that of the picture beside it"),
        n => note!("ckaad: {n} masks taken for those of the pictures beside them"),
    }
    if let Some((taken, other)) = set.second_masks.first() {
        let (count, taken, other) = (plural(set.second_masks.len(), "mask"), taken.display(), other.display());
        warning!("{count} not taken, as there is another of the same picture: {taken}, not {other}");
    }
    if let Some(first) = set.masks_of_none.first() {
        let count = plural(set.masks_of_none.len(), "mask");
        warning!("{count} without a picture, as {}", first.display());
    }
}

/// Warns of files that will be replaced under one of their names.
pub fn tell_hard_links(outputs: &Outputs) {
    outputs.hard_links().iter().for_each(|link| warning!("{link}"));
}

/// Lines on standard error for a picture that may not look as it was meant.
pub fn tell_warnings(path: &Path, picture: &Picture) {
    picture.warnings.iter().for_each(|warning| warning!("{}: {warning}", path.display()));
}

/// One line on standard error for a picture that could not be used.
pub fn tell_left_out(reason: &dyn std::fmt::Display) {
    tell!("ckaad: left out: {reason}");
}

/// The error of a run that was done without some rows or folders of its dataset, each of which was told.
pub fn expect_all_used(left_out: usize) -> Result<()> {
    if left_out == 0 {
        return Ok(());
    }
    Err(Error::Invalid(format!("{} of the dataset could not be used", rows_or_folders(left_out))))
}

/// What a run has gone on without.
#[derive(Default)]
pub struct Failed {
    pictures: usize,
    /// What is no file at all: missing, or a folder without pictures.
    paths: usize,
    masks: usize,
}

impl Failed {
    pub fn in_evaluation(pictures: usize, masks: usize) -> Self {
        Failed { pictures, masks, paths: 0 }
    }

    pub fn add(&mut self, source: &Source) {
        let picture = source.file().is_none_or(Path::is_file);
        *if picture { &mut self.pictures } else { &mut self.paths } += 1;
    }

    /// The error that the run ends with.
    pub fn expect_none(&self, what: &str) -> Result<()> {
        let counts = [(self.pictures, "picture"), (self.masks, "mask"), (self.paths, "path")];
        let counts: Vec<String> =
            counts.into_iter().filter(|(n, _)| *n > 0).map(|(n, thing)| plural(n, thing)).collect();
        if counts.is_empty() {
            return Ok(());
        }
        Err(Error::Invalid(format!("{} could not be {what}", counts.join(" and "))))
    }
}
