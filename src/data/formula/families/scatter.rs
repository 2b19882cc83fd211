//! Many small things: grains, pills, cells under a microscope, chips, pores. A class is their outline, size, number and order, and what
//! they are made of.

use rand::RngExt;

use crate::data::formula::Scene;
use crate::data::formula::canvas::blend;
use crate::data::formula::maths::{hash, mix, smooth, turn, unit};
use crate::data::formula::random::jitter;

#[derive(Clone, Copy)]
enum Outline {
    Disc,
    Rod,
    Box,
    Triangle,
    Ring,
    Crescent,
    /// Two discs that touch.
    Pair,
    Star,
    Drop,
}

const OUTLINES: [Outline; 9] = [
    Outline::Disc,
    Outline::Rod,
    Outline::Box,
    Outline::Triangle,
    Outline::Ring,
    Outline::Crescent,
    Outline::Pair,
    Outline::Star,
    Outline::Drop,
];

/// About the distance inwards from the outline of a thing of radius 1; negative outside.
#[inline(always)]
fn depth(outline: Outline, x: f32, y: f32, long: f32) -> f32 {
    let norm = |x: f32, y: f32| (x * x + y * y).sqrt();
    match outline {
        Outline::Disc => (1.0 - norm(x, y / long)) * long,
        Outline::Rod => 0.9 * long - norm(x - x.clamp(0.9 * long - 1.0, 1.0 - 0.9 * long), y),
        Outline::Box => (0.85 - x.abs()).min(0.85 * long - y.abs()),
        Outline::Triangle => (0.5 - y).min(0.5 + 0.5 * y - 0.866 * x.abs()),
        Outline::Ring => 0.3 * long + 0.08 - (norm(x, y) - 0.65).abs(),
        Outline::Crescent => (0.95 - norm(x, y)).min(norm(x - 0.6 * long, y) - 0.75),
        Outline::Pair => 0.52 - norm(x.abs() - 0.46, y),
        Outline::Star => {
            let r = norm(x, y).max(1e-4);
            let c = x / r;
            // The cosine of five times the angle.
            let c2 = c * c;
            let five = c * (16.0 * c2 * c2 - 20.0 * c2 + 5.0);
            0.7 + 0.25 * long * five - r
        }
        Outline::Drop => 0.75 - norm(x, y * (1.0 + 0.9 * x.max(-0.4))) * (1.0 - 0.2 * x),
    }
}

pub fn paint(scene: &mut Scene) {
    let class = &mut scene.class;
    let outline = OUTLINES[class.kind(OUTLINES.len())];
    let across = class.log_between(3.5, 12.0);
    // How large they are in their place, how much that differs, how many places are taken.
    let (size, spread) = (class.between(0.32, 0.62), class.between(0.0, 0.5));
    let (disorder, taken) = (class.share(), class.between(0.45, 1.0));
    let (aligned, long) = (class.share(), class.between(0.35, 0.85));
    let (look, rim) = (class.rng.random_range(0..4), class.rng.random_range(0.1..0.35f32));
    let (gloss, shine) = (class.log_between(4.0, 40.0), class.between(0.0, 0.7));

    let rng = &mut scene.rng;
    let across = jitter(rng, across, 0.08);
    let size = jitter(rng, size, 0.08);
    let seed: u32 = rng.random();
    let (base, tilt) = (rng.random_range(0.0..1.0f32), rng.random_range(-0.06..0.06f32));
    let start = [rng.random_range(-50.0..50.0f32), rng.random_range(-50.0..50.0f32)];
    let shadow = if look == 0 { 0.0 } else { rng.random_range(0.0..0.5f32) };
    let light = scene.light(gloss, shine);
    let palette = scene.palette();

    let frame = scene.frame.turned(tilt).scaled(across, across).moved(start[0], start[1]);
    let (width, height) = (scene.canvas.width, scene.canvas.height);
    let (least, most) = frame.bounds(width, height);
    let to_pixel = frame.inverse();
    let pixel = frame.pixel();
    let [relief, ..] = scene.fields;
    relief.fill(0.0);
    for row in least[1].floor() as i32 - 1..=most[1].floor() as i32 + 1 {
        for column in least[0].floor() as i32 - 1..=most[0].floor() as i32 + 1 {
            let h = hash(column, row, seed);
            let draw = |k: u32| unit(hash(k as i32, h as i32, seed));
            if draw(0) > taken {
                continue;
            }
            let off = [1, 2].map(|k| disorder * (draw(k) - 0.5));
            let stagger = if row & 1 == 0 { 0.0 } else { 0.5 };
            let at = [column as f32 + 0.5 + stagger + off[0], row as f32 + 0.5 + off[1]];
            let radius = size * (1.0 + spread * (draw(3) - 0.5) * 2.0);
            // In a row, roughly, or anyhow.
            let angle = base + if aligned < 0.35 { 0.05 * (draw(4) - 0.5) } else { draw(4) };
            let ((s, c), tone) = (turn(angle), draw(5));
            let reach = radius / pixel;
            let middle = to_pixel.at(at[0], at[1]);
            let span = |a: usize, limit: usize| {
                let limit = limit as f32;
                let side = 1.25 * reach + 1.0;
                ((middle[a] - side).clamp(0.0, limit) as usize, (middle[a] + side + 1.0).clamp(0.0, limit) as usize)
            };
            let ((left, right), (top, bottom)) = (span(0, width), span(1, height));
            let soft = 0.6 * pixel / radius;
            for y in top..bottom {
                for x in left..right {
                    let p = frame.at(x as f32, y as f32);
                    let [dx, dy] = [0, 1].map(|a| (p[a] - at[a]) / radius);
                    let inside = depth(outline, dx * c + dy * s, dy * c - dx * s, long);
                    if inside < -0.35 {
                        continue;
                    }
                    let i = y * width + x;
                    let share = smooth(-soft, soft, inside);
                    // A shadow around, then the thing.
                    let under = scene.canvas.color[i].map(|v| v * (1.0 - shadow * smooth(-0.35, 0.0, inside)));
                    let color = match look {
                        0 => palette.at(mix(0.3, 0.9, tone)),
                        // A darker or brighter rim.
                        1 => palette.at(mix(0.8 - 0.3 * tone, 0.0, smooth(rim + soft, rim - soft, inside))),
                        // With a nucleus.
                        2 => palette.at(mix(0.3 + 0.3 * tone, 1.0, smooth(0.45, 0.6, inside))),
                        _ => palette.at(mix(0.2, 1.0, (1.4 * inside).min(1.0)) - 0.3 * tone),
                    };
                    scene.canvas.color[i] = blend(under, color, share * if look == 2 { 0.85 } else { 1.0 });
                    let round = inside.clamp(0.0, 0.8);
                    relief[i] = mix(relief[i], reach * 0.9 * (round * (1.6 - round)).sqrt() * 0.6, share);
                }
            }
        }
    }
    if look != 0 && shine > 0.15 {
        scene.canvas.shade(relief, &light);
    }
}
