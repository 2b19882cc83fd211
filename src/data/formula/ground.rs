//! What lies behind objects: one colour, a gradient, or a texture of another family.

use rand::{RngExt, SeedableRng};

use super::canvas::{Canvas, Frame, blend, luma};
use super::families::FAMILIES;
use super::maths::{mix, squash, turn};
use super::palette::any_color;
use super::random::{Stream, Traits};
use super::{Fields, Scene};

/// Fills the canvas and returns how bright it is.
pub fn paint(seed: u64, rng: &mut Stream, frame: Frame, canvas: &mut Canvas, fields: &mut Fields) -> f32 {
    let level = if rng.random_bool(0.6) { rng.random_range(0.1..0.34) } else { rng.random_range(0.66..0.9) };
    let mut near = || any_color(rng, level - 0.03, level + 0.03);
    let (one, other) = (near(), near());
    let kind = rng.random_range(0.0..1.0f32);
    let (s, c) = turn(rng.random_range(0.0..1.0));
    let (texture, number) = (rng.random_range(0..FAMILIES.len()), rng.random_range(0..1000));
    let inner = Stream::from_rng(rng);
    match kind {
        ..0.35 => canvas.color.fill(one),
        0.35..0.75 => {
            // Also brighter at one end than at the other.
            let (from, to) = if rng.random_bool(0.5) { (0.8, 1.1) } else { (1.0, 1.0) };
            canvas.paint(&frame, |_, p, _| {
                let t = 0.5 + 0.5 * squash(1.6 * (p[0] * c + p[1] * s));
                blend(one, other, t).map(|v| v * mix(from, to, t))
            });
        }
        _ => {
            // From here on over those that cover everything.
            let family = FAMILIES.iter().cycle().skip(texture).find(|f| !f.objects).unwrap_or(&FAMILIES[0]);
            let strength = rng.random_range(0.25..0.6f32);
            let class = Traits::new(seed, family.name, number);
            (family.paint)(&mut Scene { class, rng: inner, frame, canvas, fields, ground: None });
            // Little contrast, all on its side of the middle.
            let mean = canvas.color.iter().map(|c| luma(*c)).sum::<f32>() / canvas.color.len() as f32;
            for color in &mut canvas.color {
                *color = color.map(|v| (level + strength * (v - mean)).clamp(0.0, 1.0));
            }
        }
    }
    level
}
