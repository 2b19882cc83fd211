//! What a dataset holds and what is wrong with it, before hours go into it: every picture and every mask is read.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{COARSE, Category, Sample, Split};
use crate::data::digest::groups;
use crate::data::image::{MAX_PIXELS, marked_pixels, marks_any};
use crate::error::plural;

/// So many of each kind of trouble are named.
const NAMED: usize = 3;

/// Pictures of one class in one split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    pub split: Split,
    pub kind: String,
    pub anomalous: bool,
    pub pictures: usize,
}

/// What the masks of anomalous test pictures are like, in pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Masks {
    /// They mark something.
    pub found: usize,
    pub missing: usize,
    /// They mark nothing.
    pub empty: usize,
    /// They cannot be read, or are of another size than their picture.
    pub unusable: usize,
}

/// A category as it was found.
#[derive(Debug, Default)]
pub struct Report {
    pub counts: Vec<Count>,
    pub masks: Masks,
    /// Its remarks and problems are among the others.
    pub doubled: Doubled,
    pub passed_over: String,
    /// What is good to know.
    pub remarks: Vec<String>,
    /// What makes results wrong or incomplete, each in words.
    pub problems: Vec<String>,
}

/// Pictures whose files are equal.
#[derive(Debug, Default)]
pub struct Doubled {
    /// Two or more each.
    pub groups: Vec<Vec<PathBuf>>,
    /// Groups that are on two sides of the split.
    pub across: usize,
    pub remarks: Vec<String>,
    pub problems: Vec<String>,
}

/// What reading one picture tells.
struct Seen {
    /// The hash of its file, or why it cannot be read.
    content: Result<[u8; 32], String>,
    mask: Mask,
}

enum Mask {
    /// Not looked for.
    None,
    Missing,
    Found,
    Empty,
    Unusable(String),
}

/// A dataset as it was found.
pub struct Checked {
    /// Of each category, in their order.
    pub categories: Vec<Report>,
    /// Pictures that several categories have: one model may be trained on all of them.
    pub together: Doubled,
}

/// Reads everything in the categories. `progress` hears how many pictures are done, from several threads.
pub fn check(categories: &[Category], progress: &(dyn Fn() + Sync)) -> Checked {
    let (mut reports, mut all, mut contents, mut of) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (i, category) in categories.iter().enumerate() {
        let samples: Vec<(Split, &Sample)> = category.samples().collect();
        let seen: Vec<Seen> = samples
            .par_iter()
            .map(|&(split, sample)| {
                let seen = see(split, sample);
                progress();
                seen
            })
            .collect();
        let known: Vec<Option<[u8; 32]>> = seen.iter().map(|s| s.content.as_ref().ok().copied()).collect();
        let doubled = Doubled::new(&samples, equal(&known));
        let mut report = Report { remarks: category.notes.clone(), ..Report::default() };
        report.of_lists(category);
        report.of_counts(&samples);
        report.of_contents(&seen);
        report.remarks.extend(doubled.remarks.iter().cloned());
        report.problems.extend(doubled.problems.iter().cloned());
        report.doubled = doubled;
        report.of_masks(&samples, &seen);
        reports.push(report);
        of.resize(of.len() + samples.len(), i);
        all.extend(samples);
        contents.extend(known);
    }
    let mut groups = equal(&contents);
    groups.retain(|group| group.iter().any(|i| of[*i] != of[group[0]]));
    Checked { categories: reports, together: Doubled::new(&all, groups) }
}

/// Groups of two or more equal contents.
fn equal(contents: &[Option<[u8; 32]>]) -> Vec<Vec<usize>> {
    let mut equal = groups(contents);
    equal.retain(|group| group.len() > 1 && contents[group[0]].is_some());
    equal
}

