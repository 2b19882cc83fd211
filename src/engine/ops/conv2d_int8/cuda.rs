//! Grid choice and launches of the convolution of bytes (kernels/conv2d_int8.cu).

use super::Conv2dInt8;
use crate::Result;
use crate::engine::ops::conv2d::cuda::{Extras, bwd_input, check, forward};
use crate::engine::ops::quantize::cuda::ByteScale;
use crate::engine::ops::{Activation, kernels};
use crate::engine::toolkit::cuda::tiling::{Product, Variant};
use crate::engine::toolkit::cuda::{CudaOperation, In, Launches, Number, Out, Schedule, Target};
use crate::engine::toolkit::{Quantization, Stored};

/// What all channels of a result are made with (kernels/conv2d_int8.cu).
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Int8Finish {
    factor: f32,
    slope: f32,
    residual: ByteScale,
    y: ByteScale,
}

impl Int8Finish {
    /// `factor`: by which scales of channels are multiplied.
    pub fn new(factor: f32, act: Activation, residual: Stored, y: Stored) -> Self {
        /// Stands where nothing is kept in bytes.
        const UNUSED: Quantization = Quantization { scale: 1.0, zero: 0 };
        let scale = |stored| match stored {
            Stored::Real => UNUSED.into(),
            Stored::Bytes(q) => q.into(),
        };
        Int8Finish { factor, slope: act.negative_slope().unwrap_or(1.0), residual: scale(residual), y: scale(y) }
    }
}

impl Conv2dInt8 {
    /// The product of all phases, or of the convolution.
    pub fn product(&self) -> Product {
        if self.transposed { bwd_input(&self.sizes) } else { forward(&self.sizes) }
    }
}

impl CudaOperation for Conv2dInt8 {
    fn schedule(&self, t: &Target) -> Schedule {
        Schedule::product(self.product().tiling(&Target { number: Number::Int8, ..t.clone() }))
    }

    fn launch(&self, l: &mut Launches) -> Result<()> {
        check(&self.sizes)?;
        let (x, w, scale) = (l.input(0), l.input(1), l.input(2));
        let bias = if self.bias { l.input(3) } else { In::NONE };
        let residual = if self.residual.is_some() { l.input(3 + self.bias as usize) } else { In::NONE };
        let (real, bytes) = match self.residual {
            Some(Stored::Bytes(_)) => (In::NONE, residual),
            _ => (residual, In::NONE),
        };
        let (y, y_bytes) = match self.y {
            Stored::Real => (l.output(0), Out::NONE),
            Stored::Bytes(_) => (Out::NONE, l.output(0)),
        };
        let by = Int8Finish::new(self.x.scale, self.act, self.residual.unwrap_or_default(), self.y);
        l.tiling()?.launch(l, l.output(0), self.shapes()[1].c() as u32, Extras::NONE, |variant, _, _, _, _| {
            let kernel = match (self.transposed, variant, self.x.zero) {
                (false, Variant::Small, 0) => kernels::conv2d_int8_fwd_small_u8,
                (false, Variant::Small, _) => kernels::conv2d_int8_fwd_small_s8,
                (false, Variant::Medium, 0) => kernels::conv2d_int8_fwd_medium_u8,
                (false, Variant::Medium, _) => kernels::conv2d_int8_fwd_medium_s8,
                (false, Variant::Long, 0) => kernels::conv2d_int8_fwd_u8,
                (false, Variant::Long, _) => kernels::conv2d_int8_fwd_s8,
                (false, Variant::Large, 0) => kernels::conv2d_int8_fwd_large_u8,
                (false, Variant::Large, _) => kernels::conv2d_int8_fwd_large_s8,
                (true, Variant::Small, 0) => kernels::conv_transpose2d_int8_fwd_small_u8,
                (true, Variant::Small, _) => kernels::conv_transpose2d_int8_fwd_small_s8,
                (true, Variant::Medium, 0) => kernels::conv_transpose2d_int8_fwd_medium_u8,
                (true, Variant::Medium, _) => kernels::conv_transpose2d_int8_fwd_medium_s8,
                (true, Variant::Long, 0) => kernels::conv_transpose2d_int8_fwd_u8,
                (true, Variant::Long, _) => kernels::conv_transpose2d_int8_fwd_s8,
                (true, Variant::Large, 0) => kernels::conv_transpose2d_int8_fwd_large_u8,
                (true, Variant::Large, _) => kernels::conv_transpose2d_int8_fwd_large_s8,
            };
            kernel(y, y_bytes, x, w, scale, bias, real, bytes, self.sizes, by)
        })
    }
}
