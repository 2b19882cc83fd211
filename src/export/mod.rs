//! Detectors for other engines: a scoring program with its weights, as a file of another format.

pub mod onnx;

use crate::detector::BatchSpec;
use crate::detector::file::{Config, ModelFile};
use crate::engine::tensor::DType;
use crate::error::Result;
use crate::model::features::Feed;
use onnx::{Batch, Named, Shown};
use std::path::Path;

/// In which form an exported program takes pictures, which are resized already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// `pixels`, bytes (n, size, size, 3): red, green, blue.
    Pixels,
    /// `input`, f32 (n, 3, size, size): normalised, as torchvision's networks take pictures.
    Normalized,
}

impl Input {
    /// Names, each with a line of help.
    pub const NAMES: &[(&str, &str)] =
        &[("pixels", "Bytes, normalised by the graph"), ("normalized", "f32, normalised before, as torchvision does")];

    pub fn find(name: &str) -> Result<Self> {
        match name {
            "pixels" => Ok(Input::Pixels),
            "normalized" => Ok(Input::Normalized),
            _ => Err(crate::Error::Usage(format!("unknown input '{name}': expected pixels or normalized"))),
        }
    }
}

/// Writes a model's scoring program as ONNX, atomically: one input, as `input` says, and the outputs `score` (n) and `map` (n, size,
/// size), both f32, of `batch` pictures at a time or of any number. What else belongs to the model, its thresholds too, is in the metadata.
///
/// Errors: a record that ONNX has no counterpart of, by its number and name; more than the 2 GB that a file of the format holds.
pub fn write_onnx(model: &ModelFile, input: Input, batch: Option<usize>, path: &Path) -> Result<()> {
    let config = &model.config;
    let feed = if input == Input::Pixels { Feed::Pixels } else { Feed::Pictures };
    // What is composed of a program holds for any number of pictures.
    let spec = BatchSpec { architecture: &config.architecture, batch: batch.unwrap_or(1), feed, dtype: DType::F32 };
    let program = config.detector.scoring(&spec)?;
    let pixels = if input == Input::Pixels { "pixels" } else { "input" };
    let inputs: Vec<Named> = program.inputs().map(|var| Named { name: pixels, var }).collect();
    let outputs = [
        (Named { name: "score", var: program.report("score")? }, Shown::Numbers),
        (Named { name: "map", var: program.report("map")? }, Shown::Maps),
    ];
    let batch = if batch.is_some() { Batch::Recorded } else { Batch::Any };
    let mut graph = onnx::Builder::new(&program.tape, batch);
    graph.inputs(&inputs)?;
    for network in &program.networks {
        model.each_parameter(&program, network.id, |index, values| graph.parameter(network.id, index, values))?;
    }
    graph.records()?;
    for (output, shown) in &outputs {
        graph.output(output, *shown)?;
    }
    onnx::write(graph.finish(), &metadata(config), path)
}

/// What a graph does not hold.
fn metadata(config: &Config) -> Vec<(String, String)> {
    let a = &config.architecture;
    let three = |v: [f64; 3]| v.map(|x| x.to_string()).join(",");
    let layers: Vec<String> = a.layers.iter().map(usize::to_string).collect();
    let mut properties = vec![
        ("detector", config.detector.method().name.to_string()),
        ("backbone", a.backbone.name.to_string()),
        ("layers", layers.join(",")),
        ("image_size", a.image_size.to_string()),
        ("resampling", "bilinear, as Pillow's Image.resize(..., BILINEAR)".to_string()),
        ("pictures", config.framing.describe(a.image_size)),
        ("mean", three(a.mean)),
        ("std", three(a.std)),
    ];
    let thresholds = [("threshold", config.threshold), ("pixel_threshold", config.pixel_threshold)];
    properties.extend(thresholds.into_iter().filter_map(|(name, t)| Some((name, t?.to_string()))));
    properties.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}