fn see(split: Split, sample: &Sample) -> Seen {
    let read = sample.source.bytes().and_then(|bytes| {
        let picture = sample.source.decode(&bytes, MAX_PIXELS)?;
        Ok((Sha256::digest(&bytes).into(), picture))
    });
    let mask = match &read {
        Ok(_) if split != Split::Test || !sample.anomalous => Mask::None,
        Err(_) => Mask::None,
        Ok(_) if sample.masks.is_empty() => Mask::Missing,
        Ok((_, picture)) => match marked_pixels(&sample.masks, picture) {
            Ok(0) => Mask::Empty,
            Ok(_) => Mask::Found,
            Err(e) => Mask::Unusable(e.to_string()),
        },
    };
    Seen { content: read.map(|(hash, _)| hash).map_err(|e| e.to_string()), mask }
}

impl Report {
    /// What listing the files told.
    fn of_lists(&mut self, category: &Category) {
        let (train, test) = (&category.train, &category.test);
        let errors = [train.as_ref().err(), test.as_ref().err()];
        self.problems.extend(errors.into_iter().flatten().map(|e| e.to_string()));
        // Both may tell of the same rows and files.
        let of_train = train.iter().map(|set| (&set.left_out, &set.passed_over));
        let both: Vec<_> = of_train.chain(test.iter().map(|set| (&set.left_out, &set.passed_over))).collect();
        let mut left_out: Vec<&String> = both.iter().flat_map(|(left_out, _)| *left_out).collect();
        let mut seen = HashSet::new();
        left_out.retain(|line| seen.insert(*line));
        self.problems.extend(left_out.into_iter().map(|line| format!("left out: {line}")));
        let mut passed_over: Vec<String> = both.iter().map(|(_, passed_over)| passed_over.to_string()).collect();
        passed_over.push(category.passed_over.to_string());
        passed_over.retain(|text| !text.is_empty());
        passed_over.dedup();
        self.passed_over = passed_over.join(", ");
        self.problems.extend(category.problems.iter().cloned());
        let Ok(test) = &category.test else { return };
        if let Some(first) = test.masks_of_none.first() {
            self.problems.push(format!(
                "{} without a picture, as {}",
                plural(test.masks_of_none.len(), "mask"),
                first.display()
            ));
        }
        if let Some((taken, other)) = test.second_masks.first() {
            let (count, taken, other) = (plural(test.second_masks.len(), "mask"), taken.display(), other.display());
            self.problems
                .push(format!("{count} not taken, as there is another of the same picture: {taken}, not {other}"));
        }
        let marks = |mask: &PathBuf| match marks_any(mask) {
            Ok(false) => None,
            Ok(true) => Some(mask.display().to_string()),
            Err(e) => Some(e.to_string()),
        };
        let marking: Vec<String> = test.masks_of_normal.par_iter().filter_map(marks).collect();
        if let Some(named) = named(&marking) {
            let count = plural(marking.len(), "mask");
            self.problems.push(format!("{count} of normal pictures not taken, but not empty: {named}"));
        }
    }

    fn of_counts(&mut self, samples: &[(Split, &Sample)]) {
        let mut counts: BTreeMap<(Split, bool, &str), usize> = BTreeMap::new();
        for (split, sample) in samples {
            *counts.entry((*split, sample.anomalous, &sample.kind)).or_default() += 1;
        }
        let has = |split: Split, anomalous: bool| counts.keys().any(|k| (k.0, k.1) == (split, anomalous));
        if has(Split::Test, false) != has(Split::Test, true) {
            let missing = if has(Split::Test, true) { "normal" } else { "anomalous" };
            self.problems.push(format!("no {missing} pictures to test on: there is no AUROC of one class"));
        }
        for (&(split, anomalous, kind), &count) in &counts {
            // What a coarse label means is in test under the names of its types.
            let tested = kind == COARSE || !anomalous || counts.contains_key(&(Split::Test, anomalous, kind));
            if split == Split::Train && !tested && has(Split::Test, true) {
                self.problems
                    .push(format!("class {kind} has {} to train on and none to test on", plural(count, "picture")));
            }
        }
        let count = |((split, anomalous, kind), pictures): ((Split, bool, &str), usize)| Count {
            split,
            kind: kind.to_string(),
            anomalous,
            pictures,
        };
        self.counts = counts.into_iter().map(count).collect();
    }

