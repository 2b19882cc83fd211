//! Randomness as a function of names: a stream for every (seed, name, instance, view), and the traits of a class.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::palette::Style;
use crate::engine::hash::fnv1a;

pub type Stream = ChaCha8Rng;

/// A generator that depends on these alone.
pub fn stream(seed: u64, name: &str, instance: u64, view: u64) -> Stream {
    let mut key = [0; 32];
    let words = [seed, fnv1a(name), instance, view];
    for (bytes, word) in key.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    ChaCha8Rng::from_seed(key)
}

/// `value` times a factor within `share` of 1.
pub fn jitter(rng: &mut impl Rng, value: f32, share: f32) -> f32 {
    value * (1.0 + share * rng.random_range(-1.0..1.0f32))
}

/// Between two numbers of one sign, all ratios alike.
pub fn log_between(share: f32, from: f32, to: f32) -> f32 {
    from * libm::powf(to / from, share)
}

/// What makes a class: a point in its family's space of parameters. Its first coordinates come from a sequence of low discrepancy
/// (Roberts' R sequence, shifted by the seed), so that classes keep a distance that independent draws would not; further ones are
/// independent. The points of the first n classes do not depend on how many there are.
pub struct Traits {
    number: usize,
    asked: usize,
    shift: [f32; STEPS.len()],
    /// For what has no order: a weave, an alphabet.
    pub rng: Stream,
    pub style: Style,
}

/// Powers of 1 / 1.11278, the root of x^7 = x + 1, from the sixth.
const STEPS: [f64; 6] = [0.526_651_5, 0.586_047_0, 0.652_138_9, 0.725_684_5, 0.807_524_8, 0.898_653_7];

impl Traits {
    pub fn new(seed: u64, family: &str, number: usize) -> Self {
        let mut shared = stream(seed, family, 0, 0);
        let shift = std::array::from_fn(|_| shared.random_range(0.0..1.0f32));
        let name = format!("class {family}/{number}");
        let style = Style::draw(&mut stream(seed, &name, 0, 1));
        Self { number, asked: 0, shift, rng: stream(seed, &name, 0, 0), style }
    }

    /// One of `kinds` ways of drawing, each as often as the others. To be asked first.
    pub fn kind(&mut self, kinds: usize) -> usize {
        let kind = self.number % kinds;
        self.number /= kinds;
        // The golden ratio's turns: the same numbers for no two kinds.
        self.shift = self.shift.map(|s| s + 0.618_034 * kind as f32);
        kind
    }

    /// The next coordinate, in [0, 1).
    pub fn share(&mut self) -> f32 {
        let at = self.asked;
        self.asked += 1;
        if at >= STEPS.len() {
            return self.rng.random_range(0.0..1.0);
        }
        let turns = f64::from(self.shift[at]) + STEPS[at] * self.number as f64;
        (turns - turns.floor()) as f32
    }

    pub fn between(&mut self, from: f32, to: f32) -> f32 {
        from + (to - from) * self.share()
    }

    pub fn log_between(&mut self, from: f32, to: f32) -> f32 {
        log_between(self.share(), from, to)
    }

    pub fn choice(&mut self, of: usize) -> usize {
        ((self.share() * of as f32) as usize).min(of - 1)
    }

    pub fn chance(&mut self, share: f32) -> bool {
        self.share() < share
    }
}
