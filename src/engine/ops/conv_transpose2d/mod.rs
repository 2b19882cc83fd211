//! Transposed convolution, as PyTorch's `conv_transpose2d`: the adjoint of a convolution.
//!
//! It is described by that convolution: `h,w,c` are the transposed convolution's *output*, `oh,ow,k` its *input*,
//! and its weights, (in, out, kh, kw) in files, are the convolution's KRSC weights in memory. So its input gradient
//! is a convolution, and its weight gradient the convolution's with the roles of x and dy swapped.

pub mod cases;
pub mod cuda;

use super::conv2d::{BwdWeight, Conv2d, Options, cpu};
use super::{Args, Backward, Gradients, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::Shape;
use crate::engine::toolkit::onnx::{Attr, Composer};

/// y = adjoint of `sizes` applied to x. Inputs: x, w.
#[derive(Clone, Debug)]
pub struct ConvTranspose2d {
    pub sizes: Conv2d,
}

impl Tape {
    /// Transposed convolution of `x` (n, h, w, in) with weights (in, kh, kw, out). No bias: add it behind, where needed.
    ///
    /// The result has size `(h - 1) * stride - 2 * pad + kernel + output_pad`, with `output_pad < stride` along each axis.
    pub fn conv_transpose2d(
        &mut self,
        x: Var,
        w: Var,
        stride: [usize; 2],
        pad: [usize; 2],
        output_pad: [usize; 2],
    ) -> Result<Var> {
        let (xs, [_, r, s, c]) = (self.shape(x), self.shape(w).0);
        let refuse = |t: &Tape, m: String| t.shape_error(ConvTranspose2d::NAME, m);
        let out = |x: usize, kernel: usize, i: usize| -> Option<usize> {
            let full = (x - 1) * stride[i] + kernel + output_pad[i];
            full.checked_sub(2 * pad[i]).filter(|&o| o > 0 && output_pad[i] < stride[i])
        };
        let (Some(h), Some(w_out)) = (out(xs.h(), r, 0), out(xs.w(), s, 1)) else {
            let what =
                format!("stride {stride:?}, padding {pad:?}, output padding {output_pad:?} leave nothing of {xs}");
            return Err(refuse(self, what));
        };
        let y = Shape([xs.n(), h, w_out, c]);
        let sizes = Conv2d::new(y, self.shape(w), stride, pad).map_err(|m| refuse(self, m))?;
        if sizes.output() != xs {
            return Err(refuse(
                self,
                format!("weights {} (in, kh, kw, out) do not fit an input of {xs}", self.shape(w)),
            ));
        }
        self.record1(ConvTranspose2d { sizes }, vec![x, w], y)
    }
}

impl Operation for ConvTranspose2d {
    const NAME: &'static str = "conv_transpose2d";

    fn multiply_adds(&self) -> u64 {
        self.sizes.multiply_adds()
    }

    fn gradient(&self, b: Backward) -> Gradients {
        let Some(dy) = b.given(0) else { return b.none() };
        let s = self.sizes;
        let mut grads = b.none()?;
        if b.wanted(0) {
            let [stride, pad] = [[s.stride_h, s.stride_w], [s.pad_h, s.pad_w]].map(|p| p.map(|v| v as usize));
            grads[0] = Some(b.tape.conv2d(dy, b.input(1), Options { stride, pad, ..Default::default() })?);
        }
        if b.wanted(1) {
            let dw = b.tape.record1(BwdWeight { sizes: s }, vec![dy, b.input(0)], s.weights())?;
            grads[1] = Some(b.tape.exact(dw));
        }
        Ok(grads)
    }

    fn scratch<T: Real>(&self, threads: usize) -> usize {
        cpu::bwd_input_scratch::<T>(&self.sizes, threads)
    }

    fn packed_len<T: Real>(&self) -> usize {
        cpu::bwd_input_packed_len::<T>(&self.sizes)
    }

    fn pack<T: Real>(&self, weights: &[u8], packed: &mut [T]) {
        cpu::pack_bwd_input(&self.sizes, bytemuck::cast_slice(weights), packed)
    }

    fn onnx(&self, c: &mut Composer) -> Result<()> {
        let s = &self.sizes;
        let left_over = |y: u32, kernel: u32, stride: u32, pad: u32| i64::from((y + 2 * pad - kernel) % stride);
        let output_pad = [left_over(s.h, s.r, s.stride_h, s.pad_h), left_over(s.w, s.s, s.stride_w, s.pad_w)];
        let mut attributes = s.attributes().to_vec();
        attributes.push(("output_padding", Attr::Ints(output_pad.to_vec())));
        let (x, weights) = (c.input(0), c.weights(1));
        let y = c.node("ConvTranspose", &[&x, &weights], &attributes);
        c.output(0, y);
        Ok(())
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([x, w, ..], [y, ..]) = (a.inputs, a.outputs);
        let weights = a.packed.map(cpu::Filters::Packed).unwrap_or(cpu::Filters::Krsc(w));
        cpu::bwd_input(&self.sizes, x, weights, None, y, a.scratch);
    }
}
