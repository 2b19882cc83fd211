//! What is done around every request: its deadline, its line in the log, what is counted of it, errors in one form, and the rest of a
//! body that was not read.

use super::App;
use super::body::{Deadline, Shared};
use super::errors::{Reason, Refusal};
use super::listen::Peer;
use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Instant;

/// The longest text of an error that is not ours.
const LONGEST: usize = 4 << 10;

pub async fn observe(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let after = app.settings.timeout;
    request.extensions_mut().insert(Deadline { at: tokio::time::Instant::from_std(begun) + after, after });
    let route = request.extensions().get::<MatchedPath>().map_or("none".into(), |path| path.as_str().to_string());
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.to_string()).unwrap_or_default();
    let (method, path) = (request.method().clone(), request.uri().path().to_string());
    let (head, body) = request.into_parts();
    let body = Shared::new(&head.headers, body);
    let rest = body.clone();
    let mut response = next.run(Request::from_parts(head, Body::new(body))).await;
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        response = in_one_form(response).await;
        let reason = response.extensions().get::<Reason>().map_or("request", |reason| reason.0);
        app.metrics.refused(reason);
        rest.drain().await;
    }
    let took = begun.elapsed();
    app.metrics.answered(&route, status.as_u16(), took);
    let (status, ms) = (status.as_u16(), took.as_secs_f64() * 1e3);
    tracing::info!(peer, %method, path, status, ms = (ms * 100.0).round() / 100.0, "request");
    response
}

/// What the libraries below refuse, they refuse in a line of text, or without a word.
async fn in_one_form(response: Response) -> Response {
    let json = |v: &axum::http::HeaderValue| v.as_bytes().starts_with(b"application/json");
    if response.headers().get(header::CONTENT_TYPE).is_some_and(json) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let text = to_bytes(body, LONGEST).await.unwrap_or_default();
    let said = String::from_utf8_lossy(&text);
    let usual = match head.status {
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "this Content-Encoding cannot be read: expected gzip or deflate",
        status => status.canonical_reason().unwrap_or("the request cannot be done"),
    };
    let message = if said.trim().is_empty() { usual } else { said.trim() };
    let ours = Refusal::new(head.status, "request", message).into_response();
    [header::CONTENT_LENGTH, header::CONTENT_TYPE].into_iter().for_each(|name| drop(head.headers.remove(name)));
    let (mine, body) = ours.into_parts();
    head.headers.extend(mine.headers);
    head.extensions.extend(mine.extensions);
    Response::from_parts(head, body)
}
