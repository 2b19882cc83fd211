//! Launch of the bilinear resizing (kernels/interpolate.cu).

use super::Interpolate;
use crate::Result;
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::{CudaOperation, Launches};

const THREADS: u32 = 256;

impl CudaOperation for Interpolate {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (x, y) = (l.input(0), l.output(0));
        let packs = y.elements() / l.number().pack(self.c);
        let call = kernels::interpolate_fwd(l.number(), y, x, *self)?;
        l.launch(call, [packs.div_ceil(THREADS), 1, 1], [THREADS, 1, 1], 0)
    }
}
