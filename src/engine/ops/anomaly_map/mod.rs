//! From per-layer error maps to the anomaly map: bilinear upsampling with corners aligned, sum over layers, Gaussian blur.

pub mod cases;
mod cpu;
pub(crate) mod cuda;

use super::{Args, MAX_OPERANDS, Operation, no_gradient};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Record, Tape, Var};
use crate::engine::tensor::Shape;

/// Inputs: (n, h_i, w_i, 1). Output: (n, size, size, 1), the sum of all, upsampled.
#[derive(Clone, Debug)]
pub struct UpsampleSum {
    pub n: usize,
    pub size: usize,
    /// (h, w) of each input.
    pub from: Vec<(usize, usize)>,
}

/// Separable Gaussian over (n, size, size, 1), radius int(4 sigma + 0.5), edges mirrored about the pixel edge
/// (d c b a | a b c d), as scipy's `gaussian_filter` with its defaults.
#[derive(Clone, Debug)]
pub struct GaussianBlur {
    pub n: usize,
    pub size: usize,
    /// Weights of offsets 0 to radius; they sum to 1 over both sides.
    pub taps: Vec<f64>,
}

/// Largest sigma: beyond it the blur would cost more than the networks.
pub const MAX_SIGMA: f64 = 64.0;

impl Tape {
    /// Bilinear upsampling (PyTorch's `interpolate(align_corners=True)`) of 1 to 8 single-channel maps to a square, summed.
    pub fn upsample_sum(&mut self, maps: &[Var], size: usize) -> Result<Var> {
        let shapes: Vec<Shape> = maps.iter().map(|m| self.shape(*m)).collect();
        let n = shapes.first().map_or(0, |s| s.n());
        if maps.is_empty() || maps.len() > MAX_OPERANDS || shapes.iter().any(|s| s.c() != 1 || s.n() != n) {
            let what = format!("needs 1 to {MAX_OPERANDS} maps of one channel and one batch size, found {shapes:?}");
            return Err(self.shape_error(UpsampleSum::NAME, what));
        }
        let from = shapes.iter().map(|s| (s.h(), s.w())).collect();
        let sum = self.record1(UpsampleSum { n, size, from }, maps.to_vec(), Shape([n, size, size, 1]))?;
        Ok(self.exact(sum))
    }

    /// Blurs square single-channel maps; `sigma` in pixels, above 0.
    pub fn gaussian_blur(&mut self, map: Var, sigma: f64) -> Result<Var> {
        let s = self.shape(map);
        if s.c() != 1 || s.h() != s.w() || !(sigma > 0.0 && sigma <= MAX_SIGMA) {
            let what = format!("needs square maps of one channel and 0 < sigma <= {MAX_SIGMA}, found {s}, {sigma}");
            return Err(self.shape_error(GaussianBlur::NAME, what));
        }
        let radius = (4.0 * sigma + 0.5) as usize;
        let weight = |i: usize| (-0.5 * (i as f64 / sigma).powi(2)).exp();
        let total = weight(0) + 2.0 * (1..=radius).map(weight).sum::<f64>();
        let taps = (0..=radius).map(|i| weight(i) / total).collect();
        let blurred = self.record1(GaussianBlur { n: s.n(), size: s.h(), taps }, vec![map], s)?;
        Ok(self.exact(blurred))
    }
}

impl Operation for UpsampleSum {
    const NAME: &'static str = "upsample_sum";

    fn gradient(&self, _: &mut Tape, _: &Record, _: &[Option<Var>], _: &[bool]) -> Result<Vec<Option<Var>>> {
        no_gradient(Self::NAME)
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        cpu::upsample_sum(self, a)
    }
}

impl Operation for GaussianBlur {
    const NAME: &'static str = "gaussian_blur";

    fn gradient(&self, _: &mut Tape, _: &Record, _: &[Option<Var>], _: &[bool]) -> Result<Vec<Option<Var>>> {
        no_gradient(Self::NAME)
    }

    fn scratch<T: Real>(&self, threads: usize) -> usize {
        cpu::blur_scratch(self, threads)
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        cpu::blur(self, a)
    }
}
