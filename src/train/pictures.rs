//! The training pictures: decoded once and kept while they fit the memory budget, decoded again each time otherwise.

use crate::data::image::Source;
use crate::{Error, Result, invalid};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many of the pictures that cannot be read are named.
const NAMED: usize = 10;

pub struct Pictures {
    sources: Vec<Source>,
    size: usize,
    /// All pictures back to back, or nothing.
    kept: Vec<u8>,
    digest: String,
    /// Why pictures may not look as they were meant, with their names.
    warnings: Vec<String>,
}

impl Pictures {
    /// Decodes all pictures, which proves every one readable before training starts; keeps them if they take at most
    /// `budget` bytes. `progress` hears how many are done.
    pub fn open(sources: Vec<Source>, size: usize, budget: usize, progress: &(dyn Fn(usize) + Sync)) -> Result<Self> {
        let each = size * size * 3;
        let keep = sources.len() * each <= budget;
        let mut kept = vec![0; if keep { sources.len() * each } else { 0 }];
        let done = AtomicUsize::new(0);
        let load = |source: &Source, to: Option<&mut [u8]>| -> Result<(Vec<u8>, Vec<String>)> {
            let bytes = source.bytes()?;
            let picture = source.decode(&bytes)?;
            if let Some(to) = to {
                to.copy_from_slice(&picture.resized(size));
            }
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            let warnings = picture.warnings.into_iter().map(|w| format!("{}: {w}", source.path().display())).collect();
            Ok((fingerprint(source, &bytes), warnings))
        };
        let loaded: Vec<Result<_>> = if keep {
            kept.par_chunks_exact_mut(each).zip(&sources).map(|(to, source)| load(source, Some(to))).collect()
        } else {
            sources.par_iter().map(|source| load(source, None)).collect()
        };
        let (fingerprints, warnings): (Vec<_>, Vec<_>) = all_or_every_error(loaded)?.into_iter().unzip();
        let mut digest = Sha256::new();
        fingerprints.iter().for_each(|f| digest.update(f));
        // 64 bits: a mistake is to be noticed, nobody forges pictures here.
        let digest = digest.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect();
        Ok(Pictures { sources, size, kept, digest, warnings: warnings.concat() })
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
fn fingerprint(source: &Source, bytes: &[u8]) -> Vec<u8> {
    let name = source.path().file_name().unwrap_or_default().as_encoded_bytes();
    let mut all = (name.len() as u64).to_le_bytes().to_vec();
    all.extend(name);
    all.extend((bytes.len() as u64).to_le_bytes());
    all.extend(Sha256::digest(bytes));
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
