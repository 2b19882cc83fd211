//! What kind of work an instruction is, for counting.

/// Classes of warp instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Class {
    /// Integer arithmetic, logic, shifts, bit fields.
    Integer,
    /// `fma.f32`.
    Ffma,
    /// Other f32 arithmetic.
    Float,
    /// f16 and bf16 arithmetic.
    Half,
    /// f64 arithmetic.
    Double,
    /// Reciprocal, square root, exponential and the like.
    Special,
    /// `setp`, `set`, `testp`.
    Compare,
    /// `cvt`.
    Convert,
    /// Moves, selections, address conversions.
    Move,
    /// Loads from global memory, and generic ones.
    LoadGlobal,
    /// Stores to global memory, and generic ones.
    StoreGlobal,
    /// Loads from shared memory.
    LoadShared,
    /// Stores to shared memory.
    StoreShared,
    /// Loads and stores of local memory, and of parameters of called functions.
    Local,
    /// Loads of parameters and constants.
    Constant,
    /// `atom` and `red`.
    Atomic,
    /// `cp.async`, its commits and waits.
    AsyncCopy,
    /// `ldmatrix`.
    LoadMatrix,
    /// `mma`.
    Mma,
    /// Shuffles, votes, warp barriers.
    Warp,
    /// `bar`, `barrier`, `membar`, `fence`.
    Barrier,
    /// Branches, calls, returns, and what has no effect here (`prefetch`, `nanosleep`).
    Control,
}

impl Class {
    /// All classes, in the order of [`Counters::instructions`](crate::Counters::instructions).
    pub const ALL: [Class; 22] = [
        Class::Integer,
        Class::Ffma,
        Class::Float,
        Class::Half,
        Class::Double,
        Class::Special,
        Class::Compare,
        Class::Convert,
        Class::Move,
        Class::LoadGlobal,
        Class::StoreGlobal,
        Class::LoadShared,
        Class::StoreShared,
        Class::Local,
        Class::Constant,
        Class::Atomic,
        Class::AsyncCopy,
        Class::LoadMatrix,
        Class::Mma,
        Class::Warp,
        Class::Barrier,
        Class::Control,
    ];
}
