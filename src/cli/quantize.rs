//! `ckaad quantize`: a model with weights and activations of 8 bits, for scoring.

use super::data::Data;
use super::inputs::{Failed, tell_hard_links, tell_left_out, tell_passed_over, tell_warnings};
use super::message::plain;
use super::options::{Format, named, percentage, plural, print};
use super::progress;
use crate::data::digest::Digest;
use crate::data::image::Source;
use crate::data::layout::{Split, TestSet};
use crate::detector::file::ModelFile;
use crate::output::{FileKind, Outputs, expect_new};
use crate::quantize::calibrate::Choice;
use crate::quantize::{Kept, PICTURES, Quantized, Settings, Tried, expect_real, quantize};
use crate::{Error, Result};
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Fewer different pictures than this say little of how large numbers become.
const FEW: usize = 8;

/// Make a model with 8-bit weights and activations: a quarter of the size, and faster on a CPU
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Scales are taken from normal pictures, best those that the model was trained on. Every layer is tried alone, and the table says how far \
the maps move by it; the layers that move scores too far keep f32. The first one takes pixels as they come, with weights of 16 bits. Check the result as any model: `ckaad eval`.

Examples:
  ckaad quantize --model screw.safetensors --data mvtec/screw --out screw-int8.safetensors
  ckaad quantize --model parts.safetensors --normal pictures/good --scales percentile --out parts-int8.safetensors
  ckaad score --model screw-int8.safetensors pictures/        # in int8 where the CPU computes
  ckaad score --model screw-int8.safetensors pictures/ --device cuda --precision int8")]
