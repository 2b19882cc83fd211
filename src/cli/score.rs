//! `ckaad score`: scores pictures with a trained model, one line each.

use super::framing::Framed;
use super::inputs::{Failed, Inputs, tell_hard_links, tell_passed_over, tell_warnings};
use super::message::{ALARM, plain};
use super::options::{Device, Thresholds, command_line, count, print, print_colored, tell_device};
use super::progress;
use crate::data::listing;
use crate::detector::file::ModelFile;
use crate::output::{FileKind, Outputs};
use crate::report::files::{self, MapFiles, Written};
use crate::report::heatmap::Scale;
use crate::report::json::path;
use crate::report::scored::ScoredReport;
use crate::score::pipeline::{self, Outcome, Wanted};
use crate::score::scorer::{Gives, Scorer};
use crate::score::verdict::{Judge, Verdict};
use crate::{Error, Result};
use anstyle::Style;
use serde_json::json;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

/// Score pictures with a trained model
#[derive(clap::Args, Debug)]
#[command(after_help = "\
A score of at least the threshold is called anomalous. Beside it stands the normalised score (score_normalized), from 0 to 1 and 0.5 at \
the threshold, which compares between models. Where the threshold was taken from normal and anomalous pictures, it is anomalib's \
(score - threshold) / (highest - lowest) + 0.5, cut at 0 and 1; where it was taken from normal ones, 0 is the lowest of them, and with r the \
share of the way from there to the threshold, it is r / 2 up to the threshold and 1 - 1 / (2 r) above. There is none without a threshold. \
Lines come in input order, each as soon as it is ready. \
Maps and heat maps are named after the picture, in the subfolders of the folder that was given; of several pictures with \
one name, later ones get -2, -3 and so on.

A heat map shows the picture in its own size, or, of more than 33 million pixels, at its map's. Where the anomaly map is below the pixel threshold it is left as it is; above \
it is outlined and coloured, from blue at the threshold to red at twice of it, as the strip below says (a picture too narrow \
for a strip has none). Without a pixel threshold (of models by earlier versions) the picture's threshold takes its place, \
and without any the colours go from the map's lowest value to its highest. JSON lists the connected areas above the pixel \
threshold as `regions`, the highest first: box (x, y, width, height) and area in pixels of the picture, share of the \
picture, peak of the map, centroid.

The table spells control characters of a file's name out (\\n, \\u{1b}); JSON and CSV have the name as it is. Where it is not UTF-8 \
they show the bytes that are none as U+FFFD, and JSON has all of them besides, percent-encoded, as path_bytes (map_bytes, \
heatmap_bytes): Python's urllib.parse.unquote_to_bytes reads them.

Below a folder that is given, masks (called <picture's name>_mask, -mask or _gt beside it, or in ground_truth beside test) and heat maps \
that ckaad wrote are passed over, and counted on standard error; a file that is named itself is scored, whatever it is.

Examples:
  ckaad score --model screw.safetensors photo.jpg
  ckaad score --model screw.safetensors --heatmaps heat --report heat.html test/
  ckaad score --model screw.safetensors --format json test/ |
      jq 'select(.anomalous) | .path, .regions[0].box'
  find /line -newer last -name '*.png' -print0 |
      ckaad score --model screw.safetensors --batch-size 8 --format csv --files0-from -

Exit codes: 0 all scored; 2 wrong use, or some picture could not be read (its line says why, the others are scored).")]
pub struct Args {
    /// Model file that `ckaad train` wrote
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    #[command(flatten)]
    inputs: Inputs,
    #[command(flatten)]
    thresholds: Thresholds,
    /// Write every picture with its anomalies outlined and coloured, as PNG, into this folder
    #[arg(long, value_name = "DIR")]
    heatmaps: Option<PathBuf>,
    /// Draw only the outlines
    #[arg(long, requires = "heatmaps")]
    contours: bool,
    /// Write every anomaly map (float32, image_size x image_size; of tiles, padding or a crop in the picture's proportions, at most 2^22 values) into this folder
    #[arg(long, value_name = "DIR")]
    maps: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = MapFormat::Npy, requires = "maps")]
    map_format: MapFormat,
    /// Write a self-contained HTML page with all scores and the pictures that scored highest, too
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Pictures in one pass of the engine; more are faster in bulk, 1 answers soonest
    #[arg(long, default_value_t = 1, value_parser = count)]
    batch_size: usize,
    #[command(flatten)]
    framed: Framed,
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
    /// One object a line: path, score, score_normalized, threshold, anomalous, regions, and heatmap, map, warnings where there are any; or path, error
    Json,
    Csv,
}

