//! How real numbers are kept in bytes.

use crate::engine::tensor::DType;

/// `x` is kept as the byte `clamp(round(x / scale)) + zero`, rounded to the nearest, even where two are, and clamped to what the byte
/// can hold. All in the program's own number type, without fused products, so that every device gives the same bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantization {
    /// What one step of the byte is worth; positive and finite.
    pub scale: f32,
    /// The byte of 0: 0 for what is never negative, 128 for what has both signs.
    pub zero: u8,
}

impl Quantization {
    /// Smallest and largest number of steps.
    pub fn range(self) -> [i32; 2] {
        [0, 255].map(|byte| byte - i32::from(self.zero))
    }
}

/// How an op keeps its result.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Stored {
    /// In the program's own numbers.
    #[default]
    Real,
    Bytes(Quantization),
}

impl Stored {
    /// The type of the elements, in a program of `real` numbers.
    pub fn dtype(self, real: DType) -> DType {
        match self {
            Stored::Real => real,
            Stored::Bytes(_) => DType::U8,
        }
    }
}
