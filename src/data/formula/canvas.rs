//! Where pictures are drawn: pixels, and the map from pixels to the plane that formulas are written in.

use super::maths::turn;

pub type Rgb = [f32; 3];

/// Weights of brightness (ITU-R BT.601).
pub const LUMA: Rgb = [0.299, 0.587, 0.114];

#[inline(always)]
pub fn luma(c: Rgb) -> f32 {
    c[0] * LUMA[0] + c[1] * LUMA[1] + c[2] * LUMA[2]
}

#[inline(always)]
pub fn blend(from: Rgb, to: Rgb, share: f32) -> Rgb {
    [0, 1, 2].map(|c| from[c] + share * (to[c] - from[c]))
}

/// An affine map. From pixels to the plane it is how a formula is looked at: in the plane, the picture as it is before it is
/// augmented spans -0.5 to 0.5 either way, whatever its size in pixels.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    pub origin: [f32; 2],
    pub across: [f32; 2],
    pub down: [f32; 2],
}

impl Frame {
    /// Of `width` x `height` pixels with the longer side from -0.5 to 0.5; pixel (x, y) is looked at in its middle.
    pub fn new(width: usize, height: usize) -> Self {
        let pixel = 1.0 / width.max(height) as f32;
        let start = |side: usize| (0.5 - 0.5 * side as f32) * pixel;
        Self { origin: [start(width), start(height)], across: [pixel, 0.0], down: [0.0, pixel] }
    }

    #[inline(always)]
    pub fn at(&self, x: f32, y: f32) -> [f32; 2] {
        [0, 1].map(|a| self.origin[a] + x * self.across[a] + y * self.down[a])
    }

    fn each(self, f: impl Fn([f32; 2]) -> [f32; 2]) -> Self {
        Self { origin: f(self.origin), across: f(self.across), down: f(self.down) }
    }

    /// Coordinates multiplied: what is drawn gets smaller.
    pub fn scaled(self, x: f32, y: f32) -> Self {
        self.each(|p| [p[0] * x, p[1] * y])
    }

    pub fn turned(self, turns: f32) -> Self {
        let (s, c) = turn(turns);
        self.each(|p| [p[0] * c - p[1] * s, p[0] * s + p[1] * c])
    }

    pub fn moved(self, x: f32, y: f32) -> Self {
        Self { origin: [self.origin[0] + x, self.origin[1] + y], ..self }
    }

    /// The side of a pixel in the plane.
    pub fn pixel(&self) -> f32 {
        self.determinant().abs().sqrt()
    }

    fn determinant(&self) -> f32 {
        self.across[0] * self.down[1] - self.across[1] * self.down[0]
    }

    /// From the plane to pixels.
    pub fn inverse(&self) -> Self {
        let d = 1.0 / self.determinant();
        let across = [self.down[1] * d, -self.across[1] * d];
        let down = [-self.down[0] * d, self.across[0] * d];
        let origin = [0, 1].map(|a| -(self.origin[0] * across[a] + self.origin[1] * down[a]));
        Self { origin, across, down }
    }

    /// The box that holds what is seen: least and greatest coordinates.
    pub fn bounds(&self, width: usize, height: usize) -> ([f32; 2], [f32; 2]) {
        let (w, h) = (width as f32 - 1.0, height as f32 - 1.0);
        let corners = [self.at(0.0, 0.0), self.at(w, 0.0), self.at(0.0, h), self.at(w, h)];
        let of = |f: fn(f32, f32) -> f32| [0, 1].map(|a| corners.iter().map(|c| c[a]).fold(corners[0][a], f));
        (of(f32::min), of(f32::max))
    }
}

/// The standard deviation of brightness that every picture is to have before it is augmented.
const LEAST_CONTRAST: f32 = 0.1;

/// Colours from 0 to 1.
#[derive(Default)]
pub struct Canvas {
    pub width: usize,
    pub height: usize,
    pub color: Vec<Rgb>,
}

impl Canvas {
    pub fn reset(&mut self, width: usize, height: usize, color: Rgb) {
        (self.width, self.height) = (width, height);
        self.color.clear();
        self.color.resize(width * height, color);
    }

    /// Gives every pixel the colour of its place in the plane; what it had is passed on.
    #[inline(always)]
    pub fn paint(&mut self, frame: &Frame, mut color: impl FnMut(usize, [f32; 2], Rgb) -> Rgb) {
        for y in 0..self.height {
            let start = frame.at(0.0, y as f32);
            let row = y * self.width;
            for (x, pixel) in self.color[row..row + self.width].iter_mut().enumerate() {
                let at = [0, 1].map(|a| start[a] + x as f32 * frame.across[a]);
                *pixel = color(row + x, at, *pixel);
            }
        }
    }

    /// Sees to it that there is something to see: little contrast is made more, and what is nearly black or white is brought
    /// nearer to the middle. Returns how bright the whole is then.
    pub fn expose(&mut self) -> f32 {
        let count = self.color.len() as f32;
        let mean = self.color.iter().map(|c| luma(*c)).sum::<f32>() / count;
        let variance = self.color.iter().map(|c| (luma(*c) - mean) * (luma(*c) - mean)).sum::<f32>() / count;
        let gain = (LEAST_CONTRAST / variance.sqrt().max(1e-4)).clamp(1.0, 8.0);
        let level = mean.clamp(0.2, 0.8);
        for color in &mut self.color {
            *color = color.map(|v| (gain * (v - mean) + level).clamp(0.0, 1.0));
        }
        level
    }

    /// Light on a surface: darker where `height` (in pixels) falls away from the light, with highlights.
    pub fn shade(&mut self, height: &[f32], light: &Light) {
        let (w, h) = (self.width, self.height);
        let Light { to: [lx, ly, lz], ambient, gloss, shine } = *light;
        // Half way between the light and the eye, for highlights.
        let half = ((lz + 1.0) * 2.0).sqrt();
        for y in 0..h {
            let (above, below) = (y.saturating_sub(1) * w, (y + 1).min(h - 1) * w);
            for x in 0..w {
                let i = y * w + x;
                let (left, right) = (y * w + x.saturating_sub(1), y * w + (x + 1).min(w - 1));
                let (sx, sy) = (0.5 * (height[left] - height[right]), 0.5 * (height[above + x] - height[below + x]));
                let norm = 1.0 / (sx * sx + sy * sy + 1.0).sqrt();
                let diffuse = ((sx * lx + sy * ly + lz) * norm).max(0.0);
                let toward = ((sx * lx + sy * ly + lz + 1.0) * norm / half).clamp(0.0, 1.0);
                let spot = shine * super::maths::highlight(toward, gloss);
                // A level surface keeps its colour.
                let shade = ambient + (1.0 - ambient) * diffuse / lz;
                self.color[i] = self.color[i].map(|c| {
                    let lit = c * shade;
                    lit + spot * (1.0 - lit).max(0.0)
                });
            }
        }
    }
}

/// A far light; `to` points at it, with length 1 and z towards the eye.
#[derive(Clone, Copy)]
pub struct Light {
    pub to: [f32; 3],
    pub ambient: f32,
    /// How narrow highlights are.
    pub gloss: f32,
    /// How strong they are.
    pub shine: f32,
}

impl Light {
    /// From `around` (turns) at a height of `up` (0 level, 1 from the eye).
    pub fn new(around: f32, up: f32, ambient: f32, gloss: f32, shine: f32) -> Self {
        let (s, c) = turn(around);
        let flat = (1.0 - up * up).sqrt();
        Self { to: [c * flat, s * flat, up], ambient, gloss, shine }
    }
}