    /// Pictures that cannot be read.
    fn of_contents(&mut self, seen: &[Seen]) {
        let unreadable: Vec<String> = seen.iter().filter_map(|s| s.content.clone().err()).collect();
        if let Some(named) = named(&unreadable) {
            self.problems.push(format!("{} cannot be read: {named}", plural(unreadable.len(), "picture")));
        }
    }

    fn of_masks(&mut self, samples: &[(Split, &Sample)], seen: &[Seen]) {
        let (mut missing, mut empty, mut unusable) = (vec![], vec![], vec![]);
        for ((_, sample), seen) in samples.iter().zip(seen) {
            let name = sample.path().display().to_string();
            match &seen.mask {
                Mask::None => {}
                Mask::Found => self.masks.found += 1,
                Mask::Missing => missing.push(name),
                Mask::Empty => empty.push(name),
                Mask::Unusable(why) => unusable.push(why.clone()),
            }
        }
        (self.masks.missing, self.masks.empty, self.masks.unusable) = (missing.len(), empty.len(), unusable.len());
        let any = self.masks.found + empty.len() + unusable.len() > 0;
        let picture = |count: usize| plural(count, "anomalous test picture");
        if !any && !missing.is_empty() {
            self.remarks.push("there are no masks: no metrics of pixels".into());
        } else if let Some(named) = named(&missing) {
            self.problems.push(format!("{} without a mask, while others have one: {named}", picture(missing.len())));
        }
        if let Some(named) = named(&empty) {
            self.problems.push(format!("{} whose mask marks nothing: {named}", picture(empty.len())));
        }
        if let Some(named) = named(&unusable) {
            self.problems.push(format!("{} whose mask cannot be used: {named}", picture(unusable.len())));
        }
    }
}

impl Doubled {
    /// Of the positions of equal pictures.
    fn new(samples: &[(Split, &Sample)], groups: Vec<Vec<usize>>) -> Self {
        let mut doubled = Doubled::default();
        let (mut across, mut contradictory, mut within) = (vec![], vec![], vec![]);
        for group in groups {
            let paths: Vec<PathBuf> = group.iter().map(|&i| samples[i].1.path().to_path_buf()).collect();
            let first = samples[group[0]];
            let one_split = group.iter().all(|&i| samples[i].0 == first.0);
            let one_label = group.iter().all(|&i| samples[i].1.anomalous == first.1.anomalous);
            let name = paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(" = ");
            // Both may be wrong.
            if !one_split {
                across.push(name.clone());
            }
            if !one_label {
                contradictory.push(name.clone());
            }
            if one_split && one_label {
                within.push(name);
            }
            doubled.groups.push(paths);
        }
        doubled.across = across.len();
        let picture = |count: usize| plural(count, "picture");
        if let Some(named) = named(&contradictory) {
            let count = picture(contradictory.len());
            doubled.problems.push(format!("{count} called normal and anomalous, by equal files: {named}"));
        }
        if let Some(named) = named(&across) {
            doubled.problems.push(format!("{} in more than one split, by equal files: {named}", picture(across.len())));
        }
        if let Some(named) = named(&within) {
            doubled.remarks.push(format!("{} more than once in a split: {named}", picture(within.len())));
        }
        doubled
    }
}

/// The first of them; nothing where there are none.
fn named(all: &[String]) -> Option<String> {
    let first = &all[..all.len().min(NAMED)];
    let more = if all.len() > NAMED { "; ..." } else { "" };
    (!first.is_empty()).then(|| first.join("; ") + more)
}
