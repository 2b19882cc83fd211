//! From syntax to decoded operations: an entry and all it calls become one [`Routine`](op::Routine) of compact operations
//! on numbered registers. Whatever is not supported is refused here, with its line.
//!
//! An arithmetic operation carries the function that computes it, so those functions are here too ([`lanes`]); operations
//! that touch memory or other lanes are executed in `run`. Imports `text`.

mod allocate;
pub mod calls;
pub mod class;
mod conversion;
pub mod entry;

mod instruction;
pub mod lanes;
mod memory;
pub mod op;
mod system;
pub mod windows;
