//! Launches of the activations, and the grid of all element-wise kernels (kernels/pointwise.cu).

use super::{Activate, ActivateBwd};
use crate::Result;
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::{Call, CudaOperation, Launches, Out};

const THREADS: u32 = 256;

/// Launches an element-wise kernel that writes `y`: a thread for every 16 bytes, which also do what is left over.
pub(crate) fn launch_elements(l: &mut Launches, call: Call, y: Out) -> Result<()> {
    let packs = y.elements() / y.number().values();
    l.launch(call, [packs.div_ceil(THREADS).max(1), 1, 1], [THREADS, 1, 1], 0)
}

impl CudaOperation for Activate {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (x, y, slope) = (l.input(0), l.update(0), self.act.negative_slope().unwrap_or(1.0));
        launch_elements(l, kernels::activate_fwd(y.number(), y, x, y.elements(), slope)?, y)
    }
}

impl CudaOperation for ActivateBwd {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (dy, y, dx) = (l.input(0), l.input(1), l.update(0));
        let slope = self.act.negative_slope().unwrap_or(1.0);
        launch_elements(l, kernels::activate_bwd(dx.number(), dx, dy, y, dx.elements(), slope)?, dx)
    }
}
