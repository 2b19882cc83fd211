//! `ckaad bench train`: one training step, from pictures in host memory to its losses there.

use super::{Common, Report, launches, refuse_sim};
use crate::Result;
use crate::bench::repeat;
use crate::bench::workload::{Kind, Workload};
use crate::cli::options::count;
use crate::cli::train::StrategyName;
use crate::engine::tape::Var;
use crate::engine::tensor::DType;
use serde_json::json;
use std::time::Instant;

/// Measure a training step: discriminator and auto-encoder, N normal and N anomalous pictures
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Normal pictures in a step, and as many anomalous ones
    #[arg(long, default_value_t = 16, value_parser = count)]
    batch_size: usize,
    #[arg(long, value_enum, default_value_t = StrategyName::Ckapatch)]
    strategy: StrategyName,
    /// Whether the backbone runs on the normal pictures in every step, or their features come from a cache
    #[arg(long, value_enum, default_value_t = Features::Computed)]
    features: Features,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Features {
    Computed,
    Cached,
}

pub fn run(args: &Args) -> Result<bool> {
    let backend = args.common.device.training_backend()?;
    refuse_sim(backend, "train")?;
    let cached = args.features == Features::Cached;
    let kind = Kind::train(args.batch_size, args.strategy.strategy(), cached);
    let workload = Workload { architecture: args.common.networks.architecture()?, kind };
    let (tape, recording) = workload.record(backend.dtype())?.split();
    let launches = launches(&tape, backend)?;
    let mut session = backend.open(tape)?;
    workload.fill(&mut *session, &recording)?;
    // As in training: features stay on the device if it keeps them.
    let is_features = |v: Var| session.tape().info(v).dtype != DType::U8;
    let features: Vec<bool> = recording.inputs.iter().map(|v| is_features(*v)).collect();
    let inputs = || recording.inputs.iter().zip(&recording.random_input).zip(&features);
    let mut kept = Vec::new();
    inputs().filter(|(_, features)| **features).for_each(|((_, bytes), _)| kept.extend_from_slice(bytes));
    let on_device = cached && session.keep(&kept)?;
    let mut outputs: Vec<Vec<u8>> = recording.outputs.iter().map(|_| vec![0; 4]).collect();
    let [total, write, compute, read] = repeat(|| {
        let begun = Instant::now();
        let mut at = 0;
        for ((v, bytes), features) in inputs() {
            if on_device && *features {
                session.write_kept(*v, std::slice::from_ref(&(at..at + bytes.len())))?;
                at += bytes.len();
            } else {
                session.write_bytes(*v, bytes)?;
            }
        }
        let written = begun.elapsed().as_secs_f64();
        session.run()?;
        session.synchronize()?;
        let computed = begun.elapsed().as_secs_f64();
        for (v, bytes) in recording.outputs.iter().zip(&mut outputs) {
            session.read_bytes(*v, bytes)?;
        }
        let read = begun.elapsed().as_secs_f64();
        Ok([read, written, computed - written, read - computed])
    })?;
    let images = workload.kind.images();
    let report = Report {
        work: "train",
        architecture: &workload.architecture,
        batch: args.batch_size,
        backend,
        launches,
        images,
        images_per_s: images as f64 / total.median_s,
        stages: vec![("total", total), ("write", write), ("compute", compute), ("read", read)],
        more: ("features", json!(if cached { "cached" } else { "computed" })),
        note: format!("features of normal pictures {}", if cached { "from a cache" } else { "computed in every step" }),
    };
    report.print(args.common.format)?;
    Ok(true)
}
