//! One way for all pictures of all requests: a place in the queue, decoded on a thread that may block, scored by the model's engine,
//! judged.

use super::App;
use super::body::{Deadline, Reserved};
use super::engine::{Place, gone};
use super::errors::Refusal;
use super::models::Model;
use crate::data::image::{Picture, Samples};
use crate::report::encode::png_rgb;
use crate::report::heatmap::{Scale, heatmap, with_legend};
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
    _memory: Option<Reserved>,
}

impl Done {
    pub fn verdict(&self, judge: &Judge) -> Verdict {
        judge.verdict(&self.scored, (self.shown.width, self.shown.height))
    }

    /// Width and height of the map.
    pub fn map_size(&self) -> (usize, usize) {
        let side = self.scored.map.len().isqrt();
        (side, side)
    }

    /// The picture with its heat map as a PNG file; its pixels must have been kept.
    pub fn heatmap(&self, scale: Option<Scale>) -> crate::Result<Vec<u8>> {
        let map = &self.scored.map;
        let shown = (self.shown.width, self.shown.height);
        let scale = scale.unwrap_or_else(|| Scale::of_maps([&map[..]].into_iter()));
        let (pixels, height) = with_legend(heatmap(&self.shown.rgb, shown, map, &scale), shown, &scale);
        png_rgb(&pixels, shown.0, height)
    }
}

/// From which value of a map heat maps are coloured, as `ckaad score` has it.
pub fn scale(judge: &Judge) -> Option<Scale> {
    judge.pixel_threshold.or(judge.threshold).map(Scale::above)
}

/// Decodes a picture and brings it to the size that the engine takes.
fn decoded(given: Given, max_pixels: u64, size: usize) -> crate::Result<(Picture, Vec<u8>)> {
    let picture = match given {
        Given::File(bytes) => Picture::decode_within(&bytes, max_pixels)?,
        Given::Samples { samples, width, height, channels } => Picture::of_samples(samples, (width, height), channels)?,
    };
    let pixels = picture.resized(size);
    Ok((picture, pixels))
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
    let (size, max_pixels, memory) = (model.engine.image_size(), app.settings.max_pixels, app.memory.clone());
    let decode = move || {
        let (mut shown, pixels) = decoded(given, max_pixels, size)?;
        let held = if keep { Some(memory.reserve(shown.rgb.len())?) } else { None };
        if !keep {
            shown.rgb = Vec::new();
        }
        Ok::<_, Refusal>((shown, pixels, held))
    };
    let (shown, pixels, held) = app.blocking(decode).await??;
    let scored = model.engine.submit(pixels, place)?.await.map_err(|_| gone())??;
    Ok(Done { shown, scored, _memory: held })
}
