//! Nearest neighbours: for every channel vector the k nearest rows of a bank, by Euclidean distance.
//!
//! A matrix product orders the bank, |b|^2 - 2 x.b, block by block, so that the distances are never all there at once; those of
//! what was found are measured again as |x - b|, with all their digits.

pub mod cases;
mod cpu;
pub(crate) mod cuda;
mod onnx;

use super::{Args, Backward, Gradients, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::Shape;
use crate::engine::toolkit::onnx::Composer;

/// Inputs: x (n, h, w, c) and the bank, (m, 1, 1, c). Outputs, both (n, h, w, k): distances in rising order, of equals the
/// lower row first, and the bank's rows they belong to.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Nearest {
    /// Vectors of x.
    pub rows: u32,
    pub bank: u32,
    pub c: u32,
    pub k: u32,
}

/// Most neighbours.
pub const MAX_NEIGHBOURS: usize = 16;
/// Most rows of a bank: f32 counts as far.
pub const MAX_BANK: usize = 1 << 24;

impl Tape {
    /// Distances to the `k` nearest rows of `bank` (m, 1, 1, c) for every position of `x` (n, h, w, c), nearest first, and
    /// these rows' numbers, which [`Tape::gather`] takes: (n, h, w, k) each, f32 also in 16-bit programs.
    pub fn nearest(&mut self, x: Var, bank: Var, k: usize) -> Result<(Var, Var)> {
        let (s, b) = (self.shape(x), self.shape(bank));
        let rows = b.len() / b.c();
        if b.c() != s.c() || self.info(x).dtype != self.info(bank).dtype {
            let of = |v| format!("{} of {}", self.shape(v), self.info(v).dtype);
            let what = format!("vectors and bank need the same channels and type, found {} and {}", of(x), of(bank));
            return Err(self.shape_error(Nearest::NAME, what));
        }
        if k == 0 || k > rows.min(MAX_NEIGHBOURS) {
            let most = rows.min(MAX_NEIGHBOURS);
            return Err(self.shape_error(Nearest::NAME, format!("1 to {most} neighbours of {rows} rows, found {k}")));
        }
        if rows > MAX_BANK {
            return Err(self.shape_error(Nearest::NAME, format!("a bank of {rows} rows; at most {MAX_BANK} can be")));
        }
        let op = Nearest { rows: (s.len() / s.c()) as u32, bank: rows as u32, c: s.c() as u32, k: k as u32 };
        let y = Shape([s.n(), s.h(), s.w(), k]);
        let outputs = self.record(op, vec![x, bank], &[y, y])?;
        Ok((self.exact(outputs[0]), self.exact(outputs[1])))
    }
}

impl Operation for Nearest {
    const NAME: &'static str = "nearest";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn multiply_adds(&self) -> u64 {
        self.rows as u64 * self.bank as u64 * self.c as u64
    }

    fn scratch<T: Real>(&self, threads: usize) -> usize {
        cpu::scratch(self, threads)
    }

    fn onnx(&self, c: &mut Composer) -> Result<()> {
        onnx::compose(self, c)
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        cpu::run(self, a)
    }
}
