//! The training pictures: decoded once and kept while they fit the memory budget, decoded again each time otherwise.

use crate::Result;
use crate::data::image::Source;
use rayon::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

pub struct Pictures {
    sources: Vec<Source>,
    size: usize,
    /// All pictures back to back, or nothing.
    kept: Vec<u8>,
}

impl Pictures {
    /// Decodes all pictures, which proves every one readable before training starts; keeps them if they take at most
    /// `budget` bytes. `progress` hears how many are done.
    pub fn open(sources: Vec<Source>, size: usize, budget: usize, progress: &(dyn Fn(usize) + Sync)) -> Result<Self> {
        let each = size * size * 3;
        let keep = sources.len() * each <= budget;
        let mut kept = vec![0; if keep { sources.len() * each } else { 0 }];
        let done = AtomicUsize::new(0);
        let load = |source: &Source| -> Result<Vec<u8>> {
            let pixels = source.read()?.resized(size);
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            Ok(pixels)
        };
        if keep {
            kept.par_chunks_exact_mut(each).zip(&sources).try_for_each(|(to, source)| {
                to.copy_from_slice(&load(source)?);
                Ok::<(), crate::Error>(())
            })?;
        } else {
            sources.par_iter().try_for_each(|source| load(source).map(drop))?;
        }
        Ok(Pictures { sources, size, kept })
    }

    pub fn len(&self) -> usize {
        self.sources.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
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
