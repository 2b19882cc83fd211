//! Launches of the preprocessing (kernels/preprocess.cu): a table of weights per axis that changes, then one pass per axis.

use super::Preprocess;
use super::resize::{rows_first, taps};
use crate::Result;
use crate::engine::ops::kernels;
use crate::engine::tensor::DType;
use crate::engine::toolkit::cuda::{CudaOperation, In, Launches, Out, Schedule, Target, size32};
use std::ops::Range;

const THREADS: usize = 256;
const ALIGN: usize = 64;

/// (v / 255 - mean) / std as v * scale + offset, per channel.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct PixelScale {
    scale: [f32; 3],
    offset: [f32; 3],
}

/// One axis of a picture: `outer` stretches of `from` (later `to`) positions of `inner` bytes each.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct ResizeAxis {
    outer: u32,
    from: u32,
    to: u32,
    inner: u32,
}

#[derive(Clone, Copy)]
enum Axis {
    Columns,
    Rows,
}

/// What a pass writes.
enum Destination {
    /// Bytes, for the other axis.
    Between(Out),
    /// Normalised.
    Network(Out),
}

/// Where in scratch memory what lies, in bytes.
struct Scratch {
    columns: Range<usize>,
    rows: Range<usize>,
    between: Range<usize>,
}

impl Preprocess {
    fn parts(&self) -> Scratch {
        // First input, number of inputs and weights of every output.
        let table = |from, to| if from == to { 0 } else { (2 + taps(from, to)) * to * size_of::<i32>() };
        let columns = 0..table(self.from.0, self.size);
        let start = columns.end.next_multiple_of(ALIGN);
        let rows = start..start + table(self.from.1, self.size);
        let start = rows.end.next_multiple_of(ALIGN);
        Scratch { columns, rows, between: start..start + 3 * self.n * self.resize.between() }
    }

    fn pixel_scale(&self) -> PixelScale {
        PixelScale {
            scale: std::array::from_fn(|c| (1.0 / (255.0 * self.std[c])) as f32),
            offset: std::array::from_fn(|c| (-self.mean[c] / self.std[c]) as f32),
        }
    }

    /// One axis, from `x` of `height` rows of `width` pixels to `y`: normalised, or bytes again.
    fn pass(
        &self,
        l: &mut Launches,
        axis: Axis,
        x: In,
        (width, height): (usize, usize),
        to: Destination,
    ) -> Result<()> {
        let part = self.parts();
        let (from, outer, inner, range) = match axis {
            Axis::Columns => (width, self.n * height, 3, part.columns),
            Axis::Rows => (height, self.n, width * 3, part.rows),
        };
        let table = l.scratch().slice(range);
        let a = ResizeAxis {
            outer: size32("picture lines", outer)?,
            from: size32("picture side", from)?,
            to: size32("picture side", self.size)?,
            inner: size32("picture line", inner)?,
        };
        let call = kernels::preprocess_weights_i32(table, a.from, a.to)?;
        l.launch(call, [blocks(self.size)?, 1, 1], [THREADS as u32, 1, 1], 0)?;
        let (number, scale, table) = (l.number(), self.pixel_scale(), table.read());
        // A thread takes a pixel of a row, or a group of bytes of a column's line.
        let in_groups = |group| if inner % group == 0 { inner / group } else { inner };
        let (call, threads) = match (axis, to) {
            (Axis::Columns, Destination::Between(y)) => (kernels::preprocess_columns_u8(y, x, table, a)?, 1),
            (Axis::Columns, Destination::Network(y)) => {
                (kernels::preprocess_columns(number, y, x, table, a, scale)?, 1)
            }
            (Axis::Rows, Destination::Between(y)) => (kernels::preprocess_rows_u8(y, x, table, a)?, in_groups(4)),
            (Axis::Rows, Destination::Network(y)) => {
                (kernels::preprocess_rows(number, y, x, table, a, scale)?, in_groups(lanes(l)))
            }
        };
        l.launch(call, [blocks(outer * self.size * threads)?, 1, 1], [THREADS as u32, 1, 1], 0)
    }
}

/// Numbers of the network's type in 16 bytes.
fn lanes(l: &Launches) -> usize {
    16 / l.number().storage().size()
}

fn blocks(threads: usize) -> Result<u32> {
    size32("preprocessing", threads).map(|n| n.div_ceil(THREADS as u32))
}

impl CudaOperation for Preprocess {
    fn schedule(&self, _: &Target) -> Schedule {
        Schedule::scratch(self.parts().between.end)
    }

    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (x, y, (width, height), size) = (l.input(0), l.output(0), self.from, self.size);
        match (width != size, height != size) {
            (false, false) => {
                let len = y.elements();
                // A thread for every 16 bytes of results, and one for every number behind them.
                let threads = len as usize / lanes(l) + len as usize % lanes(l);
                let call = kernels::preprocess_normalize(l.number(), y, x, len, self.pixel_scale())?;
                l.launch(call, [blocks(threads)?, 1, 1], [THREADS as u32, 1, 1], 0)
            }
            (true, false) => self.pass(l, Axis::Columns, x, self.from, Destination::Network(y)),
            (false, true) => self.pass(l, Axis::Rows, x, self.from, Destination::Network(y)),
            (true, true) => {
                let between = l.scratch().cast(DType::U8).slice(self.parts().between);
                if rows_first(self.from, (size, size)) {
                    self.pass(l, Axis::Rows, x, self.from, Destination::Between(between))?;
                    self.pass(l, Axis::Columns, between.read(), (width, size), Destination::Network(y))
                } else {
                    self.pass(l, Axis::Columns, x, self.from, Destination::Between(between))?;
                    self.pass(l, Axis::Rows, between.read(), (size, height), Destination::Network(y))
                }
            }
        }
    }
}
