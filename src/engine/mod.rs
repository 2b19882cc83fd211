//! The compute engine: record once ([`tape`]), place every buffer ([`plan`]), replay on a device ([`device`]).
//!
//! It knows nothing of pictures, datasets and methods; ops with names of this field, as `anomaly_map` and `energy`, are
//! arithmetic on tensors like the others. Tensors have rank 4: activations are NHWC, weights KRSC (out, kh, kw, in), and
//! vectors and scalars have ones in front.
//!
//! From the lowest layer to the highest, and no module knows one above it: [`real`], [`tensor`], [`params`]; [`toolkit`];
//! [`tape`] and [`ops`], which know each other; [`plan`]; [`device`]; [`gradcheck`].

pub mod device;
pub mod gradcheck;
pub mod hash;
pub mod ops;
pub mod params;
pub mod plan;
pub mod quantized;
pub mod real;
pub mod tape;
pub mod tensor;
pub mod toolkit;
