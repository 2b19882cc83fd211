//! Points of the plane in place of features: two discs of normal ones and, apart from them, one disc of anomalous ones.

use crate::model::init::named_rng;
use rand::{Rng, RngExt};
use std::f64::consts::TAU;

/// A disc that points are drawn from uniformly.
#[derive(Clone, Copy, Debug)]
pub struct Disc {
    pub center: [f64; 2],
    pub radius: f64,
}

/// Normal points come from both alike.
pub const NORMAL_DISCS: [Disc; 2] =
    [Disc { center: [-1.0, -0.5], radius: 0.4 }, Disc { center: [-1.0, 0.5], radius: 0.4 }];
pub const ANOMALOUS_DISC: Disc = Disc { center: [0.4, 0.0], radius: 0.3 };

impl Disc {
    fn draw(&self, rng: &mut impl Rng) -> [f64; 2] {
        let (length, angle) = (self.radius * rng.random::<f64>().sqrt(), rng.random_range(0.0..TAU));
        [self.center[0] + length * angle.cos(), self.center[1] + length * angle.sin()]
    }

    /// The disc's point that is nearest to `p`.
    fn nearest(&self, p: [f64; 2]) -> [f64; 2] {
        let [x, y] = [p[0] - self.center[0], p[1] - self.center[1]];
        let scale = (self.radius / x.hypot(y).max(self.radius)).min(1.0);
        [self.center[0] + scale * x, self.center[1] + scale * y]
    }

    /// How far `p` is from the disc; 0 within.
    fn distance(&self, p: [f64; 2]) -> f64 {
        ((p[0] - self.center[0]).hypot(p[1] - self.center[1]) - self.radius).max(0.0)
    }

    /// Its edge as a closed line.
    pub fn outline(&self) -> Vec<(f64, f64)> {
        let at = |i: usize| {
            let (sin, cos) = (TAU * i as f64 / 48.0).sin_cos();
            (self.center[0] + self.radius * cos, self.center[1] + self.radius * sin)
        };
        (0..=48).map(at).collect()
    }
}

/// `count` points, each anomalous with probability `share`, else normal. `name` tells samples of a seed apart.
pub fn sample(count: usize, share: f64, seed: u64, name: &str) -> Vec<[f64; 2]> {
    let mut rng = named_rng(seed, name);
    let draw = |_| {
        let anomalous = rng.random_bool(share);
        let normal = NORMAL_DISCS[usize::from(rng.random_bool(0.5))];
        if anomalous { ANOMALOUS_DISC.draw(&mut rng) } else { normal.draw(&mut rng) }
    };
    (0..count).map(draw).collect()
}

/// Whether a point lies nearer to the anomalous disc than to any normal one.
pub fn nearer_to_anomalous(p: [f64; 2]) -> bool {
    NORMAL_DISCS.iter().all(|disc| ANOMALOUS_DISC.distance(p) < disc.distance(p))
}

/// The normal point that is nearest to a point.
pub fn nearest_normal(p: [f64; 2]) -> [f64; 2] {
    let [first, second] = NORMAL_DISCS.map(|disc| disc.nearest(p));
    let far = |q: [f64; 2]| (p[0] - q[0]).hypot(p[1] - q[1]);
    if far(second) < far(first) { second } else { first }
}
