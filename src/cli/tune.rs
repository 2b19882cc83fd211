//! `ckaad tune`: measures on this GPU how the convolutions of given networks are best cut, for all later runs on it.

use super::detector::DetectorArgs;
use super::message::plain;
use super::options::{Device, Format, Networks, count, print};
use super::progress;
use crate::backend::{Measurements, read_tuning};
use crate::bench::workload::{Kind, Workload};
use crate::detector::Learning;
use crate::engine::device::Backend;
use crate::engine::device::tune::{self, Outcome, Work};
use crate::engine::toolkit::cuda::{Choices, Number, Tuned};
use crate::output::write_atomically;
use crate::report::json::path;
use crate::{Error, Result};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

/// Measure on this GPU how the networks' convolutions are best computed, for all later runs on it
#[derive(clap::Args, Debug)]
#[command(after_help = "\
A convolution is computed tile by tile, in tiles of one of four sizes, its sums whole or in parts. Which is fastest depends on its sizes, \
the numbers and the card. Without a measurement a model of the card decides; results differ in rounding at most.

What is measured here is kept for this card and driver in $XDG_CACHE_HOME/ckaad/tuning (~/.cache/ckaad/tuning), or in the --tuning \
FILE, beside what the file already holds, and used by every later command on this card. Convolutions of other sizes, of another \
--batch-size for instance, are left to the model. `--tuning off` ignores it all.

On `--device sim` warp instructions are counted instead of seconds. That tries the command; it says nothing about a GPU, and is used \
only where --tuning names the file.

Examples:
  ckaad tune
  ckaad tune --backbone wide_resnet50_2 --layers 1,2,3 --batch-size 1,32 --precision bf16
  ckaad tune --image-size 128 --train=16 --format json | jq .gain")]
pub struct Args {
    #[command(flatten)]
    networks: Networks,
    /// Pictures scored at a time; several sizes, comma separated, are measured one by one
    #[arg(long, default_value = "1", value_delimiter = ',', value_parser = count, value_name = "N")]
    batch_size: Vec<usize>,
    /// Measure the training step as well, of N normal and N anomalous pictures [N: 16]
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "16", value_parser = count)]
    train: Option<usize>,
    #[command(flatten)]
    detector: DetectorArgs,
    /// Ways to compute each convolution that are measured: the model's favourites
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = count)]
    candidates: usize,
    /// Measurements of each, whose median counts
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = count)]
    repetitions: usize,
    #[command(flatten)]
    device: Device,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &Args) -> Result<bool> {
    let request = args.device.request();
    if request.tuning == Measurements::Off {
        return Err(Error::Usage("--tuning off: name a file to write, or leave it out".into()));
    }
    let backend = args.device.untuned_backend()?;
    let (Some(on), Some(file)) = (backend.measured_on()?, request.tuning_file(&backend)?) else {
        return Err(Error::Usage(format!("{}: only a GPU's kernels can be tuned (or sim's)", backend.device)));
    };
    let (detector, architecture) = (args.detector.detector()?, args.networks.architecture()?);
    let mut kinds: Vec<Kind> = args.batch_size.iter().map(|&batch| Kind::Score { batch }).collect();
    if let Some(batch) = args.train {
        // With features from the cache, where the backbone computes those of anomalous pictures alone, and without.
        let cached =
            [false, true].into_iter().filter(|cached| !cached || matches!(detector.learning(), Learning::Steps(_)));
        kinds.extend(cached.map(|cached| Kind::Train { batch, cached }));
    }
    let mut tapes = Vec::new();
    for kind in kinds {
        let workload = Workload { detector: detector.clone(), architecture: architecture.clone(), kind, scheme: None };
        tapes.extend(workload.record(backend.number)?.into_iter().map(|program| program.tape));
    }
    let mut notes = Vec::new();
    let mut tuning = if file.exists() { read_tuning(&file, &on, &mut notes) } else { None }.unwrap_or_default();
    notes.iter().for_each(|note| note!("{note}"));
    let backend = Backend { choices: Choices::Measured(Arc::new(tuning.clone())), ..backend };

    let work = tune::products(&tapes, backend.number)?;
    let bar = progress::bar("convolutions", work.len() as u64);
    let mut outcomes = Vec::with_capacity(work.len());
    for w in &work {
        let outcome = w.measure(&backend, args.candidates, args.repetitions)?;
        tuning.insert(w.number, w.product, outcome.best);
        outcomes.push(outcome);
        bar.inc(1);
    }
    bar.finish_and_clear();
    if let Some(folder) = file.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    }
    write_atomically(&file, |to| to.write_all(tuning.to_json(&on).as_bytes()))?;

    let results = Results { number: backend.number, unit: on.unit, work: &work, outcomes: &outcomes };
    match args.format {
        Format::Table => print(&format!("{}kept in {}\n", results.table(), plain(file.display())))?,
        Format::Json => print(&format!("{}\n", results.json(&file)))?,
    }
    Ok(true)
}

