//! Which models there are, and their loading and unloading by clients, where that is allowed. A client names a model, never a file.

use super::super::App;
use super::super::errors::Refusal;
use super::{Names, VERSION};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

pub async fn index(State(app): State<Arc<App>>) -> Json<Value> {
    let models = app.models.list().into_iter().map(|model| {
        let state = if model.ready { "READY" } else { "UNAVAILABLE" };
        json!({ "name": model.name, "version": VERSION, "state": state, "reason": model.reason })
    });
    Json(models.collect())
}

pub async fn load(State(app): State<Arc<App>>, Path(names): Names) -> Result<Json<Value>, Refusal> {
    let name = allowed(&app, names)?;
    change(app, move |app| app.models.load_again(&name)).await
}

pub async fn unload(State(app): State<Arc<App>>, Path(names): Names) -> Result<Json<Value>, Refusal> {
    let name = allowed(&app, names)?;
    change(app, move |app| app.models.unload(&name)).await
}

fn allowed(app: &App, mut names: HashMap<String, String>) -> Result<String, Refusal> {
    if !app.settings.allow_load {
        let message = "clients may not load and unload models: the server was started without --allow-load";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", message));
    }
    Ok(names.remove("model").unwrap_or_default())
}

/// Files are read and networks planned meanwhile; others are answered.
async fn change(
    app: Arc<App>,
    work: impl FnOnce(&App) -> Result<(), Refusal> + Send + 'static,
) -> Result<Json<Value>, Refusal> {
    let done = tokio::task::spawn_blocking(move || work(&app)).await;
    done.map_err(|e| Refusal::failed(format!("failed unexpectedly: {e}")))??;
    Ok(Json(json!({})))
}
