//! Max pooling, as PyTorch's `max_pool2d` with floor rounding; only the frozen backbone uses it, so it has no gradient.

pub mod cases;
mod cuda;

use super::{Args, Backward, Gradients, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::Shape;
use rayon::prelude::*;

/// Sizes of one pooling; padding counts as minus infinity.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct MaxPool {
    pub n: u32,
    pub h: u32,
    pub w: u32,
    pub c: u32,
    pub kernel: u32,
    pub stride: u32,
    pub pad: u32,
    pub oh: u32,
    pub ow: u32,
}

impl Tape {
    /// Square max pooling of (n, h, w, c); `pad` must be less than `kernel`.
    pub fn max_pool(&mut self, x: Var, kernel: usize, stride: usize, pad: usize) -> Result<Var> {
        let s = self.shape(x);
        if kernel == 0 || stride == 0 || pad >= kernel || s.h() + 2 * pad < kernel || s.w() + 2 * pad < kernel {
            let what = format!("kernel {kernel}, stride {stride}, padding {pad} do not fit an input of {s}");
            return Err(self.shape_error(MaxPool::NAME, what));
        }
        let out = |x: usize| (x + 2 * pad - kernel) / stride + 1;
        let op = MaxPool {
            n: s.n() as u32,
            h: s.h() as u32,
            w: s.w() as u32,
            c: s.c() as u32,
            kernel: kernel as u32,
            stride: stride as u32,
            pad: pad as u32,
            oh: out(s.h()) as u32,
            ow: out(s.w()) as u32,
        };
        self.record1(op, vec![x], Shape([s.n(), out(s.h()), out(s.w()), s.c()]))
    }
}

impl Operation for MaxPool {
    const NAME: &'static str = "max_pool";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([x, ..], [y, ..]) = (a.inputs, a.outputs);
        let [h, w, c, oh, ow] = [self.h, self.w, self.c, self.oh, self.ow].map(|v| v as usize);
        let [kernel, stride, pad] = [self.kernel, self.stride, self.pad].map(|v| v as usize);
        // The taps of an output coordinate that fall inside the input.
        let taps = move |o: usize, size: usize| (o * stride).saturating_sub(pad)..(o * stride + kernel - pad).min(size);
        y.par_chunks_exact_mut(ow * c).enumerate().for_each(|(line, y)| {
            let (n, oy) = (line / oh, line % oh);
            for (ox, y) in y.chunks_exact_mut(c).enumerate() {
                y.fill(T::NEG_INFINITY);
                for iy in taps(oy, h) {
                    for ix in taps(ox, w) {
                        let x = &x[((n * h + iy) * w + ix) * c..][..c];
                        y.iter_mut().zip(x).for_each(|(y, x)| *y = x.maximum(*y));
                    }
                }
            }
        });
    }
}
