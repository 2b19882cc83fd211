//! The training pictures: decoded once and kept while they fit the memory budget, decoded again each time otherwise.

use crate::data::digest::{Digest, Digests, groups};
use crate::data::image::Source;
use crate::error::plural;
use crate::{Error, Result, invalid};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use std::sync::{Mutex, PoisonError};

/// So many of the pictures that cannot be read are named.
const NAMED: usize = 10;

pub struct Pictures {
    sources: Vec<Source>,
    size: usize,
    /// All pictures back to back, or nothing.
    kept: Vec<u8>,
    digest: String,
    /// Of each picture alone.
    digests: Vec<Digest>,
    /// Why pictures may not look as they were meant, with their names.
    warnings: Vec<String>,
}

/// What is left of a picture's file besides its pixels.
struct Read {
    fingerprint: Vec<u8>,
    digest: Digest,
    warnings: Vec<String>,
}

impl Pictures {
    /// Decodes all pictures, which proves every one readable before training starts; keeps them if they take at most
    /// `budget` bytes. `progress` hears how many are done and may stop the work.
    pub fn open(
        sources: Vec<Source>,
        size: usize,
        budget: usize,
        progress: &(dyn Fn(usize) -> Result<()> + Sync),
    ) -> Result<Self> {
        let each = size * size * 3;
        let keep = sources.len() * each <= budget;
        let mut kept = vec![0; if keep { sources.len() * each } else { 0 }];
        let done = Mutex::new(0);
        let load = |source: &Source, to: Option<&mut [u8]>| -> Result<Read> {
            let bytes = source.bytes()?;
            let picture = source.decode(&bytes)?;
            if let Some(to) = to {
                to.copy_from_slice(&picture.resized(size));
            }
            let warnings = picture.warnings.into_iter().map(|w| format!("{}: {w}", source.path().display())).collect();
            let sha256 = Sha256::digest(&bytes).into();
            let fingerprint = fingerprint(source, bytes.len(), &sha256);
            Ok(Read { fingerprint, digest: Digest::of_sha256(&sha256), warnings })
        };
        // The outer error stops the work, what is wrong with a picture does not.
        let told = |read: Result<Read>| {
            // Held while it is told: numbers come in their order.
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            *done += 1;
            progress(*done)?;
            Ok(read)
        };
        let loaded: Result<Vec<Result<Read>>> = if keep {
            kept.par_chunks_exact_mut(each).zip(&sources).map(|(to, source)| told(load(source, Some(to)))).collect()
        } else {
            sources.par_iter().map(|source| told(load(source, None))).collect()
        };
        let read = all_or_every_error(loaded?)?;
        let mut digest = Sha256::new();
        read.iter().for_each(|r| digest.update(&r.fingerprint));
        // 64 bits: a mistake is to be noticed, nobody forges pictures here.
        let digest = digest.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect();
        let digests = read.iter().map(|r| r.digest).collect();
        let warnings = read.into_iter().flat_map(|r| r.warnings).collect();
        Ok(Pictures { sources, size, kept, digest, digests, warnings })
    }

    pub fn len(&self) -> usize {
        self.sources.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Of the pictures' names, sizes and contents, in their order.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Of every picture's contents.
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// Those of these indices.
    pub fn digests_of(&self, indices: &[usize]) -> impl Iterator<Item = Digest> {
        indices.iter().map(|&i| self.digests[i])
    }

    /// What equal pictures make of what is learned from them. The first `normal` pictures are normal, the others anomalous.
    pub fn doubts(&self, normal: usize) -> Vec<String> {
        let (good, labelled) = self.digests.split_at(normal);
        let mut doubts = Vec::new();
        let copies = normal - groups(good).len();
        if copies > 0 {
            let (copies, are) =
                (plural(copies, "normal picture"), if copies == 1 { "is a copy" } else { "are copies" });
            doubts.push(format!(
                "{copies} {are} of others: equal ones are held back together, and count once for thresholds"
            ));
        }
        let good: Digests = good.iter().copied().collect();
        let both = groups(labelled.iter().filter(|d| good.contains(**d))).len();
        if both > 0 {
            let (both, are) = (plural(both, "picture"), if both == 1 { "is" } else { "are" });
            doubts.push(format!("{both} {are} among the normal and the anomalous ones: `ckaad data check` names them"));
        }
        doubts
    }

    /// Why pictures may not look as they were meant, with their names.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Bytes of one picture.
    pub fn each(&self) -> usize {
        self.size * self.size * 3
    }

    /// Copies the pictures of these indices into `out`, one behind the other.
    pub fn gather(&self, indices: &[usize], out: &mut [u8]) -> Result<()> {
        let each = self.each();
        out.par_chunks_exact_mut(each).zip(indices).try_for_each(|(to, &i)| {
            if self.kept.is_empty() {
                to.copy_from_slice(&self.sources[i].read()?.resized(self.size));
            } else {
                to.copy_from_slice(&self.kept[i * each..][..each]);
            }
            Ok(())
        })
    }
}

/// What tells a file from others, wherever its folder lies: its name, its length and its contents.
fn fingerprint(source: &Source, len: usize, sha256: &[u8; 32]) -> Vec<u8> {
    let name = source.path().file_name().unwrap_or_default().as_encoded_bytes();
    let mut all = (name.len() as u64).to_le_bytes().to_vec();
    all.extend(name);
    all.extend((len as u64).to_le_bytes());
    all.extend(sha256);
    all
}

/// The values, or one error that names everything that cannot be read: whoever mends a folder wants to do so once.
fn all_or_every_error<T>(results: Vec<Result<T>>) -> Result<Vec<T>> {
    let (mut values, mut errors) = (Vec::with_capacity(results.len()), Vec::new());
    for result in results {
        match result {
            Ok(value) => values.push(value),
            Err(e) => errors.push(e),
        }
    }
    if errors.len() == 1 {
        return Err(errors.remove(0));
    }
    if errors.is_empty() {
        return Ok(values);
    }
    let named: Vec<String> = errors.iter().take(NAMED).map(Error::to_string).collect();
    let more = if errors.len() > NAMED { format!("; and {} more", errors.len() - NAMED) } else { String::new() };
    invalid!("{} pictures cannot be read: {}{more}", errors.len(), named.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::image::Picture;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// What is wrong with pictures is found of all of them; an error of whoever listens ends the work.
    #[test]
    fn decoding_can_be_stopped() {
        let picture = |i: usize| Source::Bytes { name: format!("{i}"), bytes: vec![7; 5].into() };
        let heard = AtomicUsize::new(0);
        let count = |_| {
            heard.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let error = Pictures::open((0..500).map(picture).collect(), 8, usize::MAX, &count).err().unwrap();
        assert!(error.to_string().starts_with("500 pictures cannot be read: 0: "), "{error}");
        assert_eq!(heard.into_inner(), 500);
        let picture = |i: usize| Source::Decoded {
            name: format!("{i}"),
            picture: Arc::new(Picture::new(1, 1, vec![i as u8; 3])),
        };
        for budget in [0, usize::MAX] {
            let heard = AtomicUsize::new(0);
            let stop = |_| {
                heard.fetch_add(1, Ordering::Relaxed);
                Err(Error::Cancelled)
            };
            let error = Pictures::open((0..100_000).map(picture).collect(), 8, budget, &stop).err().unwrap();
            assert!(matches!(error, Error::Cancelled) && heard.into_inner() < 1000);
        }
    }
}
