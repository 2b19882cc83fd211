//! Max and mean pooling with a square window, as PyTorch's `max_pool2d` and `avg_pool2d` with floor rounding. The gradient
//! of a maximum goes where it was found: to the first of equals, row by row, and to the last NaN where there are any. A byte for each
//! maximum says where that is; it is a quarter or half of what comparing again would read of either x or y.

pub mod cases;
mod cpu;
pub(crate) mod cuda;

use super::{Args, Backward, Gradients, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::{DType, Shape};
use crate::engine::toolkit::onnx::{Attr, Composer};

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

/// Padding counts as minus infinity. Outputs: y, and if `indexed` which tap of its window each is, as a byte.
#[derive(Clone, Debug)]
pub struct MaxPool {
    pool: Pool,
    indexed: bool,
    /// x and y are bytes, which are in the order of what they stand for.
    bytes: bool,
}

/// Widest window whose taps a byte counts.
const MAX_KERNEL: u32 = 16;

/// Inputs: dy, and where the maxima were.
#[derive(Clone, Debug)]
pub struct MaxPoolBwd(Pool);

/// Padding counts as zeros, among the `kernel * kernel` values that every sum is divided by.
#[derive(Clone, Debug)]
pub struct MeanPool(Pool);

/// Input: dy.
#[derive(Clone, Debug)]
pub struct MeanPoolBwd(Pool);

impl Pool {
    /// As ONNX has them: kernel, strides, padding.
    fn attributes(&self) -> Vec<(&'static str, Attr)> {
        let [kernel, stride, pad] = [self.kernel, self.stride, self.pad].map(i64::from);
        vec![
            ("kernel_shape", Attr::Ints(vec![kernel; 2])),
            ("strides", Attr::Ints(vec![stride; 2])),
            ("pads", Attr::Ints(vec![pad; 4])),
        ]
    }

    /// How many values a sum is divided by.
    fn values<T: Real>(&self) -> T {
        T::of((self.kernel * self.kernel) as f64)
    }
}

impl Tape {
    /// Square max pooling of (n, h, w, c), in numbers or bytes; `pad` must be less than `kernel`.
    pub fn max_pool(&mut self, x: Var, kernel: usize, stride: usize, pad: usize) -> Result<Var> {
        let (pool, y) = self.pool(MaxPool::NAME, x, kernel, stride, pad)?;
        let bytes = self.info(x).dtype == DType::U8;
        let y = self.record1(MaxPool { pool, indexed: false, bytes }, vec![x], y)?;
        Ok(self.as_kept(y, x))
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

impl MaxPool {
    /// The same of bytes; none of one that keeps where the largest were, as gradients want it.
    pub fn of_bytes(&self) -> Option<MaxPool> {
        (!self.indexed).then_some(MaxPool { bytes: true, ..self.clone() })
    }
}

impl Operation for MaxPool {
    const NAME: &'static str = "max_pool";

    fn gradient(&self, mut b: Backward) -> Gradients {
        let Some(dy) = b.given(0) else { return b.none() };
        if self.pool.kernel > MAX_KERNEL {
            let what = format!("no gradient of windows wider than {MAX_KERNEL}, found {}", self.pool.kernel);
            return Err(b.tape.shape_error(Self::NAME, what));
        }
        let (x, y) = (b.tape.shape(b.input(0)), b.tape.shape(b.output(0)));
        let at = b.save(MaxPool { indexed: true, ..self.clone() }, y, DType::U8);
        Ok(vec![Some(b.tape.record1(MaxPoolBwd(self.pool), vec![dy, at], x)?)])
    }

    /// Without the places, which only its gradient reads.
    fn onnx(&self, c: &mut Composer) -> Result<()> {
        let x = c.input(0);
        let y = c.node("MaxPool", &[&x], &self.pool.attributes());
        c.output(0, y);
        Ok(())
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([x, ..], [y, at, ..]) = (a.inputs, a.outputs);
        if self.bytes {
            let elements = |n: u32, h: u32, w: u32| (n * h * w * self.pool.c) as usize;
            let Pool { n, h, w, oh, ow, .. } = self.pool;
            let (x, y) = (bytemuck::cast_slice(x), bytemuck::cast_slice_mut(y));
            self.pool.run(&mut y[..elements(n, oh, ow)], &x[..elements(n, h, w)], 0u8, |y, x| x.max(y), |y| y);
        } else if self.indexed {
            let at = &mut bytemuck::cast_slice_mut(at)[..y.len()];
            self.pool.run_indexed(y, at, x);
        } else {
            self.pool.run(y, x, T::NEG_INFINITY, |y, x| x.maximum(y), |y| y);
        }
    }
}

impl Operation for MaxPoolBwd {
    const NAME: &'static str = "max_pool_bwd";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([dy, at, ..], [dx, ..]) = (a.inputs, a.outputs);
        let at: &[u8] = bytemuck::cast_slice(at);
        let add = |dx: &mut [T], begin: usize, tap: usize| {
            for ((dx, dy), at) in dx.iter_mut().zip(&dy[begin..]).zip(&at[begin..]) {
                *dx += if *at == tap as u8 { *dy } else { T::ZERO };
            }
        };
        self.0.gather(dx, add, |dx| dx);
    }
}

impl Operation for MeanPool {
    const NAME: &'static str = "mean_pool";

    fn gradient(&self, b: Backward) -> Gradients {
        let Some(dy) = b.given(0) else { return b.none() };
        let x = b.tape.shape(b.input(0));
        Ok(vec![Some(b.tape.record1(MeanPoolBwd(self.0), vec![dy], x)?)])
    }

    fn onnx(&self, c: &mut Composer) -> Result<()> {
        let mut attributes = self.0.attributes();
        attributes.push(("count_include_pad", Attr::I(1)));
        let x = c.input(0);
        let y = c.node("AveragePool", &[&x], &attributes);
        c.output(0, y);
        Ok(())
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([x, ..], [y, ..]) = (a.inputs, a.outputs);
        let values = self.0.values();
        self.0.run(y, x, T::ZERO, |y, x| y + x, |y| y / values);
    }
}

impl Operation for MeanPoolBwd {
    const NAME: &'static str = "mean_pool_bwd";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([dy, ..], [dx, ..]) = (a.inputs, a.outputs);
        let add = |dx: &mut [T], begin: usize, _| dx.iter_mut().zip(&dy[begin..]).for_each(|(dx, dy)| *dx += *dy);
        let values = self.0.values();
        self.0.gather(dx, add, |dx| dx / values);
    }
}
