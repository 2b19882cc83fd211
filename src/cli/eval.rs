//! `ckaad eval`: how good a model is on a dataset's test pictures.

use super::options::{Device, Format, command_line, count, named, print};
use super::progress;
use crate::data::folder::TestSet;
use crate::detector::file::ModelFile;
use crate::report::evaluation::{self, Head};
use crate::score::evaluate::{Evaluation, Metrics, ProDefinition, evaluate};
use crate::score::scorer::Scorer;
use crate::{Error, Result};
use std::fmt::Write;
use std::path::PathBuf;

/// Evaluate a model on a dataset with known anomalies
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The folder holds test/good/*, test/<type>/* and, for pixel metrics, ground_truth/<type>/<stem>_mask.png.
AUPRO is exact and over the whole test set, up to a false positive rate of 0.3; values of --pro paper are higher and
cannot be compared with it.

Examples:
  ckaad eval --model screw.safetensors --data screw
  ckaad eval --model screw.safetensors --data screw --report screw.html
  ckaad eval --model screw.safetensors --data screw --format json | jq .image_auroc")]
pub struct Args {
    /// Model file that `ckaad train` wrote
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Folder with test/good and test/<type>
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Definition of AUPRO
    #[arg(long, value_parser = named(ProDefinition::NAMES, ProDefinition::find), default_value = "exact")]
    pro: ProDefinition,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Write a self-contained HTML report with charts and heat maps, too
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Pictures in one pass of the engine
    #[arg(long, default_value_t = 8, value_parser = count)]
    batch_size: usize,
    #[command(flatten)]
    device: Device,
}

pub fn run(args: &Args) -> Result<bool> {
    let backend = args.device.backend()?;
    let model = ModelFile::open(&args.model)?;
    let set = TestSet::open(&args.data)?;
    let mut scorer = Scorer::from_file(&model, args.batch_size, &backend)?;
    let bar = progress::bar("evaluating", set.images.len() as u64);
    let e = evaluate(&mut scorer, &set, args.pro, |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    if set.without_mask > 0 && set.has_masks() {
        tell!("ckaad: {} anomalous pictures have no mask and count as normal in pixel metrics", set.without_mask);
    }
    if let Some(path) = &args.report {
        let title = format!("Evaluation of {}", args.model.display());
        let settings = vec![
            ("Data".to_string(), args.data.display().to_string()),
            ("Backbone".to_string(), model.config.architecture.backbone.name.to_string()),
            ("Time per picture".to_string(), format!("{:.1} ms", e.ms_per_image)),
        ];
        let head =
            Head { title, note: String::new(), command: command_line(), settings, threshold: model.config.threshold };
        evaluation::write(path, head, &e, &set, args.pro)?;
    }
    print(&match args.format {
        Format::Table => table(&e, &set, args.pro)?,
        Format::Json => json(&e, args.pro)?,
    })?;
    Ok(true)
}

fn broken(e: impl std::fmt::Display) -> Error {
    Error::Invalid(format!("the results cannot be printed: {e}"))
}

fn json(e: &Evaluation, pro: ProDefinition) -> Result<String> {
    let mut object = serde_json::to_value(&e.overall).map_err(broken)?;
    let per_type: serde_json::Map<String, serde_json::Value> = e
        .per_type
        .iter()
        .map(|(kind, count, m)| {
            let mut value = serde_json::to_value(m).map_err(broken)?;
            value["images"] = (*count).into();
            Ok((kind.clone(), value))
        })
        .collect::<Result<_>>()?;
    object["per_type"] = per_type.into();
    object["ms_per_image"] = e.ms_per_image.into();
    object["pro_definition"] = pro.describe().into();
    Ok(format!("{object}\n"))
}

pub fn table(e: &Evaluation, set: &TestSet, pro: ProDefinition) -> Result<String> {
    let mut text = String::new();
    let number = |v: Option<f64>| v.map_or("-".to_string(), |v| format!("{v:.4}"));
    let width = e.per_type.iter().map(|t| t.0.len()).chain([7]).max().unwrap_or(7);
    let mut line = |name: &str, count: usize, m: &Metrics| {
        let [a, f, c, p, r] = [m.image_auroc, m.best_f1, m.accuracy, m.pixel_auroc, m.aupro30].map(number);
        writeln!(text, "{name:<width$} {count:>6} {a:>11} {f:>8} {c:>9} {p:>11} {r:>9}").map_err(broken)
    };
    let anomalous: usize = e.per_type.iter().map(|t| t.1).sum();
    line("overall", anomalous, &e.overall)?;
    for (kind, count, m) in &e.per_type {
        line(kind, *count, m)?;
    }
    let head = format!(
        "{:<width$} {:>6} {:>11} {:>8} {:>9} {:>11} {:>9}",
        "type", "images", "image AUROC", "best F1", "accuracy", "pixel AUROC", "AUPRO@0.3"
    );
    let good = set.images.len() - anomalous;
    Ok(format!("{head}\n{text}{good} normal pictures, {:.1} ms a picture; {}\n", e.ms_per_image, pro.describe()))
}
