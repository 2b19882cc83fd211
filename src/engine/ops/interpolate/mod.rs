//! Bilinear resizing of feature maps, as PyTorch's `interpolate(mode="bilinear", align_corners=False)` without antialiasing.
//! It brings frozen features of several layers to one size, so it has no gradient. (Error maps are stretched and summed with
//! corners aligned, by [`anomaly_map`](super::anomaly_map).)

pub mod cases;
pub(crate) mod cuda;

use super::{Args, Backward, Gradients, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::Shape;
use crate::engine::toolkit::onnx::{Composer, Matrix};
use rayon::prelude::*;

/// Input: (n, h, w, c). Output: (n, oh, ow, c).
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Interpolate {
    pub n: u32,
    pub h: u32,
    pub w: u32,
    pub c: u32,
    pub oh: u32,
    pub ow: u32,
}

impl Tape {
    /// Resizes (n, h, w, c) to (n, oh, ow, c); a map that has that size already is handed through.
    pub fn interpolate(&mut self, x: Var, oh: usize, ow: usize) -> Result<Var> {
        let s = self.shape(x);
        if (s.h(), s.w()) == (oh, ow) {
            return Ok(x);
        }
        // Source coordinates are integers times their denominator, twice the output's size.
        let fits = |from: usize, to: usize| to > 0 && from.checked_mul(2 * to).is_some_and(|p| p <= u32::MAX as usize);
        if !fits(s.h(), oh) || !fits(s.w(), ow) {
            return Err(self.shape_error(Interpolate::NAME, format!("cannot resize {s} to {oh} x {ow}")));
        }
        let [n, h, w, c] = s.0.map(|v| v as u32);
        let op = Interpolate { n, h, w, c, oh: oh as u32, ow: ow as u32 };
        self.record1(op, vec![x], Shape([s.n(), oh, ow, s.c()]))
    }
}

/// Neighbours and weight of output coordinate `o`: value = a + t * (b - a). Pixels are areas whose centres are stretched; what
/// lies beyond the first or last centre is that pixel's value.
fn source<T: Real>(o: usize, from: usize, to: usize) -> (usize, usize, T) {
    let position = ((2 * o + 1) * from).saturating_sub(to);
    let i = position / (2 * to);
    (i, (i + 1).min(from - 1), T::of((position % (2 * to)) as f64 / (2 * to) as f64))
}

impl Operation for Interpolate {
    const NAME: &'static str = "interpolate";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn onnx(&self, c: &mut Composer) -> Result<()> {
        let x = c.input(0);
        let along = |from: u32, to: u32| Matrix::between(from as usize, to as usize, source::<f64>);
        let y = c.stretch(&x, &along(self.h, self.oh), &along(self.w, self.ow));
        c.output(0, y);
        Ok(())
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([x, ..], [y, ..]) = (a.inputs, a.outputs);
        let [h, w, c, oh, ow] = [self.h, self.w, self.c, self.oh, self.ow].map(|v| v as usize);
        y.par_chunks_exact_mut(ow * c).enumerate().for_each(|(line, y)| {
            let (n, oy) = (line / oh, line % oh);
            let (top, bottom, down) = source::<T>(oy, h, oh);
            let [upper, lower] = [top, bottom].map(|iy| &x[(n * h + iy) * w * c..][..w * c]);
            for (ox, y) in y.chunks_exact_mut(c).enumerate() {
                let (left, right, along) = source::<T>(ox, w, ow);
                let [a, b] = [left, right].map(|ix| &upper[ix * c..][..c]);
                let [d, e] = [left, right].map(|ix| &lower[ix * c..][..c]);
                for (i, y) in y.iter_mut().enumerate() {
                    let (above, below) = (a[i] + (b[i] - a[i]) * along, d[i] + (e[i] - d[i]) * along);
                    *y = above + (below - above) * down;
                }
            }
        });
    }
}
