//! Convolution and transposed convolution of bytes with 8-bit weights, summed exactly: what is left of either in a quantised program.
//!
//! `y = act(sum * x.scale * scale[channel] + bias + residual)`, `sum` being the convolution of `x - x.zero` with the weights in whole
//! numbers; kept as it is or as bytes again. No product is fused with a sum, so that every device gives the same bytes.

pub mod cases;
pub mod cpu;
pub mod cuda;
pub mod winograd;

use super::conv2d::{Conv2d, Options};
use super::{Activation, Args, Backward, Gradients, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::{DType, Shape};
use crate::engine::toolkit::cpu::int8::store::{AsBytes, AsReal, Finish, Residual};
use crate::engine::toolkit::cpu::int8::{elements, words};
use crate::engine::toolkit::{Quantization, Stored};

/// No sum is larger: what a sum of 1 is worth must leave this a number.
pub const LARGEST_SUM: f32 = (1u64 << 31) as f32;
/// Largest depth of a product: of more, sums of bytes could leave 32 bits.
const MAX_DEPTH: usize = (1 << 31) / (256 * 128);

/// Inputs: x (bytes), weights (i8), scale of every output channel, then bias and residual if present. Output: y.
#[derive(Clone, Debug)]
pub struct Conv2dInt8 {
    /// Of the convolution, or of the one that it is the adjoint of.
    pub sizes: Conv2d,
    pub transposed: bool,
    pub x: Quantization,
    pub bias: bool,
    pub residual: Option<Stored>,
    pub act: Activation,
    pub y: Stored,
}

impl Conv2dInt8 {
    /// Shapes of input, output, and one value per output channel.
    fn shapes(&self) -> [Shape; 3] {
        let (a, b) = (self.sizes.input(), self.sizes.output());
        let (x, y) = if self.transposed { (b, a) } else { (a, b) };
        [x, y, Shape::vector(y.c())]
    }

    /// Products that a sum is taken over, at most.
    fn depth(&self) -> usize {
        let s = &self.sizes;
        (s.r * s.s) as usize * if self.transposed { s.k } else { s.c } as usize
    }
}

/// What is fused into a result, of quantised operands.
#[derive(Clone, Copy, Debug)]
pub struct Quantized {
    /// How x is kept.
    pub x: Quantization,
    /// How a residual is kept.
    pub residual: Stored,
    /// How the result is to be.
    pub y: Stored,
}

impl Tape {
    /// Convolves bytes `x` (n, h, w, c) with 8-bit weights `w` (k, r, s, c), whose channel `k` counts `scale[k]`. Residual and result are
    /// kept as `q` says.
    pub fn conv2d_int8(&mut self, x: Var, w: Var, scale: Var, q: Quantized, o: Options) -> Result<Var> {
        let sizes = Conv2d::new(self.shape(x), self.shape(w), o.stride, o.pad)
            .map_err(|m| self.shape_error(Conv2dInt8::NAME, m))?;
        let (op, inputs) = self.int8(sizes, false, [x, w, scale], q, o)?;
        self.record_int8(op, inputs)
    }

    /// The transposed convolution that is described by `sizes`, as in [`conv_transpose2d`](super::conv_transpose2d), of bytes `x`.
    pub fn conv_transpose2d_int8(&mut self, x: Var, w: Var, scale: Var, q: Quantized, sizes: Conv2d) -> Result<Var> {
        let (op, inputs) = self.int8(sizes, true, [x, w, scale], q, Options::default())?;
        self.record_int8(op, inputs)
    }

    fn record_int8(&mut self, op: Conv2dInt8, inputs: Vec<Var>) -> Result<Var> {
        let (kept, y) = (op.y.dtype(self.dtype()), op.shapes()[1]);
        let y = self.record1(op, inputs, y)?;
        Ok(self.kept_in(y, kept))
    }

    /// The op with these inputs, x, weights and scale first, and all of its inputs; checked, not recorded.
    pub(crate) fn int8(
        &self,
        sizes: Conv2d,
        transposed: bool,
        [x, w, scale]: [Var; 3],
        q: Quantized,
        o: Options,
    ) -> Result<(Conv2dInt8, Vec<Var>)> {
        let residual = o.residual.map(|_| q.residual);
        let op = Conv2dInt8 { sizes, transposed, x: q.x, bias: o.bias.is_some(), residual, act: o.act, y: q.y };
        let ([of_x, of_y, channels], real) = (op.shapes(), self.dtype());
        let mut inputs = vec![
            ("x", x, of_x, DType::U8),
            ("weights", w, sizes.weights(), DType::I8),
            ("scale", scale, channels, real),
        ];
        inputs.extend(o.bias.map(|v| ("bias", v, channels, real)));
        inputs.extend(o.residual.map(|v| ("residual", v, of_y, q.residual.dtype(real))));
        for (what, v, shape, dtype) in &inputs {
            let found = self.info(*v);
            if (found.shape, found.dtype) != (*shape, *dtype) {
                let message = format!("{what} of {} {}, expected {shape} {dtype}", found.shape, found.dtype);
                return Err(self.shape_error(Conv2dInt8::NAME, message));
            }
        }
        if op.depth() > MAX_DEPTH {
            let message = format!("sums of {} products, of which 32 bits hold {MAX_DEPTH}", op.depth());
            return Err(self.shape_error(Conv2dInt8::NAME, message));
        }
        Ok((op, inputs.into_iter().map(|(_, v, ..)| v).collect()))
    }
}

impl Operation for Conv2dInt8 {
    const NAME: &'static str = "conv2d_int8";

    fn multiply_adds(&self) -> u64 {
        self.sizes.multiply_adds()
    }

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn scratch<T: Real>(&self, threads: usize) -> usize {
        elements::<T>(cpu::scratch(self, threads))
    }

    fn packed_len<T: Real>(&self) -> usize {
        elements::<T>(cpu::packed_len(self))
    }

    fn pack<T: Real>(&self, weights: &[u8], packed: &mut [T]) {
        cpu::pack_filters(self, bytemuck::cast_slice(weights), bytemuck::cast_slice_mut(packed));
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let [x, w, scale, extra @ ..] = a.inputs;
        let [y, ..] = a.outputs;
        let mut extra = extra.into_iter();
        let bias = if self.bias { extra.next() } else { None };
        let residual = self.residual.and_then(|stored| {
            Some(match (stored, extra.next()?) {
                (Stored::Real, r) => Residual::Real(r),
                (Stored::Bytes(q), r) => Residual::Bytes(bytemuck::cast_slice(r), q),
            })
        });
        let slope = self.act.negative_slope().map(|s| T::of(s.into()));
        let finish = Finish { scale, factor: T::of(self.x.scale.into()), bias, residual, slope };
        let (packed, scratch) = words(a.packed, a.scratch, cpu::packed_len(self), |packed| {
            cpu::pack_filters(self, &bytemuck::cast_slice(w)[..self.sizes.weights().len()], packed)
        });
        let x = &bytemuck::cast_slice(x)[..self.shapes()[0].len()];
        match self.y {
            Stored::Real => cpu::run(self, x, packed, finish, AsReal, y, scratch),
            Stored::Bytes(q) => {
                let y = &mut bytemuck::cast_slice_mut(y)[..self.shapes()[1].len()];
                cpu::run(self, x, packed, finish, AsBytes::new(q), y, scratch)
            }
        }
    }
}
