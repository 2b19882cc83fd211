//! `ckaad bench kernels`: every launch by itself, beside the least time that the card could take for it.

use super::{Common, time};
use crate::bench::parts::{self, Measured, Part};
use crate::bench::roofline::{Card, of_backend};
use crate::cli::detector::DetectorArgs;
use crate::cli::options::{Format, card, count, print};
use crate::cli::plan::{What, target};
use crate::engine::device::cuda::{CudaSession, SimDriver};
use crate::engine::device::{Device, Session};
use crate::{Error, Result};
use std::fmt::Write as _;

/// Measure every kernel launch of a program by itself (on the CPU every op; on sim count what it does)
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Seconds are those of one launch behind another of the same, so its data may lie in a cache. GB/s counts every tensor once. The last
column is the least time that the card could take, by its arithmetic and its memory, as a share of the time measured.

On `--device sim`: warp instructions, the share of them that are tensor core products, 32-byte sectors beside the fewest possible,
passes over shared memory added by bank conflicts, and the least time on --card.")]
pub struct Args {
    /// The program
    #[arg(long, value_enum, default_value_t = What::Score)]
    work: What,
    #[command(flatten)]
    common: Common,
    /// Pictures at a time [default: 1 to score, 16 to train]
    #[arg(long, value_parser = count)]
    batch_size: Option<usize>,
    #[command(flatten)]
    detector: DetectorArgs,
    /// With --device sim: launch as on this card (a100, h100, h200, l4, l40s, rtx3090, rtx4090) [default: h200]
    #[arg(long, value_parser = card)]
    card: Option<Card>,
    #[arg(long, default_value_t = 20, value_parser = count)]
    repetitions: usize,
}

pub fn run(args: &Args) -> Result<bool> {
    let backend = match args.work {
        What::Train => args.common.device.training_backend()?,
        What::Score => args.common.device.backend()?,
    };
    let workload = args.work.workload(&args.common.networks, args.batch_size, &args.detector)?;
    let sim = backend.device == Device::Sim;
    let chosen = args.card.clone().or_else(|| if sim { Card::named("h200") } else { None });
    let target = target(&backend, chosen.as_ref())?;
    let card = chosen.map_or_else(|| of_backend(&backend), |c| Ok(Some(c)))?;
    let mut parts = Vec::new();
    for program in workload.record(backend.dtype())? {
        let tape = program.tape.clone();
        let mut session: Box<dyn Session> = match target.clone() {
            Some(t) if sim => {
                let driver = Box::new(SimDriver::new(SimDriver::MEMORY, t.multiprocessors, t.capability));
                Box::new(CudaSession::with_lanes(tape, driver, t.number, 1, t.choices)?)
            }
            _ => backend.open(tape)?,
        };
        workload.fill(&mut *session, &program)?;
        parts.extend(parts::measure(&mut *session, backend.number, card.as_ref(), args.repetitions)?);
    }
    match args.common.format {
        Format::Table => print(&table(&parts)?)?,
        Format::Json => {
            for part in &parts {
                let line = serde_json::to_string(part).map_err(|e| Error::Invalid(e.to_string()))?;
                print(&format!("{line}\n"))?;
            }
        }
    }
    Ok(true)
}

fn table(parts: &[Part]) -> Result<String> {
    let counted = parts.iter().any(|p| matches!(p.measured, Measured::Counted { .. }));
    let width = parts.iter().map(|p| p.name.len()).max().unwrap_or(0);
    let mut out = if counted {
        format!(
            "{:<width$} {:>12} {:>6} {:>10} {:>10} {:>9} {:>9}  layer\n",
            "kernel", "instructions", "mma", "sectors", "ideal", "conflicts", "least"
        )
    } else {
        format!("{:<width$} {:>10} {:>9} {:>8} {:>6}  layer\n", "kernel", "median", "GFLOP/s", "GB/s", "least")
    };
    let (mut all, mut least_of_all) = (0.0, 0.0);
    for p in parts {
        least_of_all += p.least_s.unwrap_or(0.0);
        let least = p.least_s.map_or_else(|| "-".into(), time);
        let (name, layer) = (&p.name, &p.layer);
        let _ = match &p.measured {
            Measured::Counted { instructions, mma_share, sectors, ideal_sectors, bank_conflicts } => {
                all += *instructions as f64;
                let mma = 100.0 * mma_share;
                writeln!(
                    out,
                    "{name:<width$} {instructions:>12} {mma:>4.0} % {sectors:>10} {ideal_sectors:>10} {bank_conflicts:>9} \
                     {least:>9}  {layer}"
                )
            }
            Measured::Time(s) => {
                all += s.median_s;
                let [flops, bytes] = [2 * p.multiply_adds, p.bytes].map(|n| n as f64 / s.median_s / 1e9);
                let share = p.least_s.map_or_else(|| "-".into(), |l| format!("{:.0} %", 100.0 * l / s.median_s));
                let median = time(s.median_s);
                writeln!(out, "{name:<width$} {median:>10} {flops:>9.1} {bytes:>8.1} {share:>6}  {layer}")
            }
            Measured::Planned => Ok(()),
        };
    }
    let sum = if counted { format!("{all:.0} warp instructions") } else { time(all) };
    let least = if least_of_all > 0.0 { format!(", {} at least", time(least_of_all)) } else { String::new() };
    let _ = writeln!(out, "\n{} parts, {sum}{least}", parts.len());
    Ok(out)
}
