//! Launch of the constant (kernels/pointwise.cu).

use super::Fill;
use crate::Result;
use crate::engine::ops::activation::cuda::launch_elements;
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::{CudaOperation, Launches};

impl CudaOperation for Fill {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let y = l.output(0);
        launch_elements(l, kernels::fill_fwd_f32(y, y.elements(), self.value as f32)?, y)
    }
}
