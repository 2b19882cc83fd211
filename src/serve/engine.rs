//! One model's engine: a thread that owns its scorers, and the queue before it. Pictures that wait together are scored together.

use super::body::Reserved;
use super::errors::Refusal;
use super::metrics::Metrics;
use crate::data::framing::Framer;
use crate::detector::file::ModelFile;
use crate::engine::device::Backend;
use crate::score::pipeline::{self, Loaded};
use crate::score::scorer::{Gives, Scored, Scorer};
use crate::{Error, Result};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// How pictures are put together.
#[derive(Clone, Copy, Debug)]
pub struct Batching {
    /// Pictures in one pass, at most.
    pub size: usize,
    /// How long a picture may wait for others.
    pub delay: Duration,
    /// Pictures that are decoded, wait or are computed, at most.
    pub queue: usize,
}

/// A model's thread, from outside. It ends when nobody has this any more and what was queued is done.
pub struct Engine {
    jobs: mpsc::Sender<Job>,
    places: Arc<Semaphore>,
    queue: usize,
    framer: Framer,
    pace: Arc<Pace>,
    thread: JoinHandle<()>,
}

/// A place in the queue, which has to be had before a picture is decoded.
pub type Place = OwnedSemaphorePermit;

/// What becomes of a picture.
type Outcome = Result<(Loaded, Scored), Refusal>;

struct Job {
    loaded: Loaded,
    answer: oneshot::Sender<Outcome>,
    since: Instant,
    /// Free again once the picture is scored.
    place: Place,
    /// Of its pixels, also where the client has gone.
    memory: Arc<Reserved>,
}

/// Seconds that a picture takes, a mean that forgets.
#[derive(Default)]
struct Pace(AtomicU64);

impl Pace {
    fn seconds(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn add(&self, seconds: f64) {
        let before = self.seconds();
        let mean = if before == 0.0 { seconds } else { 0.9 * before + 0.1 * seconds };
        self.0.store(mean.to_bits(), Ordering::Relaxed);
    }
}

impl Engine {
    /// Plans scoring for 1, 2, 4 and so on pictures at a time (a plan computes all that it is made for), scores a gray picture with
    /// each, and starts the thread. Nothing of `file` is needed afterwards.
    pub fn start(
        name: &str,
        file: &ModelFile,
        backend: &Backend,
        batching: Batching,
        metrics: Arc<Metrics>,
    ) -> Result<Self> {
        let mut scorers = Vec::new();
        let pace = Arc::new(Pace::default());
        for batch in sizes(batching.size) {
            let mut scorer = Scorer::from_file(file, batch, backend, Gives::ScoresAndMaps)?;
            let gray = vec![127; scorer.image_size() * scorer.image_size() * 3];
            let begun = Instant::now();
            scorer.score(&vec![&gray[..]; batch])?;
            pace.add(begun.elapsed().as_secs_f64() / batch as f64);
            scorers.push(scorer);
        }
        let (jobs, receive) = mpsc::channel();
        let places = Arc::new(Semaphore::new(batching.queue));
        let worker = Worker {
            name: name.into(),
            scorers,
            receive,
            places: places.clone(),
            batching,
            pace: pace.clone(),
            metrics,
        };
        let spawned = std::thread::Builder::new().name(format!("model {name}")).spawn(move || worker.run());
        let thread = spawned.map_err(|e| Error::Device(format!("cannot start a thread: {e}")))?;
        Ok(Engine { jobs, places, queue: batching.queue, framer: file.config.framer(), pace, thread })
    }

    /// Whether it still computes: its thread ends before this only by a panic.
    pub fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }

    /// How pictures become what it takes.
    pub fn framer(&self) -> &Framer {
        &self.framer
    }

    /// Pictures that have a place now.
    pub fn queued(&self) -> usize {
        self.queue.saturating_sub(self.places.available_permits())
    }

    /// Places for the pictures of a request: all of them, or none.
    pub fn places(&self, count: usize) -> Result<Vec<Place>, Refusal> {
        if count > self.queue {
            let most = self.queue;
            return Err(Refusal::too_large(format!("{count} pictures in a request, more than the {most} allowed")));
        }
        let full = |_| {
            let waiting = self.queued();
            let seconds = (waiting as f64 * self.pace.seconds()).ceil().max(1.0);
            let message =
                format!("the queue is full: {waiting} of {} pictures wait; try again in {seconds} s", self.queue);
            Refusal::busy("queue full", message, seconds as u64)
        };
        let places = (0..count).map(|_| self.places.clone().try_acquire_owned().map_err(full));
        places.collect()
    }

