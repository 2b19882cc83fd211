//! Weighted sum of scalar losses.

pub mod cases;
pub(crate) mod cuda;

use super::{Args, Operation, no_gradient};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Record, Tape, Var};
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

    fn gradient(
        &self,
        tape: &mut Tape,
        _: &Record,
        given: &[Option<Var>],
        wanted: &[bool],
    ) -> Result<Vec<Option<Var>>> {
        let Some(dy) = given[0] else { return Ok(vec![None; wanted.len()]) };
        let one = |(&weight, &wanted): (&f64, &bool)| -> Result<Option<Var>> {
            if !wanted {
                return Ok(None);
            }
            let dx = tape.record1(WeightedSumBwd { weight }, vec![dy], Shape::SCALAR)?;
            Ok(Some(tape.exact(dx)))
        };
        self.weights.iter().zip(wanted).map(one).collect()
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let [y, ..] = a.outputs;
        y[0] = self.weights.iter().zip(a.inputs).map(|(w, x)| T::of(*w) * x[0]).sum();
    }
}

impl Operation for WeightedSumBwd {
    const NAME: &'static str = "weighted_sum_bwd";

    fn gradient(&self, _: &mut Tape, _: &Record, _: &[Option<Var>], _: &[bool]) -> Result<Vec<Option<Var>>> {
        no_gradient(Self::NAME)
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([dy, ..], [dx, ..]) = (a.inputs, a.outputs);
        dx[0] = T::of(self.weight) * dy[0];
    }
}
