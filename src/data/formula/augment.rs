//! One look at an instance: where from, in which light, with which camera.

use rand::{Rng, RngExt};

use super::canvas::{Canvas, Frame, LUMA, Rgb, blend};
use super::maths::{cosine, mix, smooth, squash, turn};
use super::palette::any_color;
use super::random::{Stream, log_between};

/// What a view does, drawn whole before anything is drawn with it.
pub struct View {
    // Where from.
    zoom: [f32; 2],
    angle: f32,
    flip: [bool; 2],
    shift: [f32; 2],
    // What is in the way.
    occluder: Option<Occluder>,
    // The light and the camera.
    /// Brightness gained from the middle to either side.
    slope: [f32; 2],
    spot: Option<Spot>,
    /// Saturation and hue at once.
    matrix: [Rgb; 3],
    /// About the picture's own mean.
    contrast: f32,
    /// Part of the way to white, or if negative to black.
    brightness: f32,
    tint: Rgb,
    /// As much as a gamma: positive brightens the middle tones.
    curve: f32,
    blurs: usize,
    blur: f32,
    noise: f32,
    /// The same noise in all channels.
    gray_noise: bool,
    seed: u64,
}

/// A brighter or darker place.
struct Spot {
    at: [f32; 2],
    radius: f32,
    gain: f32,
}

/// Something that hides at most a fifth of the picture; places are shares of the side.
struct Occluder {
    at: [f32; 2],
    half: [f32; 2],
    angle: f32,
    /// Its outline: a rectangle, or a round shape whose radius varies this much.
    wave: Option<f32>,
    color: Rgb,
    other: Rgb,
}

impl View {
    pub fn draw(rng: &mut Stream) -> Self {
        let zoom = log_between(rng.random_range(0.0..1.0), 0.78, 1.35);
        let aspect = rng.random_range(0.92..1.09f32);
        let mut maybe = |share: f64| rng.random_bool(share);
        let (turned, lit, spotted, hidden) = (maybe(0.8), maybe(0.6), maybe(0.25), maybe(0.25));
        let (blurred, noisy, gray_noise) = (maybe(0.3), maybe(0.6), maybe(0.5));
        let flip = [maybe(0.5), maybe(0.5)];
        let even = |rng: &mut Stream, range: f32| rng.random_range(-range..range);
        let (s, c) = turn(even(rng, 0.03));
        let saturation = rng.random_range(0.6..1.15f32);
        // A turn of the colours about gray, then less or more of them.
        let third = (1.0 - c) / 3.0;
        let skew = s * 0.577_350_3;
        let hue = [
            [c + third, third - skew, third + skew],
            [third + skew, c + third, third - skew],
            [third - skew, third + skew, c + third],
        ];
        let matrix = [0, 1, 2].map(|i| {
            [0, 1, 2].map(|j| {
                let gray = (0..3).map(|k| LUMA[k] * hue[k][j]).sum::<f32>();
                mix(gray, hue[i][j], saturation)
            })
        });
        Self {
            zoom: [zoom * aspect, zoom / aspect],
            angle: if turned { even(rng, 0.07) } else { 0.0 },
            flip,
            shift: [even(rng, 0.12), even(rng, 0.12)],
            occluder: hidden.then(|| Occluder::draw(rng)),
            slope: if lit { [even(rng, 0.4), even(rng, 0.4)] } else { [0.0; 2] },
            spot: spotted.then(|| Spot {
                at: [even(rng, 0.5), even(rng, 0.5)],
                radius: rng.random_range(0.2..0.6),
                gain: even(rng, 0.35),
            }),
            matrix,
            contrast: rng.random_range(0.75..1.2),
            brightness: even(rng, 0.3),
            tint: [(); 3].map(|()| even(rng, 0.02)),
            curve: even(rng, 0.35),
            blurs: if blurred { rng.random_range(1..4) } else { 0 },
            blur: rng.random_range(0.3..1.0),
            noise: if noisy { log_between(rng.random_range(0.0..1.0), 0.006, 0.06) } else { 0.0 },
            gray_noise,
            seed: rng.next_u64() | 1,
        }
    }

    /// The same without anything in the way.
    pub fn unhidden(self) -> Self {
        Self { occluder: None, ..self }
    }

    /// What this view sees of the plane that `frame` shows.
    pub fn frame(&self, frame: Frame) -> Frame {
        let sign = self.flip.map(|f| if f { -1.0 } else { 1.0 });
        let [x, y] = [0, 1].map(|a| sign[a] / self.zoom[a]);
        frame.scaled(x, y).turned(self.angle).moved(self.shift[0], self.shift[1])
    }

