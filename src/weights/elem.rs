//! Element types of stored tensors.

use half::{bf16, f16};

/// The type of a stored tensor's elements; all are little-endian in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Elem {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl std::fmt::Display for Elem {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Elem {
    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            Elem::F64 | Elem::I64 => 8,
            Elem::F32 | Elem::I32 => 4,
            Elem::F16 | Elem::BF16 | Elem::I16 => 2,
            Elem::I8 | Elem::U8 | Elem::Bool => 1,
        }
    }

    /// The name that safetensors headers use.
    pub fn name(self) -> &'static str {
        match self {
            Elem::F64 => "F64",
            Elem::F32 => "F32",
            Elem::F16 => "F16",
            Elem::BF16 => "BF16",
            Elem::I64 => "I64",
            Elem::I32 => "I32",
            Elem::I16 => "I16",
            Elem::I8 => "I8",
            Elem::U8 => "U8",
            Elem::Bool => "BOOL",
        }
    }

    /// The type behind a PyTorch storage class (`torch.FloatStorage`), or `None` for one that is not supported.
    pub(super) fn of_storage(class: &str) -> Option<Elem> {
        Some(match class {
            "DoubleStorage" => Elem::F64,
            "FloatStorage" => Elem::F32,
            "HalfStorage" => Elem::F16,
            "BFloat16Storage" => Elem::BF16,
            "LongStorage" => Elem::I64,
            "IntStorage" => Elem::I32,
            "ShortStorage" => Elem::I16,
            "CharStorage" => Elem::I8,
            "ByteStorage" => Elem::U8,
            "BoolStorage" => Elem::Bool,
            _ => return None,
        })
    }
}

/// A Rust type that can be an element of a tensor.
pub trait Element: bytemuck::Pod {
    const ELEM: Elem;
    /// Decodes one little-endian element; `bytes` holds exactly [`Elem::size`] bytes.
    fn decode(bytes: &[u8]) -> Self;
    fn f64(self) -> f64;
}

macro_rules! element {
    ($($t:ty => $elem:ident, |$x:ident| $wide:expr;)*) => {$(
        impl Element for $t {
            const ELEM: Elem = Elem::$elem;
            #[inline(always)]
            fn decode(bytes: &[u8]) -> Self {
                let mut raw = [0; size_of::<$t>()];
                raw.copy_from_slice(bytes);
                <$t>::from_le_bytes(raw)
            }
            #[inline(always)]
            fn f64(self) -> f64 {
                let $x = self;
                $wide
            }
        }
    )*};
}
element! {
    f64 => F64, |x| x;
    f32 => F32, |x| f64::from(x);
    f16 => F16, |x| x.to_f64();
    bf16 => BF16, |x| x.to_f64();
    i64 => I64, |x| x as f64;
    i32 => I32, |x| f64::from(x);
    i16 => I16, |x| f64::from(x);
    i8 => I8, |x| f64::from(x);
    u8 => U8, |x| f64::from(x);
}
