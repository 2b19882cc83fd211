//! Connections: as many as are allowed at once, none of them for ever; and how they end.

use super::App;
use super::errors::Refusal;
use axum::Router;
use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;

/// Who has connected.
#[derive(Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// The largest head of a request, about: of what is buffered, a part may be of the body.
const HEAD: usize = 64 << 10;
/// Connections beyond those that are allowed, which are told so; others are closed without a word.
const TOLD: usize = 128;
/// How long such a one has to hear it.
const HEARING: Duration = Duration::from_secs(1);
/// After the system has refused a connection, for want of file descriptors most likely.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` ends, then finishes what was begun for as long as the settings say. True if all of it was finished.
pub async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: impl Future<Output = ()>,
) -> bool {
    let open = Arc::new(Semaphore::new(app.settings.max_connections));
    let told = Arc::new(Semaphore::new(TOLD));
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => {
                tracing::warn!("a connection could not be accepted: {e}");
                sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(place) = open.clone().try_acquire_owned() else {
            app.metrics.refused("connections");
            if let (Ok(place), None) = (told.clone().try_acquire_owned(), &tls) {
                tokio::spawn(refuse(stream, app.settings.max_connections, place));
            }
            continue;
        };
        // Small answers must not wait for more.
        let _ = stream.set_nodelay(true);
        let connection = Connection { app: app.clone(), router: router.clone(), peer, watcher: graceful.watcher() };
        let tls = tls.clone();
        tokio::spawn(async move {
            let metrics = connection.app.metrics.clone();
            metrics.connections.inc();
            connection.serve(stream, tls).await;
            metrics.connections.dec();
            drop(place);
        });
    }
    drop(listener);
    timeout(app.settings.grace, graceful.shutdown()).await.is_ok()
}

struct Connection {
    app: Arc<App>,
    router: Router,
    peer: SocketAddr,
    watcher: Watcher,
}

impl Connection {
    async fn serve(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        // Of a client that does not read its answer.
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.app.settings.timeout));
        let stream = Box::pin(stream);
        let Some(tls) = tls else { return self.speak(stream).await };
        match timeout(self.app.settings.header_timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.speak(stream).await,
            Ok(Err(e)) => {
                self.app.metrics.refused("tls");
                tracing::debug!(peer = %self.peer, "no TLS: {e}");
            }
            Err(_) => self.app.metrics.refused("slow"),
        }
    }

    async fn speak(self, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = TowerToHyperService::new(self.router);
        let peer = Peer(self.peer);
        let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(peer);
            service.call(request.map(Body::new))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.app.settings.header_timeout)
            .max_buf_size(HEAD)
            .serve_connection(TokioIo::new(io), service);
        if let Err(e) = self.watcher.watch(connection).await {
            if e.is_timeout() {
                self.app.metrics.refused("slow");
            }
            tracing::debug!(peer = %peer.0, "the connection ended: {e}");
        }
    }
}

/// Tells a client that there are too many, and hears it out: a connection closed with something unread is reset, and the answer lost.
async fn refuse(mut stream: TcpStream, most: usize, _place: OwnedSemaphorePermit) {
    let refusal = Refusal::busy("connections", format!("{most} connections are open, no more are taken: try again"), 1);
    let body = serde_json::json!({ "error": refusal.message }).to_string();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {}\r\nRetry-After: 1\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    let told = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        let mut rest = [0; 4 << 10];
        while stream.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    };
    // One that has gone need not hear it.
    let _ = timeout(HEARING, told).await;
}
