//! Convolution of pixels with 16-bit weights, summed exactly: the first layer of a quantised program. Pixels are bytes as they come, so
//! that no more than the weights is rounded; their mean, to the next byte, is what padding stands for.
//!
//! `y = act(sum * scale[channel] + bias)`, `sum` being the convolution of `x - mean` with the weights in whole numbers; kept as it is or
//! as bytes. No product is fused with a sum, so that every device gives the same.

pub mod cases;
mod cpu;
mod cuda;
mod weights;

use super::conv2d::Conv2d;
use super::{Activation, Args, Backward, Gradients, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::{DType, Shape};
use crate::engine::toolkit::Stored;
use crate::engine::toolkit::cpu::int8::store::{AsBytes, AsReal, Finish};
use crate::engine::toolkit::cpu::int8::{elements, words};

/// Channels of a picture.
pub const CHANNELS: usize = 3;
/// Horizontal distance of windows, in pixels: two of three channels are three words of two numbers, whole words.
const STRIDE: usize = 2;
/// Largest depth of a product: of more, sums could leave 32 bits.
const MAX_DEPTH: usize = (1 << 31) / (255 * (1 << 15));
/// Most words, of four bytes, of all lines of a filter: of more, a GPU's shared memory is full.
const MAX_STEPS: usize = 60;

/// Inputs: pixels, weights (i16), scale of every output channel, bias. Output: y.
#[derive(Clone, Debug)]
pub struct Conv2dPixels {
    pub sizes: Conv2d,
    /// What weights are meant for: pixels less the mean, over the standard deviation; per channel, in units of 1 = white.
    pub mean: [f64; CHANNELS],
    pub std: [f64; CHANNELS],
    pub act: Activation,
    pub y: Stored,
}

/// Words of all lines of a filter.
fn steps(sizes: &Conv2d) -> usize {
    sizes.r as usize * (sizes.s as usize * CHANNELS).div_ceil(4)
}

impl Conv2dPixels {
    /// Whether a convolution can be taken this way.
    pub fn fits(sizes: &Conv2d) -> bool {
        let depth = (sizes.r * sizes.s * sizes.c) as usize;
        let small = depth <= MAX_DEPTH && steps(sizes) <= MAX_STEPS;
        (sizes.c as usize, sizes.stride_w as usize) == (CHANNELS, STRIDE) && small
    }

    /// Subtracted from pixels.
    fn zero(&self) -> [u8; CHANNELS] {
        self.mean.map(|m| (255.0 * m).round() as u8)
    }
}

impl Tape {
    /// `op` of `pixels` (n, h, w, 3), weights (k, r, s, 3), `scale` (k) and `bias` (k).
    pub fn conv2d_pixels(&mut self, op: Conv2dPixels, inputs: [Var; 4]) -> Result<Var> {
        self.check_pixels(&op, inputs)?;
        let (kept, shape) = (op.y.dtype(self.dtype()), op.sizes.output());
        let y = self.record1(op, inputs.to_vec(), shape)?;
        Ok(self.kept_in(y, kept))
    }

    /// Whether the op can take these.
    pub(crate) fn check_pixels(&self, op: &Conv2dPixels, inputs: [Var; 4]) -> Result<()> {
        if !Conv2dPixels::fits(&op.sizes) {
            let what = format!(
                "expected {CHANNELS} channels, a stride of {STRIDE} and at most {MAX_DEPTH} products in a sum, {MAX_STEPS} words in a filter"
            );
            return Err(self.shape_error(Conv2dPixels::NAME, format!("{what}, found {:?}", op.sizes)));
        }
        let channels = Shape::vector(op.sizes.k as usize);
        let expected = [
            ("pixels", op.sizes.input(), DType::U8),
            ("weights", op.sizes.weights(), DType::I16),
            ("scale", channels, self.dtype()),
            ("bias", channels, self.dtype()),
        ];
        for ((what, shape, dtype), v) in expected.into_iter().zip(inputs) {
            let found = self.info(v);
            if (found.shape, found.dtype) != (shape, dtype) {
                let message = format!("{what} of {} {}, expected {shape} {dtype}", found.shape, found.dtype);
                return Err(self.shape_error(Conv2dPixels::NAME, message));
            }
        }
        Ok(())
    }
}

impl Operation for Conv2dPixels {
    const NAME: &'static str = "conv2d_pixels";

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
        cpu::pack(self, bytemuck::cast_slice(weights), bytemuck::cast_slice_mut(packed));
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([x, w, scale, bias, ..], [y, ..]) = (a.inputs, a.outputs);
        let slope = self.act.negative_slope().map(|s| T::of(s.into()));
        let finish = Finish { scale, factor: T::ONE, bias: Some(bias), residual: None, slope };
        let (packed, scratch) = words(a.packed, a.scratch, cpu::packed_len(self), |packed| {
            cpu::pack(self, &bytemuck::cast_slice(w)[..self.sizes.weights().len()], packed)
        });
        let x = &bytemuck::cast_slice(x)[..self.sizes.input().len()];
        match self.y {
            Stored::Real => cpu::run(self, x, packed, finish, AsReal, y, scratch),
            Stored::Bytes(q) => {
                let y = &mut bytemuck::cast_slice_mut(y)[..self.sizes.output().len()];
                cpu::run(self, x, packed, finish, AsBytes::new(q), y, scratch)
            }
        }
    }
}
