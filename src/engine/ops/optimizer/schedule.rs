//! The learning rate from step to step. It is told from the optimizer's own count of steps, which checkpoints hold: a resumed run
//! and a graph that is replayed need nothing else.

use crate::{Result, invalid};
use std::f64::consts::PI;

/// By what the learning rate of a step is multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum LrSchedule {
    #[default]
    Constant,
    /// Linear from 1 / `warmup` of the rate to all of it, over `warmup` steps; then half a cosine down to 0 at `steps`, where it stays.
    Cosine { warmup: usize, steps: usize },
}

/// Most steps: they are counted in f32.
const MAX_STEPS: usize = 1 << 24;

impl LrSchedule {
    /// Refuses a warm-up that leaves nothing to go down.
    pub fn check(self) -> Result<()> {
        if let LrSchedule::Cosine { warmup, steps } = self
            && !(warmup < steps && steps <= MAX_STEPS)
        {
            invalid!(
                "a learning rate that warms up over {warmup} steps of {steps}: there must be more steps than that, and at \
                 most {MAX_STEPS}"
            );
        }
        Ok(())
    }

    /// The factor of the step behind `done` others.
    pub fn factor(self, done: f64) -> f64 {
        let LrSchedule::Cosine { warmup, steps } = self else { return 1.0 };
        let (warmup, steps) = (warmup as f64, steps as f64);
        if done < warmup {
            (done + 1.0) / warmup
        } else if done < steps {
            // (1 + cos x) / 2, without losing digits towards the end.
            (PI / 2.0 * (done - warmup) / (steps - warmup)).cos().powi(2)
        } else {
            0.0
        }
    }
}
