//! The HTTP server: pictures in, verdicts out, in a form of our own and in that of the Open Inference Protocol. For programs that
//! embed it, too: nothing here knows a command line.

mod auth;
mod body;
mod engine;
mod errors;
mod kserve;
mod listen;
mod metrics;
mod models;
mod observe;
mod page;
mod picture;
mod score;
mod tls;

pub use engine::Batching;
pub use models::{expect_name, name_of};
pub use tls::Tls;

use crate::backend::Request;
use crate::{Error, Result};
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use body::Memory;
use errors::Refusal;
use metrics::Metrics;
use models::Models;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tower_http::compression::CompressionLayer;
use tower_http::decompression::RequestDecompressionLayer;

/// How often files are looked at.
const POLL: Duration = Duration::from_secs(1);
/// How often somebody looks whether to stop.
const LOOK: Duration = Duration::from_millis(50);
/// Threads that speak with clients. All else is done by those of the engines and by those that decode.
const SPEAKING: usize = 2;

/// What a server is to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Port 0: one that is free.
    pub listen: SocketAddr,
    /// Files with the names of their models, each of which must be usable.
    pub models: Vec<(String, PathBuf)>,
    /// Whose model files are loaded, replaced and dropped as they come, change and go.
    pub folder: Option<PathBuf>,
    /// Where to compute.
    pub device: Request,
    pub batching: Batching,
    /// Bytes of a body, as it is sent and as it is decompressed.
    pub max_body: usize,
    /// Pixels of a picture.
    pub max_pixels: u64,
    /// Bytes that all requests may hold together: their bodies, and pictures from before they are decoded.
    pub max_memory: usize,
    pub max_connections: usize,
    /// For a request as a whole.
    pub timeout: Duration,
    /// For the head of a request, and for the next one on the same connection.
    pub header_timeout: Duration,
    /// To finish what was begun when the server stops.
    pub grace: Duration,
    /// What clients have to know.
    pub token: Option<String>,
    pub tls: Option<Tls>,
    /// Whether clients may load and unload models.
    pub allow_load: bool,
}

/// What requests share.
struct App {
    settings: Settings,
    models: Models,
    metrics: Arc<Metrics>,
    memory: Memory,
    /// Threads that decode and draw, one for each that computes.
    workers: Arc<Semaphore>,
    stopping: AtomicBool,
}

impl App {
    /// Does on a thread of its own what takes a while, as soon as a processor is free for it.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
        let failed = |e: &dyn std::fmt::Display| Refusal::failed(format!("failed unexpectedly: {e}"));
        let place = self.workers.clone().acquire_owned().await.map_err(|e| failed(&e))?;
        let work = move || {
            let done = work();
            drop(place);
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| failed(&e))
    }
}

/// Serves until `stop` is set, then finishes what was begun. `started` hears the address once clients can connect. Models that cannot be
/// loaded, an address that cannot be had and unusable certificates are errors before that; nothing is one afterwards.
pub fn run(settings: Settings, stop: Arc<AtomicBool>, started: impl FnOnce(SocketAddr) -> Result<()>) -> Result<()> {
    let tls = settings.tls.as_ref().map(Tls::acceptor).transpose()?;
    let metrics = Arc::new(Metrics::new());
    settings.device.choose()?.notes.iter().for_each(|note| tracing::info!("{note}"));
    // Before models are loaded, which takes a while.
    let wanted = settings.listen;
    let unheard = |e| Error::io(wanted.to_string(), e);
    let listener = std::net::TcpListener::bind(wanted).map_err(unheard)?;
    listener.set_nonblocking(true).map_err(unheard)?;
    let address = listener.local_addr().map_err(unheard)?;
    let models = Models::open(&settings, metrics.clone())?;
    let app = Arc::new(App {
        memory: Memory::new(settings.max_memory),
        workers: Arc::new(Semaphore::new(rayon::current_num_threads())),
        stopping: AtomicBool::new(false),
        settings,
        models,
        metrics,
    });
    let runtime = runtime()?;
    let finished = runtime.block_on(async {
        let listener = TcpListener::from_std(listener).map_err(unheard)?;
        started(address)?;
        tracing::info!(%address, "serving {}", models::describe(&app.models.serving()));
        tokio::spawn(poll(app.clone()));
        let stopped = app.clone();
        let stop = async move {
            while !stop.load(Ordering::Relaxed) {
                sleep(LOOK).await;
            }
            stopped.stopping.store(true, Ordering::Relaxed);
            tracing::info!("stopping: no more connections are taken, what was begun is finished");
        };
        Ok::<_, Error>(listen::serve(app.clone(), listener, tls, router(&app), stop).await)
    })?;
    if !finished {
        tracing::warn!("{} s were not enough to finish everything", app.settings.grace.as_secs_f64());
    }
    // Somebody may still decode a picture that nobody waits for.
    runtime.shutdown_background();
    Ok(())
}

fn runtime() -> Result<Runtime> {
    let runtime = Builder::new_multi_thread().worker_threads(SPEAKING).enable_io().enable_time().build();
    runtime.map_err(|e| Error::io("the threads of the server", e))
}

async fn poll(app: Arc<App>) {
    loop {
        sleep(POLL).await;
        let app = app.clone();
        // A model that panics while it is loaded is no reason to look no more.
        let _ = tokio::task::spawn_blocking(move || app.models.poll()).await;
    }
}

fn router(app: &Arc<App>) -> Router {
    Router::new()
        .route("/", get(page::show))
        .route("/score", post(score::score))
        .route("/metrics", get(metrics::show))
        .merge(kserve::routes())
        .fallback(|| async { Refusal::not_found("nothing is here: see docs/serving.md for the addresses") })
        .method_not_allowed_fallback(|| async {
            Refusal::new(axum::http::StatusCode::METHOD_NOT_ALLOWED, "request", "this address takes another method")
        })
        // From the innermost outwards.
        .layer(RequestDecompressionLayer::new())
        .layer(from_fn_with_state(app.clone(), auth::check))
        .layer(from_fn_with_state(app.clone(), observe::observe))
        // Outside of what brings errors into one form.
        .layer(CompressionLayer::new())
        .with_state(app.clone())
}
