//! `ckaad bench kernels`: every launch by itself, beside the least time that the card could take for it.

use super::against::{self, Rival};
use super::{Common, time};
use crate::bench::parts::{self, Measured, Part};
use crate::bench::roofline::{Card, Cpu, Limits, of_backend};
use crate::cli::detector::DetectorArgs;
use crate::cli::options::{Format, card, count, print};
use crate::cli::plan::{What, target};
use crate::engine::device::cuda::{CudaSession, SimDriver};
use crate::engine::device::{Device, Session};
use crate::{Error, Result};
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Measure every kernel launch of a program by itself (on the CPU every op; on sim count what it does)
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Seconds are those of one launch behind another of the same, so its data may lie in a cache. GB/s counts every tensor once. The last \
column is the least time that the card could take, by its arithmetic and its memory, as a share of the time measured. On the CPU it is that of \
the products, at the rate that a loop over them reaches here; Winograd's form takes fewer products than are counted, and may be above 100 %.

On `--device sim`: warp instructions, the share of them that are tensor core products, 32-byte sectors beside the fewest possible, \
passes over shared memory added by bank conflicts, and the least time on --card.

Shares are of the sum of what the rows show; the spread is how far the 95th percentile lies above the median.

Examples:
  ckaad bench kernels --device sim --format json > old.json
  CKAAD_PTX=kernels/ptx ckaad bench kernels --device sim --baseline old.json --sort ratio")]
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
    /// With --device sim: launch as on this card (a100, a40, h100, h200, l4, l40s, rtx3090, rtx4090, rtx5090) [default: h200]
    #[arg(long, value_parser = card)]
    card: Option<Card>,
    #[arg(long, default_value_t = 20, value_parser = count)]
    repetitions: usize,
    /// What an earlier run with --format json wrote: show every part's ratio to it
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Measure every convolution of the program, without what is fused with it, beside another library's (on a GPU, of a ckaad that
    /// was built with --features cudnn): both times, their ratio, and how far the results are apart
    #[arg(long, value_enum, conflicts_with_all = ["card", "baseline", "sort"])]
    against: Option<Rival>,
    /// In which order
    #[arg(long, value_enum, default_value_t)]
    sort: Sort,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Sort {
    /// As they run
    #[default]
    Order,
    /// What takes longest first
    Time,
    Name,
    /// What became slowest beside --baseline first
    Ratio,
}

pub fn run(args: &Args) -> Result<bool> {
    let backend = match args.work {
        What::Train => args.common.device.training_backend()?,
        What::Score => args.common.device.backend()?,
    };
    if args.sort == Sort::Ratio && args.baseline.is_none() {
        return Err(Error::Usage("--sort ratio: a ratio to what? give --baseline".into()));
    }
    let workload = args.work.workload(&args.common.networks, args.batch_size, &args.detector)?;
    if let Some(Rival::Cudnn) = args.against {
        return against::run(&workload, &backend, args.repetitions, args.common.format);
    }
    let sim = backend.device == Device::Sim;
    let chosen = args.card.clone().or_else(|| if sim { Card::named("h200") } else { None });
    let target = target(&backend, chosen.as_ref())?;
    let limits = match chosen.map_or_else(|| of_backend(&backend), |c| Ok(Some(c)))? {
        Some(card) => Some(Limits::Card(card)),
        None => (backend.device == Device::Cpu).then(|| Limits::Cpu(Cpu::measure())),
    };
    if let Some(Limits::Cpu(Cpu { f32, int8 })) = limits {
        let [f32, int8] = [f32, int8].map(|products| products / 1e9);
        note!(
            "ckaad: {f32:.0} Gproducts/s in f32, {int8:.0} in int8 on all threads, operands in the nearest cache; 1 product is 2 FLOP"
        );
    }
    let mut parts = Vec::new();
    for program in workload.record(backend.number)? {
        let tape = program.tape.clone();
        let mut session: Box<dyn Session> = match target.clone() {
            Some(t) if sim => {
                let driver = Box::new(SimDriver::new(SimDriver::MEMORY, t.multiprocessors, t.chip));
                Box::new(CudaSession::with_lanes(tape, driver, t.number, 1, t.choices)?)
            }
            _ => backend.open(tape)?,
        };
        workload.fill(&mut *session, &program)?;
        parts.extend(parts::measure(&mut *session, backend.number, limits.as_ref(), args.repetitions)?);
    }
    let baseline = args.baseline.as_ref().map(|path| Baseline::read(path, sim, &parts)).transpose()?;
    let rows = rows(&parts, args.sort, baseline);
    match args.common.format {
        Format::Table => print(&table(&rows))?,
        Format::Json => {
            for row in &rows {
                let mut line = serde_json::to_value(row.part).map_err(|e| Error::Invalid(e.to_string()))?;
                line["share"] = row.share.into();
                if let Some(ratio) = row.ratio {
                    line["ratio"] = ratio.into();
                }
                print(&format!("{line}\n"))?;
            }
        }
    }
    Ok(true)
}

/// What a part costs: seconds, or on sim warp instructions.
fn cost(measured: &Measured) -> f64 {
    match measured {
        Measured::Time(s) => s.median_s,
        Measured::Counted { instructions, .. } => *instructions as f64,
        Measured::Planned => 0.0,
    }
}

/// What each part cost in an earlier run, by name and layer, in its order: what runs several times is there several times.
struct Baseline(HashMap<(String, String), VecDeque<f64>>);

