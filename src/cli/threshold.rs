//! `ckaad threshold`: sets the score from which a model calls a picture anomalous.

use super::data::Data;
use super::framing::Framed;
use super::inputs::{Failed, Inputs, tell_hard_links, tell_left_out, tell_passed_over, tell_warnings};
use super::message::plain;
use super::options::{Device, count, percentage, plural, print, share, tell_device};
use super::progress;
use super::train::tell_calibration;
use crate::data::digest::{Digests, groups};
use crate::data::layout::{Category, Sample, Split, TestSet};
use crate::data::listing::{self, Given, PassedOver};
use crate::detector::file::ModelFile;
use crate::detector::provenance::{Calibration, Origin};
use crate::output::{FileKind, Outputs, expect_new};
use crate::score::pipeline::{self, Wanted};
use crate::score::scorer::{Gives, Scorer};
use crate::{Error, Result};
use std::path::PathBuf;

/// With --best-f1, as with nothing said.
const PIXEL_QUANTILE: f64 = 0.98;

/// Set a model's threshold, from normal pictures, from labelled ones or to a given value
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Where a threshold comes from, one of:
  --max-false-alarms  a target false positive rate: no more of the normal pictures reach it (2%)
  --quantile          a quantile of the normal pictures' scores: the same the other way round
  --best-f1           the score with the best F1 on labelled pictures, normal and anomalous ones
  --value             a number

The threshold of pixels is always a quantile of the normal pictures' highest map values: the same one, with --best-f1 0.98.

Pictures that the model was trained on score lower than new ones: give others. A warning counts those that it knows, which are told by \
their contents. What a threshold was taken from says too much good of it: evaluate on others.

Examples:
  ckaad threshold --model screw.safetensors --max-false-alarms 1% fresh/good
  ckaad threshold --model screw.safetensors --best-f1 --normal fresh/good --anomalous fresh/bad
  ckaad threshold --model parts.safetensors --best-f1 --data parts.csv
  ckaad threshold --model screw.safetensors --value 0.8
  ckaad threshold --model screw.safetensors --out strict.safetensors --value 0.6")]
pub struct Args {
    /// Model file
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    #[command(flatten)]
    inputs: Inputs,
    /// Folder of normal pictures, in place of PATH
    #[arg(long, value_name = "DIR", conflicts_with_all = ["paths", "files0_from", "data"])]
    normal: Option<PathBuf>,
    /// Folder of anomalous pictures beside --normal, for --best-f1
    #[arg(long, value_name = "DIR", requires = "normal", requires = "best_f1", conflicts_with = "data")]
    anomalous: Option<PathBuf>,
    #[command(flatten)]
    data: Data,
    /// Whose pictures of --data: train, validation or test [default: validation]
    #[arg(long, requires = "data", value_parser = split)]
    split: Option<Split>,
    /// Threshold by a target false positive rate: the share of the normal pictures that may be called anomalous, as 0.01 or 1%; the
    /// threshold lies between the scores that may reach it and those that may not
    #[arg(long, default_value = "2%", value_parser = percentage, value_name = "SHARE")]
    max_false_alarms: f64,
    /// Threshold by a quantile of the normal pictures' scores: the same the other way round, 0.98 is 2% of false alarms
    #[arg(long, value_parser = share, conflicts_with = "max_false_alarms")]
    quantile: Option<f64>,
    /// Threshold by the best F1 on labelled pictures: --normal with --anomalous, or --data
    #[arg(long, conflicts_with_all = ["quantile", "max_false_alarms"])]
    best_f1: bool,
    /// The threshold itself
    #[arg(long, conflicts_with_all = ["quantile", "max_false_alarms", "best_f1"], allow_negative_numbers = true)]
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
    framed: Framed,
    #[command(flatten)]
    device: Device,
}

fn split(text: &str) -> std::result::Result<Split, String> {
    Split::find(text).ok_or_else(|| "expected train, validation or test".into())
}