    /// Queues a picture, which [`Engine::framer`] has made ready.
    pub fn submit(
        &self,
        loaded: Loaded,
        place: Place,
        memory: Arc<Reserved>,
    ) -> Result<oneshot::Receiver<Outcome>, Refusal> {
        let (answer, outcome) = oneshot::channel();
        let job = Job { loaded, answer, since: Instant::now(), place, memory };
        self.jobs.send(job).map_err(|_| gone())?;
        Ok(outcome)
    }
}

/// Of one whose thread has panicked.
pub const FAILED: &str = "the model's engine has failed: load the model again, or start the server again";

/// The thread has panicked.
pub fn gone() -> Refusal {
    Refusal::failed(FAILED)
}

/// 1, 2, 4 and so on, and the largest.
fn sizes(largest: usize) -> Vec<usize> {
    let mut sizes: Vec<usize> = std::iter::successors(Some(1), |n| Some(2 * n)).take_while(|n| *n < largest).collect();
    sizes.push(largest);
    sizes
}

struct Worker {
    name: String,
    /// From the smallest batch to the largest.
    scorers: Vec<Scorer>,
    receive: mpsc::Receiver<Job>,
    places: Arc<Semaphore>,
    batching: Batching,
    pace: Arc<Pace>,
    metrics: Arc<Metrics>,
}

impl Worker {
    fn run(mut self) {
        while let Some(batch) = self.next() {
            if !batch.is_empty() {
                self.score(batch);
            }
        }
    }

    /// What is to be scored together; of a client that went away nothing is. None when nobody can send any more.
    fn next(&self) -> Option<Vec<Job>> {
        let mut batch = vec![self.receive.recv().ok()?];
        let until = batch[0].since + self.batching.delay;
        while batch.len() < self.batching.size {
            if let Ok(job) = self.receive.try_recv() {
                batch.push(job);
                continue;
            }
            // Those on their way have a place: where nobody has, there is nothing to wait for.
            let on_their_way = self.batching.queue - self.places.available_permits() > batch.len();
            let left = until.saturating_duration_since(Instant::now());
            if !on_their_way || left.is_zero() {
                break;
            }
            match self.receive.recv_timeout(left) {
                Ok(job) => batch.push(job),
                Err(_) => break,
            }
        }
        batch.retain(|job| !job.answer.is_closed());
        Some(batch)
    }

    fn score(&mut self, batch: Vec<Job>) {
        // Squares that the network sees: of a picture in tiles there are many.
        let views: usize = batch.iter().map(|job| job.loaded.frame.views()).sum();
        let fits = self.scorers.iter().position(|s| s.batch() >= views);
        let scorer = fits.unwrap_or(self.scorers.len() - 1);
        let apart = |job: Job| (job.loaded, (job.answer, (job.place, job.memory)));
        let (pictures, waiting): (Vec<Loaded>, Vec<_>) = batch.into_iter().map(apart).unzip();
        let begun = Instant::now();
        // Of a picture in many tiles the rest is not computed for whom has had its time.
        let awaited = || waiting.iter().any(|(answer, _)| !answer.is_closed());
        let scored = pipeline::score_while(&mut self.scorers[scorer], pictures, &awaited);
        if matches!(scored, Ok(None)) {
            return;
        }
        let seconds = begun.elapsed().as_secs_f64();
        self.pace.add(seconds / waiting.len() as f64);
        self.metrics.batch(&self.name, waiting.len(), seconds);
        match scored {
            Ok(scored) => {
                for ((answer, held), outcome) in waiting.into_iter().zip(scored.into_iter().flatten()) {
                    drop(held);
                    // Nobody listens where the client has gone.
                    let _ = answer.send(Ok(outcome));
                }
            }
            Err(e) => {
                tracing::error!(model = self.name, "scoring failed: {e}");
                let refusal = Refusal::failed(e.to_string());
                for (answer, _) in waiting {
                    let _ = answer.send(Err(refusal.clone()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_of_batches() {
        for (largest, expected) in
            [(1, &[1][..]), (2, &[1, 2]), (3, &[1, 2, 3]), (8, &[1, 2, 4, 8]), (9, &[1, 2, 4, 8, 9])]
        {
            assert_eq!(super::sizes(largest), expected);
        }
    }
}
