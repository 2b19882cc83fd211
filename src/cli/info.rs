//! `ckaad info`: what a model file says of itself.

use super::message::plain;
use super::options::{Format, print};
use crate::Result;
use crate::detector::file::{Config, ModelFile};
use crate::error::plural;
use serde_json::json;
use std::fmt::Write;
use std::path::PathBuf;

/// Show what a model was trained on and with, and what its threshold rests on
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  ckaad info screw.safetensors
  ckaad info --format json screw.safetensors | jq .calibration.scores")]
pub struct Args {
    /// Model file
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &Args) -> Result<bool> {
    let model = ModelFile::open(&args.model)?;
    let config = &model.config;
    print(&match args.format {
        Format::Table => table(config)?,
        Format::Json => format!("{}\n", object(config)),
    })?;
    Ok(true)
}

/// The options that the file holds, with those that only training has a use for where it tells them.
fn options(config: &Config) -> Vec<(String, String)> {
    if let Some(training) = &config.training {
        return training.options.clone().into_iter().collect();
    }
    let options = config.detector.options();
    let kept = options.specs().iter().filter(|spec| spec.need.in_scoring());
    kept.filter_map(|spec| Some((spec.name.to_string(), options.text(spec.name)?.to_string()))).collect()
}

fn object(config: &Config) -> serde_json::Value {
    let a = &config.architecture;
    json!({
        "detector": config.detector.method().name,
        "options": options(config).into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        "backbone": a.backbone.name,
        "layers": a.layers,
        "image_size": a.image_size,
        "framing": config.framing,
        "weights": config.extra.get("weights"),
        "int8": config.quantized.as_ref().map(|scheme| &scheme.layers),
        "threshold": config.threshold,
        "pixel_threshold": config.pixel_threshold,
        "training": config.training,
        "calibration": config.calibration,
    })
}

fn table(config: &Config) -> Result<String> {
    let a = &config.architecture;
    let mut rows: Vec<(&str, String)> = Vec::new();
    let options: Vec<String> = options(config).iter().map(|(name, value)| format!("{name} {value}")).collect();
    rows.push(("detector", format!("{}: {}", config.detector.method().name, options.join(", "))));
    let layers: Vec<String> = a.layers.iter().map(usize::to_string).collect();
    rows.push(("backbone", format!("{}, layers {}", a.backbone.name, layers.join(", "))));
    rows.push(("weights", config.extra.get("weights").map_or("(not told)", String::as_str).to_string()));
    if let Some(scheme) = &config.quantized {
        rows.push(("", format!("8 bits of {}", plural(scheme.layers.len(), "layer"))));
    }
    rows.push(("pictures", config.framing.describe(a.image_size)));
    match &config.training {
        None => rows.push(("training", "(not told: written by an earlier version)".into())),
        Some(t) => {
            let epochs = t.epochs.map_or("fitted at once".to_string(), |e| plural(e, "epoch"));
            rows.push(("trained", format!("{}, by ckaad {} on {}", t.date, t.version, t.device)));
            rows.push(("", format!("{epochs}, batch size {}, seed {}", t.batch_size, t.seed)));
            let data = format!("{} normal, {} held back, {} anomalous", t.normal, t.held_back, t.anomalous);
            rows.push(("on", format!("{data}; digest {}", t.data)));
            if let Some(class) = &t.normal_class {
                rows.push(("", format!("normal: {class}")));
            }
        }
    }
    let number = |t: Option<f64>| t.map_or("none".to_string(), |t| format!("{t:.5}"));
    rows.push(("threshold", number(config.threshold)));
    if let (Some(calibration), Some(threshold)) = (&config.calibration, config.threshold) {
        rows.push(("", calibration.describe(threshold)?));
        if let Some(doubt) = calibration.doubt() {
            rows.push(("", doubt));
        }
    }
    rows.push(("pixels", format!("threshold {}", number(config.pixel_threshold))));
    let mut text = String::new();
    for (name, value) in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<10} {}", plain(value));
    }
    Ok(text)
}
