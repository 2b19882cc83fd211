//! One function per kernel, named and typed as its source says. It checks element types and packs the arguments.

// Structs that kernels take by value, as the kernel sources name them.
use super::anomaly_map::cuda::{GaussianTaps, UpsampleMaps};
use super::batch_norm::cuda::RunningUpdate;
use super::concat::cuda::ConcatParts;
use super::conv2d::Conv2d;
use super::conv2d_int8::cuda::Int8Finish;
use super::cosine::cuda::CosineLayers;
use super::cross_entropy::cuda::Classes;
use super::interpolate::Interpolate;
use super::nearest::Nearest;
use super::neighbourhood::Neighbourhood;
use super::optimizer::cuda::{AdamRates, Rate, SgdRates};
use super::pool::Pool;
use super::preprocess::cuda::{PixelScale, ResizeAxis};
use super::quantize::cuda::ByteScale;
use super::weighted_sum::cuda::Weights;
use crate::engine::tensor::DType;
use crate::engine::toolkit::cuda::entries::*;
use crate::engine::toolkit::cuda::{Call, In, Number, Out};
use crate::{Error, Result};

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

fn no_variant(kernel: &str, number: Number) -> Error {
    Error::Invalid(format!("{kernel} has no kernel for {number}"))
}
