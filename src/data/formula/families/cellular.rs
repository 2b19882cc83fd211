//! Worley's cells: what the nearest of scattered points tells. A class is what is made of it, how many points there are, how
//! scattered, and in which metric.
//!
//! Points are kept in a grid around what is seen, which costs half of what FastNoise Lite takes to hash them for every pixel, and
//! gives both distances, the place within the cell and its number at once.

use rand::RngExt;

use crate::data::formula::Scene;
use crate::data::formula::canvas::{Rgb, blend};
use crate::data::formula::maths::{cosine, hash, mix, smooth, unit};
use crate::data::formula::noise::Noise;
use crate::data::formula::random::jitter;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Granules,
    Cracks,
    Foam,
    Mosaic,
    Rings,
    Bubbles,
    Scales,
    Spots,
}

const KINDS: [Kind; 8] =
    [Kind::Granules, Kind::Cracks, Kind::Foam, Kind::Mosaic, Kind::Rings, Kind::Bubbles, Kind::Scales, Kind::Spots];

struct Point {
    at: [f32; 2],
    /// A number of its own, 0 to 1.
    own: f32,
}

#[derive(Clone, Copy)]
enum Metric {
    Euclid,
    Manhattan,
    Chebyshev,
}

struct Nearest<'a> {
    first: f32,
    second: f32,
    cell: &'a Point,
}

/// The points of the cells of a grid that lie within these bounds or around them.
struct Grid {
    left: i32,
    top: i32,
    columns: i32,
    points: Vec<Point>,
}

impl Grid {
    fn new((least, most): ([f32; 2], [f32; 2]), scatter: f32, seed: u32) -> Self {
        let [left, top] = least.map(|v| v.floor() as i32 - 2);
        let [right, bottom] = most.map(|v| v.floor() as i32 + 3);
        let point = |x: i32, y: i32| {
            let h = hash(x, y, seed);
            let off = [unit(h), unit(h.wrapping_mul(0x9e37_79b1))].map(|u| 0.5 + scatter * (u - 0.5));
            Point { at: [x as f32 + off[0], y as f32 + off[1]], own: unit(h.wrapping_mul(0x85eb_ca77)) }
        };
        let points = (top..bottom).flat_map(|y| (left..right).map(move |x| point(x, y))).collect();
        Self { left, top, columns: right - left, points }
    }

    #[inline(always)]
    fn nearest(&self, p: [f32; 2], metric: Metric) -> Nearest<'_> {
        // Warped places may leave the grid; they see its edge.
        let rows = self.points.len() as i32 / self.columns;
        let x = (p[0].floor() as i32 - self.left).clamp(1, self.columns - 2);
        let y = (p[1].floor() as i32 - self.top).clamp(1, rows - 2);
        let mut found = Nearest { first: f32::MAX, second: f32::MAX, cell: &self.points[0] };
        for row in y - 1..=y + 1 {
            let start = (row * self.columns + x - 1) as usize;
            for point in &self.points[start..start + 3] {
                let [dx, dy] = [p[0] - point.at[0], p[1] - point.at[1]];
                let d = match metric {
                    Metric::Euclid => dx * dx + dy * dy,
                    Metric::Manhattan => dx.abs() + dy.abs(),
                    Metric::Chebyshev => dx.abs().max(dy.abs()),
                };
                if d < found.first {
                    found = Nearest { first: d, second: found.first, cell: point };
                } else if d < found.second {
                    found.second = d;
                }
            }
        }
        if let Metric::Euclid = metric {
            (found.first, found.second) = (found.first.sqrt(), found.second.sqrt());
        }
        found
    }
}

