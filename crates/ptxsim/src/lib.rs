//! Runs PTX kernels on the CPU and checks what a GPU would not tell.
//!
//! [`Module::parse`] reads PTX text as NVRTC 12.1 emits it (ISA 8.1, `sm_80`), [`Module::launch`] runs one kernel on
//! device [`Memory`]. A launch either ends with [`Counters`] (instructions by class, sectors, bank conflicts) or with a
//! [`Fault`] that names kernel, PTX line, block, thread and address:
//!
//! - accesses out of bounds, misaligned, to memory the launch was not given, writes to read-only ranges;
//! - reads of bytes that nobody wrote, in global, shared and local memory;
//! - races in shared memory: two threads, the same bytes, one of them writing, no barrier in between;
//! - data of `cp.async` used before its wait;
//! - barriers under divergence, member masks that name absent lanes, deadlocks.
//!
//! [`Device`] is a whole device around that: loaded modules, streams and events, graphs that are captured and replayed.
//!
//! An instruction or modifier that is not supported is a [`ParseError`] with its line, never a guess. What is supported
//! and how results are rounded is listed in the README.
//!
//! ```
//! use ptxsim::{Launch, Memory, Module, Options};
//!
//! let text = "
//! .version 8.1
//! .target sm_80
//! .address_size 64
//! .visible .entry scale(.param .u64 data, .param .f32 factor) {
//!     .reg .b64 %rd<4>; .reg .b32 %r<2>; .reg .f32 %f<3>;
//!     ld.param.u64 %rd1, [data];
//!     ld.param.f32 %f1, [factor];
//!     mov.u32 %r1, %tid.x;
//!     mul.wide.u32 %rd2, %r1, 4;
//!     add.u64 %rd3, %rd1, %rd2;
//!     ld.global.f32 %f2, [%rd3];
//!     mul.f32 %f2, %f2, %f1;
//!     st.global.f32 [%rd3], %f2;
//!     ret;
//! }";
//! let module = Module::parse("scale.ptx", text)?;
//!
//! let mut memory = Memory::new(1 << 20);
//! let data = memory.alloc(32 * 4)?;
//! for i in 0..32u64 {
//!     memory.write(data + 4 * i, &(i as f32).to_le_bytes())?;
//! }
//! let mut params = data.to_le_bytes().to_vec();
//! params.extend(0.5f32.to_le_bytes());
//! let launch = Launch {
//!     entry: "scale",
//!     grid: [1, 1, 1],
//!     block: [32, 1, 1],
//!     dynamic_shared: 0,
//!     params: &params,
//!     buffers: None,
//! };
//! let counters = module.launch(&memory, &launch, &Options::default())?;
//! assert_eq!((counters.sectors, counters.ideal_sectors), (8, 8));
//!
//! let mut last = [0; 4];
//! memory.read(data + 31 * 4, &mut last)?;
//! assert_eq!(f32::from_le_bytes(last), 15.5);
//!
//! // One thread too many: reported, not executed.
//! let fault = module.launch(&memory, &Launch { block: [33, 1, 1], ..launch }, &Options::default()).unwrap_err();
//! assert_eq!((fault.kind, fault.line, fault.thread), (ptxsim::FaultKind::OutOfBounds, 12, [32, 0, 0]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// Four rooms, and what they may import: `text` nothing but `error`; `lower` also `text`; `run` also `lower` and `text`;
// `device` also `run`. Data goes the same way: text becomes syntax, syntax decoded operations, those are run, and a device
// runs many. Nothing is imported against that direction.

// Lanes are counted: loops over them index several arrays in step.
#![allow(clippy::needless_range_loop)]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod device;
mod error;
mod lower;
mod run;
mod text;

pub use device::{Device, Event, Graph, HostBuffer, KernelLaunch, Launched, ModuleId, Stream, Work};
pub use error::{DeviceError, Fault, FaultKind, MemoryError, ParseError};
pub use lower::class::Class;
pub use run::counters::Counters;
pub use run::launch::{Launch, Options};
pub use run::memory::Memory;
pub use run::module::{Kernel, Module, Param};
pub use run::trace::{Touch, Touched};
pub use run::view::{Access, Buffer};
