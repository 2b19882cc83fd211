//! How long things take, and how much of that a device must: what `ckaad bench` and `ckaad plan` are made of.

pub mod parts;
pub mod roofline;
pub mod workload;

pub use workload::{Kind, Workload};

use crate::Result;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Before anything counts: caches and page tables settle, and the clocks of a card that had nothing to do.
const WARM_UP: (usize, Duration) = (3, Duration::from_millis(500));
/// Repetitions that suffice, and the time after which fewer do.
const REPETITIONS: usize = 200;
const TIME: Duration = Duration::from_secs(3);
/// However long one takes.
const FEWEST: usize = 3;

/// What the times of many repetitions come to, in seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Stats {
    pub median_s: f64,
    pub p95_s: f64,
    pub p99_s: f64,
    pub min_s: f64,
    #[serde(skip)]
    pub repetitions: usize,
}

impl Stats {
    /// Of at least one time.
    pub fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times.get(((times.len() as f64 * share) as usize).min(times.len() - 1));
        let at = |share| at(share).copied().unwrap_or(f64::NAN);
        Stats { median_s: at(0.5), p95_s: at(0.95), p99_s: at(0.99), min_s: at(0.0), repetitions: times.len() }
    }

    /// Whether something else took much of the machine's time.
    pub fn noisy(&self) -> bool {
        self.p95_s > 1.25 * self.median_s || self.median_s > 1.25 * self.min_s
    }
}

/// Calls `once`, which returns the seconds of each of its stages, until there is enough to say how long they take.
pub fn repeat<const N: usize>(mut once: impl FnMut() -> Result<[f64; N]>) -> Result<[Stats; N]> {
    let mut times: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    let (begun, mut turns) = (Instant::now(), 0);
    while turns < WARM_UP.0 || begun.elapsed() < WARM_UP.1 {
        once()?;
        turns += 1;
    }
    let begun = Instant::now();
    while times[0].len() < FEWEST || (times[0].len() < REPETITIONS && begun.elapsed() < TIME) {
        for (all, time) in times.iter_mut().zip(once()?) {
            all.push(time);
        }
    }
    Ok(times.map(Stats::of))
}

/// Seconds that `f` takes.
pub fn seconds(f: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begun = Instant::now();
    f()?;
    Ok(begun.elapsed().as_secs_f64())
}