impl Baseline {
    /// Reads what `--format json` wrote of the same program as `parts`; `counted` says which of its numbers is meant.
    fn read(path: &Path, counted: bool, parts: &[Part]) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        let key = if counted { "instructions" } else { "median_s" };
        let mut all: HashMap<_, VecDeque<f64>> = HashMap::new();
        let mut multiply_adds = 0;
        for (i, line) in text.lines().enumerate() {
            let value: Value = serde_json::from_str(line).unwrap_or_default();
            let (Some(name), Some(layer), Some(cost)) =
                (value["name"].as_str(), value["layer"].as_str(), value[key].as_f64())
            else {
                return Err(Error::Invalid(format!(
                    "--baseline {}, line {}: expected name, layer and {key}, as `ckaad bench kernels --format json` writes them \
                     on the same kind of device",
                    path.display(),
                    i + 1
                )));
            };
            multiply_adds += value["multiply_adds"].as_u64().unwrap_or(0);
            all.entry((name.into(), layer.into())).or_default().push_back(cost);
        }
        let here: u64 = parts.iter().map(|p| p.multiply_adds).sum();
        if multiply_adds != here {
            return Err(Error::Usage(format!(
                "--baseline {}: of another program, with {multiply_adds} multiply-adds instead of {here}; measure it with the \
                 same --work, networks, --image-size and --batch-size",
                path.display()
            )));
        }
        Ok(Baseline(all))
    }

    fn take(&mut self, part: &Part) -> Option<f64> {
        self.0.get_mut(&(part.name.clone(), part.layer.clone()))?.pop_front()
    }
}

/// A part with its share of all and its ratio to the baseline.
struct Row<'a> {
    part: &'a Part,
    share: f64,
    ratio: Option<f64>,
}

fn rows(parts: &[Part], sort: Sort, mut baseline: Option<Baseline>) -> Vec<Row<'_>> {
    let all: f64 = parts.iter().map(|p| cost(&p.measured)).sum();
    let mut rows: Vec<Row> = parts
        .iter()
        .map(|part| {
            let cost = cost(&part.measured);
            let before = baseline.as_mut().and_then(|b| b.take(part)).filter(|b| *b > 0.0);
            Row { part, share: if all > 0.0 { cost / all } else { 0.0 }, ratio: before.map(|b| cost / b) }
        })
        .collect();
    match sort {
        Sort::Order => {}
        Sort::Time => rows.sort_by(|a, b| b.share.total_cmp(&a.share)),
        Sort::Name => rows.sort_by(|a, b| a.part.name.cmp(&b.part.name)),
        Sort::Ratio => rows.sort_by(|a, b| b.ratio.unwrap_or(0.0).total_cmp(&a.ratio.unwrap_or(0.0))),
    }
    rows
}

fn table(rows: &[Row]) -> String {
    let counted = rows.iter().any(|r| matches!(r.part.measured, Measured::Counted { .. }));
    let compared = rows.iter().any(|r| r.ratio.is_some());
    let width = rows.iter().map(|r| r.part.name.len()).max().unwrap_or(0).max("kernel".len());
    let ratio_head = if compared { format!(" {:>6}", "ratio") } else { String::new() };
    let mut out = if counted {
        format!(
            "{:<width$} {:>12} {:>6}{ratio_head} {:>6} {:>10} {:>10} {:>9} {:>9}  layer\n",
            "kernel", "instructions", "share", "mma", "sectors", "ideal", "conflicts", "least"
        )
    } else {
        format!(
            "{:<width$} {:>10} {:>6}{ratio_head} {:>7} {:>9} {:>8} {:>6}  layer\n",
            "kernel", "median", "share", "spread", "GFLOP/s", "GB/s", "least"
        )
    };
    let (mut all, mut least_of_all, mut before) = (0.0, 0.0, 0.0);
    for r in rows {
        let (p, cost) = (r.part, cost(&r.part.measured));
        all += cost;
        before += r.ratio.map_or(cost, |ratio| cost / ratio);
        least_of_all += p.least_s.unwrap_or(0.0);
        let least = p.least_s.map_or_else(|| "-".into(), time);
        let (name, layer, share) = (&p.name, &p.layer, format!("{:.1} %", 100.0 * r.share));
        let ratio = match (compared, r.ratio) {
            (false, _) => String::new(),
            (true, Some(ratio)) => format!(" {ratio:>6.3}"),
            (true, None) => format!(" {:>6}", "new"),
        };
        // Writing to a String cannot fail.
        let _ = match &p.measured {
            Measured::Counted { instructions, mma_share, sectors, ideal_sectors, bank_conflicts } => {
                let mma = 100.0 * mma_share;
                writeln!(
                    out,
                    "{name:<width$} {instructions:>12} {share:>6}{ratio} {mma:>4.0} % {sectors:>10} {ideal_sectors:>10} \
                     {bank_conflicts:>9} {least:>9}  {layer}"
                )
            }
            Measured::Time(s) => {
                let [flops, bytes] = [2 * p.multiply_adds, p.bytes].map(|n| n as f64 / s.median_s / 1e9);
                let of_least = p.least_s.map_or_else(|| "-".into(), |l| format!("{:.0} %", 100.0 * l / s.median_s));
                let (median, spread) = (time(s.median_s), format!("{:.0} %", 100.0 * (s.p95_s / s.median_s - 1.0)));
                writeln!(
                    out,
                    "{name:<width$} {median:>10} {share:>6}{ratio} {spread:>7} {flops:>9.1} {bytes:>8.1} {of_least:>6}  {layer}"
                )
            }
            Measured::Planned => Ok(()),
        };
    }
    let sum =
        if counted { format!("{all:.0} warp instructions") } else { format!("{}, the sum of the medians", time(all)) };
    let least = if least_of_all > 0.0 { format!(", {} at least", time(least_of_all)) } else { String::new() };
    let ratio = if compared { format!(", {:.3} of the baseline", all / before) } else { String::new() };
    let _ = writeln!(out, "\n{} parts, {sum}{least}{ratio}", rows.len());
    out
}
