//! Smooth noise over the plane, by FastNoise Lite.

use fastnoise_lite::{FastNoiseLite, NoiseType};

use super::canvas::Frame;

/// Gradient noise with period about 1, within -1 to 1.
pub struct Noise(FastNoiseLite);

impl Noise {
    pub fn new(seed: u32) -> Self {
        let mut noise = FastNoiseLite::with_seed(seed as i32);
        noise.set_noise_type(Some(NoiseType::OpenSimplex2));
        noise.set_frequency(Some(1.0));
        Self(noise)
    }

    #[inline(always)]
    pub fn at(&self, p: [f32; 2]) -> f32 {
        self.0.get_noise_2d(p[0], p[1])
    }

    /// Octaves, each with twice the frequency and `gain` times the strength of the one before, together within -1 to 1.
    #[inline(always)]
    pub fn octaves(&self, p: [f32; 2], octaves: usize, gain: f32, shape: impl Fn(f32) -> f32) -> f32 {
        let (mut sum, mut all, mut strength, mut scale) = (0.0, 0.0, 1.0, 1.0);
        for octave in 0..octaves {
            let off = octave as f32 * 17.3;
            sum += strength * shape(self.at([p[0] * scale + off, p[1] * scale - off]));
            all += strength;
            strength *= gain;
            scale *= 2.0;
        }
        sum / all
    }

    /// The noise at every pixel of `frame`. Where it changes slowly, only every second or fourth one either way is
    /// computed and those between are interpolated.
    pub fn fill(&self, frame: &Frame, width: usize, out: &mut [f32]) {
        let height = out.len() / width;
        let fastest = frame.across.iter().chain(&frame.down).fold(0f32, |m, d| m.max(d.abs()));
        let step = [4, 2].into_iter().find(|s| fastest * 4.0 * (*s as f32) < 1.15).unwrap_or(1);
        if step == 1 {
            for (i, v) in out.iter_mut().enumerate() {
                *v = self.at(frame.at((i % width) as f32, (i / width) as f32));
            }
            return;
        }
        // Rows of knots above and below the pixels.
        let knots = width.div_ceil(step) + 1;
        let row =
            |y: usize| -> Vec<f32> { (0..knots).map(|k| self.at(frame.at((k * step) as f32, y as f32))).collect() };
        let mut below = row(0);
        for top in (0..height).step_by(step) {
            let above = std::mem::replace(&mut below, row(top + step));
            for y in top..(top + step).min(height) {
                let t = (y - top) as f32 / step as f32;
                let line = &mut out[y * width..(y + 1) * width];
                for (k, pixels) in line.chunks_mut(step).enumerate() {
                    let left = above[k] + t * (below[k] - above[k]);
                    let right = above[k + 1] + t * (below[k + 1] - above[k + 1]);
                    for (x, v) in pixels.iter_mut().enumerate() {
                        *v = left + (right - left) * (x as f32 / step as f32);
                    }
                }
            }
        }
    }
}
