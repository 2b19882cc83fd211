//! Launches of the poolings (kernels/pool.cu).

use super::{MaxPool, MeanPool, Pool};
use crate::Result;
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::{Call, CudaOperation, In, Launches, Number, Out};

const THREADS: u32 = 256;

type Kernel = fn(Number, Out, In, Pool) -> Result<Call>;

fn launch(pool: Pool, l: &mut Launches, kernel: Kernel) -> Result<()> {
    let (x, y) = (l.input(0), l.output(0));
    let packs = y.elements() / l.number().pack(pool.c);
    l.launch(kernel(l.number(), y, x, pool)?, [packs.div_ceil(THREADS), 1, 1], [THREADS, 1, 1], 0)
}

impl CudaOperation for MaxPool {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        launch(self.0, l, kernels::max_pool_fwd)
    }
}

impl CudaOperation for MeanPool {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        launch(self.0, l, kernels::mean_pool_fwd)
    }
}
