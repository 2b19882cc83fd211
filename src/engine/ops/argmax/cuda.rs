//! Launch of the search for the largest value (kernels/argmax.cu).

use super::ArgMax;
use crate::Result;
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::{CudaOperation, Launches, size32};

impl CudaOperation for ArgMax {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (x, y) = (l.input(0), l.output(0));
        let call = kernels::argmax_fwd_f32(y, x, size32("map", self.len)?)?;
        l.launch(call, [y.elements(), 1, 1], [256, 1, 1], 0)
    }
}