pub fn run(args: &Args) -> Result<bool> {
    let shows_pixels = args.heatmaps.is_some() || args.report.is_some() || args.format == Format::Json;
    if args.thresholds.pixel_threshold.is_some() && !shows_pixels {
        return Err(Error::Usage(
            "--pixel-threshold: only --heatmaps, --report and --format json show pixels; give one of them".into(),
        ));
    }
    let mut model = ModelFile::open(&args.model)?;
    args.framed.put_and_warn(&mut model.config)?;
    let mut outputs = Outputs::default();
    if let Some(report) = &args.report {
        outputs = outputs.file("--report", report, FileKind::Page)?;
    }
    for (flag, folder) in [("--heatmaps", &args.heatmaps), ("--maps", &args.maps)] {
        if let Some(folder) = folder {
            outputs = outputs.folder(flag, folder)?;
        }
    }
    outputs.expect_apart(&args.model)?;
    let given = args.inputs.given(&outputs)?;
    tell_hard_links(&outputs);
    let chosen = args.device.chosen_for(&model.config)?;
    let shows_regions =
        args.format == Format::Json && args.thresholds.pixel_threshold.or(model.config.pixel_threshold).is_some();
    let looks_at_maps = args.heatmaps.is_some() || args.maps.is_some() || args.report.is_some() || shows_regions;
    let gives = if looks_at_maps { Gives::ScoresAndMaps } else { Gives::Scores };
    let mut scorer = Scorer::from_file(&model, args.batch_size, &chosen.backend, gives)?;
    let format = match args.map_format {
        MapFormat::Npy => files::MapFormat::Npy,
        MapFormat::Tiff => files::MapFormat::Tiff,
    };
    let judge = args.thresholds.judge(&model.config);
    let Judge { threshold, pixel_threshold, normalization } = judge;
    let scale = pixel_threshold.or(threshold).map(Scale::above);
    if args.contours && scale.is_none() {
        return Err(Error::Usage(
            "--contours: the model has no threshold to draw them at; give --pixel-threshold".into(),
        ));
    }
    let scale = scale.map(|scale| Scale { filled: !args.contours, ..scale });
    let mut writer = Writer {
        format: args.format,
        judge,
        files: MapFiles::new(args.heatmaps.clone(), args.maps.clone(), format, scale)?,
        report: args.report.as_ref().map(|_| ScoredReport::new(threshold, normalization, scale)),
    };
    if args.format == Format::Csv {
        print("path,score,score_normalized,threshold,anomalous,error\n")?;
    }
    // When lines go to a file, a spinner on the terminal shows that work goes on.
    let bar = (!io::stdout().is_terminal()).then(|| progress::spinner("scored"));
    let (mut failed, mut seen, mut untold) = (Failed::default(), 0, Some(chosen));
    let passed_over = pipeline::run(
        &mut scorer,
        Wanted { pixels: args.heatmaps.is_some(), small: args.report.is_some(), ..Wanted::default() },
        move |take| listing::each(given, &outputs, take),
        |outcome| {
            seen += 1;
            if outcome.result.is_err() {
                failed.add(&outcome.picture.source);
            } else {
                untold.take().map_or(Ok(()), |chosen| tell_device(&chosen))?;
            }
            bar.iter().for_each(|b| b.inc(1));
            writer.write(outcome)
        },
    )?;
    bar.iter().for_each(|b| b.finish_and_clear());
    tell_passed_over(&passed_over);
    if seen == 0 {
        warning!("the list names no picture");
    }
    if let (Some(path), Some(report)) = (&args.report, writer.report) {
        report.write(path, &args.model.display().to_string(), command_line())?;
    }
    failed.expect_none("scored")?;
    Ok(true)
}

struct Writer {
    format: Format,
    judge: Judge,
    files: MapFiles,
    report: Option<ScoredReport>,
}

/// What is said of a picture that was scored.
struct Line {
    verdict: Verdict,
    written: Written,
    warnings: Vec<String>,
}

impl Writer {
    fn write(&mut self, outcome: Outcome) -> Result<()> {
        let source = outcome.picture.source.path();
        let line = match outcome.result {
            Ok((picture, scored)) => {
                tell_warnings(source, &picture.shown);
                let shown = (picture.shown.width, picture.shown.height);
                let written = self.files.write(&outcome.picture.name, &picture.shown.rgb, shown, &scored.map)?;
                // Only JSON shows regions.
                let pixel_threshold = self.judge.pixel_threshold.filter(|_| self.format == Format::Json);
                let verdict = Judge { pixel_threshold, ..self.judge }.verdict(&scored, shown);
                if let Some(report) = &mut self.report {
                    report.add(source, &picture.shown, picture.small, scored);
                }
                Ok(Line { verdict, written, warnings: picture.shown.warnings })
            }
            Err(e) => Err(e),
        };
        print(&match (self.format, line) {
            (Format::Json, Ok(line)) => {
                let mut object = json!(line.verdict);
                path::put(&mut object, "path", source);
                for (key, file) in [("heatmap", line.written.heatmap), ("map", line.written.map)] {
                    file.iter().for_each(|file| path::put(&mut object, key, file));
                }
                if !line.warnings.is_empty() {
                    object["warnings"] = line.warnings.into();
                }
                format!("{object}\n")
            }
            (Format::Json, Err(e)) => {
                let mut object = json!({ "error": e.to_string() });
                path::put(&mut object, "path", source);
                format!("{object}\n")
            }
            (Format::Csv, line) => {
                let path = csv(&source.display().to_string());
                match line {
                    Ok(Line { verdict: v, .. }) => {
                        let optional = |v: Option<f64>| v.map(|v| v.to_string()).unwrap_or_default();
                        let (normalized, threshold) = (optional(v.score_normalized), optional(v.threshold));
                        let anomalous = v.anomalous.map(|v| v.to_string()).unwrap_or_default();
                        format!("{path},{},{normalized},{threshold},{anomalous},\n", v.score)
                    }
                    Err(e) => format!("{path},,,,,{}\n", csv(&e.to_string())),
                }
            }
            (Format::Table, Ok(Line { verdict: v, .. })) => {
                let style = if v.anomalous == Some(true) { ALARM } else { Style::new() };
                let verdict = v.anomalous.map_or("", |v| if v { "ANOMALOUS" } else { "normal" });
                let path = plain(source.display());
                let normalized = v.score_normalized.map_or(String::new(), |v| format!("  {v:.3}"));
                return print_colored(&format!(
                    "{:>10.5}{normalized}  {style}{verdict:<9}{style:#}  {path}\n",
                    v.score
                ));
            }
            (Format::Table, Err(e)) => {
                let normalized = self.judge.normalization.map_or("", |_| "      -");
                format!("{:>10}{normalized}{:<11}  {}\n", "-", "  unreadable", plain(e))
            }
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