struct Results<'a> {
    number: Number,
    unit: &'static str,
    work: &'a [Work],
    outcomes: &'a [Outcome],
}

impl Results<'_> {
    fn pairs(&self) -> impl Iterator<Item = (&Work, &Outcome)> {
        self.work.iter().zip(self.outcomes)
    }

    /// What all convolutions of the programs take together, before and now.
    fn totals(&self) -> [f64; 2] {
        [|o: &Outcome| o.old, |o: &Outcome| o.best]
            .map(|of| self.pairs().map(|(w, o)| w.uses as f64 * of(o).cost).sum())
    }

    fn table(&self) -> String {
        let seconds = self.unit == "seconds";
        let cost = |c: f64| if seconds { format!("{:.1}", c * 1e6) } else { format!("{c:.0}") };
        let mut text = format!(
            "{:<16} {:>26} {:>5}  {:<12} {:>10}  {:<12} {:>10} {:>6}\n",
            self.number.to_string(),
            "rows x columns x depth",
            "times",
            "before",
            if seconds { "us" } else { "instr." },
            "now",
            if seconds { "us" } else { "instr." },
            "gain"
        );
        for (w, o) in self.pairs() {
            let p = &w.product;
            let pass = serde_json::to_value(p.pass).unwrap_or_default();
            let pass = pass.as_str().unwrap_or_default().replace('_', " ");
            let cut = |t: Tuned| {
                let tile = t.choice.variant.tile(p.pass);
                let parts = if t.choice.splits > 1 { format!(" / {}", t.choice.splits) } else { String::new() };
                format!("{}x{}{parts}", tile.rows, tile.columns)
            };
            let sizes = format!("{} x {} x {}", p.rows, p.columns, p.depth);
            let _ = writeln!(
                text,
                "{pass:<16} {sizes:>26} {:>5}  {:<12} {:>10}  {:<12} {:>10} {:>6}",
                w.uses,
                cut(o.old),
                cost(o.old.cost),
                cut(o.best),
                cost(o.best.cost),
                percent(gain(o.old.cost, o.best.cost))
            );
        }
        let [old, new] = self.totals();
        let _ = writeln!(
            text,
            "{:<16} {:>26} {:>5}  {:<12} {:>10}  {:<12} {:>10} {:>6}",
            "all",
            "",
            self.work.iter().map(|w| w.uses).sum::<usize>(),
            "",
            cost(old),
            "",
            cost(new),
            percent(gain(old, new))
        );
        text
    }

    fn json(&self, file: &Path) -> serde_json::Value {
        let one =
            |t: Tuned| serde_json::json!({"variant": t.choice.variant, "splits": t.choice.splits, "cost": t.cost});
        let products: Vec<serde_json::Value> = self
            .pairs()
            .map(|(w, o)| {
                serde_json::json!({
                    "product": w.product, "uses": w.uses, "measured": o.measured, "before": one(o.old), "now": one(o.best),
                    "gain": gain(o.old.cost, o.best.cost),
                })
            })
            .collect();
        let [old, new] = self.totals();
        let mut object = serde_json::json!({
            "number": self.number, "unit": self.unit, "products": products, "before": old, "now": new,
            "gain": gain(old, new),
        });
        path::put(&mut object, "file", file);
        object
    }
}

/// The share of the cost that is gone.
fn gain(old: f64, new: f64) -> f64 {
    if old > 0.0 { 1.0 - new / old } else { 0.0 }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
