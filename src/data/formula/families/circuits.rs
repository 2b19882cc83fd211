//! Boards: tracks with rounded corners, pads and parts on a grid. A class is the grid, the tracks' width and how they run, the kinds
//! of pads and of parts and how many there are.

use rand::RngExt;

use crate::data::formula::Scene;
use crate::data::formula::canvas::blend;
use crate::data::formula::maths::{fract, hash, mix, smooth, unit};
use crate::data::formula::noise::Noise;
use crate::data::formula::random::jitter;

/// How a cell joins its neighbours: which of its four sides have a track (right, down, left, up).
#[inline(always)]
fn joined(x: i32, y: i32, style: usize, density: f32, seed: u32) -> [bool; 4] {
    // The side between two cells belongs to the one on its left or above it.
    let side = |x: i32, y: i32, down: bool| {
        let along = match style {
            // Mostly along rows, along columns, or anyhow.
            0 => {
                if down {
                    0.35
                } else {
                    1.5
                }
            }
            1 => {
                if down {
                    1.5
                } else {
                    0.35
                }
            }
            _ => 1.0,
        };
        unit(hash(2 * x + i32::from(down), y, seed)) < density * along
    };
    [side(x, y, false), side(x, y, true), side(x - 1, y, false), side(x, y - 1, true)]
}

pub fn paint(scene: &mut Scene) {
    let class = &mut scene.class;
    let style = class.kind(6);
    let cells = class.log_between(5.0, 13.0);
    let (density, wide) = (class.between(0.3, 0.62), class.between(0.09, 0.24));
    let (pads, pad) = (class.between(0.1, 0.9), class.between(0.2, 0.42));
    let (parts, hole) = (class.between(-0.2, 0.5), class.share());
    let slanted = class.share();
    let square = class.rng.random_bool(0.4);
    let (part_wide, part_high) = (class.rng.random_range(1..4), class.rng.random_range(1..3));
    let (gloss, shine) = (class.log_between(6.0, 40.0), class.between(0.1, 0.7));

    let rng = &mut scene.rng;
    let cells = jitter(rng, cells, 0.07);
    let seed: u32 = rng.random();
    let tilt = rng.random_range(-0.015..0.015f32);
    let start = [rng.random_range(-50.0..50.0f32), rng.random_range(-50.0..50.0f32)];
    let stain = Noise::new(rng.random());
    let light = scene.light(gloss, shine);
    let palette = scene.palette();
    let shift = scene.rng.random_range(-0.06..0.06f32);

    let turn = if slanted > 0.8 { 0.125 } else { 0.0 };
    let frame = scene.frame.turned(turn + tilt).scaled(cells, cells).moved(start[0], start[1]);
    let width = scene.canvas.width;
    let pixel = frame.pixel();
    let soft = 0.8 * pixel;
    let [relief, uneven, _] = scene.fields;
    stain.fill(&frame.scaled(0.3, 0.3), width, uneven);
    let step = [part_wide + 2, part_high + 2];
    scene.canvas.paint(&frame, |i, p, _| {
        let cell = p.map(|v| v.floor() as i32);
        let [x, y] = p.map(|v| fract(v) - 0.5);
        let sides = joined(cell[0], cell[1], style % 3, density, seed);
        // The distance to the nearest track: half an axis for each side that is joined, or an arc around a corner of the cell where
        // exactly two neighbouring sides are.
        let count = sides.iter().filter(|s| **s).count();
        let mut near = f32::MAX;
        let corner = (0..4).find(|k| count == 2 && sides[*k] && sides[(k + 1) % 4]);
        if let Some(k) = corner.filter(|_| style < 3) {
            let (cx, cy) = [(0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5)][k];
            near = (((x - cx) * (x - cx) + (y - cy) * (y - cy)).sqrt() - 0.5).abs();
        } else if let Some(k) = corner {
            // Or straight across it.
            let (sx, sy) = [(1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0), (1.0, -1.0)][k];
            near = (0.707 * (sx * x + sy * y - 0.5)).abs();
        } else {
            // How far beyond the middle of the cell, and how far beside the axis.
            let to = [(x.min(0.0), y), (y.min(0.0), x), (x.max(0.0), y), (y.max(0.0), x)];
            for ((back, off), _) in to.iter().zip(sides).filter(|(_, joined)| *joined) {
                near = near.min((back * back + off * off).sqrt());
            }
        }
        let track = smooth(wide * 0.5 + soft, wide * 0.5 - soft, near);
        // Pads sit where tracks end, and on some other cells.
        let h = hash(cell[0], cell[1], seed ^ 0x51ed);
        let mut ring = 0.0;
        let mut drilled = 0.0;
        if count == 1 || (unit(h) < 0.4 * pads && count != 0) || (unit(h) < 0.3 * pads) {
            let r = if square { x.abs().max(y.abs()) } else { (x * x + y * y).sqrt() };
            ring = smooth(pad + soft, pad - soft, r);
            if hole > 0.4 {
                drilled = smooth(0.5 * pad + soft, 0.5 * pad - soft, (x * x + y * y).sqrt());
            }
        }
        let board = palette.at(0.18 + shift + 0.05 * uneven[i]);
        let metal = palette.at(0.85 + shift);
        let mut color = blend(board, palette.at(0.55 + shift), track);
        color = blend(blend(color, metal, ring), palette.at(0.0), drilled);
        let mut height = 0.06 * track + 0.05 * ring - 0.1 * drilled;
        // Parts over everything, each with legs on two sides.
        if parts > 0.0 {
            let block = [0, 1].map(|a| cell[a].div_euclid(step[a]));
            let hp = hash(block[0], block[1], seed ^ 0x7a17);
            if unit(hp) < parts {
                let q = [0, 1].map(|a| p[a] - (block[a] * step[a]) as f32 - 0.5 * step[a] as f32);
                let half = [0.5 * part_wide as f32 + 0.2, 0.5 * part_high as f32 + 0.1];
                let inside = (half[0] - q[0].abs()).min(half[1] - q[1].abs());
                let leg = smooth(0.22 + soft, 0.22 - soft, (fract(2.0 * q[0]) - 0.5).abs())
                    * smooth(0.3 + soft, 0.3 - soft, q[1].abs() - half[1])
                    * smooth(-soft, soft, half[0] - q[0].abs());
                color = blend(color, metal, leg);
                let body = smooth(-soft, soft, inside);
                let mark = smooth(0.16, 0.12, ((q[0] + half[0] - 0.3).powi(2) + (q[1] + half[1] - 0.3).powi(2)).sqrt());
                let tone = mix(0.02, 0.3, unit(hp.wrapping_mul(0x9e37_79b1)));
                color = blend(color, blend(palette.at(tone), palette.at(0.7), 0.7 * mark), body);
                height = mix(height + 0.05 * leg, 0.3 * smooth(0.0, 0.2, inside), body);
            }
        }
        relief[i] = height;
        color
    });
    let tall = 1.0 / pixel;
    relief.iter_mut().for_each(|h| *h *= tall);
    scene.canvas.shade(relief, &light);
}
