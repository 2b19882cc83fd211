//! Splits of pictures that nobody has split: by a seed, and with equal pictures on one side.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::{Sample, Split, TestSet, is_normal};
use crate::data::digest::{equal, groups, joined};
use crate::data::listing::PassedOver;
use crate::engine::hash::fnv1a;
use crate::error::{Error, Result};
use crate::invalid;
use crate::output::folder_of;

/// The share of the pictures that is kept for testing where the owners say nothing.
const TESTED: f64 = 0.2;

/// The sides of pictures that nobody has split: of each stratum a fifth of its groups is for testing, always the same. A stratum
/// has a category and a name. Pictures of a group stay together, and so do equal ones and all of their groups: they count for
/// the stratum of the first of them.
pub fn sides(
    samples: &[&Sample],
    stratum: impl Fn(usize) -> (String, String),
    group: impl Fn(usize) -> PathBuf,
) -> Vec<Split> {
    let keys: Vec<PathBuf> = (0..samples.len()).map(group).collect();
    let together = groups(&keys).into_iter().chain(equal(samples.iter().map(|s| &s.source)));
    let mut strata: BTreeMap<(String, String), BTreeMap<&Path, Vec<usize>>> = BTreeMap::new();
    for members in joined(samples.len(), together) {
        let Some(&first) = members.iter().min_by_key(|i| &keys[**i]) else { continue };
        strata.entry(stratum(first)).or_default().insert(&keys[first], members);
    }
    let mut sides = vec![Split::Train; samples.len()];
    for ((_, name), groups) in strata {
        let tested = choose(groups.len(), share_of(groups.len(), TESTED), 0, &name);
        for (members, _) in groups.into_values().zip(tested).filter(|(_, tested)| *tested) {
            members.into_iter().for_each(|i| sides[i] = Split::Test);
        }
    }
    sides
}

/// How many pictures a share is: to the nearest, but neither none nor all of two or more.
pub fn share_of(count: usize, share: f64) -> usize {
    let nearest = (count as f64 * share).round() as usize;
    if count >= 2 && share > 0.0 && share < 1.0 { nearest.clamp(1, count - 1) } else { nearest.min(count) }
}

/// Which of `all` are chosen, `count` of them. `name` tells draws of one seed apart.
pub fn choose(all: usize, count: usize, seed: u64, name: &str) -> Vec<bool> {
    let mut chosen = vec![false; all];
    shuffled(all, seed, name).into_iter().take(count).for_each(|i| chosen[i] = true);
    chosen
}

fn shuffled(all: usize, seed: u64, name: &str) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(fnv1a(name));
    let mut order: Vec<usize> = (0..all).collect();
    order.shuffle(&mut rng);
    order
}

/// The SHA-256 of a picture's file, or of its part of one.
pub fn content(sample: &Sample) -> Result<[u8; 32]> {
    Ok(Sha256::digest(&sample.source.bytes()?).into())
}

/// How many anomalous pictures are for training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    Count(usize),
    /// From 0 to 1.
    Share(f64),
}

/// What a split is made by.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Share of the normal pictures that is for testing, from 0 to 1.
    pub tested: f64,
    pub labelled: Amount,
    pub seed: u64,
}

/// A split, and what it met.
pub struct Made {
    pub samples: Vec<(Split, Sample)>,
    /// Pictures that are equal to an earlier one, which they stay with.
    pub equal: usize,
    pub passed_over: PassedOver,
}

