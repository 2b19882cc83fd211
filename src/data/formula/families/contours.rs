//! Nested closed curves (as in RCDB and VisualAtom of Kataoka et al.), as level lines: every pixel is looked at once, however many
//! curves there are. A class is the waves that make up the radius, the metric, how many curves there are, and how they are filled.

use rand::RngExt;

use crate::data::formula::Scene;
use crate::data::formula::canvas::blend;
use crate::data::formula::maths::{cosine, fract, mix, smooth, triangle, turn};
use crate::data::formula::random::jitter;

#[derive(Clone, Copy)]
enum Kind {
    Lines,
    Bands,
    Gradient,
    Dashed,
    Outline,
    Beads,
}

const KINDS: [Kind; 6] = [Kind::Lines, Kind::Bands, Kind::Gradient, Kind::Dashed, Kind::Outline, Kind::Beads];

/// (c + is)^n for a place (c, s) on the unit circle: the cosine and sine of n times its angle.
#[inline(always)]
fn power(c: f32, s: f32, n: u32) -> (f32, f32) {
    let (mut out, mut base, mut n) = ((1.0, 0.0), (c, s), n);
    while n > 0 {
        if n & 1 == 1 {
            out = (out.0 * base.0 - out.1 * base.1, out.0 * base.1 + out.1 * base.0);
        }
        base = (base.0 * base.0 - base.1 * base.1, 2.0 * base.0 * base.1);
        n >>= 1;
    }
    out
}

struct Figure {
    at: [f32; 2],
    size: f32,
    /// Cosine and sine of its turn.
    turn: (f32, f32),
    tone: f32,
}

pub fn paint(scene: &mut Scene) {
    let class = &mut scene.class;
    let kind = KINDS[class.kind(KINDS.len())];
    let slow = 1 + class.choice(5) as u32;
    let fast = slow + 1 + class.choice(9) as u32;
    let (rough, ripple) = (class.between(0.05, 0.42), class.between(0.0, 0.25));
    let rings = class.log_between(2.5, 13.0);
    let detail = class.share();
    let twist = if class.chance(0.4) { class.between(-0.8, 0.8) } else { 0.0 };
    let metric = class.choice(6);
    let number = [1, 1, 1, 2, 4, 7][class.choice(6)];
    let squeeze = class.log_between(0.55, 1.0);

    let rng = &mut scene.rng;
    let (rough, ripple, rings) = (jitter(rng, rough, 0.15), jitter(rng, ripple, 0.15), jitter(rng, rings, 0.07));
    let phases = [slow, fast].map(|_| turn(rng.random_range(0.0..1.0)));
    let rings = if number > 2 { rings.min(6.0) } else { rings };
    let figures: Vec<Figure> = (0..number)
        .map(|i| {
            let size = jitter(rng, [0.42, 0.27, 0.22, 0.15][[1, 2, 4, 7].partition_point(|n| *n < number)], 0.15);
            // Several ones around the middle, a single one near it.
            let (s, c) = turn(i as f32 / (number.max(4) - 1) as f32 + rng.random_range(0.0..0.12f32));
            let reach = if number == 1 || i == 6 { 0.05 } else { 0.3 };
            let at = [c * reach + rng.random_range(-0.05..0.05f32), s * reach + rng.random_range(-0.05..0.05f32)];
            Figure { at, size, turn: turn(rng.random_range(0.0..1.0)), tone: rng.random_range(-0.2..0.2) }
        })
        .collect();
    let palette = scene.palette();
    let pixel = scene.frame.pixel();

    scene.canvas.paint(&scene.frame, |_, p, under| {
        let mut color = under;
        for figure in &figures {
            let d = [p[0] - figure.at[0], p[1] - figure.at[1]];
            let far = 1.8 * figure.size;
            if d[0] * d[0] + d[1] * d[1] > far * far {
                continue;
            }
            let (c, s) = figure.turn;
            let (x, y) = ((d[0] * c + d[1] * s) / figure.size, (d[1] * c - d[0] * s) / (figure.size * squeeze));
            let r = (x * x + y * y).sqrt().max(1e-5);
            let (ux, uy) = (x / r, y / r);
            let of = |n: u32, (ps, pc): (f32, f32)| {
                let (c, s) = power(ux, uy, n);
                c * pc - s * ps
            };
            let mut radius = 1.0 + rough * of(slow, phases[0]);
            if twist == 0.0 {
                radius += ripple * of(fast, phases[1]);
            } else {
                // The fast wave turns on the way out.
                let (c, s) = power(ux, uy, fast);
                radius += ripple * (c * cosine(twist * r) - s * cosine(twist * r - 0.25));
            }
            let length = match metric {
                0 => x.abs().max(y.abs()),
                1 => 0.8 * (x.abs() + y.abs()),
                _ => r,
            };
            // 1 on the outermost curve.
            let level = length / radius.max(0.25);
            let soft = 0.8 * pixel / figure.size;
            let body = smooth(1.0 + soft, 1.0 - soft, level);
            if body == 0.0 {
                continue;
            }
            let phase = rings * level;
            let ring = phase.floor();
            let edge = soft * rings;
            let line = |wide: f32| smooth(wide + edge, wide - edge, (fract(phase) - 0.5).abs());
            let (tone, share) = match kind {
                Kind::Lines => (level, line(mix(0.12, 0.3, detail))),
                Kind::Bands => {
                    let step = ring + smooth(1.0 - 2.0 * edge, 1.0, fract(phase));
                    (triangle(0.5 * step / mix(1.0, 3.0, detail)), body)
                }
                Kind::Gradient => (triangle(phase * 0.5), body),
                Kind::Dashed => {
                    let (c, _) = power(ux, uy, 3 + (detail * 18.0) as u32);
                    (level, line(0.25) * smooth(-0.15, 0.15, if ring % 2.0 == 0.0 { c } else { -c }))
                }
                Kind::Outline => {
                    let rim = smooth(1.0 - 0.25 * detail - 0.08 - soft, 1.0 - 0.25 * detail - 0.08 + soft, level);
                    (mix(0.7 * level * detail, 1.0, rim), body * mix(0.55, 1.0, rim))
                }
                Kind::Beads => {
                    let (c, _) = power(ux, uy, (2.0 + ring * mix(2.0, 5.0, detail)).min(60.0) as u32);
                    let across = 2.0 * (fract(phase) - 0.5).abs();
                    (0.3 + 0.7 * level, smooth(0.45, 0.75, (0.5 + 0.5 * c) * (1.0 - across * across)))
                }
            };
            color = blend(color, palette.at(tone + figure.tone), share * body);
        }
        color
    });
}
