//! What a layout collects of a category, and the decisions that layouts share: which classes are normal, and a split where the
//! owners publish none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Category, Options, Sample, Split, TestSet, TrainSet, split};
use crate::data::listing::{self, PassedOver};
use crate::error::{Error, Result, plural};
use crate::invalid;

/// So many of what is left out are named.
const NAMED: usize = 10;

/// The share of the pictures that is kept for testing where the owners say nothing.
const TESTED: f64 = 0.2;

#[derive(Default)]
pub struct Found {
    samples: Vec<(Split, Sample)>,
    pub passed_over: PassedOver,
    /// Rows and folders that cannot be used, each with the reason, which names it.
    pub left_out: Vec<String>,
    pub notes: Vec<String>,
}

impl Found {
    pub fn add(&mut self, split: Split, sample: Sample) {
        self.samples.push((split, sample));
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

    /// Adds pictures that no owner has split: of each stratum a fifth of its groups is for testing, always the same. Pictures
    /// of a group stay together.
    pub fn add_unsplit(
        &mut self,
        samples: Vec<Sample>,
        stratum: impl Fn(&Sample) -> String,
        group: impl Fn(&Sample) -> PathBuf,
    ) {
        let mut strata: BTreeMap<String, BTreeMap<PathBuf, Vec<Sample>>> = BTreeMap::new();
        for sample in samples {
            strata.entry(stratum(&sample)).or_default().entry(group(&sample)).or_default().push(sample);
        }
        for (name, groups) in strata {
            let count = split::share_of(groups.len(), TESTED);
            let tested = split::choose(groups.len(), count, 0, &name);
            for (samples, tested) in groups.into_values().zip(tested) {
                let split = if tested { Split::Test } else { Split::Train };
                self.samples.extend(samples.into_iter().map(|s| (split, s)));
            }
        }
        self.notes.push(
            "no split is published: a fifth of each class is kept for testing, always the same; `ckaad data split` makes others"
                .into(),
        );
    }

    /// The category, of what was found below `root`.
    pub fn category(mut self, name: impl Into<String>, root: &Path) -> Category {
        let more = self.left_out.len().saturating_sub(NAMED);
        self.left_out.truncate(NAMED);
        if more > 0 {
            self.left_out.push(format!("{} {}", plural(more, "more row"), "or folders, for reasons like these"));
        }
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
        (train.left_out, test.left_out) = (self.left_out.clone(), self.left_out);
        if !validation.is_empty() {
            let count = plural(validation.len(), "picture");
            self.notes.push(format!("{count} for validation: used neither to train nor to test"));
        }
        let missing = |what: &str, left_out: &[String]| {
            let why = left_out.first().map_or(String::new(), |why| format!("; left out: {why}"));
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
        Category { name: name.into(), train, validation, test, notes: self.notes }
    }
}

/// Which of the classes in `root` are normal: those asked for, else those of `usual` that are there.
pub fn normal_classes(root: &Path, classes: &[String], usual: &[&str], options: &Options) -> Result<BTreeSet<String>> {
    let there = |name: &str| classes.iter().find(|class| class.eq_ignore_ascii_case(name)).cloned();
    let (root, all) = (root.display(), || classes.join(", "));
    if options.normal.is_empty() {
        let normal: BTreeSet<String> = usual.iter().filter_map(|name| there(name)).collect();
        if normal.is_empty() {
            invalid!("{root}: which of its classes are normal? --normal-class one of {}", all());
        }
        return Ok(normal);
    }
    let asked = |name: &String| {
        let unknown = || Error::Usage(format!("--normal-class {name}: not in {root}, expected one of {}", all()));
        there(name).ok_or_else(unknown)
    };
    options.normal.iter().map(asked).collect()
}
