//! Where the state spaces that are no device memory lie in 64-bit generic addresses.

/// Where shared memory appears in generic addresses. The low half is zero, so an address narrowed to 32 bits is the
/// offset in shared memory, as kernels expect.
pub const SHARED_WINDOW: u64 = 1 << 32;
pub const LOCAL_WINDOW: u64 = 2 << 32;
/// Where functions are, by their number: what calls by address are given.
pub const FUNCTIONS: u64 = 3 << 32;
pub const FUNCTION_SIZE: u64 = 16;
/// Where module variables live.
pub const GLOBALS: u64 = 8 << 32;
