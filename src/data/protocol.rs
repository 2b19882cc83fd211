//! Which of a dataset's labelled anomalies a detector may learn from: the paper's protocol ("Datasets and Set-up").
//!
//! A share of the training pictures are labelled anomalies, of a few classes; some pictures of both kinds, in equal numbers, are
//! kept apart for validation. Equal ones are kept apart together, or not at all. Where anomalous pictures are too few for both,
//! those to label come first, and where they are too few for that, too, all of them are labelled.

use super::digest::equal;
use super::layout::{Sample, TrainSet};
use crate::{Error, Result};
use rand::SeedableRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How many labelled anomalies there are to learn from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "LabelledText", into = "LabelledText")]
pub enum Labelled {
    /// All that the training pictures hold.
    All,
    /// A share of the training pictures, normal and labelled together, in [0, 1); of 0 there are none.
    Share(f64),
}

impl Labelled {
    /// How many labelled pictures beside `normal` ones that is, at least one unless the share is 0; `None` for all.
    pub fn beside(self, normal: usize) -> Option<usize> {
        match self {
            Labelled::All => None,
            Labelled::Share(0.0) => Some(0),
            Labelled::Share(share) => Some(((normal as f64 * share / (1.0 - share)).round() as usize).max(1)),
        }
    }
}

/// As files have it: a number, or `all`.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum LabelledText {
    Share(f64),
    Word(String),
}

impl TryFrom<LabelledText> for Labelled {
    type Error = String;

    fn try_from(text: LabelledText) -> std::result::Result<Self, String> {
        match text {
            LabelledText::Share(share) if (0.0..1.0).contains(&share) => Ok(Labelled::Share(share)),
            LabelledText::Word(word) if word == "all" => Ok(Labelled::All),
            LabelledText::Share(share) => {
                Err(format!("ratio {share}: expected a number from 0 to below 1, or \"all\""))
            }
            LabelledText::Word(word) => {
                Err(format!("ratio \"{word}\": expected a number from 0 to below 1, or \"all\""))
            }
        }
    }
}

impl From<Labelled> for LabelledText {
    fn from(labelled: Labelled) -> Self {
        match labelled {
            Labelled::All => LabelledText::Word("all".into()),
            Labelled::Share(share) => LabelledText::Share(share),
        }
    }
}

/// What a detector may see of a dataset's training pictures.
#[derive(Clone, Debug)]
pub struct Protocol {
    pub labelled: Labelled,
    /// Classes that labelled anomalies are taken from; none are all of them.
    pub classes: Vec<String>,
    /// Share of the training pictures that is kept apart for validation, half of it of either kind, so far as the share that is
    /// labelled leaves any.
    pub validation: f64,
    pub seed: u64,
}

/// Training pictures, and those that were kept apart of them.
pub struct Draw {
    pub train: TrainSet,
    /// As many normal as anomalous ones, where labelling leaves so many, but for what equal pictures make of the numbers.
    pub validation: Vec<Sample>,
}

impl Protocol {
    /// Draws by the seed. Where there are fewer anomalous pictures than the share asks for, all are labelled and none is validated on.
    /// A class that no picture is of is an error, and so is validation that takes all of what is to be labelled.
    pub fn draw(&self, mut set: TrainSet) -> Result<Draw> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let any = !set.anomalous.is_empty();
        if let Some(missing) = self.classes.iter().find(|c| !set.anomalous.iter().any(|s| s.kind == **c)) {
            let there: BTreeSet<&str> = set.anomalous.iter().map(|s| s.kind.as_str()).collect();
            let there = Vec::from_iter(there).join(", ");
            return Err(Error::Invalid(format!("no training picture is of class {missing}; there are {there}")));
        }
        set.anomalous.retain(|s| self.classes.is_empty() || self.classes.contains(&s.kind));
        let mut shuffled = |mut samples: Vec<Sample>| {
            samples.shuffle(&mut rng);
            samples
        };
        let (mut good, mut anomalous) = (shuffled(set.good), shuffled(set.anomalous));
        let each = (good.len() as f64 * self.validation / 2.0).round() as usize;
        let mut validation = Vec::new();
        if each > 0 {
            let equal = equal(good.iter().chain(&anomalous).map(|s| &s.source));
            let normal = good.len();
            validation.extend(take(&mut good, 0, each.min(normal - 1), &equal));
            // Of all there is no number; what validation leaves is then labelled.
            let spare = anomalous.len().saturating_sub(self.labelled.beside(good.len()).unwrap_or(0));
            validation.extend(take(&mut anomalous, normal, each.min(spare), &equal));
        }
        match self.labelled.beside(good.len()) {
            Some(wanted) => anomalous.truncate(wanted),
            None if any && anomalous.is_empty() => {
                let share = self.validation;
                return Err(Error::Invalid(format!(
                    "all anomalous training pictures are kept apart for validation ({share} of the training pictures, half of \
                     them of either kind); none is left to label"
                )));
            }
            None => {}
        }
        for samples in [&mut good, &mut anomalous] {
            samples.sort_by(|a, b| a.path().cmp(b.path()));
        }
        Ok(Draw { train: TrainSet { good, anomalous, ..set }, validation })
    }
}

