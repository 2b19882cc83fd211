//! Launches of the batch norm by running statistics, and of their update (kernels/pointwise.cu).

use super::{BatchNorm, RunningStats};
use crate::Result;
use crate::engine::ops::activation::cuda::launch_elements;
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::{CudaOperation, In, Launches, size32};

const THREADS: u32 = 256;

impl CudaOperation for BatchNorm {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let y = l.output(0);
        let [x, mean, var, gamma, beta] = [0, 1, 2, 3, 4].map(|i| l.input(i));
        let residual = if self.residual { l.input(5) } else { In::NONE };
        let (c, slope) = (size32("channels", self.c)?, self.act.negative_slope().unwrap_or(1.0));
        let (len, eps) = (y.elements(), self.eps as f32);
        let call = kernels::batch_norm_fwd(l.number(), y, x, mean, var, gamma, beta, residual, len, c, eps, slope)?;
        launch_elements(l, call, y)
    }
}

/// What the host computes of an update.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct RunningUpdate {
    c: u32,
    mean_at: u32,
    var_at: u32,
    momentum: f32,
    eps: f32,
    /// count / (count - 1)
    without_bias: f32,
}

impl CudaOperation for RunningStats {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (params, mean, rstd) = (l.update(0), l.input(0), l.input(1));
        let update = RunningUpdate {
            c: size32("channels", self.c)?,
            mean_at: size32("place", self.mean_at)?,
            var_at: size32("place", self.var_at)?,
            momentum: self.momentum as f32,
            eps: self.eps as f32,
            without_bias: (self.count as f64 / (self.count - 1) as f64) as f32,
        };
        let call = kernels::running_stats_f32(params, mean, rstd, update)?;
        l.launch(call, [update.c.div_ceil(THREADS), 1, 1], [THREADS, 1, 1], 0)
    }
}
