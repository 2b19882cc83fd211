//! An anomaly map over its picture: colours where it is above a threshold, a contour around that, a legend below.

use super::encode::png_rgb;
use super::font::Text;
use crate::Result;
use crate::data::resize;
use crate::score::map::Map;
use rayon::prelude::*;
use std::borrow::Cow;

/// How opaque the colour is at the threshold, and at the hot end.
const OPACITY: (f32, f32) = (0.3, 0.65);
/// The contour's two lines, inside and outside: one of them shows on any picture.
const INSIDE: [u8; 3] = [255, 255, 255];
const OUTSIDE: [u8; 3] = [20, 20, 20];
/// Pixels of the largest picture whose heat map has its own size.
const LARGE: usize = 1 << 25;
/// Pixels a coloured picture's shorter side needs for both lines: in a smaller one the inner would hide what it surrounds.
const ROOM_FOR_BOTH: usize = 32;
/// The outline of a known anomaly: in neither the contour nor the colours of heat.
pub const TRUTH: [u8; 3] = [255, 0, 255];
const PAPER: [u8; 3] = [250, 250, 250];
const INK: [u8; 3] = [40, 40, 40];

/// Which map values are shown, and how. The same for all pictures of a set, so that they compare.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Below it the picture is seen as it is.
    pub from: f32,
    /// This and above has the hottest colour.
    pub to: f32,
    /// What lies above `from` is outlined.
    pub contour: bool,
    /// What lies above `from` is coloured.
    pub filled: bool,
}

impl Scale {
    /// From the threshold of pixels to twice of it, outlined.
    pub fn above(threshold: f64) -> Self {
        Scale { from: threshold as f32, to: 2.0 * threshold as f32, contour: true, filled: true }
    }

    /// All that maps hold, for want of a threshold.
    pub fn of_maps<'a>(maps: impl Iterator<Item = &'a [f32]>) -> Self {
        let (from, to) =
            maps.flatten().fold((f32::INFINITY, f32::NEG_INFINITY), |(lo, hi), v| (lo.min(*v), hi.max(*v)));
        Scale { from, to, contour: false, filled: true }
    }

    /// Position between the ends, 0 to 1; a value that is not a number is at the cold one.
    fn position(&self, v: f32) -> f32 {
        let t = if self.to > self.from { ((v - self.from) / (self.to - self.from)).clamp(0.0, 1.0) } else { 0.0 };
        if t.is_nan() { 0.0 } else { t }
    }
}

/// Draws a map over its picture (`width * height * 3` bytes), to which it is stretched.
pub fn heatmap(rgb: &[u8], (width, height): (usize, usize), map: &Map, scale: &Scale) -> Vec<u8> {
    debug_assert_eq!(rgb.len(), width * height * 3);
    let values = stretched(map, width, height);
    let shorter = width.min(height);
    let line = (shorter / 320).max(1);
    let both = !scale.filled || shorter >= ROOM_FOR_BOTH;
    let inside = |x: usize, y: usize| values[y * width + x] >= scale.from;
    // Whether something `line` pixels away in one of four directions is on the other side.
    let borders = |x: usize, y: usize, here: bool| {
        let (left, up) = (x.saturating_sub(line), y.saturating_sub(line));
        let (right, down) = ((x + line).min(width - 1), (y + line).min(height - 1));
        [(left, y), (right, y), (x, up), (x, down)].into_iter().any(|(x, y)| inside(x, y) != here)
    };
    let mut out = rgb.to_vec();
    out.par_chunks_exact_mut(width * 3).enumerate().for_each(|(y, row)| {
        for (x, pixel) in row.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let (v, here) = (values[y * width + x], inside(x, y));
            if scale.contour && (both || !here) && borders(x, y, here) {
                *pixel = if here { INSIDE } else { OUTSIDE };
            } else if here && scale.filled {
                let t = scale.position(v);
                let (color, opacity) = (turbo(t), OPACITY.0 + (OPACITY.1 - OPACITY.0) * t);
                for (p, c) in pixel.iter_mut().zip(color) {
                    *p = (f32::from(*p) * (1.0 - opacity) + 255.0 * c * opacity).round() as u8;
                }
            }
        }
    });
    out
}

/// The same as a PNG file with a legend, by the map's own scale where there is none. A picture of more than [`LARGE`] pixels is
/// drawn at its map's shape.
pub fn heatmap_png(rgb: &[u8], shown: (usize, usize), map: &Map, scale: Option<Scale>) -> Result<Vec<u8>> {
    let scale = scale.unwrap_or_else(|| Scale::of_maps([&map.values[..]].into_iter()));
    let (rgb, shown) = match shown.0 * shown.1 <= LARGE {
        true => (Cow::Borrowed(rgb), shown),
        false => (resize::bilinear::<3>(rgb, shown, map.shape()).into(), map.shape()),
    };
    let (pixels, height) = with_legend(heatmap(&rgb, shown, map, &scale), shown, &scale);
    png_rgb(&pixels, shown.0, height)
}

