//! The Open Inference Protocol (KServe v2, REST) with the extensions for binary tensors and for the repository of models.

mod answer;
mod infer;
mod pixels;
mod repository;
mod request;

use super::App;
use super::errors::Refusal;
use super::models::Model;
use axum::Json;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The one version that every model has.
const VERSION: &str = "1";
/// Where the binary data of a request or an answer begins.
const HEADER_LENGTH: &str = "inference-header-content-length";

/// Parts of an address, by name.
type Names = Path<HashMap<String, String>>;

pub fn routes() -> Router<Arc<App>> {
    let model = |path: &str, version: bool| {
        let version = if version { "/versions/{version}" } else { "" };
        format!("/v2/models/{{model}}{version}{path}")
    };
    let mut router = Router::new()
        .route("/v2", get(server))
        .route("/v2/health/live", get(StatusCode::OK))
        .route("/v2/health/ready", get(ready))
        .route("/v2/repository/index", post(repository::index))
        .route("/v2/repository/models/{model}/load", post(repository::load))
        .route("/v2/repository/models/{model}/unload", post(repository::unload));
    for version in [false, true] {
        router = router
            .route(&model("", version), get(metadata))
            .route(&model("/ready", version), get(model_ready))
            .route(&model("/infer", version), post(infer::infer));
    }
    router
}

/// The model that an address names.
fn named(app: &App, names: &HashMap<String, String>) -> Result<Arc<Model>, Refusal> {
    if let Some(version) = names.get("version").filter(|version| *version != VERSION) {
        return Err(Refusal::not_found(format!("version {version:?}: every model has version {VERSION} alone")));
    }
    app.models.get(names.get("model").map(String::as_str))
}

async fn server() -> Json<Value> {
    let extensions = ["binary_tensor_data", "model_repository"];
    Json(json!({ "name": "ckaad", "version": env!("CARGO_PKG_VERSION"), "extensions": extensions }))
}

/// Whether there is something to ask, and not the last of it.
async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.stopping.load(Ordering::Relaxed) {
        return Refusal::busy("stopping", "the server is stopping", 1).into_response();
    }
    if app.models.serving().is_empty() {
        return Refusal::busy("no model", "no model is in service", 1).into_response();
    }
    StatusCode::OK.into_response()
}

async fn model_ready(State(app): State<Arc<App>>, Path(names): Names) -> Result<StatusCode, Refusal> {
    named(&app, &names).map(|_| StatusCode::OK)
}

async fn metadata(State(app): State<Arc<App>>, Path(names): Names) -> Result<Json<Value>, Refusal> {
    let model = named(&app, &names)?;
    let outputs = answer::Output::of_model(&model);
    let tensor =
        |name: &str, datatype: &str, shape: &[i64]| json!({ "name": name, "datatype": datatype, "shape": shape });
    Ok(Json(json!({
        "name": model.name,
        "versions": [VERSION],
        "platform": "ckaad",
        "inputs": [tensor(request::IMAGE, "BYTES", &[-1]), tensor(request::PIXELS, "UINT8", &[-1, -1, -1, 3])],
        "outputs": outputs.map(|o| tensor(o.name(), o.datatype(), o.shape())).collect::<Vec<_>>(),
        "parameters": { "detector": model.config.detector.method().name, "device": model.device },
    })))
}
