//! A stand-in for `libcuda.so.1`: the CUDA driver API, run by the PTX emulator `ptxsim` on the CPU, with no GPU and no NVIDIA
//! driver. Stricter than a card: work is done as late as it may be, or in an order drawn from a seed, and what only works by luck is
//! reported with the call that it is about. The README says how to use it and what is real.
//!
//! Layers, each importing those after it: `api` and `absent` (the exported functions), `submit`, `capture`, `assemble`, `perform`, `lend`
//! and `leaks` (streams, launches; captures; graphs by their nodes; the work itself; host memory in kernels; what is left at the end),
//! `driver` and `lock` (all state, and the place that calls take it from), `queue`, `races`, `freed`, `graph`,
//! `table`, `host`, `work`, `clock`, `symbols` (names that older drivers lack), and `settings`, `since`, `card`, `fork`, `report`, `status`.

// The names are the API's.
#![allow(non_snake_case)]

mod absent;
mod api;
mod assemble;
mod capture;
mod card;
mod clock;
mod driver;
mod fork;
mod freed;
mod graph;
mod host;
mod leaks;
mod lend;
mod lock;
mod perform;
mod queue;
mod races;
mod report;
mod settings;
mod since;
mod status;
mod submit;
mod symbols;
mod table;
mod work;
