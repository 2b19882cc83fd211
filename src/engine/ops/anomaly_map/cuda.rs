//! Grid choice and launches of the upsampling and the blur (kernels/anomaly_map.cu).

use super::{GaussianBlur, MAX_SIGMA, UpsampleSum};
use crate::engine::device::cuda::{CudaOperation, In, Launches, Target, kernels, size32};
use crate::engine::ops::MAX_OPERANDS;
use crate::{Result, invalid};

const THREADS: u32 = 256;
/// Columns and lines of a block of the second blur pass.
const TILE: (u32, u32) = (32, 32);
const MAX_RADIUS: usize = (4.0 * MAX_SIGMA + 0.5) as usize;

/// Output side, and the sizes of each map.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct UpsampleMaps {
    size: u32,
    count: u32,
    h: [u32; MAX_OPERANDS],
    w: [u32; MAX_OPERANDS],
}

/// Weights of offsets 0 to radius.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct GaussianTaps {
    weight: [f32; MAX_RADIUS + 1],
}

impl CudaOperation for UpsampleSum {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let size = size32("side of the map", self.size)?;
        let mut maps = UpsampleMaps { size, count: self.from.len() as u32, h: [0; MAX_OPERANDS], w: [0; MAX_OPERANDS] };
        let mut x = [In::NONE; MAX_OPERANDS];
        for (i, &(h, w)) in self.from.iter().enumerate() {
            // Source coordinates are integers times their denominator.
            if h.max(w) * self.size > u32::MAX as usize {
                invalid!("a map of {h} x {w} is too long to be upsampled to a side of {}", self.size);
            }
            (maps.h[i], maps.w[i], x[i]) = (h as u32, w as u32, l.input(i));
        }
        let [x0, x1, x2, x3, x4, x5, x6, x7] = x;
        let call = kernels::upsample_sum_f32(l.output(0), x0, x1, x2, x3, x4, x5, x6, x7, maps)?;
        let lines = size32("lines", self.n * self.size)?;
        l.launch(call, [lines, size.div_ceil(THREADS), 1], [THREADS, 1, 1], 0)
    }
}

impl CudaOperation for GaussianBlur {
    /// The maps between the two axes.
    fn workspace(&self, _: &Target) -> usize {
        self.n * self.size * self.size * size_of::<f32>()
    }

    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (n, size) = (size32("images", self.n)?, size32("side of the map", self.size)?);
        let radius = self.taps.len() as u32 - 1;
        let mut taps = GaussianTaps { weight: [0.0; MAX_RADIUS + 1] };
        taps.weight.iter_mut().zip(&self.taps).for_each(|(to, tap)| *to = *tap as f32);
        let (x, y, between) = (l.input(0), l.output(0), l.scratch());
        let tiles = size.div_ceil(THREADS);
        let blocks = size32("lines", self.n * self.size * tiles as usize)?;
        let call = kernels::gaussian_blur_rows_f32(between, x, size, tiles, radius, taps)?;
        l.launch(call, [blocks, 1, 1], [THREADS, 1, 1], 0)?;
        let tiles = size.div_ceil(TILE.0);
        let call = kernels::gaussian_blur_columns_f32(y, between.read(), size, tiles, radius, taps)?;
        l.launch(call, [n * tiles, size.div_ceil(TILE.1), 1], [THREADS, 1, 1], 0)
    }
}
