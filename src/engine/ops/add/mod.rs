//! Element-wise sum of two tensors; how gradients of a variable used twice come together.

pub mod cases;
mod cuda;

use super::activation::CHUNK;
use super::{Args, Backward, Gradients, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::toolkit::onnx::Composer;
use rayon::prelude::*;

/// y = a + b
#[derive(Clone, Debug)]
pub struct Add;

impl Tape {
    /// `a + b`, both of one shape.
    pub fn add(&mut self, a: Var, b: Var) -> Result<Var> {
        let (sa, sb) = (self.shape(a), self.shape(b));
        if sa != sb {
            return Err(self.shape_error(Add::NAME, format!("shapes differ: {sa} and {sb}")));
        }
        let y = self.record1(Add, vec![a, b], sa)?;
        Ok(self.as_kept(y, a))
    }
}

impl Operation for Add {
    const NAME: &'static str = "add";

    fn gradient(&self, b: Backward) -> Gradients {
        Ok(vec![b.given(0); 2])
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }

    fn onnx(&self, c: &mut Composer) -> Result<()> {
        let [a, b] = [c.input(0), c.input(1)];
        let y = c.node("Add", &[&a, &b], &[]);
        c.output(0, y);
        Ok(())
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([a, b, ..], [y, ..]) = (a.inputs, a.outputs);
        if a.is_empty() {
            y.par_chunks_mut(CHUNK)
                .zip(b.par_chunks(CHUNK))
                .for_each(|(y, b)| y.iter_mut().zip(b).for_each(|(y, b)| *y += *b));
        } else {
            y.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK)).zip(b.par_chunks(CHUNK)).for_each(|((y, a), b)| {
                y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = *a + *b);
            });
        }
    }
}
