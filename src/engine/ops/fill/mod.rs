//! A constant: the seed of a backward pass.

pub mod cases;
mod cuda;

use super::{Args, Backward, Gradients, Operation};
use crate::engine::real::Real;

/// y = value, everywhere
#[derive(Clone, Debug)]
pub struct Fill {
    pub value: f64,
}

impl Operation for Fill {
    const NAME: &'static str = "fill";

    fn gradient(&self, b: Backward) -> Gradients {
        b.none()
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let [y, ..] = a.outputs;
        y.fill(T::of(self.value));
    }
}
