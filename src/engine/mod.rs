//! The compute engine: record once ([`tape`]), place every buffer ([`plan`]), replay on a device ([`device`]).
//!
//! It knows nothing of anomaly detection. Activations are NHWC, weights KRSC, every tensor has rank 4.

pub mod device;
pub mod gradcheck;
pub mod ops;
pub mod params;
pub mod plan;
pub mod real;
pub mod tape;
pub mod tensor;
pub mod toolkit;
