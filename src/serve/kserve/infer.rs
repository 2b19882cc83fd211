//! `POST /v2/models/NAME/infer`

use super::super::App;
use super::super::body::{Deadline, Limits, read};
use super::super::errors::Refusal;
use super::super::picture;
use super::request::Inference;
use super::{Names, answer, named, pixels};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use std::sync::Arc;

pub async fn infer(
    State(app): State<Arc<App>>,
    Extension(deadline): Extension<Deadline>,
    Path(names): Names,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let model = named(&app, &names)?;
    let limits = Limits { bytes: app.settings.max_body, deadline, memory: &app.memory };
    // Its memory is held until the answer is made.
    let body = read(&headers, body, limits).await?;
    let (bytes, most, max_pixels) = (body.bytes.clone(), app.settings.batching.queue, app.settings.max_pixels);
    let asked = model.clone();
    let understood = move || {
        let request = Inference::read(&headers, bytes)?;
        let chosen = answer::chosen(&asked, &request)?;
        let name = request.input.name.clone();
        Ok::<_, Refusal>((request.id, chosen, name, pixels::pictures(request.input, most, max_pixels)?))
    };
    let (id, chosen, input, pictures) = app.blocking(understood).await??;
    let outcomes = picture::score(&app, &model, pictures, false, deadline).await?;
    let one = |(i, outcome): (usize, Result<_, Refusal>)| {
        outcome.map_err(|refusal| refusal.within(format!("input {input:?}, picture {i}")))
    };
    let done = outcomes.into_iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()?;
    app.blocking(move || answer::answer(&model, id.as_deref(), &chosen, &done)).await?
}
