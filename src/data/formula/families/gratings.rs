//! Sums of waves. A class is how many there are and where they run, their frequencies, their profile and how they are put together.

use rand::RngExt;

use crate::data::formula::Scene;
use crate::data::formula::maths::{fract, mix, sine, smooth, triangle, turn};
use crate::data::formula::noise::Noise;
use crate::data::formula::random::jitter;

#[derive(Clone, Copy)]
enum Kind {
    /// Plane waves in directions evenly apart.
    Star,
    Checker,
    /// Around a centre.
    Rings,
    /// Rings of two centres.
    Moire,
    Chirp,
    /// Bars of different widths.
    Bars,
    Dots,
    /// Plane waves that turn with the distance.
    Spiral,
}

const KINDS: [Kind; 8] =
    [Kind::Star, Kind::Checker, Kind::Rings, Kind::Moire, Kind::Chirp, Kind::Bars, Kind::Dots, Kind::Spiral];

/// From a phase in turns to 0..1; `soft` is the part of a period that an edge takes.
#[inline(always)]
fn profile(shape: usize, soft: f32, phase: f32) -> f32 {
    match shape {
        0 => 0.5 + 0.5 * sine(phase),
        1 => smooth(0.5 - soft, 0.5 + soft, triangle(phase)),
        // A sawtooth with a soft fall.
        2 => {
            let t = fract(phase);
            t * smooth(1.0, 1.0 - soft, t)
        }
        // Thin lines.
        _ => smooth(0.72 - soft, 0.72 + soft, triangle(phase)),
    }
}

pub fn paint(scene: &mut Scene) {
    let class = &mut scene.class;
    let kind = KINDS[class.kind(KINDS.len())];
    let frequency = class.log_between(4.0, 21.0);
    let shape = class.choice(4);
    let detail = class.share();
    let angle = class.share();
    let waves = 1 + class.choice(5);
    let ratio = class.log_between(0.35, 2.0);
    let bent = (class.between(-1.0, 1.0)).max(0.0);
    let (lit, shine) = (class.rng.random_bool(0.3), class.between(0.0, 0.6));
    // Widths of bars, in the class's own order.
    let bars: [f32; 8] = std::array::from_fn(|_| class.rng.random_range(0.0..1.0));

    let rng = &mut scene.rng;
    let frequency = jitter(rng, frequency, 0.08);
    let angle = angle + rng.random_range(-0.04..0.04f32);
    let phases: [f32; 6] = std::array::from_fn(|_| rng.random_range(0.0..1.0));
    let near = [rng.random_range(-0.25..0.25f32), rng.random_range(-0.25..0.25f32)];
    let bend = Noise::new(rng.random());
    let light = scene.light(20.0, shine);
    let palette = scene.palette();

    let bent = 0.07 * bent;
    let width = scene.canvas.width;
    let [dx, dy, height] = scene.fields;
    let frame = scene.frame.turned(angle);
    if bent > 0.0 {
        bend.fill(&frame.scaled(1.7, 1.7).moved(3.1, 9.2), width, dx);
        bend.fill(&frame.scaled(1.7, 1.7).moved(-8.3, 1.4), width, dy);
    }
    let pixel = frame.pixel();
    let soft = (1.2 * pixel * frequency).max(0.04);
    let directions: [(f32, f32); 6] = std::array::from_fn(|i| turn(0.5 * i as f32 / waves as f32));
    let (ring, other) = (near, [-near[1], near[0]]);
    let distance = |p: [f32; 2], c: [f32; 2]| {
        let d = [p[0] - c[0], p[1] - c[1]];
        (d[0] * d[0] + d[1] * d[1]).sqrt()
    };
    scene.canvas.paint(&frame, |i, p, _| {
        let p = if bent > 0.0 { [p[0] + bent * dx[i], p[1] + bent * dy[i]] } else { p };
        let f = frequency;
        let t = match kind {
            Kind::Star => {
                let each = directions[..waves].iter().zip(phases);
                let sum: f32 =
                    each.map(|((s, c), phase)| profile(shape, soft, f * (p[0] * c + p[1] * s) + phase)).sum();
                let mean = sum / waves as f32;
                0.5 + (mean - 0.5) * (waves as f32).sqrt()
            }
            Kind::Checker => {
                let a = profile(1, soft, 0.5 * f * p[0] + phases[0]);
                let b = profile(1, soft, 0.5 * f * ratio.min(1.0) * p[1] + phases[1]);
                let fine = profile(shape, soft, 0.5 * f * (p[0] + p[1]));
                mix(a + b - 2.0 * a * b, fine, 0.4 * detail)
            }
            Kind::Rings => {
                let r = distance(p, ring);
                let spokes = profile(shape, soft, f * p[0] * ratio.min(1.0));
                mix(profile(shape, soft, f * r + phases[0]), spokes, 0.5 * detail * detail)
            }
            Kind::Moire => {
                let (a, b) = (f * distance(p, ring) + phases[0], f * ratio.min(1.2) * distance(p, other));
                0.5 * (profile(shape, soft, a) + profile(shape, soft, b))
            }
            Kind::Chirp => {
                // From half the frequency to more than it, and back.
                let x = p[0] + 0.3 * sine(p[0] * mix(0.5, 0.9, detail) + phases[0]);
                let y = profile(shape, soft, f * ratio.min(1.0) * p[1] + phases[1]);
                mix(profile(shape, soft, 0.7 * f * x), y, if waves > 3 { 0.35 } else { 0.0 })
            }
            Kind::Bars => {
                let x = f * p[0] + 8.0 * phases[0];
                let k = x.floor();
                let level = |k: f32| bars[k.rem_euclid(8.0) as usize & 7];
                let fine = if detail > 0.5 { profile(shape, 2.0 * soft, f * ratio * p[1]) } else { 0.5 };
                mix(level(k - 1.0), level(k), smooth(0.0, 2.0 * soft, x - k)) * 0.8 + 0.2 * fine
            }
            Kind::Dots => {
                let row = (0.8 * f * p[1] + phases[1]).floor();
                let stagger = if waves > 2 { 0.5 * (row - 2.0 * (0.5 * row).floor()) } else { 0.0 };
                let x = 2.0 * fract(0.8 * f * p[0] + phases[0] + stagger) - 1.0;
                let y = 2.0 * fract(0.8 * f * p[1] + phases[1]) - 1.0;
                let r = match shape {
                    0 => (x * x + y * y).sqrt(),
                    1 => x.abs().max(y.abs()),
                    2 => 0.75 * (x.abs() + y.abs()),
                    _ => 1.3 * ((x * x + y * y).sqrt() - 0.5).abs() + 0.1,
                };
                let size = mix(0.3, 0.75, detail);
                smooth(size + 2.0 * soft, size - 2.0 * soft, r)
            }
            Kind::Spiral => {
                let d = [p[0] - ring[0], p[1] - ring[1]];
                let r2 = d[0] * d[0] + d[1] * d[1];
                let (x, y) = (d[0] + detail * d[1] * r2 * 4.0, d[1] - detail * d[0] * r2 * 4.0);
                let a = profile(shape, soft, 0.7 * f * x + phases[0]);
                let b = profile(shape, soft, 0.7 * f * ratio.min(1.0) * y + phases[1]);
                if waves > 2 { 0.5 * (a + b) } else { a }
            }
        };
        height[i] = t;
        palette.at(t)
    });
    if lit {
        let tall = 0.35 / (pixel * frequency);
        height.iter_mut().for_each(|h| *h *= tall);
        scene.canvas.shade(height, &light);
    }
}
