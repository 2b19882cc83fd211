//! Bodies of requests, within limits: of one body, of all that are held at once, and of time. What is left of a body that nobody
//! wanted is read and dropped, or the client would find its connection reset in place of the answer.

use super::errors::Refusal;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

/// How long a client that is refused may go on to send.
const LINGER: Duration = Duration::from_secs(1);
/// What memory is counted in.
const UNIT: usize = 1 << 10;
/// What a body takes of the memory at a time.
const STEP: usize = 64 << 10;

/// Memory that all requests together may hold.
#[derive(Clone)]
pub struct Memory {
    left: Arc<Semaphore>,
    total: usize,
}

/// Memory that a request holds.
pub struct Reserved(OwnedSemaphorePermit);

impl Reserved {
    /// Gives back what is beyond so many bytes, or takes what is missing of them.
    pub fn resize(&mut self, bytes: usize, memory: &Memory) -> Result<(), Refusal> {
        let held = self.0.num_permits();
        match held.checked_sub(bytes.div_ceil(UNIT)) {
            Some(beyond) => drop(self.0.split(beyond)),
            None => self.0.merge(memory.reserve(bytes - held * UNIT, held * UNIT)?.0),
        }
        Ok(())
    }
}

impl Memory {
    pub fn new(bytes: usize) -> Self {
        let units = bytes.div_ceil(UNIT).min(Semaphore::MAX_PERMITS);
        Memory { left: Arc::new(Semaphore::new(units)), total: bytes }
    }

    /// Bytes that requests hold now.
    pub fn held(&self) -> usize {
        self.total.saturating_sub(self.left.available_permits() * UNIT)
    }

    /// Refused where there is too little left. `beside`: what the same request holds already; where both can never be had, it is
    /// not to come again.
    pub fn reserve(&self, bytes: usize, beside: usize) -> Result<Reserved, Refusal> {
        let needed = bytes.saturating_add(beside);
        if needed > self.total {
            let [needed, total] = [needed, self.total].map(|bytes| bytes.div_ceil(1_000_000));
            let message =
                format!("takes {needed} MB of memory or more, beyond the {total} MB that all requests may hold");
            return Err(Refusal::too_large(message));
        }
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let permit = self.left.clone().try_acquire_many_owned(units);
        permit.map(Reserved).map_err(|_| {
            let mb = self.total / 1_000_000;
            Refusal::busy("memory", format!("requests hold all of the {mb} MB that they may: try again later"), 1)
        })
    }
}

/// A body that was read, with the memory that it counts for.
pub struct Held {
    pub bytes: Bytes,
    _memory: Reserved,
}

/// What is allowed of a body.
pub struct Limits<'a> {
    pub bytes: usize,
    pub deadline: Deadline,
    pub memory: &'a Memory,
}

/// When a request has to be done, and how long it had.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    pub at: Instant,
    pub after: Duration,
}

/// Reads a body to its end.
pub async fn read(headers: &HeaderMap, mut body: Body, limits: Limits<'_>) -> Result<Held, Refusal> {
    let too_large = || Refusal::too_large(format!("the body is larger than the {} bytes allowed", limits.bytes));
    let claimed = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if claimed.is_some_and(|claimed| claimed > limits.bytes as u64) {
        return Err(too_large());
    }
    let mut memory = limits.memory.reserve(0, claimed.unwrap_or(0) as usize)?;
    let (mut bytes, mut reserved) = (Vec::new(), 0);
    loop {
        let late = |_| {
            let seconds = limits.deadline.after.as_secs_f64();
            let message = format!("the body did not come within {seconds} s: {} bytes did", bytes.len());
            Refusal::new(StatusCode::REQUEST_TIMEOUT, "slow", message)
        };
        let Some(frame) = timeout_at(limits.deadline.at, body.frame()).await.map_err(late)? else { break };
        let frame = frame.map_err(|e| Refusal::bad(format!("the body broke off: {}", causes(&e))))?;
        let Ok(chunk) = frame.into_data() else { continue };
        let length = bytes.len() + chunk.len();
        if length > limits.bytes {
            return Err(too_large());
        }
        if length > reserved {
            let more = (length - reserved).max(STEP.min(limits.memory.total.saturating_sub(reserved)));
            memory.0.merge(limits.memory.reserve(more, reserved)?.0);
            reserved += more;
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Held { bytes: bytes.into(), _memory: memory })
}

/// An error with what it came of.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// A body of which somebody keeps a hold while another reads it.
#[derive(Clone)]
pub struct Shared {
    body: Arc<Mutex<Body>>,
    /// Whether the client waits to be asked for it, which reading does (`Expect: 100-continue`).
    waits: Arc<AtomicBool>,
}

impl Shared {
    pub fn new(headers: &HeaderMap, body: Body) -> Self {
        let waits = headers.contains_key(header::EXPECT);
        Shared { body: Arc::new(Mutex::new(body)), waits: Arc::new(waits.into()) }
    }

    fn body(&self) -> MutexGuard<'_, Body> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what is left, for a moment, and drops it. A client that waits to be asked is not asked.
    pub async fn drain(self) {
        if self.waits.load(Ordering::Relaxed) {
            return;
        }
        let all = async {
            let mut rest = Body::new(self).into_data_stream();
            while let Some(Ok(_)) = rest.next().await {}
        };
        // Whoever sends on after that has had its time.
        let _ = timeout(LINGER, all).await;
    }
}

impl HttpBody for Shared {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.waits.store(false, Ordering::Relaxed);
        Pin::new(&mut *self.body()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body().size_hint()
    }
}
