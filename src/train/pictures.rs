//! The training pictures: decoded once, and the views that networks see of them kept while they fit the memory budget, decoded again
//! each time otherwise.

use crate::data::digest::{Digest, Digests, groups};
use crate::data::framing::{Frame, Framer};
use crate::data::image::{Picture, Source};
use crate::error::plural;
use crate::{Error, Result, invalid};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// So many of the pictures that cannot be read are named.
const NAMED: usize = 10;

pub struct Pictures {
    sources: Vec<Source>,
    framer: Framer,
    frames: Vec<Frame>,
    /// Where each picture's views begin among all, and how many there are.
    first: Vec<usize>,
    /// Every picture's views, one behind the other, or nothing.
    kept: Vec<Vec<u8>>,
    digest: String,
    /// Of each picture alone.
    digests: Vec<Digest>,
    /// Why pictures may not look as they were meant, with their names.
    warnings: Vec<String>,
}

/// What is left of a picture's file besides its pixels.
struct Read {
    frame: Frame,
    /// Its views, where they are kept.
    views: Vec<u8>,
    fingerprint: Vec<u8>,
    digest: Digest,
    warnings: Vec<String>,
}

impl Pictures {
    /// Decodes all pictures, which proves every one readable before training starts; keeps them if they take at most
    /// `budget` bytes. `progress` hears how many are done and may stop the work.
    pub fn open(
        sources: Vec<Source>,
        framer: Framer,
        budget: usize,
        progress: &(dyn Fn(usize) -> Result<()> + Sync),
    ) -> Result<Self> {
        let each = framer.size * framer.size * 3;
        // Views that were kept so far; where they are too many, none are.
        let held = AtomicUsize::new(0);
        let done = Mutex::new(0);
        let load = |source: &Source| -> Result<Read> {
            let bytes = source.bytes()?;
            let picture = source.decode(&bytes, framer.framing.max_pixels())?;
            let frame = framer.frame((picture.width, picture.height));
            let frame = frame.map_err(|e| e.within(source.path().display()))?;
            let before = held.fetch_add(frame.views() * each, Ordering::Relaxed);
            let mut views = Vec::new();
            if before + frame.views() * each <= budget {
                (0..frame.views()).for_each(|i| views.extend(frame.cut(&picture, i)));
            }
            let warnings = picture.warnings.into_iter().map(|w| format!("{}: {w}", source.path().display())).collect();
            let sha256 = Sha256::digest(&bytes).into();
            let fingerprint = fingerprint(source, bytes.len(), &sha256);
            Ok(Read { frame, views, fingerprint, digest: Digest::of_sha256(&sha256), warnings })
        };
        // The outer error stops the work, what is wrong with a picture does not.
        let told = |read: Result<Read>| {
            // Held while it is told: numbers come in their order.
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            *done += 1;
            progress(*done)?;
            Ok(read)
        };
        let loaded: Result<Vec<Result<Read>>> = sources.par_iter().map(|source| told(load(source))).collect();
        let mut read = all_or_every_error(loaded?)?;
        let mut kept = Vec::new();
        if held.into_inner() <= budget {
            kept.extend(read.iter_mut().map(|r| std::mem::take(&mut r.views)));
        }
        let (mut first, mut frames) = (vec![0], Vec::with_capacity(read.len()));
        for r in &read {
            first.push(first[frames.len()] + r.frame.views());
            frames.push(r.frame.clone());
        }
        let mut digest = Sha256::new();
        read.iter().for_each(|r| digest.update(&r.fingerprint));
        // 64 bits: a mistake is to be noticed, nobody forges pictures here.
        let digest = digest.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect();
        let digests = read.iter().map(|r| r.digest).collect();
        let warnings = read.into_iter().flat_map(|r| r.warnings).collect();
        Ok(Pictures { sources, framer, frames, first, kept, digest, digests, warnings })
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

    /// Bytes of one view.
    pub fn each(&self) -> usize {
        self.framer.size * self.framer.size * 3
    }

    /// The views of all pictures, one picture's behind the other's.
    pub fn all_views(&self) -> usize {
        self.first.last().copied().unwrap_or_default()
    }

    /// Those of the pictures of these indices.
    pub fn views_of(&self, indices: &[usize]) -> Vec<usize> {
        indices.iter().flat_map(|&i| self.first[i]..self.first[i + 1]).collect()
    }

    /// How a picture is seen.
    pub fn frame(&self, picture: usize) -> &Frame {
        &self.frames[picture]
    }

    /// Gives the views of a picture one by one.
    pub fn views(&self, picture: usize) -> Result<impl FnMut(usize) -> Vec<u8>> {
        let decoded = if self.kept.is_empty() { Some(self.decode(picture)?) } else { None };
        Ok(move |view: usize| match &decoded {
            Some(decoded) => self.frames[picture].cut(decoded, view),
            None => self.kept[picture][view * self.each()..][..self.each()].to_vec(),
        })
    }

    fn decode(&self, picture: usize) -> Result<Picture> {
        let source = &self.sources[picture];
        source.decode(&source.bytes()?, self.framer.framing.max_pixels())
    }

    /// Copies views into `out`, one behind the other.
    pub fn gather(&self, views: &[usize], out: &mut [u8]) -> Result<()> {
        let each = self.each();
        let picture_of = |view: usize| self.first.partition_point(|&first| first <= view) - 1;
        if !self.kept.is_empty() {
            let kept = |view: usize| {
                let picture = picture_of(view);
                &self.kept[picture][(view - self.first[picture]) * each..][..each]
            };
            out.par_chunks_exact_mut(each).zip(views).for_each(|(to, &view)| to.copy_from_slice(kept(view)));
            return Ok(());
        }
        // A picture is decoded once for those of its views that follow each other.
        let mut runs: Vec<(usize, &[usize], &mut [u8])> = Vec::new();
        let mut rest = out;
        for run in views.chunk_by(|&a, &b| picture_of(a) == picture_of(b)) {
            let to;
            (to, rest) = rest.split_at_mut(run.len() * each);
            runs.push((picture_of(run[0]), run, to));
        }
        runs.into_par_iter().try_for_each(|(picture, run, to)| {
            let decoded = self.decode(picture)?;
            let (frame, first) = (&self.frames[picture], self.first[picture]);
            to.par_chunks_exact_mut(each)
                .zip(run)
                .for_each(|(to, &view)| to.copy_from_slice(&frame.cut(&decoded, view - first)));
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
    use crate::data::framing::Framing;
    use std::sync::Arc;

    fn whole(size: usize) -> Framer {
        Framer { framing: Framing::default(), size, ground: [0; 3] }
    }

    /// What is wrong with pictures is found of all of them; an error of whoever listens ends the work.
    #[test]
    fn decoding_can_be_stopped() {
        let picture = |i: usize| Source::Bytes { name: format!("{i}"), bytes: vec![7; 5].into() };
        let heard = AtomicUsize::new(0);
        let count = |_| {
            heard.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let error = Pictures::open((0..500).map(picture).collect(), whole(8), usize::MAX, &count).err().unwrap();
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
            let error = Pictures::open((0..100_000).map(picture).collect(), whole(8), budget, &stop).err().unwrap();
            assert!(matches!(error, Error::Cancelled) && heard.into_inner() < 1000);
        }
    }
}
