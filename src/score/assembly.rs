//! Pictures in, scores and maps out: views of pictures fill the engine's batches one after the other, whatever picture they are of,
//! and every picture comes out once all of its views have, in the order of the pictures.

use super::blend::Blend;
use super::map::Map;
use super::scorer::{Scored, Scorer};
use crate::data::framing::Frame;
use crate::{Result, invalid};
use std::collections::VecDeque;

/// Pictures on their way through a scorer, each with something of the caller's.
pub struct Assembly<'a, T> {
    scorer: &'a mut Scorer,
    pictures: VecDeque<Pending<T>>,
    /// How many have come out.
    out: usize,
    /// Views of the next batch, each with its picture's number.
    waiting: Vec<(usize, Vec<u8>)>,
    /// Pictures of the views in each batch on its way.
    submitted: VecDeque<Vec<usize>>,
}

struct Pending<T> {
    with: T,
    state: State,
}

enum State {
    /// Nothing of it is scored.
    Nothing,
    /// Its only view is all of it.
    Whole(Option<Scored>),
    /// Parts, and how many are missing.
    Parts(Box<Blend>, usize),
}

impl<T> Pending<T> {
    fn is_complete(&self) -> bool {
        match &self.state {
            State::Nothing => true,
            State::Whole(scored) => scored.is_some(),
            State::Parts(_, missing) => *missing == 0,
        }
    }
}

impl<'a, T> Assembly<'a, T> {
    pub fn new(scorer: &'a mut Scorer) -> Self {
        Assembly { scorer, pictures: VecDeque::new(), out: 0, waiting: vec![], submitted: VecDeque::new() }
    }

    /// Takes something that is not scored, which comes out in its turn.
    pub fn pass(&mut self, with: T) {
        self.pictures.push_back(Pending { with, state: State::Nothing });
    }

    /// Takes a picture; `view` cuts its views, each when it is needed. As many batches as the device takes are computed meanwhile.
    pub fn push(&mut self, with: T, frame: Frame, view: impl FnMut(&mut T, usize) -> Vec<u8>) -> Result<()> {
        self.push_while(with, frame, view, &|| true).map(|_| ())
    }

    /// The same for as long as `go_on` says so, which is asked before every batch. False if it was not to the end: all that is left to do
    /// is to drop this.
    pub fn push_while(
        &mut self,
        with: T,
        frame: Frame,
        mut view: impl FnMut(&mut T, usize) -> Vec<u8>,
        go_on: &dyn Fn() -> bool,
    ) -> Result<bool> {
        let number = self.out + self.pictures.len();
        let views = frame.views();
        let state = if frame.is_stretched() {
            State::Whole(None)
        } else {
            State::Parts(Box::new(Blend::new(frame, self.scorer.image_size(), self.scorer.highest())), views)
        };
        self.pictures.push_back(Pending { with, state });
        for i in 0..views {
            let Some(Pending { with, .. }) = self.pictures.back_mut() else { break };
            self.waiting.push((number, view(with, i)));
            if self.waiting.len() == self.scorer.batch() {
                if !go_on() {
                    return Ok(false);
                }
                self.submit()?;
            }
        }
        Ok(true)
    }

    /// Whether the engine is at work.
    pub fn is_busy(&self) -> bool {
        !self.submitted.is_empty()
    }

    /// Whether it takes no further batch meanwhile.
    pub fn is_full(&self) -> bool {
        self.submitted.len() >= self.scorer.lanes()
    }

    /// Waits for the oldest batch.
    pub fn wait(&mut self) -> Result<()> {
        let Some(numbers) = self.submitted.pop_front() else { return Ok(()) };
        let mut scored = self.scorer.collect()?.into_iter();
        for number in numbers {
            let picture = number.checked_sub(self.out).and_then(|i| self.pictures.get_mut(i));
            let (Some(Pending { state, .. }), Some(scored)) = (picture, scored.next()) else {
                invalid!("the engine returned fewer scores than it was given pictures");
            };
            match state {
                State::Whole(empty) => *empty = Some(scored),
                State::Parts(blend, missing) => {
                    blend.add(&scored)?;
                    *missing -= 1;
                }
                State::Nothing => invalid!("a score of a picture that was not to be scored"),
            }
        }
        Ok(())
    }

    fn submit(&mut self) -> Result<()> {
        if self.is_full() {
            self.wait()?;
        }
        let views: Vec<&[u8]> = self.waiting.iter().map(|(_, pixels)| &pixels[..]).collect();
        self.scorer.submit(&views)?;
        self.submitted.push_back(self.waiting.drain(..).map(|(number, _)| number).collect());
        Ok(())
    }

    /// Computes what waits for a batch to be full.
    pub fn flush(&mut self) -> Result<()> {
        if self.waiting.is_empty() { Ok(()) } else { self.submit() }
    }

    /// The same, and waits for all there is.
    pub fn finish(&mut self) -> Result<()> {
        self.flush()?;
        while self.is_busy() {
            self.wait()?;
        }
        Ok(())
    }

    /// The next picture, if it is done, with what came of it.
    pub fn take(&mut self) -> Option<(T, Option<Scored>)> {
        self.pictures.front().filter(|p| p.is_complete())?;
        let Pending { with, state } = self.pictures.pop_front()?;
        self.out += 1;
        let scored = match state {
            State::Nothing => None,
            State::Whole(scored) => scored,
            State::Parts(blend, _) => Some(blend.finish()),
        };
        Some((with, scored.map(|s| if self.scorer.gives_maps() { s } else { Scored { map: Map::default(), ..s } })))
    }
}

/// Waits for what is on its way, which nobody wants any more: whoever has the scorer next gets its own scores.
impl<T> Drop for Assembly<'_, T> {
    fn drop(&mut self) {
        for _ in self.submitted.drain(..) {
            // What has failed has been told, or is told to whoever comes next.
            let _ = self.scorer.collect();
        }
    }
}
