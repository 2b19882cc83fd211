//! Two-dimensional convolution (cross-correlation, as PyTorch's `conv2d`), NHWC activations and KRSC weights.
//!
//! Any kernel size, stride and symmetric padding; no dilation, no groups. Bias, residual and activation are fused:
//! `y = act(conv(x, w) + bias + residual)`.

pub mod cases;
pub mod cpu;
pub mod cuda;
pub mod gather;
pub mod winograd;
pub mod winograd_weight;

use super::{Activation, Args, Backward, Gradients, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::Shape;
use crate::engine::toolkit::cpu::microkernel::Finish;
use crate::engine::toolkit::onnx::{Attr, Composer, Value};

/// Sizes of one convolution. `n,h,w,c`: input; `k,r,s`: filters; `oh,ow`: output. Symmetric padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Conv2d {
    pub n: u32,
    pub h: u32,
    pub w: u32,
    pub c: u32,
    pub k: u32,
    pub r: u32,
    pub s: u32,
    pub stride_h: u32,
    pub stride_w: u32,
    pub pad_h: u32,
    pub pad_w: u32,
    pub oh: u32,
    pub ow: u32,
}

impl Conv2d {
    /// Sizes for an input of shape `x` and weights of shape `w` (k, r, s, c); refuses what does not fit.
    pub fn new(x: Shape, w: Shape, stride: [usize; 2], pad: [usize; 2]) -> std::result::Result<Self, String> {
        let [k, r, s, c] = w.0;
        let fits = |x: usize, kernel: usize, stride: usize, pad: usize| stride > 0 && x + 2 * pad >= kernel;
        if x.c() != c || !fits(x.h(), r, stride[0], pad[0]) || !fits(x.w(), s, stride[1], pad[1]) {
            return Err(format!(
                "weights {w} (out, kh, kw, in) with stride {stride:?} and padding {pad:?} do not fit an input of {x}"
            ));
        }
        let out = |x: usize, kernel: usize, stride: usize, pad: usize| (x + 2 * pad - kernel) / stride + 1;
        let [oh, ow] = [out(x.h(), r, stride[0], pad[0]), out(x.w(), s, stride[1], pad[1])];
        let all = [x.n(), x.h(), x.w(), c, k, r, s, stride[0], stride[1], pad[0], pad[1], oh, ow];
        let [n, h, w, c, k, r, s, stride_h, stride_w, pad_h, pad_w, oh, ow] = all.map(|v| v as u32);
        Ok(Conv2d { n, h, w, c, k, r, s, stride_h, stride_w, pad_h, pad_w, oh, ow })
    }

    pub fn input(&self) -> Shape {
        Shape([self.n, self.h, self.w, self.c].map(|v| v as usize))
    }

    pub fn output(&self) -> Shape {
        Shape([self.n, self.oh, self.ow, self.k].map(|v| v as usize))
    }

    pub fn weights(&self) -> Shape {
        Shape([self.k, self.r, self.s, self.c].map(|v| v as usize))
    }

    /// As ONNX has them: kernel, strides, padding.
    pub fn attributes(&self) -> [(&'static str, Attr); 3] {
        let [r, s, stride_h, stride_w, pad_h, pad_w] =
            [self.r, self.s, self.stride_h, self.stride_w, self.pad_h, self.pad_w].map(i64::from);
        [
            ("kernel_shape", Attr::Ints(vec![r, s])),
            ("strides", Attr::Ints(vec![stride_h, stride_w])),
            ("pads", Attr::Ints(vec![pad_h, pad_w, pad_h, pad_w])),
        ]
    }

    /// Of the convolution, and of either of its gradients; padding counts as if it were there.
    pub fn multiply_adds(&self) -> u64 {
        (self.output().len() * self.weights().len() / self.k as usize) as u64
    }
}

/// y = act(conv(x, w) + bias + residual). Inputs: x, w, then bias and residual if present.
#[derive(Clone, Debug)]
pub struct Forward {
    pub sizes: Conv2d,
    pub bias: bool,
    pub residual: bool,
    pub act: Activation,
    /// See [`Options::steady`].
    pub steady: bool,
}

/// dx = conv_transpose(dy, w). Inputs: dy, w.
#[derive(Clone, Debug)]
pub struct BwdInput {
    pub sizes: Conv2d,
}

/// dw from x and dy.
#[derive(Clone, Debug)]
pub struct BwdWeight {
    pub sizes: Conv2d,
}

/// dbias = sum of dy over batch and positions.
#[derive(Clone, Debug)]
pub struct BwdBias {
    pub positions: usize,
    pub k: usize,
}

/// How to convolve: stride and padding per axis, and what is fused into the result.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub stride: [usize; 2],
    pub pad: [usize; 2],
    /// Shape (k).
    pub bias: Option<Var>,
    /// Added before the activation; shape of the result.
    pub residual: Option<Var>,
    pub act: Activation,
    /// On the CPU, a picture's result has the same bits in a batch of any size, at some cost in time.
    pub steady: bool,
}

impl Options {
    /// The same stride and padding along both axes, nothing fused.
    pub fn square(stride: usize, pad: usize) -> Self {
        Options { stride: [stride; 2], pad: [pad; 2], ..Default::default() }
    }
}

