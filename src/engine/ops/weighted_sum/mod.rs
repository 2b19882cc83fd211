//! Weighted sum of scalar losses.

pub mod cases;
pub(crate) mod cuda;

use super::{Args, Backward, Gradients, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::Shape;

/// `y = sum_i weights[i] * x_i` over scalars
#[derive(Clone, Debug)]
pub struct WeightedSum {
    pub weights: Vec<f64>,
}

/// dx_i = weight * dy
#[derive(Clone, Debug)]
pub struct WeightedSumBwd {
    pub weight: f64,
}

impl Tape {
    /// The sum of scalars, each times its weight.
    pub fn weighted_sum(&mut self, terms: &[(f64, Var)]) -> Result<Var> {
        if terms.is_empty()
            || terms.len() > super::MAX_OPERANDS
            || terms.iter().any(|t| self.shape(t.1) != Shape::SCALAR)
        {
            return Err(self.shape_error(WeightedSum::NAME, format!("needs 1 to 8 scalars, found {}", terms.len())));
        }
        let (weights, inputs) = terms.iter().copied().unzip();
        let y = self.record1(WeightedSum { weights }, inputs, Shape::SCALAR)?;
        Ok(self.exact(y))
    }
}

impl Operation for WeightedSum {
    const NAME: &'static str = "weighted_sum";

    fn gradient(&self, b: Backward) -> Gradients {
        let Some(dy) = b.given(0) else { return b.none() };
        let mut grads = b.none()?;
        for (i, &weight) in self.weights.iter().enumerate() {
            if b.wanted(i) {
                let dx = b.tape.record1(WeightedSumBwd { weight }, vec![dy], Shape::SCALAR)?;
                grads[i] = Some(b.tape.exact(dx));
            }
        }
        Ok(grads)
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let [y, ..] = a.outputs;
        y[0] = self.weights.iter().zip(a.inputs).map(|(w, x)| T::of(*w) * x[0]).sum();
    }
}

impl Operation for WeightedSumBwd {
    const NAME: &'static str = "weighted_sum_bwd";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([dy, ..], [dx, ..]) = (a.inputs, a.outputs);
        dx[0] = T::of(self.weight) * dy[0];
    }
}