/// Draws around what a mask marks (non-zero), a pixel outside of it, so that what lies within is still seen; where it ends at the
/// picture's edge, along that.
pub fn outline(rgb: &mut [u8], (width, height): (usize, usize), mask: &[u8]) {
    debug_assert_eq!((rgb.len(), mask.len()), (width * height * 3, width * height));
    for (i, pixel) in rgb.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        let (x, y) = (i % width, i / width);
        let (right, down) = ((x + 1).min(width - 1), (y + 1).min(height - 1));
        let beside = [(x.saturating_sub(1), y), (right, y), (x, y.saturating_sub(1)), (x, down)];
        let edge = x == 0 || y == 0 || x == width - 1 || y == height - 1;
        let marked = |(x, y): (usize, usize)| mask[y * width + x] != 0;
        if marked((x, y)) && edge || !marked((x, y)) && beside.into_iter().any(marked) {
            *pixel = TRUTH;
        }
    }
}

/// A heat map with a strip below that shows the colours and what they stand for, where the picture is wide enough for it: its
/// letters follow the width, or the height of a picture that is very wide. Returns the pixels and their height.
pub fn with_legend(mut rgb: Vec<u8>, (width, height): (usize, usize), scale: &Scale) -> (Vec<u8>, usize) {
    let zoom = (width.min(4 * height) / 400).clamp(1, 8);
    let (pad, line) = (4 * zoom, 8 * zoom);
    let text = Text { zoom, color: INK };
    let to = number(scale.to);
    let bar_beside = |from: &str| {
        let labels = text.width(from) + text.width(&to);
        width.saturating_sub(labels + 4 * pad).min(60 * line)
    };
    let mut from = number(scale.from);
    let named = format!("threshold {from}");
    if scale.contour && bar_beside(&named) >= 8 * line {
        from = named;
    }
    let bar = bar_beside(&from);
    if !scale.filled || bar < 4 * line {
        return (rgb, height);
    }
    let strip = line + 2 * pad;
    rgb.extend(PAPER.repeat(width * strip));
    let below = &mut rgb[width * height * 3..];
    text.draw(below, width, (pad, pad), &from);
    let left = 2 * pad + text.width(&from);
    for x in 0..bar {
        let color = turbo(x as f32 / (bar - 1) as f32).map(|c| (255.0 * c).round() as u8);
        for y in pad..pad + line {
            below[(y * width + left + x) * 3..][..3].copy_from_slice(&color);
        }
    }
    text.draw(below, width, (left + bar + pad, pad), &to);
    (rgb, height + strip)
}

/// Three decimals, and of a smaller number three digits.
fn number(v: f32) -> String {
    let decimals = if v != 0.0 && v.is_finite() { 2 - v.abs().log10().floor() as i32 } else { 3 };
    format!("{v:.0$}", decimals.clamp(3, 9) as usize)
}

/// A map at another shape, between the centres of its values linearly interpolated.
fn stretched(map: &Map, width: usize, height: usize) -> Vec<f32> {
    let places = |size: usize, length: usize| -> Vec<(usize, usize, f32)> {
        let place = |i: usize| {
            let at = ((i as f32 + 0.5) * size as f32 / length as f32 - 0.5).clamp(0.0, (size - 1) as f32);
            let (low, over) = (at as usize, at.fract());
            // On a value itself its neighbour does not count, not even as something that is no number.
            (low, if over > 0.0 { (low + 1).min(size - 1) } else { low }, over)
        };
        (0..length).map(place).collect()
    };
    let (columns, rows) = (places(map.width, width), places(map.height, height));
    let row = |y: usize| &map.values[y * map.width..][..map.width];
    let mut out = vec![0.0; width * height];
    out.par_chunks_exact_mut(width).zip(rows).for_each(|(out, (top, bottom, down))| {
        let (upper, lower) = (row(top), row(bottom));
        for (v, &(left, right, over)) in out.iter_mut().zip(&columns) {
            let above = upper[left] + (upper[right] - upper[left]) * over;
            let below = lower[left] + (lower[right] - lower[left]) * over;
            *v = above + (below - above) * down;
        }
    });
    out
}

/// The Turbo colour scale (A. Mikhailov, 2019) as the polynomial its author published; `t` and the result are 0 to 1.
/// The scale's own ends are nearly black, which would look like shadow on a picture: they are left out.
fn turbo(t: f32) -> [f32; 3] {
    let t = 0.08 + 0.87 * t;
    const RED: [f32; 6] = [0.135_721_38, 4.615_392_6, -42.660_324, 132.131_08, -152.942_4, 59.286_38];
    const GREEN: [f32; 6] = [0.091_402_61, 2.194_188_4, 4.842_966_6, -14.185_033, 4.277_298_5, 2.829_566];
    const BLUE: [f32; 6] = [0.106_673_3, 12.641_946, -60.582_047, 110.362_77, -89.903_11, 27.348_25];
    [RED, GREEN, BLUE].map(|p| p.iter().rev().fold(0.0, |sum, c| sum * t + c).clamp(0.0, 1.0))
}