impl Tape {
    /// Convolves `x` (n, h, w, c) with weights `w` (k, r, s, c).
    pub fn conv2d(&mut self, x: Var, w: Var, o: Options) -> Result<Var> {
        let sizes = Conv2d::new(self.shape(x), self.shape(w), o.stride, o.pad)
            .map_err(|m| self.shape_error(Forward::NAME, m))?;
        let mut inputs = vec![x, w];
        for (extra, expected) in [(o.bias, Shape::vector(sizes.k as usize)), (o.residual, sizes.output())] {
            let Some(v) = extra else { continue };
            if self.shape(v) != expected {
                let what = format!("bias or residual of shape {}, expected {expected}", self.shape(v));
                return Err(self.shape_error(Forward::NAME, what));
            }
            inputs.push(v);
        }
        let (bias, residual) = (o.bias.is_some(), o.residual.is_some());
        let op = Forward { sizes, bias, residual, act: o.act, steady: o.steady };
        self.record1(op, inputs, sizes.output())
    }

    /// A fully connected layer: `x` (n, 1, 1, c) times weights (k, 1, 1, c).
    pub fn linear(&mut self, x: Var, w: Var) -> Result<Var> {
        self.conv2d(x, w, Options::square(1, 0))
    }
}

impl Operation for Forward {
    const NAME: &'static str = "conv2d";

    fn multiply_adds(&self) -> u64 {
        self.sizes.multiply_adds()
    }

    fn gradient(&self, b: Backward) -> Gradients {
        let Some(dy) = b.given(0) else { return b.none() };
        let sizes = self.sizes;
        let dz = b.tape.activate_bwd(b.output(0), dy, self.act)?;
        let mut grads = b.none()?;
        if b.wanted(0) {
            grads[0] = Some(b.tape.record1(BwdInput { sizes }, vec![dz, b.input(1)], sizes.input())?);
        }
        if b.wanted(1) {
            let dw = b.tape.record1(BwdWeight { sizes }, vec![b.input(0), dz], sizes.weights())?;
            grads[1] = Some(b.tape.exact(dw));
        }
        if self.bias && b.wanted(2) {
            let k = sizes.k as usize;
            let positions = sizes.output().len() / k;
            let db = b.tape.record1(BwdBias { positions, k }, vec![dz], Shape::vector(k))?;
            grads[2] = Some(b.tape.exact(db));
        }
        if self.residual {
            grads[2 + self.bias as usize] = Some(dz);
        }
        Ok(grads)
    }

    fn scratch<T: Real>(&self, threads: usize) -> usize {
        cpu::forward_scratch::<T>(&self.sizes, self.steady, threads)
    }

    fn packed_len<T: Real>(&self) -> usize {
        cpu::packed_len::<T>(&self.sizes, self.steady)
    }

    fn pack<T: Real>(&self, weights: &[u8], packed: &mut [T]) {
        cpu::pack(&self.sizes, self.steady, bytemuck::cast_slice(weights), packed)
    }

    fn onnx(&self, c: &mut Composer) -> Result<()> {
        let (x, weights) = (c.input(0), c.weights(1));
        let bias = self.bias.then(|| c.vector(2));
        let inputs: Vec<&Value> = [&x, &weights].into_iter().chain(&bias).collect();
        let y = c.node("Conv", &inputs, &self.sizes.attributes());
        let y = c.finish_with(y, self.residual.then_some(2 + usize::from(self.bias)), self.act.negative_slope());
        c.output(0, y);
        Ok(())
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let [x, w, extra @ ..] = a.inputs;
        let [y, ..] = a.outputs;
        let mut extra = extra.into_iter();
        let bias = if self.bias { extra.next() } else { None };
        let residual = if self.residual { extra.next() } else { None };
        let weights = a.packed.map(cpu::Filters::Packed).unwrap_or(cpu::Filters::Krsc(w));
        let slope = self.act.negative_slope().map(|s| T::of(s as f64));
        cpu::forward(&self.sizes, self.steady, x, weights, Finish { bias, residual, slope }, y, a.scratch);
    }
}

impl Operation for BwdInput {
    const NAME: &'static str = "conv2d_bwd_input";

    fn multiply_adds(&self) -> u64 {
        self.sizes.multiply_adds()
    }

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn scratch<T: Real>(&self, threads: usize) -> usize {
        cpu::bwd_input_scratch::<T>(&self.sizes, threads)
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([dy, w, ..], [dx, ..]) = (a.inputs, a.outputs);
        cpu::bwd_input(&self.sizes, dy, cpu::Filters::Krsc(w), None, dx, a.scratch);
    }
}

impl Operation for BwdWeight {
    const NAME: &'static str = "conv2d_bwd_weight";

    fn multiply_adds(&self) -> u64 {
        self.sizes.multiply_adds()
    }

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn scratch<T: Real>(&self, threads: usize) -> usize {
        cpu::bwd_weight_scratch::<T>(&self.sizes, threads)
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([x, dy, ..], [dw, ..]) = (a.inputs, a.outputs);
        cpu::bwd_weight(&self.sizes, x, dy, dw, a.scratch);
    }
}

impl Operation for BwdBias {
    const NAME: &'static str = "conv2d_bwd_bias";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([dy, ..], [db, ..]) = (a.inputs, a.outputs);
        // Rows are summed in blocks, the blocks in f64: a long f32 sum would drift.
        const ROWS: usize = 64;
        for (k, db) in db.iter_mut().enumerate() {
            let block = |rows: &[T]| rows.chunks_exact(self.k).map(|row| row[k]).sum::<T>().f64();
            *db = T::of(dy.chunks(ROWS * self.k).map(block).sum());
        }
    }
}