    /// From the picture as it is drawn to its bytes.
    pub fn finish(&self, canvas: &mut Canvas, spare: &mut Vec<Rgb>, out: &mut [u8]) {
        if let Some(occluder) = &self.occluder {
            occluder.paint(canvas);
        }
        for _ in 0..self.blurs {
            blur(canvas, spare, self.blur);
        }
        let mean = canvas.expose();
        let room = if self.brightness < 0.0 { mean } else { 1.0 - mean };
        let shift = mean * (1.0 - self.contrast) + self.brightness * room;
        let matrix = self.matrix.map(|row| row.map(|m| m * self.contrast));
        let offset = self.tint.map(|t| t + shift);
        let (frame, width) = (Frame::new(canvas.width, canvas.height), canvas.width);
        // Row by row and channel by channel, so that loops become vectors.
        let mut light = vec![0.0; width];
        let mut channels = [(); 3].map(|()| vec![0.0; width]);
        let mut grain = Grain { state: self.seed, rows: [(); 3].map(|()| vec![0.0; width]) };
        for (y, (colors, bytes)) in canvas.color.chunks_exact(width).zip(out.chunks_exact_mut(width * 3)).enumerate() {
            let start = frame.at(0.0, y as f32);
            let along = |x: usize| start[0] + x as f32 * frame.across[0];
            for (x, light) in light.iter_mut().enumerate() {
                *light = 1.0 + self.slope[0] * along(x) + self.slope[1] * start[1];
            }
            if let Some(spot) = &self.spot {
                let dy = (start[1] - spot.at[1]) / spot.radius;
                for (x, light) in light.iter_mut().enumerate() {
                    let dx = (along(x) - spot.at[0]) / spot.radius;
                    *light += spot.gain / (1.0 + dx * dx + dy * dy);
                }
            }
            if self.noise > 0.0 {
                grain.next_row(self.noise, self.gray_noise);
            }
            for (c, values) in channels.iter_mut().enumerate() {
                let ([r, g, b], offset) = (matrix[c], offset[c]);
                for (((v, color), light), grain) in values.iter_mut().zip(colors).zip(&light).zip(&grain.rows[c]) {
                    let level = light * (r * color[0] + g * color[1] + b * color[2]) + offset;
                    let level = level.clamp(0.0, 1.0);
                    let level = level + self.curve * level * (1.0 - level) + grain;
                    *v = (level * 255.0 + 0.5).clamp(0.0, 255.0);
                }
            }
            for (x, pixel) in bytes.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                *pixel = [0, 1, 2].map(|c: usize| channels[c][x] as u8);
            }
        }
    }
}

/// Noise of a camera, from a generator that takes no time: Marsaglia's xorshift.
struct Grain {
    state: u64,
    /// For each channel, what is added to the pixels of a row.
    rows: [Vec<f32>; 3],
}

impl Grain {
    fn next_row(&mut self, strength: f32, gray: bool) {
        // The sum of two bytes has a mean of 255 and a standard deviation of 104.5.
        let scale = strength / 104.5;
        for x in 0..self.rows[0].len() {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            let even = 0x00ff_00ff_00ff_00ff;
            let sums = (self.state & even) + ((self.state >> 8) & even);
            for (c, row) in self.rows.iter_mut().enumerate() {
                let sum = (sums >> if gray { 0 } else { 16 * c }) as u16;
                row[x] = (f32::from(sum) - 255.0) * scale;
            }
        }
    }
}

impl Occluder {
    fn draw(rng: &mut Stream) -> Self {
        let area = rng.random_range(0.01..0.17f32);
        let aspect = log_between(rng.random_range(0.0..1.0), 0.4, 2.5);
        let wave = rng.random_bool(0.5).then(|| rng.random_range(0.05..0.25));
        // Half the sides of a rectangle, or the radii of an ellipse, of this area.
        let half = (area / if wave.is_some() { 3.3 } else { 4.0 }).sqrt();
        let color = any_color(rng, 0.05, 0.95);
        Self {
            at: [rng.random_range(-0.45..0.45), rng.random_range(-0.45..0.45)],
            half: [half * aspect.sqrt(), half / aspect.sqrt()],
            angle: rng.random_range(0.0..1.0),
            wave,
            color,
            other: if rng.random_bool(0.5) { color } else { any_color(rng, 0.05, 0.95) },
        }
    }

    fn paint(&self, canvas: &mut Canvas) {
        let frame = Frame::new(canvas.width, canvas.height);
        let local = frame.moved(-self.at[0], -self.at[1]).turned(self.angle);
        let soft = frame.pixel() / self.half[0].min(self.half[1]);
        canvas.paint(&local, |_, p, under| {
            let [x, y] = [0, 1].map(|a| p[a] / self.half[a]);
            let inside = match self.wave {
                None => 1.0 - x.abs().max(y.abs()),
                Some(wave) => {
                    let r = (x * x + y * y).sqrt();
                    // Three bumps: the cosine of three times the angle, without the angle.
                    let c = x / r.max(1e-6);
                    1.0 - r / (1.0 + wave * (4.0 * c * c * c - 3.0 * c))
                }
            };
            let share = smooth(-0.5 * soft, 0.5 * soft, inside);
            if share == 0.0 {
                return under;
            }
            blend(under, blend(self.color, self.other, 0.5 + 0.5 * squash(x) * cosine(0.1 * y)), share)
        });
    }
}

/// Every pixel with its neighbours, along both axes: weights 1, 2, 1 as far as `share` goes.
fn blur(canvas: &mut Canvas, spare: &mut Vec<Rgb>, share: f32) {
    let (w, h) = (canvas.width, canvas.height);
    let (side, middle) = (0.25 * share, 1.0 - 0.5 * share);
    spare.clear();
    spare.extend_from_slice(&canvas.color);
    let color = &mut canvas.color;
    for row in 0..h {
        let row = row * w;
        for x in 0..w {
            let (left, right) = (spare[row + x.saturating_sub(1)], spare[row + (x + 1).min(w - 1)]);
            color[row + x] = [0, 1, 2].map(|c| middle * spare[row + x][c] + side * (left[c] + right[c]));
        }
    }
    spare.copy_from_slice(color);
    for y in 0..h {
        let (above, below) = (y.saturating_sub(1) * w, (y + 1).min(h - 1) * w);
        for x in 0..w {
            let (up, down) = (spare[above + x], spare[below + x]);
            color[y * w + x] = [0, 1, 2].map(|c| middle * spare[y * w + x][c] + side * (up[c] + down[c]));
        }
    }
}
