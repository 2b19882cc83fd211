//! Launches of the concatenation and its gradient (kernels/concat.cu).

use super::{Concat, ConcatBwd};
use crate::Result;
use crate::engine::ops::MAX_OPERANDS;
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::{CudaOperation, In, Launches};

const THREADS: u32 = 256;

/// Where the inputs lie in a row, as the kernel takes it.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct ConcatParts {
    pub rows: u32,
    pub row: u32,
    /// End of every input; the row's end for those that are not there.
    pub ends: [u32; MAX_OPERANDS],
}

impl CudaOperation for Concat {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let mut end = 0;
        let ends = std::array::from_fn(|i| {
            end += self.parts.get(i).map_or(0, |part| *part as u32);
            end
        });
        // A power of two divides all ends if it divides their bits taken together.
        let width = l.number().pack(ends.iter().fold(0, |all, end| all | end));
        let y = l.output(0);
        let [a, b, c, d, e, f, g, h] =
            std::array::from_fn(|i| if i < self.parts.len() { l.input(i) } else { In::NONE });
        let parts = ConcatParts { rows: self.rows as u32, row: end, ends };
        let call = kernels::concat_fwd(l.number(), y, a, b, c, d, e, f, g, h, parts)?;
        l.launch(call, [(y.elements() / width).div_ceil(THREADS), 1, 1], [THREADS, 1, 1], 0)
    }
}

impl CudaOperation for ConcatBwd {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (dy, dx) = (l.input(0), l.output(0));
        let [rows, row, offset] = [self.rows, self.row, self.offset].map(|x| x as u32);
        let part = dx.elements() / rows;
        let packs = dx.elements() / l.number().pack(row | offset | part);
        let call = kernels::concat_bwd(l.number(), dx, dy, rows, row, offset, part)?;
        l.launch(call, [packs.div_ceil(THREADS), 1, 1], [THREADS, 1, 1], 0)
    }
}
