//! Rows of a table, picked by numbers that were computed before: a memory bank's, or positions' of feature maps.

pub mod cases;
pub(crate) mod cuda;

use super::{Args, Backward, Gradients, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::Shape;
use crate::engine::toolkit::onnx::{Attr, Composer};
use rayon::prelude::*;

/// Inputs: the table, rows of c, and numbers of rows, each 0 at least; what lies behind the last row picks that. Output: a row
/// for each number.
#[derive(Clone, Debug)]
pub struct Gather {
    pub rows: usize,
    pub c: usize,
}

impl Tape {
    /// Row `at[n, h, w]` of `table`, all of whose axes but the last count rows, for each of (n, h, w, 1): (n, h, w, c). Numbers
    /// are kept as [`Tape::nearest`] and [`Tape::argmax`] return them.
    pub fn gather(&mut self, table: Var, at: Var) -> Result<Var> {
        let (s, a) = (self.shape(table), self.shape(at));
        if a.c() != 1 || self.info(at).dtype != self.dtype().exact() {
            let (kept, found) = (self.dtype().exact(), self.info(at).dtype);
            let what = format!("numbers of rows have one channel and type {kept}, found {a} of {found}");
            return Err(self.shape_error(Gather::NAME, what));
        }
        let op = Gather { rows: s.len() / s.c(), c: s.c() };
        let y = self.record1(op, vec![table, at], Shape([a.n(), a.h(), a.w(), s.c()]))?;
        Ok(self.as_kept(y, table))
    }
}

impl Operation for Gather {
    const NAME: &'static str = "gather";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn onnx(&self, c: &mut Composer) -> Result<()> {
        let (table, at) = (c.rows(0), c.input(1));
        // One channel: the rows' numbers lie as they do with channels last.
        let at = c.reshape(&at, &[-1]);
        let found = c.node("Gather", &[&table, &at], &[("axis", Attr::I(0))]);
        let [_, h, w, _] = c.shape(1).0.map(|v| v as i64);
        let y = c.reshape(&found, &[-1, h, w, self.c as i64]);
        let y = c.channels_first(&y);
        c.output(0, y);
        Ok(())
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([table, at, ..], [y, ..]) = (a.inputs, a.outputs);
        y.par_chunks_exact_mut(self.c).with_min_len(64).zip(at).for_each(|(y, at)| {
            let row = (at.f64() as usize).min(self.rows - 1);
            y.copy_from_slice(&table[row * self.c..][..self.c]);
        });
    }
}
