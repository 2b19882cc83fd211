//! Launch of the convolution of pixels (kernels/conv2d_pixels.cu).

use super::{CHANNELS, Conv2dPixels};
use crate::Result;
use crate::engine::ops::conv2d::cuda::check;
use crate::engine::ops::conv2d_int8::cuda::Int8Finish;
use crate::engine::ops::kernels;
use crate::engine::toolkit::Stored;
use crate::engine::toolkit::cuda::{CudaOperation, Launches, Out};

impl CudaOperation for Conv2dPixels {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        // As in the kernel.
        const THREADS: u32 = 128;
        const COLUMNS: u32 = 32;
        const STRIDE: u32 = COLUMNS + 4;
        check(&self.sizes)?;
        let (y, bytes) = match self.y {
            Stored::Real => (l.output(0), Out::NONE),
            Stored::Bytes(_) => (Out::NONE, l.output(0)),
        };
        let zero = self.zero();
        let mean = u32::from_le_bytes(std::array::from_fn(|i| if i < CHANNELS { zero[i] } else { 0 }));
        let by = Int8Finish::new(1.0, self.act, Stored::Real, self.y);
        let [x, w, scale, bias] = std::array::from_fn(|i| l.input(i));
        let call = kernels::conv2d_pixels_fwd_u8(y, bytes, x, w, scale, bias, mean, self.sizes, by)?;
        let words = super::steps(&self.sizes) as u32 * (THREADS + 2 * STRIDE) + THREADS;
        let pixels = self.sizes.output().len() as u32 / self.sizes.k;
        let grid = [pixels.div_ceil(THREADS), self.sizes.k.div_ceil(COLUMNS), 1];
        l.launch(call, grid, [THREADS, 1, 1], words * size_of::<u32>() as u32)
    }
}
