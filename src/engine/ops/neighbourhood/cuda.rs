//! Launch of the weighting by a neighbourhood (kernels/neighbourhood.cu).

use super::Neighbourhood;
use crate::Result;
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::{CudaOperation, Launches};

impl CudaOperation for Neighbourhood {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (distance, patch, neighbours, y) = (l.input(0), l.input(1), l.input(2), l.output(0));
        let call = kernels::neighbourhood_fwd(l.number(), y, distance, patch, neighbours, *self)?;
        l.launch(call, [y.elements(), 1, 1], [32 * self.k, 1, 1], 0)
    }
}
