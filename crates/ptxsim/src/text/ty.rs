//! PTX types, state spaces and operands, as the parser hands them on.

use std::fmt;

/// A fundamental PTX type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ty {
    Pred,
    B8,
    B16,
    B32,
    B64,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    Tf32,
    F32,
    F64,
}

impl Ty {
    pub fn parse(name: &str) -> Option<Ty> {
        Some(match name {
            "pred" => Ty::Pred,
            "b8" => Ty::B8,
            "b16" => Ty::B16,
            "b32" => Ty::B32,
            "b64" => Ty::B64,
            "u8" => Ty::U8,
            "u16" => Ty::U16,
            "u32" => Ty::U32,
            "u64" => Ty::U64,
            "s8" => Ty::S8,
            "s16" => Ty::S16,
            "s32" => Ty::S32,
            "s64" => Ty::S64,
            "f16" => Ty::F16,
            "f16x2" => Ty::F16x2,
            "bf16" => Ty::Bf16,
            "bf16x2" => Ty::Bf16x2,
            "tf32" => Ty::Tf32,
            "f32" => Ty::F32,
            "f64" => Ty::F64,
            _ => return None,
        })
    }

    /// Width in bits; a predicate counts as one.
    pub fn bits(self) -> u32 {
        match self {
            Ty::Pred => 1,
            Ty::B8 | Ty::U8 | Ty::S8 => 8,
            Ty::B16 | Ty::U16 | Ty::S16 | Ty::F16 | Ty::Bf16 => 16,
            Ty::B32 | Ty::U32 | Ty::S32 | Ty::F32 | Ty::F16x2 | Ty::Bf16x2 | Ty::Tf32 => 32,
            Ty::B64 | Ty::U64 | Ty::S64 | Ty::F64 => 64,
        }
    }

    pub fn bytes(self) -> u32 {
        self.bits().div_ceil(8)
    }

    pub fn is_signed(self) -> bool {
        matches!(self, Ty::S8 | Ty::S16 | Ty::S32 | Ty::S64)
    }

    pub fn is_float(self) -> bool {
        matches!(self, Ty::F16 | Ty::Bf16 | Ty::F32 | Ty::F64 | Ty::Tf32 | Ty::F16x2 | Ty::Bf16x2)
    }

    /// Which register bank holds a value of this type.
    pub fn bank(self) -> Bank {
        match self.bits() {
            1 => Bank::P,
            64 => Bank::D,
            _ => Bank::W,
        }
    }
}

/// Register banks: predicates (one mask per register), 32-bit words, 64-bit words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bank {
    P,
    W,
    D,
}

/// State spaces that variables and memory instructions name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    Generic,
    Global,
    Shared,
    Local,
    Const,
    Param,
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Space::Generic => "generic",
            Space::Global => "global",
            Space::Shared => "shared",
            Space::Local => "local",
            Space::Const => "const",
            Space::Param => "param",
        })
    }
}

/// One operand of an instruction, names already resolved.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A register declared in the text, by its number in the function.
    Reg(usize),
    /// `!%p`.
    NotReg(usize),
    /// `%tid.x`, `%laneid` and the like, without the percent sign.
    Special(String),
    Int(i128),
    F32(u32),
    F64(u64),
    /// A variable, or a variable plus a constant.
    Symbol {
        name: String,
        offset: i64,
    },
    /// `[base + offset]`.
    Address {
        base: Box<Operand>,
        offset: i64,
    },
    Vector(Vec<Operand>),
    /// `d|p`.
    Pair(Box<Operand>, Box<Operand>),
    /// A word that no declaration in sight explains (yet): a label or a function, looked up from this scope.
    Name {
        name: String,
        scope: usize,
    },
    /// A label, by its number in the function.
    Label(usize),
    /// `( a, b )` of a call.
    List(Vec<Operand>),
    /// `_`.
    Sink,
}
