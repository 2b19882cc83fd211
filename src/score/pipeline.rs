//! Scoring a stream of pictures: a thread decodes ahead of the engine, results come in input order.

use super::assembly::Assembly;
use super::scorer::{Scored, Scorer};
use crate::data::digest::Digest;
use crate::data::framing::{Frame, Framer};
use crate::data::image::{Picture, Source};
use crate::data::listing::{Listed, Meant, Refused};
use crate::data::resize;
use crate::{Error, Result, invalid};
use std::sync::mpsc;

/// What outcomes come with beside what the network sees.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// The pixels of the files.
    pub pixels: bool,
    /// The same at the shape of the map.
    pub small: bool,
    /// What tells the files from others.
    pub digests: bool,
    /// Outcomes as soon as they can be had: a batch does not wait for pictures that are still to come.
    pub prompt: bool,
}

/// A picture ready for the network.
pub struct Loaded {
    /// The file's picture; without its pixels where nobody wants them any more.
    pub shown: Picture,
    /// Of the file, where it is wanted.
    pub digest: Option<Digest>,
    /// Its pixels at the shape of its map, where they are wanted.
    pub small: Vec<u8>,
    /// The squares that the network sees.
    pub frame: Frame,
    /// The only one, if it is not many that are cut when they are needed.
    only: Option<Vec<u8>>,
    wanted: Wanted,
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
    let (framer, batch) = (scorer.framer().clone(), scorer.batch());
    // Two batches ahead keep the engine busy; more would only hold memory. Pictures in tiles are batches themselves, and large.
    let ahead = if framer.framing.tiling.is_some() { 1 } else { 2 * batch };
    let (send, receive) = mpsc::sync_channel::<Decoded>(ahead);
    let decoder = std::thread::spawn(move || {
        sources(&mut |listed| {
            let decoded = match listed {
                Ok(meant) => {
                    let loaded = load(&meant.source, &framer, wanted);
                    (meant, loaded)
                }
                Err(Refused { path, error }) => (Source::from(path).into(), Err(error)),
            };
            send.send(decoded).is_ok()
        })
    });
    let mut assembly = Assembly::new(scorer);
    loop {
        let next = match receive.try_recv() {
            Ok(next) => Some(next),
            Err(_) => {
                if wanted.prompt {
                    assembly.flush()?;
                }
                // Nothing to do but wait: whoever listens need not wait, too.
                while assembly.is_busy() {
                    assembly.wait()?;
                    deliver(&mut assembly, &mut sink)?;
                }
                receive.recv().ok()
            }
        };
        match next {
            None => break,
            Some((picture, Err(e))) => assembly.pass((picture, Err(e))),
            Some((picture, Ok(loaded))) => {
                let frame = loaded.frame.clone();
                assembly.push((picture, Ok(loaded)), frame, |(_, loaded), i| {
                    loaded.as_mut().map_or(vec![], |loaded| loaded.view(i))
                })?;
            }
        }
        while assembly.is_full() {
            assembly.wait()?;
        }
        deliver(&mut assembly, &mut sink)?;
    }
    assembly.finish()?;
    deliver(&mut assembly, &mut sink)?;
    let panicked = |_| Error::Invalid("the decoder thread failed unexpectedly".into());
    decoder.join().map_err(panicked)?
}

/// Hands on what is done.
fn deliver(assembly: &mut Assembly<Decoded>, sink: &mut impl FnMut(Outcome) -> Result<()>) -> Result<()> {
    while let Some(((picture, loaded), scored)) = assembly.take() {
        let result = match (loaded, scored) {
            (Ok(mut loaded), Some(scored)) => {
                loaded.forget_unwanted();
                Ok((loaded, scored))
            }
            (Ok(_), None) => {
                let name = picture.source.path().display();
                Err(Error::Invalid(format!("{name}: the engine returned no score for it")))
            }
            (Err(e), _) => Err(e),
        };
        sink(Outcome { picture, result })?;
    }
    Ok(())
}

/// Scores pictures that are loaded, in their order.
pub fn score(scorer: &mut Scorer, pictures: Vec<Loaded>) -> Result<Vec<(Loaded, Scored)>> {
    score_while(scorer, pictures, &|| true).map(Option::unwrap_or_default)
}

/// The same for as long as `go_on` says so, which is asked before every batch; none if it was not to the end.
pub fn score_while(
    scorer: &mut Scorer,
    pictures: Vec<Loaded>,
    go_on: &dyn Fn() -> bool,
) -> Result<Option<Vec<(Loaded, Scored)>>> {
    let (mut assembly, mut all) = (Assembly::new(scorer), Vec::with_capacity(pictures.len()));
    for loaded in pictures {
        let frame = loaded.frame.clone();
        if !assembly.push_while(loaded, frame, Loaded::view, go_on)? {
            return Ok(None);
        }
    }
    assembly.finish()?;
    while let Some((mut loaded, scored)) = assembly.take() {
        let Some(scored) = scored else { invalid!("the engine returned no score for a picture") };
        loaded.forget_unwanted();
        all.push((loaded, scored));
    }
    Ok(Some(all))
}

/// Reads a picture and makes it ready for a network. Errors name it.
pub fn load(source: &Source, framer: &Framer, wanted: Wanted) -> Result<Loaded> {
    let bytes = source.bytes()?;
    let shown = source.decode(&bytes, framer.framing.max_pixels())?;
    let digest = wanted.digests.then(|| Digest::of(&bytes));
    drop(bytes);
    let loaded = Loaded::new(shown, framer, wanted).map_err(|e| e.within(source.path().display()))?;
    Ok(Loaded { digest, ..loaded })
}

impl Loaded {
    /// Makes a decoded picture ready. Errors: there is nothing to see of it.
    pub fn new(shown: Picture, framer: &Framer, wanted: Wanted) -> Result<Self> {
        let frame = framer.frame((shown.width, shown.height))?;
        let only = (frame.views() == 1).then(|| frame.cut(&shown, 0));
        let small = match &only {
            _ if !wanted.small => vec![],
            Some(only) if frame.is_stretched() => only.clone(),
            _ => resize::bilinear::<3>(&shown.rgb, (shown.width, shown.height), frame.map_shape()),
        };
        let mut loaded = Loaded { shown, digest: None, small, frame, only, wanted };
        if loaded.only.is_some() {
            loaded.forget_unwanted();
        }
        Ok(loaded)
    }

    /// The pixels of a view.
    fn view(&mut self, view: usize) -> Vec<u8> {
        self.only.take().unwrap_or_else(|| self.frame.cut(&self.shown, view))
    }

    /// Once there are no further views to cut.
    fn forget_unwanted(&mut self) {
        if !self.wanted.pixels {
            self.shown.rgb = vec![];
        }
    }
}
