//! Grid choice and launches of the anomaly map (kernels/anomaly_map.cu).

use super::{AnomalyMap, MAX_SIGMA};
use crate::engine::ops::MAX_OPERANDS;
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::{CudaOperation, In, Launches, Schedule, Target, size32};
use crate::{Result, invalid};

const THREADS: u32 = 256;
/// Columns and lines of a block that upsamples and blurs.
const TILE: (u32, u32) = (32, 16);
/// Largest radius it has shared memory for.
const TILE_RADIUS: u32 = 24;
/// Columns and lines of a block of the second pass of wider blurs.
const COLUMNS_TILE: (u32, u32) = (32, 32);
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

impl AnomalyMap {
    fn radius(&self) -> u32 {
        self.taps.len() as u32 - 1
    }
}

impl CudaOperation for AnomalyMap {
    /// Of wide blurs the maps between the two axes.
    fn schedule(&self, _: &Target) -> Schedule {
        Schedule::scratch(if self.radius() > TILE_RADIUS {
            self.n * self.size * self.size * size_of::<f32>()
        } else {
            0
        })
    }

    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (n, size, radius) = (size32("images", self.n)?, size32("side of the map", self.size)?, self.radius());
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
        let mut taps = GaussianTaps { weight: [0.0; MAX_RADIUS + 1] };
        taps.weight.iter_mut().zip(&self.taps).for_each(|(to, tap)| *to = *tap as f32);
        let y = l.output(0);
        if (1..=TILE_RADIUS).contains(&radius) {
            let call = kernels::anomaly_map_f32(y, x0, x1, x2, x3, x4, x5, x6, x7, maps, radius, taps)?;
            let blocks = size32("tiles", self.n * size.div_ceil(TILE.0) as usize)?;
            return l.launch(call, [blocks, size.div_ceil(TILE.1), 1], [THREADS, 1, 1], 0);
        }
        // The same in steps through memory: a wide blur's tiles do not fit.
        let call = kernels::upsample_sum_f32(y, x0, x1, x2, x3, x4, x5, x6, x7, maps)?;
        let lines = size32("lines", self.n * self.size)?;
        l.launch(call, [lines, size.div_ceil(THREADS), 1], [THREADS, 1, 1], 0)?;
        if radius == 0 {
            return Ok(());
        }
        let between = l.scratch();
        let tiles = size.div_ceil(THREADS);
        let blocks = size32("lines", self.n * self.size * tiles as usize)?;
        let call = kernels::gaussian_blur_rows_f32(between, y.read(), size, tiles, radius, taps)?;
        l.launch(call, [blocks, 1, 1], [THREADS, 1, 1], 0)?;
        let tiles = size.div_ceil(COLUMNS_TILE.0);
        let call = kernels::gaussian_blur_columns_f32(y, between.read(), size, tiles, radius, taps)?;
        l.launch(call, [n * tiles, size.div_ceil(COLUMNS_TILE.1), 1], [THREADS, 1, 1], 0)
    }
}
