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
Always on the CPU; the usual seeds and steps take half a minute on two cores. What is shown are medians over the seeds, and what \
they lie between.

Distance is the energy distance between what is generated of as many normal as anomalous points and a sample of normal \
ones; reproduced are anomalous points that stay nearer to anomalous than to normal ones; energy is what the discriminator \
gives anomalous points (of gan: the size of its logits).

Examples:
  ckaad demo theorems
  ckaad demo theorems --out theorems.html
  ckaad demo theorems --seeds 1 --seed 3 --steps 5000")]
pub struct Args {
    /// First seed
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..1 << 62))]
    seed: u64,
    /// Seeds that each training is repeated with
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
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
    let bar = progress::bar("training", args.seeds * (VARIANTS.len() * args.steps) as u64);
    let variants = mixture::all(&VARIANTS, args.seed, args.seeds, args.steps, || bar.inc(1))?;
    bar.finish_and_clear();
    print(&table(&variants, args.seed))?;
    if let Some(out) = &args.out {
        let page = mixture::page::html(&variants, args.seed, &command_line())?;
        write_atomically(out, |w| w.write_all(page.as_bytes()))?;
        print(&format!("\nOpen {}\n", out.display()))?;
    }
    Ok(true)
}

fn table(variants: &[Vec<Run>], seed: u64) -> String {
    let mut text = format!("{:<10} {:>26} {:>24} {:>20}\n", "strategy", "distance", "reproduced", "energy");
    for runs in variants {
        let [distance, reproduced, energy] = mixture::page::spreads(runs);
        let name = runs.first().map_or("", |run| run.variant.name);
        text += &format!("{name:<10} {distance:>26} {reproduced:>24} {energy:>20}\n");
    }
    let (samples, edge) = (mixture::between_samples(seed), mixture::at_the_edge(seed));
    text + &format!(
        "\nbetween two normal samples {samples:.4}, with anomalous points at the nearest normal ones {edge:.4}\n"
    )
}
