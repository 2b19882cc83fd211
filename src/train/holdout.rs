//! Which normal pictures are held back: equal ones always together, since a detector knows the copy of what it was trained on.

use crate::data::digest::{Digest, groups};
use crate::model::init::named_rng;
use rand::seq::SliceRandom;

/// Indices of pictures in an order drawn by `seed` and `name`, the equal ones of `digests` in one group, where the first of
/// them comes.
fn drawn(indices: &[usize], digests: &[Digest], seed: u64, name: &str) -> Vec<Vec<usize>> {
    let mut shuffled = indices.to_vec();
    shuffled.shuffle(&mut named_rng(seed, name));
    let of = |group: Vec<usize>| group.into_iter().map(|position| shuffled[position]).collect();
    groups(shuffled.iter().map(|&i| digests[i])).into_iter().map(of).collect()
}

fn ascending(groups: impl IntoIterator<Item = Vec<usize>>) -> Vec<usize> {
    let mut all: Vec<usize> = groups.into_iter().flatten().collect();
    all.sort_unstable();
    all
}

/// Divides `indices` into those to train on and `held` to hold back, or more where copies are among these. At least one picture
/// and its copies are trained on.
pub fn hold_out(indices: &[usize], digests: &[Digest], held: usize, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut train = drawn(indices, digests, seed, "holdout");
    let mut back = Vec::new();
    let mut count = 0;
    while count < held && train.len() > 1 {
        let group = train.pop().unwrap_or_default();
        count += group.len();
        back.push(group);
    }
    (ascending(train), ascending(back))
}

/// Divides `indices` into those outside part `fold` of `folds`, and those in it. Every picture is in one part.
pub fn without_fold(
    indices: &[usize],
    digests: &[Digest],
    (fold, folds): (usize, usize),
    seed: u64,
) -> (Vec<usize>, Vec<usize>) {
    let mut parts: [Vec<Vec<usize>>; 2] = Default::default();
    for (i, group) in drawn(indices, digests, seed, "folds").into_iter().enumerate() {
        parts[usize::from(i % folds == fold)].push(group);
    }
    let [train, back] = parts;
    (ascending(train), ascending(back))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn copies_are_never_on_both_sides() {
        // 24 pictures of 10 different contents.
        let digests: Vec<Digest> = (0..24u8).map(|i| Digest::of(&[i % 10])).collect();
        let indices: Vec<usize> = (0..24).collect();
        let contents = |of: &[usize]| -> HashSet<usize> { of.iter().map(|i| i % 10).collect() };
        let apart = |train: &[usize], back: &[usize]| {
            assert!(contents(train).is_disjoint(&contents(back)), "{train:?} {back:?}");
            let mut all = [train, back].concat();
            all.sort_unstable();
            assert_eq!(all, indices);
        };
        for seed in 0..20 {
            let (train, back) = hold_out(&indices, &digests, 5, seed);
            apart(&train, &back);
            assert!((5..=7).contains(&back.len()), "{back:?}");
            let mut seen = Vec::new();
            for fold in 0..3 {
                let (train, back) = without_fold(&indices, &digests, (fold, 3), seed);
                apart(&train, &back);
                seen.extend(back);
            }
            seen.sort_unstable();
            assert_eq!(seen, indices);
        }
        let one = vec![Digest::of(b"same"); 24];
        assert_eq!(hold_out(&indices, &one, 5, 0), (indices.clone(), vec![]));
    }
}
