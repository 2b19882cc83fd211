//! What a layout collects of a category, and the decisions that layouts share: which classes are normal, and a split where the
//! owners publish none.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use super::{Category, Options, Sample, Split, TestSet, TrainSet, name_of, split};
use crate::data::listing::{self, PassedOver};
use crate::error::{Error, Result, plural};
use crate::invalid;

/// So many of what is left out are named.
const NAMED: usize = 10;

#[derive(Default)]
pub struct Found {
    samples: Vec<(Split, Sample)>,
    pub passed_over: PassedOver,
    /// Rows and folders that cannot be used, each with the reason, which names it.
    pub left_out: Vec<String>,
    /// The same of masks, which only tests need.
    left_out_masks: Vec<String>,
    /// Masks that belong to no picture.
    pub masks_of_none: Vec<PathBuf>,
    /// What is not as it should be and yet keeps nobody from using what there is.
    pub problems: Vec<String>,
    pub notes: Vec<String>,
}

impl Found {
    pub fn add(&mut self, split: Split, sample: Sample) {
        self.samples.push((split, sample));
    }

    /// A mask that is not there, or not taken, of a picture of a side, or of one that is not split yet. Nothing is learned from masks.
    pub fn wrong_mask(&mut self, side: Option<Split>, why: String) {
        match side {
            Some(Split::Train) => self.problems.push(why),
            _ => self.left_out_masks.push(why),
        }
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The pictures below a folder, sorted. One without any, or that cannot be read, is left out.
    pub fn below(&mut self, folder: &Path) -> Vec<PathBuf> {
        let mut unreadable = Vec::new();
        let found = listing::readable(folder, &[], &mut unreadable);
        self.left_out.extend(unreadable.iter().map(Error::to_string));
        match found {
            Ok(found) => {
                self.passed_over.add(found.passed_over);
                found.pictures
            }
            Err(why) => {
                self.left_out.push(why.to_string());
                vec![]
            }
        }
    }

    /// Adds pictures that no owner has split, by [`split::sides`].
    pub fn add_unsplit(
        &mut self,
        samples: Vec<Sample>,
        stratum: impl Fn(&Sample) -> String,
        group: impl Fn(&Sample) -> PathBuf,
    ) {
        let all: Vec<&Sample> = samples.iter().collect();
        let sides = split::sides(&all, |i| (String::new(), stratum(all[i])), |i| group(all[i]));
        self.add_split(sides.into_iter().zip(samples).collect());
    }

    /// Adds pictures that we have split.
    pub fn add_split(&mut self, mut samples: Vec<(Split, Sample)>) {
        samples.sort_by(|(_, a), (_, b)| (&a.kind, a.path()).cmp(&(&b.kind, b.path())));
        self.samples.extend(samples);
        self.notes.push(
            "no split is published: a fifth of each class is kept for testing, always the same, equal pictures on one side; \
             `ckaad data split` makes others"
                .into(),
        );
    }

    /// The category, of what was found below `root`.
    pub fn category(mut self, name: impl Into<String>, root: &Path) -> Category {
        shorten(&mut self.left_out);
        shorten(&mut self.left_out_masks);
        let (mut train, mut test, mut validation) = (TrainSet::default(), TestSet::default(), vec![]);
        for (split, sample) in self.samples {
            match (split, sample.anomalous) {
                (Split::Train, false) => train.good.push(sample),
                (Split::Train, true) => train.anomalous.push(sample),
                (Split::Validation, _) => validation.push(sample),
                (Split::Test, _) => test.images.push(sample),
            }
        }
        // Within a kind the order in which they were found, which for a batch is that of its numbers.
        test.images.sort_by(|a, b| a.kind.cmp(&b.kind));
        (train.passed_over, test.passed_over) = (self.passed_over.clone(), self.passed_over);
        test.masks_of_none = self.masks_of_none;
        train.left_out = self.left_out.clone();
        test.left_out = [self.left_out, self.left_out_masks].concat();
        let missing = |what: &str, left_out: &[String]| {
            let others = if left_out.len() > 1 { "; ..." } else { "" };
            let why = left_out.first().map_or(String::new(), |why| format!("; left out: {why}{others}"));
            Error::Invalid(format!("{}: no {what}{why}", root.display()))
        };
        let train = match train.good.is_empty() {
            true => Err(missing("normal pictures to train on", &train.left_out)),
            false => Ok(train),
        };
        let test = match test.images.is_empty() {
            true => Err(missing("pictures to test on", &test.left_out)),
            false => Ok(test),
        };
        let (passed_over, problems, notes) = (PassedOver::default(), self.problems, self.notes);
        Category { name: name.into(), train, validation, test, passed_over, problems, notes }.telling_of_validation()
    }
}

/// Counts what is not among the first.
fn shorten(left_out: &mut Vec<String>) {
    let more = left_out.len().saturating_sub(NAMED);
    left_out.truncate(NAMED);
    if more > 0 {
        left_out.push(format!("{} {}", plural(more, "more row"), "or folders, for reasons like these"));
    }
}

/// What to say of the pictures below a folder that no usable row of its table names; nothing where there are none.
pub fn no_row_names(folder: &Path, table: &Path, named: &HashSet<&Path>) -> Option<String> {
    let pictures = listing::readable(folder, &[], &mut vec![]).map_or_else(|_| vec![], |found| found.pictures);
    let without: Vec<&PathBuf> = pictures.iter().filter(|path| !named.contains(path.as_path())).collect();
    let first = without.first()?;
    let (count, table, first) = (plural(without.len(), "picture"), table.display(), name_of(first));
    Some(format!(
        "{count} below {} not taken, as no usable row of {table} names them: {first}, for one",
        folder.display()
    ))
}

/// Which of the classes in `root` are normal, in any case: those asked for, else those of `usual` that are there.
pub fn normal_classes(root: &Path, classes: &[String], usual: &[&str], options: &Options) -> Result<BTreeSet<String>> {
    let called = |name: &str| classes.iter().filter(|class| class.eq_ignore_ascii_case(name)).cloned().collect();
    let there: Vec<&str> = classes.iter().map(String::as_str).filter(|class| !class.is_empty()).collect();
    let (root, all) = (root.display(), there.join(", "));
    let mut normal = BTreeSet::new();
    for name in &options.normal {
        let found: Vec<String> = called(name);
        if found.is_empty() {
            return Err(Error::Usage(format!("--normal-class {name}: not in {root}, expected one of {all}")));
        }
        normal.extend(found);
    }
    if options.normal.is_empty() {
        normal.extend(usual.iter().flat_map(|name| called(name)));
    }
    if normal.is_empty() {
        invalid!("{root}: which of its classes are normal? --normal-class one of {all}");
    }
    Ok(normal)
}
