//! Launches of the cross-entropy (kernels/cross_entropy.cu).

use super::{CrossEntropy, CrossEntropyBwd};
use crate::Result;
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::{CudaOperation, Launches, Schedule, Target, size32};

const THREADS: u32 = 256;
/// Rows of a block: one a warp.
const BLOCK: u32 = THREADS / 32;

/// Sizes and what a label gives to the classes.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Classes {
    rows: u32,
    classes: u32,
    /// To each class.
    share: f32,
    /// To its own beside.
    own: f32,
}

impl CrossEntropy {
    fn sizes(&self) -> Result<Classes> {
        let (share, own) = self.shares();
        let (rows, classes) = (size32("rows", self.rows)?, size32("classes", self.classes)?);
        Ok(Classes { rows, classes, share: share as f32, own: own as f32 })
    }
}

impl CudaOperation for CrossEntropy {
    fn schedule(&self, _: &Target) -> Schedule {
        Schedule::scratch(self.rows * size_of::<f32>())
    }

    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (logits, labels, mean, saved) = (l.input(0), l.input(1), l.output(0), l.output(1));
        let (losses, sizes) = (l.scratch(), self.sizes()?);
        let call = kernels::cross_entropy_rows(l.number(), losses, saved, logits, labels, sizes)?;
        l.launch(call, [sizes.rows.div_ceil(BLOCK), 1, 1], [THREADS, 1, 1], 0)?;
        let call = kernels::cross_entropy_mean_f32(mean, losses.read(), sizes.rows)?;
        l.launch(call, [1, 1, 1], [1024, 1, 1], 0)
    }
}

impl CudaOperation for CrossEntropyBwd {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let [dy, logits, labels, saved] = [0, 1, 2, 3].map(|i| l.input(i));
        let (dx, sizes) = (l.output(0), self.forward.sizes()?);
        let call = kernels::cross_entropy_bwd(l.number(), dx, dy, logits, labels, saved, sizes)?;
        l.launch(call, [sizes.rows.div_ceil(BLOCK), 1, 1], [THREADS, 1, 1], 0)
    }
}
