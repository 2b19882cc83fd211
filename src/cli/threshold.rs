//! `ckaad threshold`: sets the score from which a model calls a picture anomalous.

use super::inputs::{Failed, Inputs, tell_hard_links, tell_left_out, tell_passed_over, tell_warnings};
use super::message::plain;
use super::options::{Device, count, percentage, plural, print, share, tell_device};
use super::progress;
use super::train::tell_calibration;
use crate::data::digest::Digests;
use crate::data::listing;
use crate::detector::file::ModelFile;
use crate::detector::provenance::{Calibration, Origin};
use crate::output::{FileKind, Outputs, expect_new};
use crate::score::pipeline::{self, Wanted};
use crate::score::scorer::Scorer;
use crate::{Error, Result};
use std::path::PathBuf;

/// Set a model's threshold, from normal pictures or to a given value
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Pictures that the model was trained on score lower than new ones: give others. A warning counts those that it knows, which are told by
their contents.

Examples:
  ckaad threshold --model screw.safetensors --max-false-alarms 1% fresh/good
  ckaad threshold --model screw.safetensors --value 0.8
  ckaad threshold --model screw.safetensors --out strict.safetensors --value 0.6")]
pub struct Args {
    /// Model file
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    #[command(flatten)]
    inputs: Inputs,
    /// Share of the pictures that may be called anomalous, as 0.01 or 1%: the threshold is the score that so many exceed
    #[arg(long, default_value = "2%", value_parser = percentage, value_name = "SHARE")]
    max_false_alarms: f64,
    /// The same the other way round: the threshold is this quantile of the pictures' scores
    #[arg(long, value_parser = share, conflicts_with = "max_false_alarms")]
    quantile: Option<f64>,
    /// The threshold itself
    #[arg(long, conflicts_with_all = ["quantile", "max_false_alarms"], allow_negative_numbers = true)]
    value: Option<f64>,
    /// Where to write the model [default: over the old file, atomically]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace a file that is already there under the name of --out
    #[arg(long, requires = "out")]
    force: bool,
    #[arg(long, default_value_t = 8, value_parser = count)]
    batch_size: usize,
    #[command(flatten)]
    device: Device,
}

pub fn run(args: &Args) -> Result<bool> {
    let model = ModelFile::open(&args.model)?;
    let out = args.out.as_ref().unwrap_or(&args.model);
    let outputs = Outputs::default().file("--out", out, FileKind::Tensors)?;
    if args.out.is_some() && !args.force {
        expect_new("--out", out, "--force replaces it")?;
    }
    tell_hard_links(&outputs);
    let mut failed = Failed::default();
    let mut calibrated_on = Digests::default();
    let calibration = match args.value {
        Some(_) if !args.inputs.is_empty() => {
            return Err(Error::Usage("--value sets the threshold itself: leave the pictures out".into()));
        }
        Some(v) if v.is_finite() => Calibration::new(Origin::Value, 0.0, &[]),
        Some(v) => return Err(Error::Usage(format!("--value {v}: expected a finite number"))),
        None => {
            let given = args.inputs.given(&outputs)?;
            let chosen = args.device.chosen()?;
            let mut scorer = Scorer::from_file(&model, args.batch_size, &chosen.backend)?;
            let mut untold = Some(chosen);
            let (mut outcomes, mut digests, mut trained_on) = (Vec::new(), Vec::new(), Vec::new());
            let bar = progress::spinner("scored");
            let passed_over = pipeline::run(
                &mut scorer,
                Wanted { digests: true, ..Wanted::default() },
                move |take| listing::each(given, &outputs, take),
                |outcome| {
                    match outcome.result {
                        Ok((picture, scored)) => {
                            untold.take().map_or(Ok(()), |chosen| tell_device(&chosen))?;
                            tell_warnings(outcome.picture.source.path(), &picture.shown);
                            digests.extend(picture.digest);
                            if picture.digest.is_some_and(|d| model.config.trained_on.contains(d)) {
                                trained_on.push(outcome.picture.source.path().to_path_buf());
                            }
                            outcomes.push((scored.score, f64::from(scored.peak())));
                        }
                        Err(e) => {
                            failed.add(&outcome.picture.source);
                            tell_left_out(&e);
                        }
                    }
                    bar.inc(1);
                    Ok(())
                },
            )?;
            bar.finish_and_clear();
            tell_passed_over(&passed_over);
            if let Some(first) = trained_on.first() {
                let (n, of, first) = (trained_on.len(), plural(outcomes.len(), "picture"), first.display());
                warning!(
                    "the model was trained on {n} of {of}, as {first}: new ones score higher than the threshold allows for"
                );
            }
            calibrated_on = digests.into_iter().collect();
            Calibration::new(Origin::Pictures, args.quantile.unwrap_or(1.0 - args.max_false_alarms), &outcomes)
        }
    };
    let before = model.config.threshold;
    let mut config = model.config.clone();
    let threshold = match args.value {
        Some(v) => v,
        None => {
            let (threshold, pixel_threshold) = calibration.thresholds()?;
            config.pixel_threshold = Some(pixel_threshold);
            threshold
        }
    };
    config.threshold = Some(threshold);
    config.calibration = Some(calibration.clone());
    config.calibrated_on = calibrated_on;
    model.rewrite(out, &config)?;
    if args.value.is_none() {
        tell_calibration(&calibration, threshold)?;
    }
    let before = before.map_or("none".to_string(), |t| format!("{t:.5}"));
    print(&format!("{}: threshold {threshold:.5} (before: {before})\n", plain(out.display())))?;
    failed.expect_none("read; the threshold is that of the others")?;
    Ok(true)
}
