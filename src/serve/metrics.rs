//! What the server counts, in Prometheus' text format.

use super::App;
use super::errors::Refusal;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::sync::Arc;
use std::time::Duration;
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

/// A histogram for each of some labels.
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Counters and the registry that prints them.
pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    seconds: Histograms<Routed>,
    refused: Family<Refused, Counter>,
    pictures: Family<OfModel, Counter>,
    batches: Histograms<OfModel>,
    computed: Family<OfModel, Counter<f64>>,
    queued: Family<OfModel, Gauge>,
    loads: Family<Loads, Counter>,
    serving: Gauge,
    /// Open ones.
    pub connections: Gauge,
    held: Gauge,
    resident: Gauge,
}

/// From a millisecond to half a minute.
fn of_seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

fn of_pictures() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 8))
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Routed {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfModel {
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Loads {
    outcome: &'static str,
}

impl Metrics {
    pub fn new() -> Self {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("ckaad"),
            requests: Family::default(),
            seconds: Histograms::new_with_constructor(of_seconds),
            refused: Family::default(),
            pictures: Family::default(),
            batches: Histograms::new_with_constructor(of_pictures),
            computed: Family::default(),
            queued: Family::default(),
            loads: Family::default(),
            serving: Gauge::default(),
            connections: Gauge::default(),
            held: Gauge::default(),
            resident: Gauge::default(),
        };
        let m = &mut metrics;
        let r = &mut m.registry;
        r.register("requests", "Requests by route and status", m.requests.clone());
        r.register_with_unit("request", "Time from head to answer", Unit::Seconds, m.seconds.clone());
        r.register("refused", "Requests that were not done, by reason", m.refused.clone());
        r.register("pictures", "Pictures scored", m.pictures.clone());
        r.register("batch_pictures", "Pictures in one pass of the engine", m.batches.clone());
        r.register_with_unit("computing", "Time in the engine", Unit::Seconds, m.computed.clone());
        r.register("queue_pictures", "Pictures with a place in the queue", m.queued.clone());
        r.register("model_loads", "Models that were loaded, dropped or could not be loaded", m.loads.clone());
        r.register("models", "Models in service", m.serving.clone());
        r.register("connections", "Open connections", m.connections.clone());
        r.register_with_unit("held", "Bodies and pictures that requests hold", Unit::Bytes, m.held.clone());
        r.register_with_unit("resident_memory", "Memory of the process", Unit::Bytes, m.resident.clone());
        metrics
    }

    /// A request was answered.
    pub fn answered(&self, route: &str, status: u16, took: Duration) {
        self.requests.get_or_create(&Answered { route: route.into(), status }).inc();
        self.seconds.get_or_create(&Routed { route: route.into() }).observe(took.as_secs_f64());
    }

    /// A request, or a connection, was refused.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Refused { reason }).inc();
    }

    /// An engine has run once.
    pub fn batch(&self, model: &str, pictures: usize, seconds: f64) {
        let labels = OfModel { model: model.into() };
        self.pictures.get_or_create(&labels).inc_by(pictures as u64);
        self.batches.get_or_create(&labels).observe(pictures as f64);
        self.computed.get_or_create(&labels).inc_by(seconds);
    }

    /// A model was loaded, dropped or could not be loaded.
    pub fn load(&self, outcome: &'static str) {
        self.loads.get_or_create(&Loads { outcome }).inc();
    }
}

/// `GET /metrics`
pub async fn show(State(app): State<Arc<App>>) -> Result<impl IntoResponse, Refusal> {
    let metrics = &app.metrics;
    metrics.queued.clear();
    let serving = app.models.serving();
    for model in &serving {
        metrics.queued.get_or_create(&OfModel { model: model.name.clone() }).set(model.engine.queued() as i64);
    }
    metrics.serving.set(serving.len() as i64);
    metrics.held.set(app.memory.held() as i64);
    metrics.resident.set(resident_memory().unwrap_or_default() as i64);
    let mut text = String::new();
    encode(&mut text, &metrics.registry).map_err(|e| Refusal::failed(format!("the metrics cannot be told: {e}")))?;
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text))
}

/// Bytes, where the system tells.
fn resident_memory() -> Option<u64> {
    let pid = sysinfo::get_current_pid().ok()?;
    let mut system = System::new();
    let memory = ProcessRefreshKind::nothing().with_memory().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, memory);
    Some(system.process(pid)?.memory())
}
