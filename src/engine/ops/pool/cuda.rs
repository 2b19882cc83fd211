//! Launches of the poolings (kernels/pool.cu).

use super::{MaxPool, MaxPoolBwd, MeanPool, MeanPoolBwd, Pool};
use crate::Result;
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::{CudaOperation, Launches, Out};

const THREADS: u32 = 256;

/// Blocks of a grid with a thread for every pack of `to`, whose rows are the pool's channels.
fn grid(pool: &Pool, l: &Launches, to: Out) -> [u32; 3] {
    blocks(to, l.number().pack(pool.c))
}

/// With a thread for so many values of `to`.
fn blocks(to: Out, each: u32) -> [u32; 3] {
    [(to.elements() / each).div_ceil(THREADS), 1, 1]
}

impl CudaOperation for MaxPool {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (x, y, pool) = (l.input(0), l.output(0), self.pool);
        if self.bytes {
            let each = if pool.c.is_multiple_of(16) { 16 } else { 1 };
            return l.launch(kernels::max_pool_fwd_u8(y, x, pool)?, blocks(y, each), [THREADS, 1, 1], 0);
        }
        let call = if self.indexed {
            kernels::max_pool_fwd_indexed(l.number(), y, l.output(1), x, pool)?
        } else {
            kernels::max_pool_fwd(l.number(), y, x, pool)?
        };
        l.launch(call, grid(&pool, l, y), [THREADS, 1, 1], 0)
    }
}

impl CudaOperation for MaxPoolBwd {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (dy, at, dx) = (l.input(0), l.input(1), l.output(0));
        let call = kernels::max_pool_bwd(l.number(), dx, dy, at, self.0)?;
        l.launch(call, grid(&self.0, l, dx), [THREADS, 1, 1], 0)
    }
}

impl CudaOperation for MeanPool {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (x, y) = (l.input(0), l.output(0));
        let call = kernels::mean_pool_fwd(l.number(), y, x, self.0)?;
        l.launch(call, grid(&self.0, l, y), [THREADS, 1, 1], 0)
    }
}

impl CudaOperation for MeanPoolBwd {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (dy, dx) = (l.input(0), l.output(0));
        let call = kernels::mean_pool_bwd(l.number(), dx, dy, self.0)?;
        l.launch(call, grid(&self.0, l, dx), [THREADS, 1, 1], 0)
    }
}
