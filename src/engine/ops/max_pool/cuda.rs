//! Launch of the max pooling (kernels/max_pool.cu).

use super::MaxPool;
use crate::Result;
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::{CudaOperation, Launches};

const THREADS: u32 = 256;

impl CudaOperation for MaxPool {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (x, y) = (l.input(0), l.output(0));
        let packs = y.elements() / l.number().pack(self.c);
        l.launch(kernels::max_pool_fwd(l.number(), y, x, *self)?, [packs.div_ceil(THREADS), 1, 1], [THREADS, 1, 1], 0)
    }
}