/// Takes `count` of the pictures away, the last ones whose equals can all come with them, and fewer where none fit. The first
/// of the pictures is number `at` in the groups of `equal`.
fn take(samples: &mut Vec<Sample>, at: usize, count: usize, equal: &[Vec<usize>]) -> Vec<Sample> {
    let place = |i: &usize| i.checked_sub(at).filter(|i| *i < samples.len());
    // Pictures that are called normal and anomalous stay.
    let mut groups: Vec<Vec<usize>> =
        equal.iter().filter_map(|group| group.iter().map(place).collect::<Option<_>>()).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.iter().copied().max()));
    let (mut taken, mut left) = (vec![false; samples.len()], count);
    for group in groups {
        if group.len() <= left {
            left -= group.len();
            group.into_iter().for_each(|i| taken[i] = true);
        }
    }
    let (apart, others): (Vec<_>, Vec<_>) =
        std::mem::take(samples).into_iter().zip(taken).partition(|(_, taken)| *taken);
    samples.extend(others.into_iter().map(|(sample, _)| sample));
    apart.into_iter().map(|(sample, _)| sample).collect()
}

/// Which classes are labelled, one choice after the other: each alone, or `draws` different random choices of several, all of
/// them where there are no more; all classes together where nothing is said, or there are none.
pub fn choices(classes: &[String], count: Option<usize>, draws: usize, seed: u64) -> Result<Vec<Vec<String>>> {
    match count {
        _ if classes.is_empty() => Ok(vec![vec![]]),
        None => Ok(vec![vec![]]),
        Some(1) => Ok(classes.iter().map(|c| vec![c.clone()]).collect()),
        Some(count) if (1..=classes.len()).contains(&count) => {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let wanted = draws.min(combinations(classes.len(), count));
            let mut all: Vec<Vec<String>> = Vec::new();
            while all.len() < wanted {
                let mut chosen: Vec<String> = classes.sample(&mut rng, count).cloned().collect();
                chosen.sort();
                // Twice the same choice would be one training and count as two.
                if !all.contains(&chosen) {
                    all.push(chosen);
                }
            }
            Ok(all)
        }
        Some(count) => {
            let (there, of) = (classes.join(", "), classes.len());
            Err(Error::Invalid(format!("{count} classes of anomalies are to be labelled; there are {of}: {there}")))
        }
    }
}

