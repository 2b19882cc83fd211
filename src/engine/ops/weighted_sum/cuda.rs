//! Launches of the weighted sum of scalars (kernels/pointwise.cu).

use super::{WeightedSum, WeightedSumBwd};
use crate::Result;
use crate::engine::ops::MAX_OPERANDS;
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::{CudaOperation, In, Launches};

/// The weights as the kernel takes them.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Weights {
    pub count: u32,
    pub weight: [f32; MAX_OPERANDS],
}

impl CudaOperation for WeightedSum {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let count = self.weights.len();
        let weight = std::array::from_fn(|i| self.weights.get(i).map_or(0.0, |w| *w as f32));
        let [a, b, c, d, e, f, g, h] = std::array::from_fn(|i| if i < count { l.input(i) } else { In::NONE });
        let weights = Weights { count: count as u32, weight };
        let call = kernels::weighted_sum_fwd_f32(l.output(0), a, b, c, d, e, f, g, h, weights)?;
        l.launch(call, [1; 3], [32, 1, 1], 0)
    }
}

impl CudaOperation for WeightedSumBwd {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let call = kernels::weighted_sum_bwd_f32(l.output(0), l.input(0), self.weight as f32)?;
        l.launch(call, [1; 3], [32, 1, 1], 0)
    }
}
