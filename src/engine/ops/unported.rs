//! Ops whose kernels are still being written. Each line goes when its op gets a `cuda.rs`.

use crate::engine::device::cuda::{CudaOperation, Launches};
use crate::{Result, invalid};

macro_rules! unported {
    ($($op:path),* $(,)?) => { $(impl CudaOperation for $op {
        fn launch(&self, _: &mut Launches) -> Result<()> { invalid!("no CUDA kernel yet") }
    })* };
}

unported! {
    super::activation::Activate,
    super::activation::ActivateBwd,
    super::optimizer::Adam,
    super::add::Add,
    super::optimizer::ClipGradNorm,
    super::concat::Concat,
    super::concat::ConcatBwd,
    super::cosine::Loss,
    super::cosine::LossBwd,
    super::cosine::Map,
    super::energy::Energy,
    super::energy::EnergyBwd,
    super::fill::Fill,
    super::anomaly_map::GaussianBlur,
    super::instance_norm::InstanceNorm,
    super::instance_norm::InstanceNormBwd,
    super::l2_normalize::L2Normalize,
    super::l2_normalize::L2NormalizeBwd,
    super::max_pool::MaxPool,
    super::normalize::Normalize,
    super::topk::TopKMean,
    super::anomaly_map::UpsampleSum,
    super::weighted_sum::WeightedSum,
    super::weighted_sum::WeightedSumBwd,
}
