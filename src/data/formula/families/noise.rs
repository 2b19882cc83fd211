//! Noise of a band of frequencies. A class is how it becomes a picture, its frequency, its octaves, how much it is drawn out in
//! a direction and how much it is warped.

use rand::RngExt;

use crate::data::formula::Scene;
use crate::data::formula::maths::{fract, mix, smooth, triangle};
use crate::data::formula::noise::Noise;
use crate::data::formula::random::jitter;

enum Kind {
    Clouds,
    Ridges,
    Billows,
    Marble,
    Islands,
    Terraces,
    Rough,
    Specks,
}

const KINDS: [Kind; 8] =
    [Kind::Clouds, Kind::Ridges, Kind::Billows, Kind::Marble, Kind::Islands, Kind::Terraces, Kind::Rough, Kind::Specks];

pub fn paint(scene: &mut Scene) {
    let class = &mut scene.class;
    let kind = &KINDS[class.kind(KINDS.len())];
    let (frequency, gain) = (class.log_between(2.5, 15.0), class.between(0.3, 0.75));
    let drawn_out = class.log_between(1.0, 3.5).sqrt();
    let warp = (class.between(-0.5, 1.0)).max(0.0);
    let detail = class.share();
    let angle = class.share();
    // The finest octave stays above two or three pixels of a small picture.
    let octaves = (1..4).rev().find(|o| frequency * (1 << (o - 1)) as f32 <= 30.0).unwrap_or(1);
    let (gloss, shine) = (class.log_between(4.0, 40.0), class.between(0.0, 0.5));

    let rng = &mut scene.rng;
    let frequency = jitter(rng, frequency, 0.1);
    let angle = 0.5 * angle + rng.random_range(-0.03..0.03f32);
    let (noise, warper) = (Noise::new(rng.random()), Noise::new(rng.random()));
    let start = [rng.random_range(-50.0..50.0f32), rng.random_range(-50.0..50.0f32)];
    let phase = rng.random_range(0.0..1.0f32);
    let light = scene.light(gloss, shine);
    let palette = scene.palette();

    let frame =
        scene.frame.turned(angle).scaled(frequency / drawn_out, frequency * drawn_out).moved(start[0], start[1]);
    let width = scene.canvas.width;
    let [dx, dy, height] = scene.fields;
    if warp > 0.0 {
        let slow = frame.scaled(0.6, 0.6);
        warper.fill(&slow, width, dx);
        warper.fill(&slow.moved(31.7, -12.9), width, dy);
    }
    let pixel = frame.pixel();
    scene.canvas.paint(&frame, |i, p, _| {
        let p = if warp > 0.0 { [p[0] + warp * dx[i], p[1] + warp * dy[i]] } else { p };
        let sum = |shape: fn(f32) -> f32| noise.octaves(p, octaves, gain, shape);
        let t = match kind {
            Kind::Clouds => 0.5 + 0.75 * sum(|v| v),
            Kind::Ridges => {
                let v = sum(|v| 1.0 - v.abs());
                1.6 * v * v - 0.35
            }
            Kind::Billows => 1.7 * sum(f32::abs) - 0.05,
            Kind::Marble => triangle(phase + (0.3 + 0.6 * detail) * p[0] + mix(0.5, 1.5, detail) * sum(|v| v)),
            Kind::Islands => {
                let v = sum(|v| v);
                let edge = mix(0.02, 0.12, detail);
                0.7 * smooth(-edge, edge, v) + 0.3 * (0.5 + v)
            }
            Kind::Terraces => {
                let steps = mix(3.0, 7.0, detail);
                let v = (0.5 + 0.8 * sum(|v| v)) * steps;
                (v.floor() + smooth(0.42 - pixel, 0.58 + pixel, fract(v))) / steps
            }
            Kind::Rough => 0.5 + 0.7 * sum(|v| v),
            Kind::Specks => {
                let v = sum(|v| v);
                let level = mix(0.15, 0.4, detail);
                0.8 * smooth(level, level + 0.12, v) + 0.1 * v + 0.1
            }
        };
        height[i] = t;
        match kind {
            Kind::Rough => palette.at(0.3 + 0.4 * t),
            _ => palette.at(t),
        }
    });
    if let Kind::Rough = kind {
        // A height of some of the noise's own period.
        let tall = mix(0.25, 0.8, detail) / pixel;
        height.iter_mut().for_each(|h| *h *= tall);
        scene.canvas.shade(height, &light);
    }
}
