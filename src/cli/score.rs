//! `ckaad score`: scores pictures with a trained model, one line each.

use super::inputs::{Inputs, expect_none_failed, tell_passed_over};
use super::options::{Device, count, print};
use super::progress;
use crate::Result;
use crate::data::listing;
use crate::detector::file::ModelFile;
use crate::output::Outputs;
use crate::report::files::{self, MapFiles};
use crate::score::pipeline::{self, Outcome};
use crate::score::scorer::Scorer;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

/// Score pictures with a trained model
#[derive(clap::Args, Debug)]
#[command(after_help = "\
A score of at least the model's threshold is called anomalous. Lines come in input order, each as soon as it is ready.
Maps and heat maps are named after the picture; of several pictures with one name, later ones get -2, -3 and so on.

Examples:
  ckaad score --model screw.safetensors photo.jpg
  ckaad score --model screw.safetensors --heatmaps heat --format json test/ | jq 'select(.anomalous)'
  find /line -newer last -name '*.png' | ckaad score --model screw.safetensors --batch-size 8 --format csv -

Exit codes: 0 all scored; 2 wrong use, or some picture could not be read (its line says why, the others are scored).")]
pub struct Args {
    /// Model file that `ckaad train` wrote
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    #[command(flatten)]
    inputs: Inputs,
    /// Write every picture with its anomaly map blended over, as <stem>.png, into this folder
    #[arg(long, value_name = "DIR")]
    heatmaps: Option<PathBuf>,
    /// Write every anomaly map (float32, image_size x image_size) into this folder
    #[arg(long, value_name = "DIR")]
    maps: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = MapFormat::Npy)]
    map_format: MapFormat,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Pictures in one pass of the engine; more are faster in bulk, 1 answers soonest
    #[arg(long, default_value_t = 1, value_parser = count)]
    batch_size: usize,
    #[command(flatten)]
    device: Device,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum MapFormat {
    Npy,
    Tiff,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    /// One object a line: path, score, threshold, anomalous; or path, error
    Json,
    Csv,
}

pub fn run(args: &Args) -> Result<bool> {
    let model = ModelFile::open(&args.model)?;
    let mut outputs = Outputs::default();
    for (flag, folder) in [("--heatmaps", &args.heatmaps), ("--maps", &args.maps)] {
        if let Some(folder) = folder {
            outputs = outputs.folder(flag, folder)?;
        }
    }
    outputs.expect_apart(&args.model)?;
    let given = args.inputs.given(&outputs)?;
    let backend = args.device.backend()?;
    let mut scorer = Scorer::from_file(&model, args.batch_size, &backend)?;
    let format = match args.map_format {
        MapFormat::Npy => files::MapFormat::Npy,
        MapFormat::Tiff => files::MapFormat::Tiff,
    };
    let (threshold, size) = (model.config.threshold, scorer.image_size());
    let files = MapFiles::new(args.heatmaps.as_deref(), args.maps.as_deref(), format, threshold, size)?;
    let mut writer = Writer { format: args.format, threshold, files };
    if args.format == Format::Csv {
        print("path,score,threshold,anomalous,error\n")?;
    }
    // When lines go to a file, a spinner on the terminal shows that work goes on.
    let bar = (!io::stdout().is_terminal()).then(|| progress::spinner("scored"));
    let mut failed = 0;
    let passed_over = pipeline::run(
        &mut scorer,
        move |take| listing::each(given, &outputs, take),
        |outcome| {
            failed += usize::from(outcome.result.is_err());
            bar.iter().for_each(|b| b.inc(1));
            writer.write(outcome)
        },
    )?;
    bar.iter().for_each(|b| b.finish_and_clear());
    tell_passed_over(&passed_over);
    expect_none_failed(failed, "scored")?;
    Ok(true)
}

struct Writer {
    format: Format,
    threshold: Option<f64>,
    files: MapFiles,
}

impl Writer {
    fn write(&mut self, o: Outcome) -> Result<()> {
        let score = match &o.result {
            Ok((picture, scored)) => {
                self.files.write(o.source.path(), &picture.pixels, &scored.map)?;
                Ok(scored.score)
            }
            Err(e) => Err(e),
        };
        let path = o.source.path().display().to_string();
        let verdict = score.as_ref().ok().and_then(|s| Some(*s >= self.threshold?));
        print(&match (self.format, score) {
            (Format::Json, Ok(score)) => {
                let object = serde_json::json!({
                    "path": path, "score": score, "threshold": self.threshold, "anomalous": verdict
                });
                format!("{object}\n")
            }
            (Format::Json, Err(e)) => format!("{}\n", serde_json::json!({ "path": path, "error": e.to_string() })),
            (Format::Csv, score) => {
                let optional = |v: Option<String>| v.unwrap_or_default();
                let threshold = optional(score.as_ref().ok().and(self.threshold).map(|t| t.to_string()));
                let verdict = optional(verdict.map(|v| v.to_string()));
                let (score, error) = match score {
                    Ok(s) => (s.to_string(), String::new()),
                    Err(e) => (String::new(), e.to_string()),
                };
                format!("{},{score},{threshold},{verdict},{}\n", csv(&path), csv(&error))
            }
            (Format::Table, Ok(score)) => {
                let verdict = verdict.map_or("", |v| if v { "  ANOMALOUS" } else { "  normal" });
                format!("{score:>10.5}{verdict:<11}  {path}\n")
            }
            (Format::Table, Err(e)) => format!("{:>10}{:<11}  {e}\n", "-", "  unreadable"),
        })
    }
}

/// A CSV field, quoted where it must be.
fn csv(field: &str) -> String {
    if field.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_string()
    }
}
