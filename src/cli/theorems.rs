//! `ckaad demo theorems`: the paper's theorems on points of the plane, as a table and a page.

use super::options::{command_line, count, print};
use super::progress;
use crate::Result;
use crate::experiment::mixture::{self, Run, STEPS, VARIANTS};
use crate::output::{FileKind, Outputs, write_atomically};
use std::path::PathBuf;

/// Train a generator on points of the plane with and without the anomaly term, and see where it takes anomalous ones
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Always on the CPU; a minute at most for the usual number of steps.

Distance is the energy distance between what is generated of as many normal as anomalous points and a sample of normal \
ones; reproduced are anomalous points that stay nearer to anomalous than to normal ones; energy is what the discriminator \
gives anomalous points (of gan: the size of its logits).

Examples:
  ckaad demo theorems
  ckaad demo theorems --seed 3 --out theorems.html")]
pub struct Args {
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Steps of each training
    #[arg(long, default_value_t = STEPS, value_parser = count)]
    steps: usize,
    /// HTML page to write: the points, and distances over steps
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<bool> {
    if let Some(out) = &args.out {
        Outputs::default().file("--out", out, FileKind::Page)?;
    }
    let bar = progress::bar("training", (VARIANTS.len() * args.steps) as u64);
    let runs: Vec<Run> =
        VARIANTS.into_iter().map(|v| mixture::run(v, args.seed, args.steps, |_| bar.inc(1))).collect::<Result<_>>()?;
    bar.finish_and_clear();
    print(&table(&runs, args.seed))?;
    if let Some(out) = &args.out {
        let page = mixture::page::html(&runs, args.seed, &command_line())?;
        write_atomically(out, |w| w.write_all(page.as_bytes()))?;
        print(&format!("\nOpen {}\n", out.display()))?;
    }
    Ok(true)
}

fn table(runs: &[Run], seed: u64) -> String {
    let mut text = format!("{:<16} {:>10} {:>12} {:>8}\n", "strategy", "distance", "reproduced", "energy");
    for run in runs {
        let m = run.last();
        let reproduced = format!("{:.1} %", 100.0 * m.reproduced);
        text += &format!("{:<16} {:>10.4} {reproduced:>12} {:>8.2}\n", run.variant.name, m.distance, m.energy);
    }
    let (samples, edge) = (mixture::between_samples(seed), mixture::at_the_edge(seed));
    text + &format!(
        "\nbetween two normal samples {samples:.4}, with anomalous points at the nearest normal ones {edge:.4}\n"
    )
}
