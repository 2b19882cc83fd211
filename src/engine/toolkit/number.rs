//! The kinds of numbers that programs compute in.

use crate::engine::tensor::DType;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What numbers a program's tensors are kept in and its products computed in. Sums are f32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Number {
    /// f32 throughout.
    #[default]
    F32,
    /// f32 kept; products of convolutions on tensor cores, operands rounded to 10 fraction bits.
    Tf32,
    Bf16,
    F16,
    /// Quantised convolutions in 8 bits, all else in f32.
    Int8,
}

impl Number {
    /// Names, each with a line of help.
    pub const NAMES: &[(&str, &str)] = &[
        ("f32", "f32 throughout"),
        ("tf32", "f32 kept, products on tensor cores with 10 fraction bits"),
        ("bf16", "bf16 throughout"),
        ("f16", "To score only"),
        ("int8", "To score only, with a model that `ckaad quantize` made"),
    ];

    pub fn find(name: &str) -> Result<Self> {
        match name {
            "f32" => Ok(Number::F32),
            "tf32" => Ok(Number::Tf32),
            "bf16" => Ok(Number::Bf16),
            "f16" => Ok(Number::F16),
            "int8" => Ok(Number::Int8),
            _ => Err(Error::Usage(format!("unknown precision '{name}': expected f32, tf32, bf16, f16 or int8"))),
        }
    }

    /// The type tensors are kept in.
    pub fn storage(self) -> DType {
        match self {
            Number::F32 | Number::Tf32 | Number::Int8 => DType::F32,
            Number::Bf16 => DType::Bf16,
            Number::F16 => DType::F16,
        }
    }

    /// What all that is not quantised is computed in: a program with convolutions in bytes is one in f32.
    pub fn real(self) -> Number {
        if self == Number::Int8 { Number::F32 } else { self }
    }

    /// Values in 16 bytes, the most that one instruction moves.
    pub fn values(self) -> u32 {
        16 / self.storage().size() as u32
    }

    /// Neighbouring values that kernels move at once in rows of `n`: 16 bytes of them where all rows start aligned, else one.
    pub fn pack(self, n: u32) -> u32 {
        if n.is_multiple_of(self.values()) { self.values() } else { 1 }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Number::F32 => "f32",
            Number::Tf32 => "tf32",
            Number::Bf16 => "bf16",
            Number::F16 => "f16",
            Number::Int8 => "int8",
        })
    }
}
