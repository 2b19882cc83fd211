//! From per-layer error maps to the anomaly map: bilinear upsampling with corners aligned, sum over layers, Gaussian blur.

pub mod cases;
mod cpu;
pub(crate) mod cuda;
mod onnx;

use super::{Args, Backward, Gradients, MAX_OPERANDS, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::Shape;
use crate::engine::toolkit::onnx::Composer;

/// Inputs: (n, h_i, w_i, 1). Output: (n, size, size, 1), the sum of all, upsampled, then blurred by a separable Gaussian with
/// edges mirrored about the pixel edge (d c b a | a b c d), as scipy's `gaussian_filter` with its defaults.
#[derive(Clone, Debug)]
pub struct AnomalyMap {
    pub n: usize,
    pub size: usize,
    /// (h, w) of each input.
    pub from: Vec<(usize, usize)>,
    /// Weights of offsets 0 to the blur's radius; they sum to 1 over both sides. A single one is no blur.
    pub taps: Vec<f64>,
}

/// Largest sigma: beyond it the blur would cost more than the networks.
pub const MAX_SIGMA: f64 = 64.0;

impl Tape {
    /// Bilinear upsampling (PyTorch's `interpolate(align_corners=True)`) of 1 to 8 single-channel maps to a square of side
    /// `size`, summed, and blurred with radius int(4 sigma + 0.5); `sigma` in pixels, 0 for no blur.
    pub fn anomaly_map(&mut self, maps: &[Var], size: usize, sigma: f64) -> Result<Var> {
        let shapes: Vec<Shape> = maps.iter().map(|m| self.shape(*m)).collect();
        let n = shapes.first().map_or(0, |s| s.n());
        if maps.is_empty() || maps.len() > MAX_OPERANDS || shapes.iter().any(|s| s.c() != 1 || s.n() != n) {
            let what = format!("needs 1 to {MAX_OPERANDS} maps of one channel and one batch size, found {shapes:?}");
            return Err(self.shape_error(AnomalyMap::NAME, what));
        }
        if !(0.0..=MAX_SIGMA).contains(&sigma) {
            return Err(self.shape_error(AnomalyMap::NAME, format!("needs 0 <= sigma <= {MAX_SIGMA}, found {sigma}")));
        }
        let radius = (4.0 * sigma + 0.5) as usize;
        let weight = |i: usize| if i == 0 { 1.0 } else { (-0.5 * (i as f64 / sigma).powi(2)).exp() };
        let total = weight(0) + 2.0 * (1..=radius).map(weight).sum::<f64>();
        let taps = (0..=radius).map(|i| weight(i) / total).collect();
        let from = shapes.iter().map(|s| (s.h(), s.w())).collect();
        let map = self.record1(AnomalyMap { n, size, from, taps }, maps.to_vec(), Shape([n, size, size, 1]))?;
        Ok(self.exact(map))
    }
}

impl Operation for AnomalyMap {
    const NAME: &'static str = "anomaly_map";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn scratch<T: Real>(&self, threads: usize) -> usize {
        cpu::scratch(self, threads)
    }

    fn onnx(&self, c: &mut Composer) -> Result<()> {
        onnx::compose(self, c)
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        cpu::run(self, a)
    }
}
