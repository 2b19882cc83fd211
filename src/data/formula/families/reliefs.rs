//! Surfaces of one material under a slanting light: hammered, dimpled, knurled, ribbed, tiled, cast, scratched, leathery. A class is
//! the pattern, its pitch and depth, the grain on it and how the material shines; there is hardly any colour but the light's.

use rand::RngExt;

use crate::data::formula::Scene;
use crate::data::formula::canvas::blend;
use crate::data::formula::maths::{fract, hash, mix, sine, smooth, triangle, turn, unit};
use crate::data::formula::noise::Noise;
use crate::data::formula::random::jitter;

#[derive(Clone, Copy)]
enum Kind {
    Hammered,
    Dimples,
    Knurl,
    Ribs,
    Tread,
    Tiles,
    Cast,
    Leather,
    Scratched,
}

const KINDS: [Kind; 9] = [
    Kind::Hammered,
    Kind::Dimples,
    Kind::Knurl,
    Kind::Ribs,
    Kind::Tread,
    Kind::Tiles,
    Kind::Cast,
    Kind::Leather,
    Kind::Scratched,
];

pub fn paint(scene: &mut Scene) {
    let class = &mut scene.class;
    let kind = KINDS[class.kind(KINDS.len())];
    let pitch = class.log_between(4.0, 16.0);
    let (depth, detail) = (class.between(0.25, 1.0), class.share());
    let (grain, angle) = (class.between(0.0, 0.6), class.share());
    let (gloss, shine) = (class.log_between(3.0, 50.0), class.between(0.0, 1.0));
    let (aspect, mottled) = (class.log_between(0.6, 1.6).sqrt(), class.between(0.0, 0.5));

    let rng = &mut scene.rng;
    let pitch = jitter(rng, pitch, 0.08);
    let angle = 0.5 * angle + rng.random_range(-0.02..0.02f32);
    let seed: u32 = rng.random();
    let start = [rng.random_range(-50.0..50.0f32), rng.random_range(-50.0..50.0f32)];
    let (bumps, spots) = (Noise::new(rng.random()), Noise::new(rng.random()));
    let lines: Vec<[f32; 4]> = (0..10)
        .map(|_| {
            let (s, c) = turn(if detail < 0.5 { rng.random_range(0.0..0.06) } else { rng.random_range(0.0..1.0) });
            [c, s, rng.random_range(-0.6..0.6), rng.random_range(0.2..1.0)]
        })
        .collect();
    let tone = rng.random_range(0.3..0.75f32);
    let light = scene.light(gloss, shine);
    let palette = scene.palette();

    let turned = scene.frame.turned(angle);
    let frame = turned.scaled(pitch * aspect, pitch / aspect).moved(start[0], start[1]);
    let (width, pixel) = (scene.canvas.width, frame.pixel());
    let [height, fine, slow] = scene.fields;
    bumps.fill(&scene.frame.scaled(26.0, 26.0).moved(start[1], start[0]), width, fine);
    spots.fill(&turned.scaled(3.0, 3.0).moved(start[0], start[1]), width, slow);
    let soft = 0.9 * pixel;
    scene.canvas.paint(&frame, |i, p, _| {
        let h = match kind {
            Kind::Hammered => 0.7 * bumps.at(p).abs() + 0.3 * bumps.at([0.6 * p[0] + 8.0, 0.6 * p[1]]),
            Kind::Dimples => {
                let row = p[1].floor();
                let x = p[0] + if detail > 0.4 && row as i32 & 1 == 1 { 0.5 } else { 0.0 };
                let (dx, dy) = (fract(x) - 0.5, fract(p[1]) - 0.5);
                let r = (dx * dx + dy * dy).sqrt();
                let radius = mix(0.25, 0.46, detail);
                // Holes or knobs.
                let bowl = (1.0 - (r / radius) * (r / radius)).max(0.0).sqrt();
                if depth > 0.6 { -0.5 * bowl } else { 0.5 * bowl }
            }
            Kind::Knurl => {
                let (u, v) = (triangle(p[0] + p[1]), triangle(p[0] - p[1]));
                0.5 * if detail > 0.5 { u.min(v) } else { u + v - u * v }
            }
            Kind::Ribs => {
                let t = triangle(p[0] + 0.15 * detail * slow[i]);
                0.5 * smooth(0.0, mix(0.3, 1.0, detail), t)
            }
            Kind::Tread => {
                // Lozenges in two directions.
                let cell = p.map(|v| v.floor() as i32);
                let (x, y) = (fract(p[0]) - 0.5, fract(p[1]) - 0.5);
                let (a, b) = if (cell[0] + cell[1]) & 1 == 0 { (x + y, x - y) } else { (x - y, x + y) };
                let bar = 1.0 - (a / 0.75).abs() - (b / mix(0.2, 0.4, detail)).abs();
                0.3 * smooth(0.0, 0.4, bar)
            }
            Kind::Tiles => {
                let row = p[1].floor();
                let x = p[0] * 0.6 + 0.5 * row * (detail * 2.0).floor();
                let (dx, dy) = ((fract(x) - 0.5).abs() / 0.6, (fract(p[1]) - 0.5).abs());
                let joint = mix(0.03, 0.1, detail) + soft;
                let edge = (0.5 / 0.6 - dx).min(0.5 - dy);
                let own = unit(hash(x.floor() as i32, row as i32, seed));
                0.25 * smooth(0.0, joint, edge) + 0.2 * own * smooth(0.0, 0.05, edge)
            }
            Kind::Cast => 0.35 * bumps.octaves(p, 2, 0.7, |v| v) + 0.2 * smooth(0.25, 0.5, slow[i]),
            Kind::Leather => {
                let v = bumps.octaves(p, 2, 0.5, |v| v.abs());
                0.6 * smooth(0.0, mix(0.2, 0.5, detail), v)
            }
            Kind::Scratched => {
                let (x, y) = (p[0] / pitch - start[0] / pitch, p[1] / pitch - start[1] / pitch);
                let cut = lines.iter().fold(0f32, |cut, [c, s, off, strong]| {
                    let d = (x * s + y * c - off + 0.01 * sine(0.7 * x)).abs() * pitch;
                    cut.max(strong * (1.0 - d / (2.5 * pixel)).max(0.0))
                });
                0.12 * bumps.at([p[0] * 0.3, p[1] * 3.0]) - 2.5 * pixel * cut
            }
        };
        height[i] = h * depth + grain * 0.35 * pixel * fine[i];
        let color = palette.at(tone + 0.3 * mottled * slow[i]);
        // Hollows collect dirt.
        blend(color, palette.at(tone - 0.4), (0.5 * mottled - h).clamp(0.0, 0.5))
    });
    let tall = 0.8 / pixel;
    height.iter_mut().for_each(|h| *h *= tall);
    scene.canvas.shade(height, &light);
}