/// Splits normal and anomalous pictures ([`TestSet::of_folders`]) into training and testing. Equal files stay together, even
/// where that misses a number by a few; one that is called normal and anomalous is an error. All files are read; `progress`
/// hears of each.
pub fn split(set: TestSet, plan: &Plan, progress: &mut dyn FnMut(usize)) -> Result<Made> {
    let mut contents = Vec::new();
    for sample in &set.images {
        contents.push(content(sample)?);
        progress(contents.len());
    }
    let members: Vec<Vec<Sample>> =
        groups(contents).into_iter().map(|equal| equal.into_iter().map(|i| set.images[i].clone()).collect()).collect();
    for equal in &members {
        if let Some(other) = equal.iter().find(|s| s.anomalous != equal[0].anomalous) {
            let (this, other) = (other.path().display(), equal[0].path().display());
            invalid!(
                "{this}: the same picture as {other}, but one is called normal and the other anomalous: which is it?"
            );
        }
    }
    let equal = set.images.len() - members.len();
    let (anomalous, normal): (Vec<_>, Vec<_>) = members.into_iter().partition(|group| group[0].anomalous);
    let count = |groups: &[Vec<Sample>]| groups.iter().map(Vec::len).sum::<usize>();
    let labelled = match plan.labelled {
        Amount::Count(n) if n > count(&anomalous) => {
            let there = count(&anomalous);
            return Err(Error::Usage(format!("--labelled {n}: there are {there} anomalous pictures")));
        }
        Amount::Count(n) => n,
        Amount::Share(share) => share_of(count(&anomalous), share),
    };
    let tested = share_of(count(&normal), plan.tested);
    if tested == count(&normal) {
        let share = plan.tested;
        return Err(Error::Usage(format!("--test-share {share}: no normal picture of {tested} is left to train on")));
    }
    let mut samples = divide(normal, tested, plan.seed, "normal", [Split::Test, Split::Train]);
    samples.extend(divide(anomalous, labelled, plan.seed, "anomalous", [Split::Train, Split::Test]));
    samples.sort_by(|(a, x), (b, y)| (a, x.anomalous, &x.kind, x.path()).cmp(&(b, y.anomalous, &y.kind, y.path())));
    Ok(Made { samples, equal, passed_over: set.passed_over })
}

/// Groups in a drawn order, `count` pictures to the first side where their sizes allow it, the others to the second.
fn divide(groups: Vec<Vec<Sample>>, count: usize, seed: u64, name: &str, sides: [Split; 2]) -> Vec<(Split, Sample)> {
    let order = shuffled(groups.len(), seed, name);
    let mut first = vec![false; groups.len()];
    let mut left = count;
    for i in order {
        if groups[i].len() <= left {
            first[i] = true;
            left -= groups[i].len();
        }
    }
    let side = |(group, first): (Vec<Sample>, bool)| {
        let split = if first { sides[0] } else { sides[1] };
        group.into_iter().map(move |s| (split, s))
    };
    groups.into_iter().zip(first).flat_map(side).collect()
}

/// The CSV file of a split, to be written at `path`: paths below its folder are relative to it, others absolute.
pub fn csv(made: &Made, path: &Path) -> Result<Vec<u8>> {
    let folder = folder_of(path);
    let folder = std::fs::canonicalize(&folder).map_err(|e| Error::io(folder, e))?;
    let name = |file: &Path| -> Result<String> {
        let whole = std::fs::canonicalize(file).map_err(|e| Error::io(file, e))?;
        let name: PathBuf = whole.strip_prefix(&folder).map(Path::to_path_buf).unwrap_or(whole);
        match name.into_os_string().into_string() {
            Ok(name) if !name.contains('|') && name.trim() == name => Ok(name),
            _ => Err(Error::Invalid(format!(
                "{}: its name is not UTF-8, has a | or ends in a blank, and cannot stand in a table; rename it",
                file.display()
            ))),
        }
    };
    let mut table = ::csv::Writer::from_writer(Vec::new());
    let failed = |e: ::csv::Error| Error::Invalid(format!("{}: {e}", path.display()));
    table.write_record(["path", "label", "split", "mask"]).map_err(failed)?;
    for (split, sample) in &made.samples {
        if sample.anomalous && (is_normal(&sample.kind) || sample.kind == "0") {
            let path = sample.path().display();
            invalid!("{path}: a type of anomalies called {}, as normal pictures are: rename its folder", sample.kind);
        }
        let masks: Vec<String> = sample.masks.iter().map(|m| name(m)).collect::<Result<_>>()?;
        let row = [&name(sample.path())?, &sample.kind, split.name(), &masks.join("|")];
        table.write_record(row).map_err(failed)?;
    }
    table.into_inner().map_err(|e| Error::Invalid(format!("{}: {e}", path.display())))
}
