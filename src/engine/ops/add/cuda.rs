//! Launch of the sum (kernels/pointwise.cu).

use super::Add;
use crate::Result;
use crate::engine::ops::activation::cuda::launch_elements;
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::{CudaOperation, Launches};

impl CudaOperation for Add {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (a, b, y) = (l.input(0), l.input(1), l.update(0));
        launch_elements(l, kernels::add_fwd(y.number(), y, a, b, y.elements())?, y)
    }
}
