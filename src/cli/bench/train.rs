//! `ckaad bench train`: one training step, from pictures in host memory to its losses there.

use super::{Common, Report, refuse_sim};
use crate::Result;
use crate::bench::repeat;
use crate::bench::workload::{Kind, Workload, random_input};
use crate::cli::detector::DetectorArgs;
use crate::cli::options::count;
use crate::detector::Learning;
use crate::engine::device::Session;
use crate::engine::tape::Var;
use crate::engine::tensor::DType;
use crate::program::Program;
use serde_json::json;
use std::time::Instant;

/// Measure a training step of N normal and, where the detector uses them, N anomalous pictures; of a fit, its features
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Normal pictures in a step, and as many anomalous ones
    #[arg(long, default_value_t = 16, value_parser = count)]
    batch_size: usize,
    #[command(flatten)]
    detector: DetectorArgs,
    /// Whether the backbone runs on the normal pictures in every step, or their features come from a cache; a fit has no steps
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
    refuse_sim(&backend, "train")?;
    let cached = args.features == Features::Cached;
    let kind = Kind::Train { batch: args.batch_size, cached };
    let (detector, architecture) = (args.detector.detector()?, args.common.networks.architecture()?);
    let workload = Workload { detector, architecture, kind, scheme: None };
    let programs = workload.record(backend.number)?;
    let mut launches = None;
    let mut parts = Vec::new();
    for program in &programs {
        if let Some(of_program) = super::launches(&program.tape, &backend)? {
            *launches.get_or_insert(0) += of_program;
        }
        let mut session = backend.open(program.tape.clone())?;
        workload.fill(&mut *session, program)?;
        let inputs = random_input(program);
        // As in training: features stay on the device if it keeps them.
        let mut kept = Vec::new();
        for (v, bytes) in &inputs {
            if is_features(&*session, *v) {
                kept.extend_from_slice(bytes);
            }
        }
        let on_device = cached && session.keep(&kept)?;
        // Losses; features that a fit takes from the device are read, too.
        let outputs: Vec<(Var, Vec<u8>)> = program
            .reports
            .iter()
            .map(|(_, v)| (*v, vec![0; program.tape.shape(*v).len() * program.tape.info(*v).dtype.size()]))
            .collect();
        parts.push(Part { session, inputs, on_device, outputs });
    }
    let [total, write, compute, read] = repeat(|| {
        let mut seconds = [0.0; 4];
        for part in &mut parts {
            let [written, computed, read] = part.run()?;
            let of_part = [written + computed + read, written, computed, read];
            seconds.iter_mut().zip(of_part).for_each(|(sum, s)| *sum += s);
        }
        Ok(seconds)
    })?;
    let images = programs.iter().map(Program::pictures).max().unwrap_or(0);
    let note = match workload.detector.learning() {
        Learning::Fit(_) => "features of one batch of normal pictures; what is fitted to all of them is not measured",
        Learning::Steps(_) if cached => "features of normal pictures from a cache",
        Learning::Steps(_) => "features of normal pictures computed in every step",
    };
    let report = Report {
        work: "train",
        architecture: &workload.architecture,
        batch: args.batch_size,
        backend: &backend,
        launches,
        images,
        images_per_s: images as f64 / total.median_s,
        stages: vec![("total", total), ("write", write), ("compute", compute), ("read", read)],
        more: ("features", json!(if cached { "cached" } else { "computed" })),
        note: note.into(),
    };
    report.print(args.common.format)?;
    Ok(true)
}

/// One of a step's programs, with its input.
struct Part {
    session: Box<dyn Session>,
    inputs: Vec<(Var, Vec<u8>)>,
    /// Whether features lie on the device already.
    on_device: bool,
    outputs: Vec<(Var, Vec<u8>)>,
}

fn is_features(session: &dyn Session, v: Var) -> bool {
    session.tape().info(v).dtype != DType::U8
}

impl Part {
    /// Seconds to fill the inputs, to compute, and to read the results.
    fn run(&mut self) -> Result<[f64; 3]> {
        let begun = Instant::now();
        let mut at = 0;
        for (v, bytes) in &self.inputs {
            if self.on_device && is_features(&*self.session, *v) {
                self.session.write_kept(*v, std::slice::from_ref(&(at..at + bytes.len())))?;
                at += bytes.len();
            } else {
                self.session.write_bytes(*v, bytes)?;
            }
        }
        let written = begun.elapsed();
        self.session.run()?;
        self.session.synchronize()?;
        let computed = begun.elapsed();
        for (v, bytes) in &mut self.outputs {
            self.session.read_bytes(*v, bytes)?;
        }
        let read = begun.elapsed();
        Ok([written, computed - written, read - computed].map(|d| d.as_secs_f64()))
    }
}
