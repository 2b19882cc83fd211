//! `ckaad threshold`: sets the score from which a model calls a picture anomalous.

use super::inputs::{Inputs, expect_none_failed, tell_left_out, tell_passed_over};
use super::options::{Device, count, print, share};
use super::progress;
use crate::data::listing;
use crate::detector::file::ModelFile;
use crate::metrics::quantile::quantile;
use crate::output::Outputs;
use crate::score::pipeline;
use crate::score::scorer::Scorer;
use crate::{Error, Result};
use std::path::PathBuf;

/// Set a model's threshold, from normal pictures or to a given value
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  ckaad threshold --model screw.safetensors --quantile 0.99 fresh/good
  ckaad threshold --model screw.safetensors --value 0.8
  ckaad threshold --model screw.safetensors --out strict.safetensors --value 0.6")]
pub struct Args {
    /// Model file
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    #[command(flatten)]
    inputs: Inputs,
    /// The threshold is this quantile of the pictures' scores
    #[arg(long, default_value_t = 0.98, value_parser = share)]
    quantile: f64,
    /// The threshold itself
    #[arg(long, conflicts_with = "quantile", allow_negative_numbers = true)]
    value: Option<f64>,
    /// Where to write the model [default: over the old file, atomically]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[arg(long, default_value_t = 8, value_parser = count)]
    batch_size: usize,
    #[command(flatten)]
    device: Device,
}

pub fn run(args: &Args) -> Result<bool> {
    let model = ModelFile::open(&args.model)?;
    let out = args.out.as_ref().unwrap_or(&args.model);
    let outputs = Outputs::default().file("--out", out)?;
    let mut failed = 0;
    let threshold = match args.value {
        Some(_) if !args.inputs.is_empty() => {
            return Err(Error::Usage("--value sets the threshold itself: leave the pictures out".into()));
        }
        Some(v) if v.is_finite() => v,
        Some(v) => return Err(Error::Usage(format!("--value {v}: expected a finite number"))),
        None => {
            let given = args.inputs.given(&outputs)?;
            let backend = args.device.backend()?;
            let mut scorer = Scorer::from_file(&model, args.batch_size, &backend)?;
            let mut scores = Vec::new();
            let bar = progress::spinner("scored");
            let passed_over = pipeline::run(
                &mut scorer,
                move |take| listing::each(given, &outputs, take),
                |outcome| {
                    match outcome.result {
                        Ok((_, scored)) => scores.push(scored.score),
                        Err(e) => {
                            failed += 1;
                            tell_left_out(&e);
                        }
                    }
                    bar.inc(1);
                    Ok(())
                },
            )?;
            bar.finish_and_clear();
            tell_passed_over(&passed_over);
            quantile(&scores, args.quantile)?
        }
    };
    let before = model.config.threshold;
    let mut config = model.config.clone();
    config.threshold = Some(threshold);
    model.rewrite(out, &config)?;
    let before = before.map_or("none".to_string(), |t| format!("{t:.5}"));
    print(&format!("{}: threshold {threshold:.5} (before: {before})\n", out.display()))?;
    expect_none_failed(failed, "read; the threshold is that of the others")?;
    Ok(true)
}
