//! Real numbers to bytes, as a [`Quantization`] says.

pub mod cases;
pub mod cuda;

use super::{Args, Backward, Gradients, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::DType;
use crate::engine::toolkit::Quantization;
use crate::engine::toolkit::cpu::int8::store::{AsBytes, Store};
use crate::engine::toolkit::cpu::isa::wide;
use rayon::prelude::*;

/// Input: x. Output: as many bytes.
#[derive(Clone, Debug)]
pub struct Quantize {
    pub q: Quantization,
    pub len: usize,
}

impl Tape {
    /// The bytes of `x`.
    pub fn quantize(&mut self, x: Var, q: Quantization) -> Result<Var> {
        let shape = self.shape(x);
        if self.info(x).dtype != self.dtype() {
            let message = format!("x of {}, expected {}", self.info(x).dtype, self.dtype());
            return Err(self.shape_error(Quantize::NAME, message));
        }
        let y = self.record1(Quantize { q, len: shape.len() }, vec![x], shape)?;
        Ok(self.kept_in(y, DType::U8))
    }
}

impl Operation for Quantize {
    const NAME: &'static str = "quantize";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        const CHUNK: usize = 16384;
        let ([x, ..], [y, ..]) = (a.inputs, a.outputs);
        let y: &mut [u8] = &mut bytemuck::cast_slice_mut(y)[..self.len];
        let store = AsBytes::new(self.q);
        y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| {
            wide!({
                for (y, x) in y.iter_mut().zip(x) {
                    *y = store.keep(*x);
                }
            });
        });
    }
}
