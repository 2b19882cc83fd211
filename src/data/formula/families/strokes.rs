//! Lines of text. A class is an alphabet of glyphs made of strokes on a small grid, with the weight, the slant, the size and the
//! layout it is set in; an instance is a text.

use rand::RngExt;

use crate::data::formula::Scene;
use crate::data::formula::canvas::blend;
use crate::data::formula::maths::{hash, mix, smooth, unit};
use crate::data::formula::random::{Stream, jitter};

type Place = [f32; 2];

/// The ends of straight pieces, in a box of width and height 1.
type Glyph = Vec<(Place, Place)>;

#[derive(Clone, Copy)]
enum Ink {
    Solid,
    Outline,
    /// Cut into the ground or raised from it.
    Embossed,
    Soft,
    /// On a plate of its own for each line.
    Plate,
}

const INKS: [Ink; 5] = [Ink::Solid, Ink::Outline, Ink::Embossed, Ink::Soft, Ink::Plate];

fn glyph(strokes: usize, curved: f32, rng: &mut Stream) -> Glyph {
    let mut knot = || [rng.random_range(0..3) as f32 / 2.0, rng.random_range(0..4) as f32 / 3.0];
    let knots: Vec<[Place; 3]> = (0..strokes).map(|_| [knot(), knot(), knot()]).collect();
    let mut pieces = vec![];
    let mut from = knots[0][0];
    for [start, middle, end] in knots {
        // Mostly on from where the last one ended.
        if rng.random_bool(0.3) {
            from = start;
        }
        if from == end {
            pieces.push((from, middle));
            continue;
        }
        if rng.random_range(0.0..1.0f32) < curved {
            // A parabola's arc in five pieces.
            let at = |t: f32| [0, 1].map(|a| mix(mix(from[a], middle[a], t), mix(middle[a], end[a], t), t));
            pieces.extend((0..5).map(|k| (at(k as f32 / 5.0), at((k + 1) as f32 / 5.0))));
        } else {
            pieces.push((from, end));
        }
        from = end;
    }
    pieces
}

/// Lowers `near`, the distance of each pixel to the next stroke, around a straight piece.
fn draw_piece(near: &mut [f32], width: usize, (from, to): (Place, Place), reach: f32) {
    let height = near.len() / width;
    let span = |a: usize, side: usize| {
        let (least, most) = (from[a].min(to[a]) - reach, from[a].max(to[a]) + reach);
        let limit = side as f32;
        (least.clamp(0.0, limit) as usize, (most + 1.0).clamp(0.0, limit) as usize)
    };
    let ((left, right), (top, bottom)) = (span(0, width), span(1, height));
    let [dx, dy] = [to[0] - from[0], to[1] - from[1]];
    let scale = 1.0 / (dx * dx + dy * dy).max(1e-6);
    for y in top..bottom {
        let py = y as f32 - from[1];
        for (x, near) in near[y * width..][left..right.max(left)].iter_mut().enumerate() {
            let px = (left + x) as f32 - from[0];
            let t = ((px * dx + py * dy) * scale).clamp(0.0, 1.0);
            let (ex, ey) = (px - t * dx, py - t * dy);
            *near = near.min(ex * ex + ey * ey);
        }
    }
}

pub fn paint(scene: &mut Scene) {
    let class = &mut scene.class;
    let ink = INKS[class.kind(INKS.len())];
    // Lines of text in a picture, and how they are set.
    let lines = class.log_between(2.5, 9.0);
    let (weight, slant) = (class.between(0.05, 0.16), class.between(-0.35, 0.35));
    let (wide, curved) = (class.log_between(0.5, 1.1), class.share());
    let strokes = 2 + class.choice(4);
    let (letters, words) = (3 + class.choice(10), class.between(0.0, 0.3));
    let leading = class.between(0.5, 0.8);
    let slant = if slant.abs() < 0.15 { 0.0 } else { slant };
    let alphabet: Vec<Glyph> = (0..letters).map(|_| glyph(strokes, curved, &mut class.rng)).collect();
    let (gloss, shine) = (class.log_between(4.0, 40.0), class.between(0.1, 0.6));

    let rng = &mut scene.rng;
    let (lines, weight) = (jitter(rng, lines, 0.1), jitter(rng, weight, 0.12));
    let seed: u32 = rng.random();
    let angle = rng.random_range(-0.03..0.03f32);
    let start = [rng.random_range(0.0..9.0f32), rng.random_range(0.0..9.0f32)];
    let full = rng.random_range(0.55..1.0f32);
    let light = scene.light(gloss, shine);
    let palette = scene.palette();
    let tone = scene.rng.random_range(0.0..1.0f32);

    // A line is 1 high, a letter with its gap 1 wide.
    let height = leading / lines;
    let letter = wide * height * 1.35;
    let frame = scene.frame.turned(angle).scaled(1.0 / letter, lines).moved(start[0], start[1]);
    let (columns, rows) = (scene.canvas.width, scene.canvas.height);
    let (least, most) = frame.bounds(columns, rows);
    let to_pixel = frame.inverse();
    let pixel = scene.frame.pixel();
    // Half the width of a stroke in pixels, never less than what can be seen.
    let half = (weight * height / pixel * 0.5).max(0.45);
    let reach = 2.0 * half + 2.0;
    let [near, relief, _] = scene.fields;
    near.fill(reach * reach);
    for line in least[1].floor() as i32..=most[1].floor() as i32 {
        let length = unit(hash(line, 77, seed));
        for column in least[0].floor() as i32 - 1..=most[0].floor() as i32 {
            let h = hash(column, line, seed);
            let share = (column as f32 - least[0]) / (most[0] - least[0]);
            // A gap between words, or the end of a line that is not full.
            if unit(h.wrapping_mul(0x9e37_79b1)) < words || (share > 0.5 + 0.5 * length && length > full) {
                continue;
            }
            let place = |p: Place| {
                let x = column as f32 + 0.13 + 0.74 * p[0] + slant * (0.5 - p[1]) * leading;
                to_pixel.at(x, line as f32 + 0.5 * (1.0 - leading) + leading * p[1])
            };
            for (from, to) in &alphabet[h as usize % letters] {
                draw_piece(near, columns, (place(*from), place(*to)), reach);
            }
        }
    }
    near.iter_mut().for_each(|d| *d = d.sqrt());
    let one = palette.at(0.5 * tone);
    let other = palette.at(0.5 + 0.5 * tone);
    let plate = palette.at(1.0 - tone);
    let dark = |c: [f32; 3]| c.map(|v| if v < 0.5 { v + 0.45 } else { v - 0.45 });
    scene.canvas.paint(&frame, |i, p, under| {
        let d = near[i];
        let line = p[1].floor();
        let color = if hash(line as i32, 5, seed) & 1 == 0 { one } else { other };
        let solid = smooth(half + 0.6, half - 0.6, d);
        match ink {
            Ink::Solid => blend(under, color, solid),
            Ink::Outline => blend(under, color, smooth(0.9, 0.3, (d - half - 0.5).abs())),
            Ink::Embossed => {
                relief[i] = 0.9 * half.min(2.5) * smooth(half + 1.2, 0.3 * half, d);
                blend(under, color, 0.45 * solid)
            }
            Ink::Soft => blend(under, color, smooth(2.0 * half + 1.5, 0.0, d)),
            Ink::Plate => {
                let inside = smooth(0.48, 0.44, (p[1] - line - 0.5).abs());
                blend(blend(under, plate, inside), dark(plate), solid)
            }
        }
    });
    if let Ink::Embossed = ink {
        scene.canvas.shade(relief, &light);
    }
}
