//! Launch of the rounding to bytes (kernels/quantize.cu).

use super::Quantize;
use crate::Result;
use crate::engine::ops::kernels;
use crate::engine::toolkit::Quantization;
use crate::engine::toolkit::cuda::{CudaOperation, Launches, size32};

/// A [`Quantization`] as kernels take it (kernels/bytes.cuh).
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct ByteScale {
    scale: f32,
    /// Steps in 1, divided here as the CPU does, so that all devices multiply by the same number.
    steps: f32,
    zero: i32,
}

impl From<Quantization> for ByteScale {
    fn from(q: Quantization) -> Self {
        ByteScale { scale: q.scale, steps: 1.0 / q.scale, zero: q.zero.into() }
    }
}

impl CudaOperation for Quantize {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        const THREADS: u32 = 256;
        let n = size32("quantize", self.len)?;
        let call = kernels::quantize_fwd_f32(l.output(0), l.input(0), n, self.q.into())?;
        l.launch(call, [(n / 4).div_ceil(THREADS).max(1), 1, 1], [THREADS, 1, 1], 0)
    }
}
