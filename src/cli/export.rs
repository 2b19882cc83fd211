//! `ckaad export`: a model for other engines.

use super::inputs::tell_hard_links;
use super::options::{count, named};
use crate::data::framing::Framing;
use crate::detector::file::ModelFile;
use crate::engine::toolkit::onnx::OPSET;
use crate::export::{Input, write_onnx};
use crate::output::{FileKind, Outputs, expect_new};
use crate::{Error, Result};
use std::path::PathBuf;

/// Write a model's scoring for other engines, such as ONNX Runtime and OpenVINO
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The graph has one input, `pixels` (bytes, n x size x size x 3, red green blue) or with --input normalized `input` (f32, n x 3 x size \
x size), and the outputs `score` (n) and `map` (n x size x size). Pictures have to be resized before, as Pillow does it: \
image.resize((size, size), BILINEAR); engines differ in how they resize, and scores would with them. A model that looks at pictures in tiles, padded, cropped or in a region of interest has \
that in the metadata as `pictures`, in words: the graph scores one square, and the threshold is that of whole pictures. The threshold is not in the \
graph but in the file's metadata, with size, mean and deviation of what the network takes. All operators are ONNX's own, of opset 17; \
numbers are f32. An engine has to compute in f32, too: OpenVINO rounds to bfloat16 where the processor can, unless INFERENCE_PRECISION_HINT \
is f32.

Examples:
  ckaad export --format onnx --model screw.safetensors --out screw.onnx
  ckaad export --model screw.safetensors --batch-size 1 --input normalized --out screw.onnx")]
pub struct Args {
    /// Model file
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// What is written
    #[arg(long, value_enum, default_value_t)]
    format: Written,
    /// In which form the graph takes pictures
    #[arg(long, default_value = "pixels", value_parser = named(Input::NAMES, Input::find))]
    input: Input,
    /// Pictures at a time [default: any number]
    #[arg(long, value_parser = count)]
    batch_size: Option<usize>,
    /// Replace a file that an earlier export wrote
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Written {
    #[default]
    Onnx,
}

pub fn run(args: &Args) -> Result<bool> {
    let Written::Onnx = args.format;
    let model = ModelFile::open(&args.model)?;
    let outputs = Outputs::default().file("--out", &args.out, FileKind::Onnx)?;
    outputs.expect_apart(&args.model)?;
    if !args.force {
        expect_new("--out", &args.out, "--force replaces it")?;
    }
    tell_hard_links(&outputs);
    write_onnx(&model, args.input, args.batch_size, &args.out).map_err(|e| match (e, args.batch_size) {
        (e @ Error::Io { .. }, _) => e,
        (e, Some(n)) => e.within(format!("{}, --batch-size {n}", args.model.display())),
        (e, None) => e.within(args.model.display()),
    })?;
    let size = model.config.architecture.image_size;
    let n = args.batch_size.map_or("n".into(), |n| n.to_string());
    let takes = match args.input {
        Input::Pixels => format!("pixels u8 {n}x{size}x{size}x3"),
        Input::Normalized => format!("input f32 {n}x3x{size}x{size}"),
    };
    let threshold = model.config.threshold.map_or(String::new(), |t| format!(", threshold {t:.5} in the metadata"));
    if model.config.quantized.is_some() {
        note!(
            "weights of 8 bits are written as the f32 numbers that they stand for; quantise the ONNX model with its engine's tools"
        );
    }
    if model.config.framing != Framing::default() {
        warning!(
            "the model's pictures are {}: that is for who runs the graph, which scores one square; the threshold is that of whole \
             pictures",
            model.config.framing.describe(size)
        );
    }
    note!("ckaad: {}: ONNX, opset {OPSET}: {takes} -> score {n}, map {n}x{size}x{size}{threshold}", args.out.display());
    Ok(true)
}
