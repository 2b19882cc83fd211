//! `POST /score`: pictures in, verdicts out.

use super::App;
use super::body::{Deadline, Limits, read};
use super::errors::Refusal;
use super::models::Model;
use super::picture::{self, Done, Given};
use crate::report::heatmap::Scale;
use crate::score::verdict::{Judge, Verdict};
use axum::Extension;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::error::Error as _;
use std::sync::Arc;

/// What may be asked for in the address.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    model: Option<String>,
    heatmap: Option<Heatmap>,
    map: Option<MapFormat>,
    threshold: Option<f64>,
    pixel_threshold: Option<f64>,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Heatmap {
    /// Coloured and outlined.
    Png,
    /// Outlined.
    Contours,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum MapFormat {
    Float32,
}

/// What is answered for a picture.
#[derive(Serialize)]
struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    model: String,
    #[serde(flatten)]
    verdict: Verdict,
    pixel_threshold: Option<f64>,
    width: usize,
    height: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// A PNG file in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    heatmap: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    map: Option<MapValues>,
}

#[derive(Serialize)]
struct MapValues {
    /// Rows, columns.
    shape: [usize; 2],
    /// Little-endian float32 in base64.
    data: String,
}

/// `POST /score`
pub async fn score(
    State(app): State<Arc<App>>,
    Extension(deadline): Extension<Deadline>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Query(asked) = asked.map_err(|e| {
        let why = e.source().map_or_else(|| e.to_string(), ToString::to_string);
        Refusal::bad(format!("what the address asks for: {why}"))
    })?;
    for (name, value) in [("threshold", asked.threshold), ("pixel_threshold", asked.pixel_threshold)] {
        if value.is_some_and(|v| !v.is_finite()) {
            return Err(Refusal::bad(format!("{name}: expected a finite number")));
        }
    }
    let model = app.models.get(asked.model.as_deref())?;
    let judge = Judge::new(&model.config, asked.threshold, asked.pixel_threshold);
    if asked.heatmap == Some(Heatmap::Contours) && picture::scale(&judge).is_none() {
        return Err(Refusal::bad("heatmap=contours: the model has no threshold to draw them at; give pixel_threshold"));
    }
    let limits = Limits { bytes: app.settings.max_body, deadline, memory: &app.memory };
    // Its memory is held until the answer is made.
    let body = read(&headers, body, limits).await?;
    let (pictures, several) = match boundary(&headers)? {
        Some(boundary) => parts(body.bytes.clone(), boundary).await?,
        None if body.bytes.is_empty() => return Err(Refusal::bad("the body is empty, expected a picture")),
        None => (vec![(None, body.bytes.clone())], false),
    };
    let (names, files): (Vec<_>, Vec<_>) = pictures.into_iter().unzip();
    let given = files.into_iter().map(Given::File).collect();
    let outcomes = picture::score(&app, &model, given, asked.heatmap.is_some(), deadline).await?;
    let make = {
        let model = model.clone();
        move || {
            let answers = names.into_iter().zip(outcomes);
            answers.map(|(name, outcome)| answer(&asked, &model, &judge, name, outcome?)).collect::<Vec<_>>()
        }
    };
    let mut answers = app.blocking(make).await?;
    if let Some(only) = answers.pop_if(|_| !several) {
        return Ok(Json(only?).into_response());
    }
    let told = |answer: Result<Value, Refusal>| {
        answer.unwrap_or_else(|refusal| json!({ "error": refusal.message, "status": refusal.status.as_u16() }))
    };
    let results: Vec<Value> = answers.into_iter().map(told).collect();
    Ok(Json(json!({ "results": results })).into_response())
}

fn answer(asked: &Asked, model: &Model, judge: &Judge, name: Option<String>, done: Done) -> Result<Value, Refusal> {
    let verdict = done.verdict(judge);
    let filled = asked.heatmap == Some(Heatmap::Png);
    let scale = picture::scale(judge).map(|scale| Scale { filled, ..scale });
    let heatmap = asked.heatmap.map(|_| done.heatmap(scale)).transpose()?.map(|png| STANDARD.encode(png));
    let map = asked.map.map(|MapFormat::Float32| {
        let (width, height) = done.scored.map.shape();
        let bytes: Vec<u8> = done.scored.map.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        MapValues { shape: [height, width], data: STANDARD.encode(bytes) }
    });
    let answer = Answer {
        name,
        model: model.name.clone(),
        verdict,
        pixel_threshold: judge.pixel_threshold,
        width: done.shown.width,
        height: done.shown.height,
        warnings: done.shown.warnings,
        heatmap,
        map,
    };
    // By way of a value, which has the digits that `ckaad score` prints.
    serde_json::to_value(answer).map_err(|e| Refusal::failed(format!("the answer cannot be told: {e}")))
}

/// Of `multipart/form-data`.
fn boundary(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !kind.trim_start().to_ascii_lowercase().starts_with("multipart/") {
        return Ok(None);
    }
    let unusable = |_| Refusal::bad("Content-Type: expected multipart/form-data with the boundary of its parts");
    multer::parse_boundary(kind).map(Some).map_err(unusable)
}

/// The files of a form with the names that the client gives them, and whether there are several. Fields that are no files are
/// passed over.
async fn parts(body: Bytes, boundary: String) -> Result<(Vec<(Option<String>, Bytes)>, bool), Refusal> {
    let damaged = |e: multer::Error| Refusal::bad(format!("multipart/form-data: {e}"));
    let stream = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(body)]);
    let mut form = multer::Multipart::new(stream, boundary);
    let mut files = Vec::new();
    while let Some(field) = form.next_field().await.map_err(damaged)? {
        let Some(name) = field.file_name().map(String::from) else { continue };
        files.push((Some(name), field.bytes().await.map_err(damaged)?));
    }
    if files.is_empty() {
        return Err(Refusal::bad("multipart/form-data without a file: expected parts with a filename"));
    }
    let several = files.len() > 1;
    Ok((files, several))
}
