//! `ckaad plan`: what a training step or scoring will need in memory, before anything runs.

use super::options::{Device, Format, Networks, count, print};
use super::train::StrategyName;
use crate::Result;
use crate::model::features::Feed;
use crate::score::program::{self, ScoreSpec};
use crate::train::step::{self, Hyper, StepSpec};

/// Show the memory that training or scoring needs, and the program itself
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  ckaad plan score --backbone wide_resnet50_2 --layers 1,2,3
  ckaad plan train --image-size 128 --batch-size 16 --program | less")]
pub struct Args {
    /// What is planned
    #[arg(value_enum)]
    what: What,
    #[command(flatten)]
    networks: Networks,
    /// Pictures at a time [default: 1 to score, 16 to train]
    #[arg(long, value_parser = count)]
    batch_size: Option<usize>,
    #[arg(long, value_enum, default_value_t = StrategyName::Ckapatch)]
    strategy: StrategyName,
    /// Print every record of the program, too
    #[arg(long)]
    program: bool,
    #[command(flatten)]
    device: Device,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum What {
    Train,
    Score,
}

pub fn run(args: &Args) -> Result<bool> {
    let backend = args.device.backend()?;
    let architecture = args.networks.architecture()?;
    let tape = match args.what {
        What::Score => {
            let batch = args.batch_size.unwrap_or(1);
            let (feed, dtype) = (Feed::Pixels, backend.dtype());
            program::record(&ScoreSpec { architecture, batch, feed, sigma: 4.0, topk: Some(100), dtype })?.tape
        }
        What::Train => {
            let n = args.batch_size.unwrap_or(16);
            let spec = StepSpec {
                architecture,
                strategy: args.strategy.strategy(),
                hyper: Hyper::default(),
                normal: n,
                anomalous: n,
                normal_feed: Feed::Pixels,
                anomalous_feed: Feed::Pixels,
                dtype: backend.dtype(),
            };
            step::record(&spec)?.tape
        }
    };
    if args.program {
        print(&tape.to_string())?;
    }
    let usage = backend.plan(&tape)?.usage;
    match args.format {
        Format::Table => print(&format!("{} records\n{usage}\n", tape.records().len()))?,
        Format::Json => {
            let object = serde_json::json!({
                "records": tape.records().len(),
                "parameter_bytes": usage.parameters,
                "optimizer_bytes": usage.optimizer,
                "packed_bytes": usage.packed,
                "activation_bytes": usage.activations,
                "activation_bytes_without_reuse": usage.activations_unshared,
            });
            print(&format!("{object}\n"))?;
        }
    }
    Ok(true)
}
