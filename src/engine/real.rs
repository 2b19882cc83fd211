//! The two number types that CPU kernels are generic over.

use half::{bf16, f16};
use std::fmt::{Debug, Display};
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

/// `f32` (the working type) or `f64` (gradient checks and golden comparisons).
pub trait Real:
    bytemuck::Pod
    + Send
    + Sync
    + Debug
    + Display
    + Default
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + std::iter::Sum
{
    const ZERO: Self;
    const ONE: Self;
    const NEG_INFINITY: Self;
    fn of(x: f64) -> Self;
    fn f64(self) -> f64;
    /// Rounded to nearest even where the type has too few digits.
    fn of_i32(x: i32) -> Self;
    /// The nearest integer, the even one of two; only for magnitudes below 2^22. A sum and a difference: loops over it are vectorised.
    fn round_even(self) -> i32;
    /// To nearest even; of an f64, the conversion looks at its first 20 fraction bits only.
    fn bf16(self) -> bf16;
    fn f16(self) -> f16;
    fn sqrt(self) -> Self;
    fn abs(self) -> Self;
    fn is_nan(self) -> bool;
    /// `self * a + b`: rounded once where `FUSED`, which is for code that is compiled for an instruction that does so (elsewhere
    /// it is a slow library call), else twice.
    fn mul_add<const FUSED: bool>(self, a: Self, b: Self) -> Self;
    /// The larger of the two; NaN if either is NaN.
    fn maximum(self, other: Self) -> Self {
        if self > other || self.is_nan() { self } else { other }
    }
}

macro_rules! real {
    ($t:ty, $bf16:path, $f16:path, $digits:literal) => {
        impl Real for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NEG_INFINITY: Self = <$t>::NEG_INFINITY;
            fn of(x: f64) -> Self {
                x as $t
            }
            fn f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn of_i32(x: i32) -> Self {
                x as $t
            }
            #[inline(always)]
            fn round_even(self) -> i32 {
                // The last digit of a number of this size counts ones.
                const ONES: $t = (3u64 << ($digits - 2)) as $t;
                ((self + ONES).to_bits() as i32).wrapping_sub(ONES.to_bits() as i32)
            }
            fn bf16(self) -> bf16 {
                $bf16(self)
            }
            fn f16(self) -> f16 {
                $f16(self)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                <$t>::sqrt(self)
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                <$t>::is_nan(self)
            }
            #[inline(always)]
            fn abs(self) -> Self {
                <$t>::abs(self)
            }
            #[inline(always)]
            fn mul_add<const FUSED: bool>(self, a: Self, b: Self) -> Self {
                if FUSED { <$t>::mul_add(self, a, b) } else { self * a + b }
            }
        }
    };
}
real!(f32, bf16::from_f32, f16::from_f32, 24);
real!(f64, bf16::from_f64, f16::from_f64, 53);
