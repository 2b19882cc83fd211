//! One of the CUDA kernels launched on the emulator, and its result beside that of plain Rust. No GPU is needed.
//!
//!     cargo run --release --example one_kernel

use ckaad::engine::device::cuda::{CudaSession, SimDriver};
use ckaad::engine::device::{Cost, Session};
use ckaad::engine::ops::Activation;
use ckaad::engine::tape::Tape;
use ckaad::engine::tensor::{DType, Shape};
use ckaad::engine::toolkit::cuda::Number;

fn main() -> ckaad::Result<()> {
    // A program of one record, and a session that launches it as on a GPU, on a driver that executes the PTX here.
    let mut t = Tape::new(DType::F32);
    let x = t.input(Shape([1, 16, 16, 32]), DType::F32)?;
    let y = t.activate(x, Activation::LeakyRelu(0.1))?;
    t.output(y);
    let mut session = CudaSession::new(t, Box::new(SimDriver::default()), Number::F32)?;
    for (_, launch) in session.launches() {
        let [blocks, threads] = [launch.grid, launch.block].map(|d| d.map(|n| n.to_string()).join(" x "));
        println!("{} in {blocks} blocks of {threads} threads", launch.call.entry.name);
    }

    let session: &mut dyn Session = &mut session;
    let values: Vec<f32> = (0..16 * 16 * 32).map(|i| (i as f32 * 0.37).sin()).collect();
    session.write(x, &values)?;
    session.run()?;
    let found: Vec<f32> = session.read(y)?;
    let expected = |v: f32| if v > 0.0 { v } else { 0.1 * v };
    assert!(found.iter().zip(&values).all(|(f, v)| *f == expected(*v)));
    println!("{} values, all as plain Rust computes them", found.len());

    // What the kernel did, as the emulator counted it.
    session.write(x, &values)?;
    for profile in session.profile(1)? {
        if let Cost::Counters(c) = profile.cost {
            let (all, sectors, ideal) = (c.total(), c.sectors, c.ideal_sectors);
            println!("{all} warp instructions; {sectors} sectors of 32 bytes moved, {ideal} would be the fewest");
        }
    }
    Ok(())
}
