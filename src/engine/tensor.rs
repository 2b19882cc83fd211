//! Element types, shapes and host tensors: what goes into a device and what comes out.

use crate::engine::real::Real;
use crate::{Error, Result};
use half::{bf16, f16};
use std::fmt;

/// Element type of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    F64,
    F32,
    Bf16,
    F16,
    I16,
    U8,
    I8,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::F64 => 8,
            DType::F32 => 4,
            DType::Bf16 | DType::F16 | DType::I16 => 2,
            DType::U8 | DType::I8 => 1,
        }
    }

    /// `x` as this type keeps it, to nearest even.
    pub fn round(self, x: f64) -> f64 {
        match self {
            DType::F64 => x,
            DType::F32 => x as f32 as f64,
            DType::Bf16 => bf16::from_f64(x).to_f64(),
            DType::F16 => f16::from_f64(x).to_f64(),
            DType::I16 => x as i16 as f64,
            DType::U8 => x as u8 as f64,
            DType::I8 => x as i8 as f64,
        }
    }

    /// What a program that keeps its tensors in this type keeps sums, losses, gradients of parameters and the optimizer's
    /// numbers in: 16 bits have too few digits for them.
    pub fn exact(self) -> DType {
        if matches!(self, DType::Bf16 | DType::F16) { DType::F32 } else { self }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            DType::F64 => "f64",
            DType::F32 => "f32",
            DType::Bf16 => "bf16",
            DType::F16 => "f16",
            DType::I16 => "i16",
            DType::U8 => "u8",
            DType::I8 => "i8",
        })
    }
}

/// A Rust type that a tensor can hold.
pub trait Element: bytemuck::Pod {
    const DTYPE: DType;
}

macro_rules! element {
    ($($t:ty => $d:ident),*) => { $(impl Element for $t { const DTYPE: DType = DType::$d; })* };
}
element!(f64 => F64, f32 => F32, bf16 => Bf16, f16 => F16, i16 => I16, u8 => U8, i8 => I8);

/// Sizes of a rank-4 tensor in memory order: (n, h, w, c) for activations, (k, r, s, c) for weights,
/// (1, 1, 1, c) for vectors, (1, 1, 1, 1) for scalars.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape(pub [usize; 4]);

impl Shape {
    pub const SCALAR: Shape = Shape([1; 4]);

    pub fn vector(c: usize) -> Self {
        Shape([1, 1, 1, c])
    }

    pub fn n(self) -> usize {
        self.0[0]
    }

    pub fn h(self) -> usize {
        self.0[1]
    }

    pub fn w(self) -> usize {
        self.0[2]
    }

    pub fn c(self) -> usize {
        self.0[3]
    }

    /// Number of elements.
    pub fn len(self) -> usize {
        self.0.iter().product()
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Refuses empty tensors and those whose element count does not fit the kernels' 31-bit indices.
    pub fn check(self) -> Result<Self> {
        let len = self.0.iter().try_fold(1usize, |a, &b| a.checked_mul(b));
        match len {
            Some(1..=0x7fff_ffff) => Ok(self),
            _ => Err(Error::Invalid(format!("a tensor of shape {self} must have between 1 and 2^31 - 1 elements"))),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let [n, h, w, c] = self.0;
        write!(f, "{n}x{h}x{w}x{c}")
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One cache line; buffers are made of whole lines so that every tensor starts on one.
#[repr(C, align(64))]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Line([u8; 64]);

/// Zeroed, line-aligned memory of at least `bytes` bytes. Untouched pages cost nothing until written.
pub fn lines(bytes: usize) -> Vec<Line> {
    vec![bytemuck::Zeroable::zeroed(); bytes.div_ceil(size_of::<Line>())]
}

/// A tensor in host memory.
#[derive(Clone)]
pub struct Tensor {
    shape: Shape,
    dtype: DType,
    data: Vec<Line>,
}

impl Tensor {
    pub fn zeros(shape: Shape, dtype: DType) -> Self {
        Tensor { shape, dtype, data: lines(shape.len() * dtype.size()) }
    }

    /// Fails when `values` does not have exactly the shape's number of elements.
    pub fn from_slice<E: Element>(shape: Shape, values: &[E]) -> Result<Self> {
        if values.len() != shape.len() {
            crate::invalid!("a tensor of shape {shape} needs {} values, found {}", shape.len(), values.len());
        }
        let mut t = Tensor::zeros(shape, E::DTYPE);
        t.bytes_mut().copy_from_slice(bytemuck::cast_slice(values));
        Ok(t)
    }

    /// As many of `values` as the shape has, rounded to `dtype`.
    pub fn rounded<T: Real>(shape: Shape, dtype: DType, values: impl IntoIterator<Item = T>) -> Tensor {
        fn fill<T, E: Element>(t: &mut Tensor, values: impl Iterator<Item = T>, of: impl Fn(T) -> E) {
            bytemuck::cast_slice_mut(t.bytes_mut()).iter_mut().zip(values).for_each(|(to, x)| *to = of(x));
        }
        let (mut t, values) = (Tensor::zeros(shape, dtype), values.into_iter());
        match dtype {
            DType::F64 => fill(&mut t, values, T::f64),
            DType::F32 => fill(&mut t, values, |x| x.f64() as f32),
            DType::Bf16 => fill(&mut t, values, T::bf16),
            DType::F16 => fill(&mut t, values, T::f16),
            DType::I16 => fill(&mut t, values, |x| x.f64() as i16),
            DType::U8 => fill(&mut t, values, |x| x.f64() as u8),
            DType::I8 => fill(&mut t, values, |x| x.f64() as i8),
        }
        t
    }

    pub fn shape(&self) -> Shape {
        self.shape
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.data)[..self.shape.len() * self.dtype.size()]
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.shape.len() * self.dtype.size();
        &mut bytemuck::cast_slice_mut(&mut self.data)[..len]
    }

    /// The elements, if they are of type `E`.
    pub fn as_slice<E: Element>(&self) -> Result<&[E]> {
        if E::DTYPE != self.dtype {
            crate::invalid!("a tensor of {} was read as {}", self.dtype, E::DTYPE);
        }
        Ok(bytemuck::cast_slice(self.bytes()))
    }

    /// A copy of the elements as `T`, whatever their type.
    pub fn to_vec<T: Real>(&self) -> Vec<T> {
        let b = self.bytes();
        match self.dtype {
            DType::F64 => bytemuck::cast_slice::<_, f64>(b).iter().map(|&x| T::of(x)).collect(),
            DType::F32 => bytemuck::cast_slice::<_, f32>(b).iter().map(|&x| T::of(x as f64)).collect(),
            DType::Bf16 => bytemuck::cast_slice::<_, bf16>(b).iter().map(|x| T::of(x.to_f64())).collect(),
            DType::F16 => bytemuck::cast_slice::<_, f16>(b).iter().map(|x| T::of(x.to_f64())).collect(),
            DType::I16 => bytemuck::cast_slice::<_, i16>(b).iter().map(|&x| T::of(x as f64)).collect(),
            DType::U8 => b.iter().map(|&x| T::of(x as f64)).collect(),
            DType::I8 => b.iter().map(|&x| T::of(x as i8 as f64)).collect(),
        }
    }
}
