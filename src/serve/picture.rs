//! One way for all pictures of all requests: a place in the queue, decoded on a thread that may block, scored by the model's engine,
//! judged.

use super::App;
use super::body::{Deadline, Reserved};
use super::engine::{Place, gone};
use super::errors::Refusal;
use super::models::Model;
use crate::data::framing::Framer;
use crate::data::image::{Picture, Samples};
use crate::report::heatmap::{Scale, heatmap_png};
use crate::score::pipeline::{Loaded, Wanted};
use crate::score::scorer::Scored;
use crate::score::verdict::{Judge, Verdict};
use axum::body::Bytes;
use axum::http::StatusCode;
use futures_util::future::join_all;
use std::sync::Arc;
use tokio::time::timeout_at;

/// A picture as a client sent it.
pub enum Given {
    /// A file's bytes.
    File(Bytes),
    Samples {
        samples: Samples,
        width: usize,
        height: usize,
        channels: usize,
    },
}

/// A picture that was scored.
pub struct Done {
    /// Without its pixels where nobody wants them.
    pub shown: Picture,
    pub scored: Scored,
    _memory: Arc<Reserved>,
}

impl Done {
    pub fn verdict(&self, judge: &Judge) -> Verdict {
        judge.verdict(&self.scored, (self.shown.width, self.shown.height))
    }

    /// The picture with its heat map as a PNG file; its pixels must have been kept.
    pub fn heatmap(&self, scale: Option<Scale>) -> crate::Result<Vec<u8>> {
        heatmap_png(&self.shown.rgb, (self.shown.width, self.shown.height), &self.scored.map, scale)
    }
}

/// From which value of a map heat maps are coloured, as `ckaad score` has it.
pub fn scale(judge: &Judge) -> Option<Scale> {
    judge.pixel_threshold.or(judge.threshold).map(Scale::above)
}

/// Decodes a picture and makes it ready for the engine; `keep`: its pixels are wanted afterwards.
fn loaded(given: Given, max_pixels: u64, framer: &Framer, keep: bool) -> crate::Result<Loaded> {
    let picture = match given {
        Given::File(bytes) => Picture::decode_within(&bytes, max_pixels)?,
        Given::Samples { samples, width, height, channels } => Picture::of_samples(samples, (width, height), channels)?,
    };
    Loaded::new(picture, framer, Wanted { pixels: keep, ..Wanted::default() })
}

/// Scores the pictures of a request; the outer error is one of all of them. `keep`: their pixels are wanted afterwards.
pub async fn score(
    app: &Arc<App>,
    model: &Arc<Model>,
    pictures: Vec<Given>,
    keep: bool,
    deadline: Deadline,
) -> Result<Vec<Result<Done, Refusal>>, Refusal> {
    let places = model.engine.places(pictures.len())?;
    let all = pictures.into_iter().zip(places).map(|(given, place)| one(app, model, given, place, keep));
    let late = |_| {
        let message = format!("not done within {} s", deadline.after.as_secs_f64());
        Refusal::new(StatusCode::GATEWAY_TIMEOUT, "slow", message)
    };
    timeout_at(deadline.at, join_all(all)).await.map_err(late)
}

async fn one(app: &Arc<App>, model: &Model, given: Given, place: Place, keep: bool) -> Result<Done, Refusal> {
    let (framer, memory) = (model.engine.framer().clone(), app.memory.clone());
    let max_pixels = app.settings.max_pixels.min(framer.framing.max_pixels());
    let load = move || {
        // Before it is decoded; one of too many pixels never is.
        let (pixels, beside) = match &given {
            Given::File(bytes) => (Picture::claims(bytes).filter(|pixels| *pixels <= max_pixels), bytes.len()),
            Given::Samples { width, height, .. } => (Some((width * height) as u64), 0),
        };
        let view = 3 * framer.size * framer.size;
        let mut held = memory.reserve(pixels.map_or(0, |pixels| 3 * pixels as usize + view), beside)?;
        let loaded = loaded(given, max_pixels, &framer, keep)?;
        // What is to be drawn on, or cut into tiles, is kept.
        held.resize(loaded.shown.rgb.len() + view, &memory)?;
        Ok::<_, Refusal>((loaded, Arc::new(held)))
    };
    let (loaded, held) = app.blocking(load).await??;
    let outcome = model.engine.submit(loaded, place, held.clone())?;
    let (loaded, scored) = outcome.await.map_err(|_| gone())??;
    Ok(Done { shown: loaded.shown, scored, _memory: held })
}