pub fn paint(scene: &mut Scene) {
    let class = &mut scene.class;
    let kind = KINDS[class.kind(KINDS.len())];
    let cells = class.log_between(4.5, 20.0);
    let (scatter, detail) = (class.between(0.25, 1.0), class.share());
    let drawn_out = class.log_between(1.0, 2.5).sqrt();
    let (variety, warp) = (class.between(0.05, 1.0), class.between(-0.3, 0.3).max(0.0));
    let angle = class.share();
    let metric = match class.share() {
        ..0.6 => Metric::Euclid,
        0.6..0.8 => Metric::Manhattan,
        _ => Metric::Chebyshev,
    };
    let (gloss, shine) = (class.log_between(4.0, 40.0), class.between(0.0, 0.6));

    let rng = &mut scene.rng;
    let cells = jitter(rng, cells, 0.08);
    let angle = 0.5 * angle + rng.random_range(-0.03..0.03f32);
    let seed: u32 = rng.random();
    let start = [rng.random_range(-99.0..99.0f32), rng.random_range(-99.0..99.0f32)];
    let bend = Noise::new(rng.random());
    let light = scene.light(gloss, shine);
    let palette = scene.palette();

    let frame = scene.frame.turned(angle).scaled(cells / drawn_out, cells * drawn_out).moved(start[0], start[1]);
    let (width, rows) = (scene.canvas.width, scene.canvas.height);
    let grid = Grid::new(frame.bounds(width, rows), scatter, seed);
    let [dx, dy, height] = scene.fields;
    if warp > 0.0 {
        bend.fill(&frame.scaled(0.9, 0.9), width, dx);
        bend.fill(&frame.scaled(0.9, 0.9).moved(5.0, 70.0), width, dy);
    }
    let pixel = frame.pixel();
    let soft = 0.7 * pixel;
    scene.canvas.paint(&frame, |i, p, _| -> Rgb {
        let p = if warp > 0.0 { [p[0] + warp * dx[i], p[1] + warp * dy[i]] } else { p };
        let Nearest { first, second, cell } = grid.nearest(p, metric);
        let own = cell.own;
        let tone = palette.at(mix(0.5, own, variety));
        // About the distance to the border between the two cells.
        let gap = second - first;
        match kind {
            Kind::Granules => {
                let body = smooth(0.02, 0.35, gap);
                height[i] = 0.9 * (body * (1.2 - first)).max(0.0);
                blend(palette.at(0.0), palette.at(mix(0.75, own, variety)), body)
            }
            Kind::Cracks => {
                let wide = mix(0.04, 0.2, detail);
                height[i] = 0.25 * smooth(0.0, wide + 0.1, gap) + 0.2 * variety * own;
                blend(
                    palette.at(0.0),
                    palette.at(mix(0.85, 0.5 + 0.5 * own, variety)),
                    smooth(wide - soft, wide + soft, gap),
                )
            }
            Kind::Foam => {
                let wall = smooth(mix(0.25, 0.6, detail), 0.0, gap);
                height[i] = 0.6 * wall;
                palette.at(mix(0.25 * variety * own, 1.0, wall * wall))
            }
            Kind::Mosaic => {
                height[i] = 0.3 * own + 0.6 * (own - 0.5) * (p[0] - cell.at[0]) + 0.4 * (p[1] - cell.at[1]);
                let line = smooth(soft, 3.0 * soft, gap);
                blend(palette.at(0.1), palette.at(own), if detail > 0.5 { line } else { 1.0 })
            }
            Kind::Rings => {
                let rings = mix(1.5, 4.0, detail);
                height[i] = 0.3 * cosine(rings * first);
                palette.at(0.5 + 0.45 * cosine(rings * first + variety * own))
            }
            Kind::Bubbles => {
                let radius = mix(0.3, 0.5, own);
                let rim = 1.0 - ((first - radius) / mix(0.06, 0.16, detail)).abs();
                height[i] = 0.5 * (radius * radius - first * first).max(0.0).sqrt();
                palette.at(0.2 + 0.2 * smooth(radius + soft, radius - soft, first) + 0.6 * rim.max(0.0))
            }
            Kind::Scales => {
                let slope = (p[1] - cell.at[1]) * mix(0.4, 1.0, detail);
                height[i] = 0.7 * slope + 0.2 * (0.6 - first);
                blend(palette.at(0.05), tone, smooth(0.0, 0.12, gap)).map(|c| c * (0.8 + 0.5 * slope).clamp(0.0, 1.3))
            }
            Kind::Spots => {
                let radius = mix(0.1, 0.42, own * variety + (1.0 - variety) * detail);
                let inside = smooth(radius + soft + 0.05, radius - soft, first);
                height[i] = 0.4 * inside;
                blend(palette.at(0.15 + 0.1 * first), palette.at(mix(0.7, 1.0, own)), inside)
            }
        }
    });
    let flat = matches!(kind, Kind::Rings) || shine < 0.12;
    if !flat {
        let tall = 0.8 / pixel;
        height.iter_mut().for_each(|h| *h *= tall);
        scene.canvas.shade(height, &light);
    }
}