/// What the scores are taken of.
enum Pictures {
    /// All of them normal.
    Given(Vec<Given>),
    Labelled(Vec<Sample>),
}

impl Args {
    /// The pictures, none of them in the way of `outputs`.
    fn pictures(&self, model: &ModelFile, outputs: &Outputs) -> Result<Pictures> {
        let named = self.data.open()?;
        named.tell_other_class(model.config.training.as_ref());
        let mut samples: Vec<Sample> = match (&self.normal, &named.categories[..]) {
            (Some(normal), _) => {
                let set = TestSet::of_folders(Some(normal), self.anomalous.as_deref(), None)?;
                tell_passed_over(&set.passed_over);
                set.left_out.iter().for_each(|reason| tell_left_out(reason));
                set.images
            }
            (None, categories @ [_, ..]) => self.of_split(categories)?,
            (None, []) if self.best_f1 => {
                let what = "--best-f1: which pictures are anomalous? --normal DIR with --anomalous DIR, or --data DIR";
                return Err(Error::Usage(what.into()));
            }
            (None, []) => return Ok(Pictures::Given(self.inputs.given(outputs)?)),
        };
        if !self.inputs.is_empty() {
            return Err(Error::Usage("pictures without labels beside --data: leave one of them out".into()));
        }
        let all = samples.len();
        samples.retain(|s| self.best_f1 || !s.anomalous);
        if samples.len() < all {
            let unused = plural(all - samples.len(), "anomalous picture");
            note!("ckaad: {unused} not used: only --best-f1 looks at them");
        }
        samples.iter().filter_map(|s| s.source.file()).try_for_each(|file| outputs.expect_apart(file))?;
        Ok(Pictures::Labelled(samples))
    }

    fn of_split(&self, categories: &[Category]) -> Result<Vec<Sample>> {
        let split = self.split.unwrap_or(Split::Validation);
        let of = |category: &Category| -> Vec<Sample> {
            category.samples().filter(|s| s.0 == split).map(|s| s.1.clone()).collect()
        };
        let each: Vec<Vec<Sample>> = categories.iter().map(of).collect();
        let used = |sample: &Sample| self.best_f1 || !sample.anomalous;
        let without = categories.iter().zip(&each).filter(|(_, samples)| !samples.iter().any(used));
        let without: Vec<&str> = without.map(|(category, _)| category.name.as_str()).collect();
        let samples = each.concat();
        if samples.is_empty() {
            return Err(Error::Usage(format!(
                "--data: the dataset has no {} pictures; --split names others, and a CSV file's column `split` may set some \
                 apart for validation",
                split.name()
            )));
        }
        if !without.is_empty() && without.len() < categories.len() {
            let (kind, names) = (if self.best_f1 { "" } else { "normal " }, without.join(", "));
            let split = split.name();
            warning!("no {kind}{split} pictures of {names}: the threshold is that of the other categories");
        }
        Ok(samples)
    }

