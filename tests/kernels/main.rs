//! The CUDA kernels, the very PTX that ships, against the CPU in f64: on the emulator, or on a GPU with
//! `CKAAD_TEST_DEVICE=cuda`.

#[path = "../common/mod.rs"]
mod common;

mod budgets;
mod bytes;
mod classification;
mod errors;
mod gradients;
mod kept;
mod lanes;
mod leaves;
mod parity;
mod stand_in;
mod tuning;
mod values;

use ckaad::engine::device::cuda::CudaSession;
use ckaad::engine::tape::Tape;
use ckaad::engine::toolkit::cuda::{Choices, Number};

fn session(tape: Tape, number: Number) -> ckaad::Result<CudaSession> {
    CudaSession::new(tape, common::driver(), number)
}

fn session_by(choices: Choices, tape: Tape, number: Number) -> ckaad::Result<CudaSession> {
    CudaSession::with_lanes(tape, common::driver(), number, 1, choices)
}
