//! A constant: the seed of a backward pass.

pub mod cases;
mod cuda;

use super::{Args, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Record, Tape, Var};

/// y = value, everywhere
#[derive(Clone, Debug)]
pub struct Fill {
    pub value: f64,
}

impl Operation for Fill {
    const NAME: &'static str = "fill";

    fn gradient(&self, _: &mut Tape, _: &Record, _: &[Option<Var>], _: &[bool]) -> Result<Vec<Option<Var>>> {
        Ok(vec![])
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let [y, ..] = a.outputs;
        y.fill(T::of(self.value));
    }
}
