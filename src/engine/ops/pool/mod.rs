//! Max and mean pooling with a square window, as PyTorch's `max_pool2d` and `avg_pool2d` with floor rounding. Only frozen
//! backbones and what reads their features use them, so they have no gradient.

pub mod cases;
pub(crate) mod cuda;

use super::{Args, Backward, Gradients, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::Shape;
use crate::engine::toolkit::cpu::isa::wide;
use rayon::prelude::*;

/// Sizes of one pooling.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Pool {
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

/// Padding counts as minus infinity.
#[derive(Clone, Debug)]
pub struct MaxPool(Pool);

/// Padding counts as zeros, among the `kernel * kernel` values that every sum is divided by.
#[derive(Clone, Debug)]
pub struct MeanPool(Pool);

impl Tape {
    /// Square max pooling of (n, h, w, c); `pad` must be less than `kernel`.
    pub fn max_pool(&mut self, x: Var, kernel: usize, stride: usize, pad: usize) -> Result<Var> {
        let (pool, y) = self.pool(MaxPool::NAME, x, kernel, stride, pad)?;
        self.record1(MaxPool(pool), vec![x], y)
    }

    /// Square mean pooling of (n, h, w, c); `pad` must be less than `kernel`.
    pub fn mean_pool(&mut self, x: Var, kernel: usize, stride: usize, pad: usize) -> Result<Var> {
        let (pool, y) = self.pool(MeanPool::NAME, x, kernel, stride, pad)?;
        self.record1(MeanPool(pool), vec![x], y)
    }

    /// Sizes of a pooling, and the shape of its result.
    fn pool(&self, op: &str, x: Var, kernel: usize, stride: usize, pad: usize) -> Result<(Pool, Shape)> {
        let s = self.shape(x);
        if kernel == 0 || stride == 0 || pad >= kernel || s.h() + 2 * pad < kernel || s.w() + 2 * pad < kernel {
            let what = format!("kernel {kernel}, stride {stride}, padding {pad} do not fit an input of {s}");
            return Err(self.shape_error(op, what));
        }
        let out = |x: usize| (x + 2 * pad - kernel) / stride + 1;
        let pool = Pool {
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
        Ok((pool, Shape([s.n(), out(s.h()), out(s.w()), s.c()])))
    }
}

impl Pool {
    /// `y = finish(all of a window, taken into `start` one by one)`
    fn run<T: Real>(&self, a: Args<'_, T>, start: T, take: impl Fn(T, T) -> T + Sync, finish: impl Fn(T) -> T + Sync) {
        let ([x, ..], [y, ..]) = (a.inputs, a.outputs);
        let [h, w, c, oh, ow] = [self.h, self.w, self.c, self.oh, self.ow].map(|v| v as usize);
        let [kernel, stride, pad] = [self.kernel, self.stride, self.pad].map(|v| v as usize);
        // The taps of an output coordinate that fall inside the input.
        let taps = move |o: usize, size: usize| (o * stride).saturating_sub(pad)..(o * stride + kernel - pad).min(size);
        y.par_chunks_exact_mut(ow * c).enumerate().for_each(|(line, y)| {
            let (n, oy) = (line / oh, line % oh);
            wide!({
                for (ox, y) in y.chunks_exact_mut(c).enumerate() {
                    y.fill(start);
                    for iy in taps(oy, h) {
                        for ix in taps(ox, w) {
                            let x = &x[((n * h + iy) * w + ix) * c..][..c];
                            y.iter_mut().zip(x).for_each(|(y, x)| *y = take(*y, *x));
                        }
                    }
                    y.iter_mut().for_each(|y| *y = finish(*y));
                }
            })
        });
    }
}

impl Operation for MaxPool {
    const NAME: &'static str = "max_pool";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        self.0.run(a, T::NEG_INFINITY, |y, x| x.maximum(y), |y| y);
    }
}

impl Operation for MeanPool {
    const NAME: &'static str = "mean_pool";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let values = T::of((self.0.kernel * self.0.kernel) as f64);
        self.0.run(a, T::ZERO, |y, x| y + x, |y| y / values);
    }
}