    /// Scores the pictures. Those that cannot be read are left out and counted in `failed`; the others are known by their digests.
    fn calibrate(&self, model: &ModelFile, outputs: Outputs, failed: &mut Failed) -> Result<(Calibration, Digests)> {
        let (given, labels) = match self.pictures(model, &outputs)? {
            Pictures::Given(given) => (Ok(given), vec![]),
            Pictures::Labelled(samples) => {
                let labels = samples.iter().map(|s| s.anomalous).collect();
                (Err(samples), labels)
            }
        };
        // All normal where nothing else is said.
        let mut labels = labels.into_iter().chain(std::iter::repeat(false));
        let chosen = self.device.chosen_for(&model.config)?;
        let mut scorer = Scorer::from_file(model, self.batch_size, &chosen.backend, Gives::ScoresAndMaps)?;
        let mut untold = Some(chosen);
        let (mut outcomes, mut digests, mut trained_on) = (Vec::new(), Vec::new(), Vec::new());
        let bar = progress::spinner("scored");
        let passed_over = pipeline::run(
            &mut scorer,
            Wanted { digests: true, ..Wanted::default() },
            move |take| match given {
                Ok(given) => listing::each(given, &outputs, take),
                Err(samples) => {
                    samples.into_iter().map(|s| Ok(s.source.into())).all(take);
                    Ok(PassedOver::default())
                }
            },
            |outcome| {
                let anomalous = labels.next().unwrap_or(false);
                match outcome.result {
                    Ok((picture, scored)) => {
                        untold.take().map_or(Ok(()), |chosen| tell_device(&chosen))?;
                        tell_warnings(outcome.picture.source.path(), &picture.shown);
                        digests.extend(picture.digest);
                        if picture.digest.is_some_and(|d| model.config.trained_on.contains(d)) {
                            trained_on.push(outcome.picture.source.path().to_path_buf());
                        }
                        outcomes.push((scored.score, f64::from(scored.map.peak()), anomalous));
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
        let different = groups(digests.iter().zip(outcomes.iter().map(|o| o.2)));
        let copies = outcomes.len() - different.len();
        let outcomes: Vec<(f64, f64, bool)> = different.iter().map(|equal| outcomes[equal[0]]).collect();
        if copies > 0 {
            let (copies, are) = (plural(copies, "picture"), if copies == 1 { "is a copy" } else { "are copies" });
            warning!("{copies} {are} of others: of equal ones one counts");
        }
        if let Some(first) = trained_on.first() {
            let (n, of, first) = (trained_on.len(), plural(outcomes.len(), "picture"), first.display());
            warning!(
                "the model was trained on {n} of {of}, as {first}: new ones score higher than the threshold allows for"
            );
        }
        let calibration = if self.best_f1 {
            Calibration::best_f1(PIXEL_QUANTILE, &outcomes).map_err(|e| e.within("--best-f1"))?
        } else {
            let normal: Vec<(f64, f64)> = outcomes.iter().map(|o| (o.0, o.1)).collect();
            Calibration::new(Origin::Pictures, self.quantile.unwrap_or(1.0 - self.max_false_alarms), &normal)
        };
        Ok((calibration, digests.into_iter().collect()))
    }
}

pub fn run(args: &Args) -> Result<bool> {
    let mut model = ModelFile::open(&args.model)?;
    args.framed.put(&mut model.config)?;
    let (flag, out) = args.out.as_ref().map_or(("--model", &args.model), |out| ("--out", out));
    let outputs = Outputs::default().file(flag, out, FileKind::Tensors)?;
    if args.out.is_some() && !args.force {
        expect_new("--out", out, "--force replaces it")?;
    }
    tell_hard_links(&outputs);
    let mut failed = Failed::default();
    let mut config = model.config.clone();
    let before = config.threshold;
    let (calibration, threshold) = match args.value {
        Some(_) if !args.inputs.is_empty() || args.normal.is_some() || !args.data.data.is_empty() => {
            return Err(Error::Usage("--value sets the threshold itself: leave the pictures out".into()));
        }
        Some(v) if v.is_finite() => {
            config.calibrated_on = Digests::default();
            (Calibration::new(Origin::Value, 0.0, &[]), v)
        }
        Some(v) => return Err(Error::Usage(format!("--value {v}: expected a finite number"))),
        None => {
            let (calibration, on) = args.calibrate(&model, outputs, &mut failed)?;
            let (threshold, pixel_threshold) = calibration.thresholds()?;
            (config.pixel_threshold, config.calibrated_on) = (Some(pixel_threshold), on);
            (calibration, threshold)
        }
    };
    config.threshold = Some(threshold);
    config.calibration = Some(calibration.clone());
    model.rewrite(out, &config)?;
    if args.value.is_none() {
        tell_calibration(&calibration, threshold)?;
    }
    let before = before.map_or("none".to_string(), |t| format!("{t:.5}"));
    print(&format!("{}: threshold {threshold:.5} (before: {before})\n", plain(out.display())))?;
    failed.expect_none("read; the threshold is that of the others")?;
    Ok(true)
}
