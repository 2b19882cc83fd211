//! Grid choice and launches of the cosine loss and map (kernels/cosine.cu).

use super::{Loss, LossBwd, MAX_LAYERS, Map, SAVED};
use crate::Result;
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::{CudaOperation, In, Launches, Out, Schedule, Target, size32};

const THREADS: u32 = 256;
/// Positions of the map that a block takes: one a warp.
const WARPS: u32 = THREADS / 32;
/// Elements of an image that a block takes: some 32 a thread, in whole 16 bytes.
const CHUNK: usize = 8192;

/// Channels of the layers, and where each one's positions end when they are numbered through all layers.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct CosineLayers {
    c: [u32; MAX_LAYERS],
    end: [u32; MAX_LAYERS],
}

impl Loss {
    fn chunks(&self) -> usize {
        self.len.div_ceil(CHUNK)
    }

    /// The first image, and how many there are.
    fn range(&self) -> Result<(u32, u32)> {
        Ok((size32("images", self.images.start)?, size32("images", self.images.len())?))
    }
}

impl CudaOperation for Loss {
    /// Three sums per chunk.
    fn schedule(&self, _: &Target) -> Schedule {
        Schedule::scratch(self.images.len() * self.chunks() * SAVED * size_of::<f32>())
    }

    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (first, images) = self.range()?;
        let (len, chunks) = (size32("image", self.len)?, self.chunks() as u32);
        let blocks = size32("chunks", self.images.len() * self.chunks())?;
        let (a, b, partial) = (l.input(0), l.input(1), l.scratch());
        let call = kernels::cosine_loss_partial(l.number(), partial, a, b, first, len, CHUNK as u32, chunks)?;
        l.launch(call, [blocks, 1, 1], [THREADS, 1, 1], 0)?;
        let call = kernels::cosine_loss_total_f32(l.output(0), l.output(1), partial.read(), images, chunks)?;
        l.launch(call, [1, 1, 1], [THREADS, 1, 1], 0)
    }
}

impl CudaOperation for LossBwd {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let len = self.forward.len;
        let (dy, a, b, saved, db) = (l.input(0), l.input(1), l.input(2), l.input(3), l.output(0));
        let chunks = self.forward.chunks();
        let blocks = size32("chunks", db.elements() as usize / len * chunks)?;
        let (first, images) = self.forward.range()?;
        let (len, chunks) = (size32("image", len)?, chunks as u32);
        let (number, chunk, swapped) = (l.number(), CHUNK as u32, self.swapped as u32);
        let call = kernels::cosine_loss_bwd(number, db, dy, a, b, saved, first, images, len, chunk, chunks, swapped)?;
        l.launch(call, [blocks, 1, 1], [THREADS, 1, 1], 0)
    }
}

impl CudaOperation for Map {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (mut layers, mut positions) = (CosineLayers { c: [0; MAX_LAYERS], end: [0; MAX_LAYERS] }, 0);
        let (mut maps, mut a, mut b) = ([Out::NONE; MAX_LAYERS], [In::NONE; MAX_LAYERS], [In::NONE; MAX_LAYERS]);
        for i in 0..MAX_LAYERS {
            if let Some(&(count, c)) = self.layers.get(i) {
                positions += count;
                layers.c[i] = size32("channels", c)?;
                (maps[i], a[i], b[i]) = (l.output(i), l.input(2 * i), l.input(2 * i + 1));
            }
            layers.end[i] = size32("positions", positions)?;
        }
        let ([y0, y1, y2, y3], [a0, a1, a2, a3], [b0, b1, b2, b3]) = (maps, a, b);
        let call = kernels::cosine_map(l.number(), y0, y1, y2, y3, a0, b0, a1, b1, a2, b2, a3, b3, layers)?;
        l.launch(call, [layers.end[MAX_LAYERS - 1].div_ceil(WARPS), 1, 1], [THREADS, 1, 1], 0)
    }
}
