//! Ops whose kernels are still being written. Each line goes when its op gets a `cuda.rs`.

use crate::engine::device::cuda::{CudaOperation, Launches};
use crate::{Result, invalid};

macro_rules! unported {
    ($($op:path),* $(,)?) => { $(impl CudaOperation for $op {
        fn launch(&self, _: &mut Launches) -> Result<()> { invalid!("no CUDA kernel yet") }
    })* };
}

unported! {
    super::conv2d::Forward,
    super::conv2d::BwdBias,
    super::conv2d::BwdInput,
    super::conv2d::BwdWeight,
    super::conv_transpose2d::ConvTranspose2d,
}
