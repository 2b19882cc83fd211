//! Launches of the channel normalisation and its gradient (kernels/l2_normalize.cu).

use super::{L2Normalize, L2NormalizeBwd};
use crate::Result;
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::{CudaOperation, Launches, Number};

const THREADS: u32 = 256;

/// Threads that share a row, and the grid for `elements` in rows of `c`.
fn tiling(number: Number, elements: u32, c: u32) -> (u32, [u32; 3]) {
    let lanes = (c / number.pack(c)).next_power_of_two().min(32);
    (lanes, [(elements / c).div_ceil(THREADS / lanes), 1, 1])
}

impl CudaOperation for L2Normalize {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (x, y, inverse, c) = (l.input(0), l.output(0), l.output(1), self.c as u32);
        let (lanes, grid) = tiling(l.number(), y.elements(), c);
        let call = kernels::l2_normalize_fwd(l.number(), y, inverse, x, y.elements() / c, c, lanes)?;
        l.launch(call, grid, [THREADS, 1, 1], 0)
    }
}

impl CudaOperation for L2NormalizeBwd {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (dy, y, inverse, dx, c) = (l.input(0), l.input(1), l.input(2), l.output(0), self.c as u32);
        let (lanes, grid) = tiling(l.number(), dx.elements(), c);
        let call = kernels::l2_normalize_bwd(l.number(), dx, dy, y, inverse, dx.elements() / c, c, lanes)?;
        l.launch(call, grid, [THREADS, 1, 1], 0)
    }
}
