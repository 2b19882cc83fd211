//! Launch of the top-k mean (kernels/anomaly_map.cu).

use super::TopKMean;
use crate::Result;
use crate::engine::device::cuda::{CudaOperation, Launches, kernels, size32};

impl CudaOperation for TopKMean {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (x, y) = (l.input(0), l.output(0));
        let images = size32("images", y.elements())?;
        let call = kernels::topk_mean_f32(y, x, size32("map", self.len)?, size32("k", self.k)?)?;
        l.launch(call, [images, 1, 1], [1024, 1, 1], 0)
    }
}
