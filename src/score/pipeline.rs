//! Scoring a stream of pictures: a thread decodes ahead of the engine, results come in input order.

use super::scorer::{Scored, Scorer};
use crate::data::digest::Digest;
use crate::data::image::{Picture, Source};
use crate::data::listing::{Listed, Meant, Refused};
use crate::{Error, Result};
use std::collections::VecDeque;
use std::sync::mpsc;

/// What outcomes come with beside what the network sees.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// The pixels of the files.
    pub pixels: bool,
    /// What tells the files from others.
    pub digests: bool,
    /// Outcomes as soon as they can be had: a batch does not wait for pictures that are still to come.
    pub prompt: bool,
}

/// A picture ready for the network.
pub struct Loaded {
    /// The file's picture; without its pixels where nobody wants them.
    pub shown: Picture,
    /// Of the file, where it is wanted.
    pub digest: Option<Digest>,
    /// As the network sees it: image_size x image_size x 3 bytes.
    pub pixels: Vec<u8>,
}

/// What became of one picture: it with its score and map, or why it could not be read.
pub struct Outcome {
    pub picture: Meant,
    pub result: Result<(Loaded, Scored)>,
}

type Decoded = (Meant, Result<Loaded>);

/// Scores every picture that `sources` hands to its argument, which returns false once nobody listens any more; gives back
/// what `sources` returns.
///
/// `sink` gets the outcomes in order, each as soon as its batch is done; an error of its stops everything at once. The
/// decoder is not waited for then: it may be reading from a source that never ends, and stops at its next picture.
pub fn run<T: Send + 'static>(
    scorer: &mut Scorer,
    wanted: Wanted,
    sources: impl FnOnce(&mut dyn FnMut(Listed) -> bool) -> Result<T> + Send + 'static,
    mut sink: impl FnMut(Outcome) -> Result<()>,
) -> Result<T> {
    let (size, batch) = (scorer.image_size(), scorer.batch());
    // Two batches ahead keep the engine busy; more would only hold memory.
    let (send, receive) = mpsc::sync_channel::<Decoded>(2 * batch);
    let decoder = std::thread::spawn(move || {
        sources(&mut |listed| {
            let decoded = match listed {
                Ok(meant) => {
                    let loaded = load(&meant.source, size, wanted);
                    (meant, loaded)
                }
                Err(Refused { path, error }) => (Source::from(path).into(), Err(error)),
            };
            send.send(decoded).is_ok()
        })
    });
    let mut waiting: Vec<Decoded> = Vec::new();
    let mut on_their_way: VecDeque<Vec<Decoded>> = VecDeque::new();
    loop {
        let next = match receive.try_recv() {
            Ok(next) => Some(next),
            Err(_) => {
                if wanted.prompt && !waiting.is_empty() {
                    on_their_way.push_back(submitted(scorer, &mut waiting)?);
                }
                // Nothing to do but wait: whoever listens need not wait, too.
                while !on_their_way.is_empty() {
                    deliver(scorer, &mut on_their_way, &mut sink)?;
                }
                receive.recv().ok()
            }
        };
        let end = next.is_none();
        waiting.extend(next);
        let readable = waiting.iter().filter(|(_, p)| p.is_ok()).count();
        if readable == batch || end || readable == 0 {
            on_their_way.push_back(submitted(scorer, &mut waiting)?);
            if on_their_way.len() == scorer.lanes() || end {
                deliver(scorer, &mut on_their_way, &mut sink)?;
            }
        }
        if end {
            break;
        }
    }
    let panicked = |_| Error::Invalid("the decoder thread failed unexpectedly".into());
    decoder.join().map_err(panicked)?
}

fn load(source: &Source, size: usize, wanted: Wanted) -> Result<Loaded> {
    let bytes = source.bytes()?;
    let mut shown = source.decode(&bytes)?;
    let digest = wanted.digests.then(|| Digest::of(&bytes));
    let pixels = shown.resized(size);
    if !wanted.pixels {
        shown.rgb = Vec::new();
    }
    Ok(Loaded { shown, digest, pixels })
}

/// Starts scoring what can be scored of a batch, which it takes away.
fn submitted(scorer: &mut Scorer, waiting: &mut Vec<Decoded>) -> Result<Vec<Decoded>> {
    let pictures: Vec<&[u8]> = waiting.iter().filter_map(|(_, p)| Some(p.as_ref().ok()?.pixels.as_slice())).collect();
    if !pictures.is_empty() {
        scorer.submit(&pictures)?;
    }
    Ok(std::mem::take(waiting))
}

/// Waits for the oldest batch and hands its outcomes on.
fn deliver(
    scorer: &mut Scorer,
    on_their_way: &mut VecDeque<Vec<Decoded>>,
    sink: &mut impl FnMut(Outcome) -> Result<()>,
) -> Result<()> {
    let batch = on_their_way.pop_front().unwrap_or_default();
    let scored = if batch.iter().any(|(_, p)| p.is_ok()) { scorer.collect()? } else { Vec::new() };
    let mut scored = scored.into_iter();
    for (picture, loaded) in batch {
        let result = match loaded {
            Ok(loaded) => match scored.next() {
                Some(s) => Ok((loaded, s)),
                None => {
                    let name = picture.source.path().display();
                    Err(Error::Invalid(format!("{name}: the engine returned no score for it")))
                }
            },
            Err(e) => Err(e),
        };
        sink(Outcome { picture, result })?;
    }
    Ok(())
}