/// Choices of `count` among `of`, or as many as can be counted.
fn combinations(of: usize, count: usize) -> usize {
    (0..count)
        .fold(1u128, |all, i| all.saturating_mul((of - i) as u128) / (i as u128 + 1))
        .try_into()
        .unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(normal: usize, anomalous: &[(&str, usize)]) -> TrainSet {
        let sample = |kind: &str, i: usize, bad: bool| {
            Sample::new(std::path::PathBuf::from(format!("{kind}/{i:03}.png")), kind, bad)
        };
        TrainSet {
            good: (0..normal).map(|i| sample("good", i, false)).collect(),
            anomalous: anomalous.iter().flat_map(|(kind, n)| (0..*n).map(|i| sample(kind, i, true))).collect(),
            ..TrainSet::default()
        }
    }

    fn protocol(labelled: Labelled, classes: &[&str], validation: f64, seed: u64) -> Protocol {
        Protocol { labelled, classes: classes.iter().map(|c| c.to_string()).collect(), validation, seed }
    }

    #[test]
    fn shares_are_of_all_training_pictures() {
        // 5 % of 100 pictures are 5 beside 95.
        let beside = |share: f64, normal: usize| Labelled::Share(share).beside(normal);
        assert_eq!([beside(0.05, 95), beside(0.0, 95), beside(0.001, 10)], [Some(5), Some(0), Some(1)]);
        assert_eq!(Labelled::All.beside(95), None);
        let draw =
            protocol(Labelled::Share(0.05), &["hole"], 0.0, 1).draw(set(95, &[("hole", 9), ("crack", 9)])).unwrap();
        assert_eq!((draw.train.good.len(), draw.train.anomalous.len(), draw.validation.len()), (95, 5, 0));
        assert!(draw.train.anomalous.iter().all(|s| s.kind == "hole"));
    }

    #[test]
    fn validation_pictures_are_of_both_kinds_and_of_no_other_use() {
        let draw = protocol(Labelled::All, &[], 0.05, 7).draw(set(80, &[("hole", 10)])).unwrap();
        let kept = |bad: bool| draw.validation.iter().filter(|s| s.anomalous == bad).count();
        assert_eq!((kept(false), kept(true)), (2, 2));
        assert_eq!((draw.train.good.len(), draw.train.anomalous.len()), (78, 8));
        let seen: BTreeSet<_> = draw
            .train
            .good
            .iter()
            .chain(&draw.train.anomalous)
            .chain(&draw.validation)
            .map(|s| s.path().to_path_buf())
            .collect();
        assert_eq!(seen.len(), 90);
    }

    /// Every picture is there twice, or three times, under other names.
    #[test]
    fn equal_pictures_are_on_one_side() {
        let dir = tempfile::tempdir().unwrap();
        let sample = |kind: &str, i: usize, copies: usize| {
            let path = dir.path().join(format!("{kind}{i:03}.png"));
            std::fs::write(&path, format!("{kind} {:03}", i / copies)).unwrap();
            Sample::new(path, kind, kind != "good")
        };
        let mut set = TrainSet {
            good: (0..60).map(|i| sample("good", i, 2)).collect(),
            anomalous: (0..30).map(|i| sample("hole", i, 3)).collect(),
            ..TrainSet::default()
        };
        // Called both, which somebody may mend: it is not validated on.
        std::fs::write(set.good[0].path(), "both").unwrap();
        std::fs::write(set.anomalous[0].path(), "both").unwrap();
        set.good.push(sample("good", 900, 1));
        let contents = |samples: &[Sample]| {
            samples.iter().map(|s| std::fs::read_to_string(s.path()).unwrap()).collect::<BTreeSet<_>>()
        };
        for seed in 0..20 {
            let draw = protocol(Labelled::All, &[], 0.2, seed).draw(set.clone()).unwrap();
            let [good, anomalous, apart] =
                [&draw.train.good, &draw.train.anomalous, &draw.validation].map(|samples| contents(samples));
            assert!(apart.is_disjoint(&good) && apart.is_disjoint(&anomalous), "seed {seed}: {apart:?}");
            // A tenth of 61; holes come by threes, but for the two that are left of the first.
            let kept = |bad: bool| draw.validation.iter().filter(|s| s.anomalous == bad).count();
            assert!(kept(false) == 6 && (5..=6).contains(&kept(true)), "seed {seed}: {}", kept(true));
            assert_eq!(draw.train.good.len() + draw.train.anomalous.len() + draw.validation.len(), 91);
        }
    }

    #[test]
    fn a_seed_is_a_draw() {
        let of = |seed| {
            let draw = protocol(Labelled::Share(0.1), &[], 0.05, seed).draw(set(90, &[("hole", 40)])).unwrap();
            draw.train.anomalous.iter().map(|s| s.path().to_path_buf()).collect::<Vec<_>>()
        };
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let error = |labelled, classes: &[&str]| {
            let draw = protocol(labelled, classes, 0.0, 0).draw(set(95, &[("hole", 4)]));
            draw.err().unwrap().to_string()
        };
        assert!(error(Labelled::All, &["crack"]).contains("class crack; there are hole"));
        // Half of 20 % of 95 are more than the 4 that there are.
        let all = protocol(Labelled::All, &[], 0.2, 0).draw(set(95, &[("hole", 4)])).err().unwrap().to_string();
        assert!(all.contains("none is left to label"), "{all}");
        let none = protocol(Labelled::Share(0.05), &[], 0.0, 0).draw(set(95, &[])).unwrap();
        assert_eq!((none.train.good.len(), none.train.anomalous.len()), (95, 0));
    }

    /// What was drawn before validation had to leave what is labelled, written down from the description: both kinds are shuffled by one
    /// generator, validation has the last ones of each, and the first of the others are labelled.
    fn as_before(p: &Protocol, set: TrainSet, share: f64) -> Option<[BTreeSet<std::path::PathBuf>; 3]> {
        let mut rng = ChaCha8Rng::seed_from_u64(p.seed);
        let paths = |of: Vec<Sample>| of.into_iter().map(|s| s.path().to_path_buf()).collect::<Vec<_>>();
        let (mut good, mut anomalous) = (paths(set.good), paths(set.anomalous));
        good.shuffle(&mut rng);
        anomalous.shuffle(&mut rng);
        let each = (good.len() as f64 * p.validation / 2.0).round() as usize;
        let mut apart = good.split_off(good.len() - each.min(good.len() - 1));
        apart.extend(anomalous.split_off(anomalous.len().saturating_sub(each)));
        let wanted =
            if share == 0.0 { 0 } else { ((good.len() as f64 * share / (1.0 - share)).round() as usize).max(1) };
        let labelled = anomalous.get(..wanted)?.to_vec();
        Some([good, labelled, apart].map(BTreeSet::from_iter))
    }

    #[test]
    fn what_could_be_drawn_before_is_drawn_alike() {
        let mut counts = [0, 0];
        for (seed, share) in (0..60).flat_map(|seed| [0.0, 0.02, 0.05, 0.2, 0.4].map(|share| (seed, share))) {
            for (normal, holes) in [(95, 30), (40, 9), (200, 12), (3, 1)] {
                let set = set(normal, &[("hole", holes)]);
                let p = protocol(Labelled::Share(share), &[], [0.0, 0.05, 0.3][seed as usize % 3], seed);
                let draw = p.draw(set.clone()).unwrap();
                let [good, labelled, apart] = [draw.train.good, draw.train.anomalous, draw.validation]
                    .map(|of| BTreeSet::from_iter(of.into_iter().map(|s| s.path().to_path_buf())));
                let before = as_before(&p, set, share);
                counts[usize::from(before.is_some())] += 1;
                match before {
                    Some(before) => assert_eq!([good, labelled, apart], before, "{normal} {holes} {share} {seed}"),
                    // Labelled ones come first, and all there are where they are too few.
                    None => {
                        let wanted = (good.len() as f64 * share / (1.0 - share)).round().max(1.0) as usize;
                        assert_eq!(labelled.len(), wanted.min(holes), "{normal} {holes} {share} {seed}");
                    }
                }
            }
        }
        assert!(counts[0] > 100 && counts[1] > 100, "{counts:?}");
    }

    #[test]
    fn labelled_pictures_come_before_validation() {
        let drawn = |holes: usize| {
            let draw = protocol(Labelled::Share(0.05), &[], 0.2, 3).draw(set(100, &[("hole", holes)])).unwrap();
            let bad = draw.validation.iter().filter(|s| s.anomalous).count();
            (draw.train.good.len(), draw.train.anomalous.len(), draw.validation.len() - bad, bad)
        };
        // Ten of each are to be kept apart, and 5 labelled beside the 90 that are left: round(90 * 0.05 / 0.95).
        assert_eq!(drawn(40), (90, 5, 10, 10));
        assert_eq!(drawn(15), (90, 5, 10, 10));
        assert_eq!(drawn(12), (90, 5, 10, 7));
        assert_eq!(drawn(5), (90, 5, 10, 0));
        assert_eq!(drawn(3), (90, 3, 10, 0));
        assert_eq!(drawn(0), (90, 0, 10, 0));
    }

    #[test]
    fn classes_are_labelled_in_turn() {
        let classes = ["a", "b", "c"].map(String::from);
        assert_eq!(choices(&classes, None, 5, 0).unwrap(), [Vec::<String>::new()]);
        assert_eq!(choices(&classes, Some(1), 5, 0).unwrap(), [["a"], ["b"], ["c"]]);
        // Of three there are three pairs, and all of them one choice.
        let mut two = choices(&classes, Some(2), 5, 0).unwrap();
        two.sort();
        assert_eq!(two, [["a", "b"], ["a", "c"], ["b", "c"]]);
        assert_eq!(choices(&classes, Some(3), 5, 0).unwrap(), [["a", "b", "c"]]);
        assert!(choices(&classes, Some(4), 5, 0).unwrap_err().to_string().contains("there are 3: a, b, c"));
        let ten: Vec<String> = (0..10).map(|i| i.to_string()).collect();
        for seed in 0..50 {
            let five = choices(&ten, Some(3), 5, seed).unwrap();
            assert!(five.len() == 5 && BTreeSet::from_iter(&five).len() == 5, "{five:?}");
        }
        let all = choices(&ten, Some(3), 1000, 1).unwrap();
        assert_eq!(all.len(), 120);
    }
}
