//! A small network recorded on the tape, differentiated and trained on the CPU.
//!
//!     cargo run --release --example small_net

use ckaad::engine::device::cpu;
use ckaad::engine::ops::optimizer::{Adam, LrSchedule};
use ckaad::engine::ops::{Activation, conv2d};
use ckaad::engine::params::Init;
use ckaad::engine::tape::Tape;
use ckaad::engine::tensor::{DType, Shape};
use ckaad::model::init;

fn main() -> ckaad::Result<()> {
    // What to compute: two convolutions that shall map `x` to directions of `y`, and how far off they are. Nothing runs yet.
    let mut t = Tape::new(DType::F32);
    let net = t.network("small");
    let x = t.input(Shape([4, 8, 8, 3]), DType::F32)?;
    let y = t.input(Shape([4, 8, 8, 16]), DType::F32)?;
    let first = t.param(net, "first.weight", &[32, 3, 3, 3], Init::Normal(0.2))?;
    let second = t.param(net, "second.weight", &[16, 32, 1, 1], Init::Normal(0.2))?;
    let same = conv2d::Options { act: Activation::Relu, ..conv2d::Options::square(1, 1) };
    let hidden = t.conv2d(x, first, same)?;
    let found = t.conv2d(hidden, second, conv2d::Options::square(1, 0))?;
    let loss = t.cosine_loss(y, found, 0..4)?;
    // Appends the gradients' records, then the optimizer's.
    t.backward(loss, net)?;
    t.adam(Adam { net, lr: 0.01, betas: (0.9, 0.999), eps: 1e-8, schedule: LrSchedule::Constant })?;
    t.output(loss);
    print!("{t}");

    // Where: a session plans all memory at once. `ckaad::backend` chooses a GPU instead, where there is one.
    let mut session = cpu::session(t)?;
    println!("\n{}\n", session.plan().usage);
    let fresh = init::network(session.tape().parameters(net), 0);
    session.write_params(net, &fresh)?;
    // Every pixel's target is a fixed mixture of its three channels.
    let inputs: Vec<f32> = (0..4 * 8 * 8 * 3).map(|i| (i as f32 * 0.7).sin()).collect();
    let mixture = |pixel: &[f32], k: usize| (0..3).map(|c| pixel[c] * (k as f32 + 2.0 * c as f32).cos()).sum::<f32>();
    let targets: Vec<f32> = inputs.chunks(3).flat_map(|pixel| (0..16).map(move |k| mixture(pixel, k))).collect();
    let mut losses = Vec::new();
    for step in 0..200 {
        // Inputs share their memory with what comes later: they are written before every run.
        session.write(x, &inputs)?;
        session.write(y, &targets)?;
        session.run()?;
        losses.push(session.scalar(loss)?);
        if step % 40 == 0 {
            println!("step {step:>3}: loss {:.4}", losses[step]);
        }
    }
    println!("in the end: loss {:.4}", losses[losses.len() - 1]);
    assert!(losses[losses.len() - 1] < 0.5 * losses[0], "200 steps halve the loss");
    Ok(())
}
