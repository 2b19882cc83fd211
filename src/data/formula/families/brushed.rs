//! Streaks. A class is what they are of, how fine, how long, and how much they stand out.

use rand::RngExt;

use crate::data::formula::Scene;
use crate::data::formula::maths::{fract, hash, highlight, mix, sine, smooth, squash, triangle, unit};
use crate::data::formula::noise::Noise;
use crate::data::formula::random::jitter;

#[derive(Clone, Copy)]
enum Kind {
    /// Straight, with a band of light across.
    Metal,
    /// Around an axis, with the light in two opposite sectors.
    Turned,
    /// Rings of growth, cut lengthwise.
    Wood,
    /// Short fibres in about one direction.
    Fibres,
    /// Two directions over each other.
    Hatched,
    /// Wavy lines side by side.
    Combed,
    /// Arcs of a milling cutter that overlap.
    Milled,
}

const KINDS: [Kind; 7] =
    [Kind::Metal, Kind::Turned, Kind::Wood, Kind::Fibres, Kind::Hatched, Kind::Combed, Kind::Milled];

pub fn paint(scene: &mut Scene) {
    let class = &mut scene.class;
    let kind = KINDS[class.kind(KINDS.len())];
    let fine = class.log_between(7.0, 34.0);
    let (long, depth) = (class.log_between(5.0, 40.0), class.between(0.35, 1.0));
    let (angle, detail) = (class.share(), class.share());
    let (gloss, bent) = (class.log_between(2.0, 20.0), class.share());
    let second = class.rng.random_range(0.1..0.25f32);

    let rng = &mut scene.rng;
    let fine = jitter(rng, fine, 0.12);
    let angle = 0.5 * angle + rng.random_range(-0.03..0.03f32);
    let streaks = Noise::new(rng.random());
    let bend = Noise::new(rng.random());
    let seed: u32 = rng.random();
    let start = [rng.random_range(-60.0..60.0f32), rng.random_range(-60.0..60.0f32)];
    let place = [rng.random_range(-0.4..0.4f32), rng.random_range(-0.4..0.4f32)];
    let palette = scene.palette();

    let width = scene.canvas.width;
    let frame = scene.frame.turned(angle);
    let [drift, low, _] = scene.fields;
    bend.fill(&frame.scaled(1.5, 2.5).moved(start[0], start[1]), width, drift);
    bend.fill(&frame.scaled(2.0, 2.0).moved(start[1], start[0]), width, low);
    // Streaks along x: `fine` of them across, each `long` times as long as wide.
    let streak = |x: f32, y: f32| {
        let p = [x * fine / long + start[0], y * fine + start[1]];
        0.65 * streaks.at(p) + 0.35 * streaks.at([2.3 * p[0], 1.9 * p[1] + 9.0])
    };
    let bow = 0.04 * bent * bent * bent;
    scene.canvas.paint(&frame, |i, p, _| {
        let (x, y) = (p[0], p[1] + bow * drift[i]);
        let t = match kind {
            Kind::Metal => {
                let band = (x - place[0]) * mix(1.0, 3.0, detail) + 0.3 * depth * streak(x, y);
                0.25 + 0.55 / (1.0 + band * band * gloss.min(6.0)) + 0.45 * depth * streak(x, y)
            }
            Kind::Turned => {
                let d = [p[0] - 0.6 * place[0], p[1] - 0.6 * place[1]];
                let r = (d[0] * d[0] + d[1] * d[1]).sqrt();
                let c = d[0] / r.max(1e-5);
                let ring = streak(0.05 * c, r);
                0.15 + 0.7 * highlight(c * c, mix(1.0, 6.0, detail)) + 0.5 * depth * ring + 0.15 * low[i]
            }
            Kind::Wood => {
                let off = [0.1 * x + 0.05 * drift[i] + place[0], y + mix(0.02, 0.14, bent) * low[i]];
                let r = (off[0] * off[0] + off[1] * off[1]).sqrt();
                let ring = fract(0.45 * fine * r + 0.2 * low[i]);
                let grown = smooth(0.0, mix(0.5, 0.95, detail), ring) * smooth(1.0, 0.92, ring);
                let pores = streaks.at([x * 6.0, y * 42.0]);
                0.15 + 0.65 * grown + 0.3 * depth * pores
            }
            Kind::Fibres => {
                let tilt = 0.25 * drift[i];
                let one = streak(x, y + tilt * x);
                let other = streaks.at([x * fine / (0.3 * long) - 7.0, (y - tilt * x) * fine * 0.8 + 3.0]);
                0.5 + 0.7 * one.max(other * mix(0.4, 1.0, detail))
            }
            Kind::Hatched => {
                let (u, v) = (x + (0.5 + 4.0 * second) * y, y - (0.5 + 4.0 * second) * x);
                0.5 + 0.6 * depth * streak(x, y) + mix(0.2, 0.6, detail) * streak(v, u)
            }
            Kind::Combed => {
                let phase = 0.6 * fine * (y + 0.08 * (0.2 + bent) * low[i] + 0.03 * sine(2.0 * x + place[0]));
                let line = unit(hash(phase.floor() as i32, 3, seed));
                let tooth = triangle(phase);
                mix(0.15, 0.85, tooth) * mix(1.0, 0.5 + line, 0.6 * detail) + 0.25 * depth * streak(x, y)
            }
            Kind::Milled => {
                let radius = mix(0.5, 1.4, bent);
                let root = (radius * radius - (p[1] * p[1]).min(0.98 * radius * radius)).sqrt();
                let phase = 0.35 * fine * (p[0] + place[0] - root);
                let step = unit(hash(phase.floor() as i32, 1, seed));
                let lines = streaks.at([phase * mix(2.0, 5.0, detail) + start[0], 0.7 * p[1]]);
                0.3 + 0.45 * fract(phase) * mix(0.7, 1.0, step) + 0.4 * depth * lines
            }
        };
        palette.at(0.5 + 0.85 * squash(1.6 * (t - 0.5)))
    });
}
