//! ReLU and LeakyReLU on their own; most of the time they are fused into the op before them.

pub mod cases;
pub(crate) mod cuda;

use super::{Args, Backward, Gradients, Operation};
use crate::Result;
use crate::engine::real::Real;
use crate::engine::tape::{Tape, Var};
use crate::engine::toolkit::onnx::Composer;
use rayon::prelude::*;

/// What an op applies to its result before storing it.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Activation {
    #[default]
    None,
    Relu,
    /// `x` where positive, `slope * x` elsewhere; `slope` must be positive so that the sign survives.
    LeakyRelu(f32),
}

impl Activation {
    /// Factor for negative inputs; `None` means identity.
    pub fn negative_slope(self) -> Option<f32> {
        match self {
            Activation::None => None,
            Activation::Relu => Some(0.0),
            Activation::LeakyRelu(s) => Some(s),
        }
    }

    #[inline(always)]
    pub fn apply<T: Real>(self, x: T) -> T {
        match self {
            Activation::None => x,
            // Written so that NaN passes through, as in PyTorch.
            Activation::Relu => {
                if x < T::ZERO {
                    T::ZERO
                } else {
                    x
                }
            }
            Activation::LeakyRelu(s) => {
                if x < T::ZERO {
                    x * T::of(s as f64)
                } else {
                    x
                }
            }
        }
    }

    /// Derivative, told from the activation's *result*: both kinds keep the sign. At 0 it is the negative side's, as in PyTorch.
    #[inline(always)]
    pub fn slope_at<T: Real>(self, y: T) -> T {
        match self {
            Activation::None => T::ONE,
            Activation::Relu => {
                if y > T::ZERO {
                    T::ONE
                } else {
                    T::ZERO
                }
            }
            Activation::LeakyRelu(s) => {
                if y > T::ZERO {
                    T::ONE
                } else {
                    T::of(s as f64)
                }
            }
        }
    }
}

/// y = act(x)
#[derive(Clone, Debug)]
pub struct Activate {
    pub act: Activation,
}

/// dx = dy * act'(x), from y = act(x)
#[derive(Clone, Debug)]
pub struct ActivateBwd {
    pub act: Activation,
}

impl Tape {
    /// ReLU or LeakyReLU of `x`, element by element.
    pub fn activate(&mut self, x: Var, act: Activation) -> Result<Var> {
        let shape = self.shape(x);
        let y = self.record1(Activate { act }, vec![x], shape)?;
        Ok(self.as_kept(y, x))
    }

    /// Gradient through an activation whose result was `y`.
    pub(crate) fn activate_bwd(&mut self, y: Var, dy: Var, act: Activation) -> Result<Var> {
        if act == Activation::None {
            return Ok(dy);
        }
        let shape = self.shape(y);
        self.record1(ActivateBwd { act }, vec![dy, y], shape)
    }
}

/// Elements one thread works on at a time in element-wise ops.
pub(crate) const CHUNK: usize = 16 * 1024;

impl Operation for Activate {
    const NAME: &'static str = "activate";

    fn gradient(&self, b: Backward) -> Gradients {
        let Some(dy) = b.given(0) else { return b.none() };
        Ok(vec![Some(b.tape.activate_bwd(b.output(0), dy, self.act)?)])
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }

    fn onnx(&self, c: &mut Composer) -> Result<()> {
        let y = c.input(0);
        let y = c.finish_with(y, None, self.act.negative_slope());
        c.output(0, y);
        Ok(())
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([x, ..], [y, ..]) = (a.inputs, a.outputs);
        let act = self.act;
        if x.is_empty() {
            y.par_chunks_mut(CHUNK).for_each(|y| y.iter_mut().for_each(|y| *y = act.apply(*y)));
        } else {
            y.par_chunks_mut(CHUNK)
                .zip(x.par_chunks(CHUNK))
                .for_each(|(y, x)| y.iter_mut().zip(x).for_each(|(y, x)| *y = act.apply(*x)));
        }
    }
}

impl Operation for ActivateBwd {
    const NAME: &'static str = "activate_bwd";

    fn gradient(&self, b: Backward) -> Gradients {
        b.refuse()
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }

    fn run<T: Real>(&self, a: Args<'_, T>) {
        let ([dy, y, ..], [dx, ..]) = (a.inputs, a.outputs);
        let act = self.act;
        if !dy.is_empty() {
            dx.copy_from_slice(dy);
        }
        dx.par_chunks_mut(CHUNK)
            .zip(y.par_chunks(CHUNK))
            .for_each(|(dx, y)| dx.iter_mut().zip(y).for_each(|(dx, y)| *dx *= act.slope_at(*y)));
    }
}