pub struct Args {
    /// Model file
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Folder of normal pictures, in place of --data
    #[arg(long, value_name = "DIR", conflicts_with = "data")]
    normal: Option<PathBuf>,
    #[command(flatten)]
    data: Data,
    /// How scales are chosen
    #[arg(long, default_value = "mse", value_parser = named(Choice::NAMES, Choice::find))]
    scales: Choice,
    /// How far the scores of normal pictures may move, in the median, before layers are left as they are; as 0.005 or 0.5%
    #[arg(long, default_value = "0.5%", value_parser = percentage, value_name = "SHARE")]
    tolerance: f64,
    /// How many of the first layers keep more than 8 bits, whatever they cost
    #[arg(long, default_value_t = 1, value_name = "N")]
    keep_first: usize,
    /// Replace a file that is already there under the name of --out
    #[arg(long)]
    force: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Args {
    /// Normal training pictures, none of them in the way of `outputs`.
    fn sources(&self, outputs: &Outputs) -> Result<Vec<Source>> {
        let named = self.data.open()?;
        let sources: Vec<Source> = match &self.normal {
            Some(normal) => {
                let set = TestSet::of_folders(Some(normal), None, None)?;
                tell_passed_over(&set.passed_over);
                set.left_out.iter().for_each(|reason| tell_left_out(reason));
                set.images.into_iter().map(|s| s.source).collect()
            }
            None if named.categories.is_empty() => {
                let what = "which pictures? --data DIR with a dataset, or --normal DIR with normal pictures";
                return Err(Error::Usage(what.into()));
            }
            None => {
                let samples = named.categories.iter().flat_map(|c| c.samples());
                samples.filter(|s| s.0 == Split::Train && !s.1.anomalous).map(|s| s.1.source.clone()).collect()
            }
        };
        sources.iter().filter_map(Source::file).try_for_each(|file| outputs.expect_apart(file))?;
        Ok(sources)
    }
}

pub fn run(args: &Args) -> Result<bool> {
    let outputs = Outputs::default().file("--out", &args.out, FileKind::Tensors)?;
    outputs.expect_apart(&args.model)?;
    if !args.force {
        expect_new("--out", &args.out, "--force replaces it")?;
    }
    tell_hard_links(&outputs);
    let settings = Settings { choice: args.scales, tolerance: args.tolerance, first: args.keep_first };
    // Ctrl-C ends the process: nothing is half written.
    let never = AtomicBool::new(false);
    let (quantized, failed) = quantize_file(&args.model, &args.out, &args.sources(&outputs)?, &settings, &never)?;
    print(&match args.format {
        Format::Table => table(&quantized),
        Format::Json => format!("{}\n", object(&quantized, args)),
    })?;
    failed.expect_none("read; the scales are those of the others")?;
    Ok(true)
}

/// Quantises a model file into another one, by some of these normal pictures, and says what came of it. Pictures that cannot be read
/// are told, and counted in what is returned. Once `stop` is set it ends with [`Error::Cancelled`], and nothing is written.
pub fn quantize_file(
    model_path: &Path,
    out: &Path,
    normal: &[Source],
    settings: &Settings,
    stop: &AtomicBool,
) -> Result<(Quantized, Failed)> {
    let model = ModelFile::open(model_path)?;
    expect_real(&model)?;
    // Evenly spread; what cannot be read leaves a gap.
    let (count, framer) = (normal.len().min(PICTURES), model.config.framer());
    let chosen = (0..count).map(|i| &normal[i * normal.len() / count]);
    let (mut pictures, mut digests, mut failed) = (Vec::new(), BTreeSet::new(), Failed::default());
    for source in chosen {
        let framed = source.read().and_then(|picture| Ok((framer.frame((picture.width, picture.height))?, picture)));
        match framed {
            Ok((frame, picture)) => {
                tell_warnings(source.path(), &picture);
                let views = frame.views().min(PICTURES.div_ceil(count));
                for i in 0..views {
                    let pixels = frame.cut(&picture, i * frame.views() / views);
                    digests.insert(Digest::of(&pixels));
                    pictures.push(pixels);
                }
            }
            Err(e) => {
                failed.add(source);
                tell_left_out(&e);
            }
        }
    }
    if pictures.is_empty() {
        failed.expect_none("read; none is left to take scales from")?;
        return Err(Error::Usage("there is no normal training picture to take scales from".into()));
    }
    if pictures.iter().all(|pixels| pixels.iter().all(|v| *v == pixels[0])) {
        warning!("every picture is of one colour: scales that rest on these are of no use for others");
    }
    if digests.len() < FEW {
        let different = plural(digests.len(), "different picture");
        warning!("scales rest on {different}: what others have more of is cut off; give some dozens");
    }
    let bar = progress::bar("quantising", 0);
    let quantized = quantize(&model, &pictures, settings, &mut |stage, done, of| {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        bar.set_message(stage);
        bar.set_length(of as u64);
        bar.set_position(done as u64);
        Ok(())
    })?;
    bar.finish_and_clear();
    if quantized.scheme.layers.is_empty() {
        warning!(
            "no layer has 8 bits: nothing is gained; allow scores to move further (--tolerance), or keep fewer layers (--keep-first)"
        );
    }
    quantized.save(out, &model.config)?;
    let sizes = [model_path, out].map(|path| std::fs::metadata(path).map_or(0, |m| m.len()));
    let [before, after] = sizes.map(|bytes| bytes as f64 / 1e6);
    note!("ckaad: {}: {after:.1} MB (before: {before:.1} MB); {}", plain(out.display()), quantized.describe());
    Ok((quantized, failed))
}

fn numbers(kept: Option<Kept>) -> &'static str {
    match kept {
        None => "int8",
        Some(Kept::First) => "f32 (first)",
        Some(Kept::TooFar) => "f32",
        Some(Kept::Pixels) => "16 bits",
    }
}

/// One line a layer.
fn table(q: &Quantized) -> String {
    let mut out = format!("{:>8} {:>10}  {:<11}  layer\n", "products", "maps move", "numbers");
    for t in &q.tried {
        let (share, moved) = (100.0 * t.share, 100.0 * t.moved);
        let _ = writeln!(out, "{share:>6.2} % {moved:>8.3} %  {:<11}  {}", numbers(t.kept), t.name);
    }
    out
}

fn object(q: &Quantized, args: &Args) -> serde_json::Value {
    let layer = |t: &Tried| json!({ "layer": t.name, "products": t.share, "maps_moved": t.moved, "int8": t.kept.is_none(), "numbers": numbers(t.kept) });
    json!({
        "model": args.out, "scales": args.scales.to_string(), "scores_moved": q.scores_moved, "maps_moved": q.maps_moved,
        "layers": q.tried.iter().map(layer).collect::<Vec<_>>(),
    })
}
