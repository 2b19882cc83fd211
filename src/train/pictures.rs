//! The training pictures: decoded once and kept while they fit the memory budget, decoded again each time otherwise.

use crate::Result;
use crate::data::image;
use rayon::prelude::*;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

pub struct Pictures {
    paths: Vec<PathBuf>,
    size: usize,
    /// All pictures back to back, or nothing.
    kept: Vec<u8>,
}

impl Pictures {
    /// Decodes all pictures, which proves every one readable before training starts; keeps them if they take at most
    /// `budget` bytes. `progress` hears how many are done.
    pub fn open(paths: Vec<PathBuf>, size: usize, budget: usize, progress: &(dyn Fn(usize) + Sync)) -> Result<Self> {
        let each = size * size * 3;
        let keep = paths.len() * each <= budget;
        let mut kept = vec![0; if keep { paths.len() * each } else { 0 }];
        let done = AtomicUsize::new(0);
        let load = |path: &PathBuf| -> Result<Vec<u8>> {
            let pixels = image::load(path, size)?;
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            Ok(pixels)
        };
        if keep {
            kept.par_chunks_exact_mut(each).zip(&paths).try_for_each(|(to, path)| {
                to.copy_from_slice(&load(path)?);
                Ok::<(), crate::Error>(())
            })?;
        } else {
            paths.par_iter().try_for_each(|path| load(path).map(drop))?;
        }
        Ok(Pictures { paths, size, kept })
    }

    pub fn len(&self) -> usize {
        self.paths.len()
    }

    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
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
                to.copy_from_slice(&image::load(&self.paths[i], self.size)?);
            } else {
                to.copy_from_slice(&self.kept[i * each..][..each]);
            }
            Ok(())
        })
    }
}
