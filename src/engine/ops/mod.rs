//! One folder per op: shape rule and gradient rule (`mod.rs`), CPU kernels (`cpu.rs`).

pub mod conv2d;

use crate::engine::real::Real;

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
    /// Slope for negative inputs; `None` means identity.
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
}
