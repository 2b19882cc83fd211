//! Launch of the top-k mean (kernels/anomaly_map.cu).

use super::TopKMean;
use crate::Result;
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::{CudaOperation, Launches, size32};

impl CudaOperation for TopKMean {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (x, y) = (l.input(0), l.output(0));
        let call = kernels::topk_mean_f32(y, x, size32("map", self.len)?, size32("k", self.k)?)?;
        l.launch(call, [y.elements(), 1, 1], [1024, 1, 1], 0)
    }
}
