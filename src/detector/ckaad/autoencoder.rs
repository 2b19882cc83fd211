//! The auto-encoder of feature maps: fuse all layers at the coarsest size, encode with residual blocks, decode back to
//! every layer. All norms are affine and of one kind, the paper's choice being instance norms, whatever the authors' names
//! (`ln*`, `bn*`) suggest.

use crate::Result;
use crate::engine::ops::concat::Axis;
use crate::engine::ops::{Activation, conv2d};
use crate::engine::tape::{NetId, Tape, Var};
use crate::model::layers::{ConvInit, Norm, Recorder, expect_maps};
use crate::model::{Architecture, Backbone};

/// Name of the network, and its prefix in model files.
pub const NETWORK: &str = "ae";

/// Records the auto-encoder over feature maps (finest first); returns reconstructions of the same shapes.
pub fn record(tape: &mut Tape, net: NetId, a: &Architecture, norm: Norm, maps: &[Var]) -> Result<Vec<Var>> {
    expect_maps(tape, maps, a)?;
    let mut r = Recorder { tape, net, conv_init: ConvInit::KaimingFanOut, norm };
    let code = encode(&mut r, a, maps)?;
    decode(&mut r, a, code)
}

fn encode(r: &mut Recorder, a: &Architecture, maps: &[Var]) -> Result<Var> {
    let e = a.backbone.expansion();
    let planes = a.planes();
    let top = planes[planes.len() - 1];
    let fusion = "encoder.fusion_layer";
    let mut fused = Vec::new();
    for (i, &map) in maps.iter().enumerate() {
        let mut x = map;
        for step in 0.. {
            let c = r.channels(x);
            if c == top * e {
                break;
            }
            let name = format!("{fusion}.conv_layers.{i}.{step}");
            x = r.conv(x, &format!("{name}.0"), 2 * c, 3, conv2d::Options::square(2, 1))?;
            x = r.norm(x, &format!("{name}.1"), None, Activation::Relu)?;
        }
        fused.push(x);
    }
    r.label(fusion);
    let mut x = r.tape.concat(&fused, Axis::Channels)?;
    let blocks = if a.backbone.name == "resnet18" { 2 } else { 3 };
    for i in 0..blocks {
        let stride = if i == 0 { 2 } else { 1 };
        x = encoder_block(r, a.backbone, x, &format!("{fusion}.encode_layer1.{i}"), 2 * top, stride)?;
    }
    Ok(x)
}

fn encoder_block(r: &mut Recorder, b: &Backbone, x: Var, name: &str, planes: usize, stride: usize) -> Result<Var> {
    let out = planes * b.expansion();
    let mut shortcut = x;
    if stride != 1 || r.channels(x) != out {
        shortcut = r.conv(x, &format!("{name}.downsample.0"), out, 1, conv2d::Options::square(stride, 0))?;
        shortcut = r.norm(shortcut, &format!("{name}.downsample.1"), None, Activation::None)?;
    }
    // (output channels, kernel, stride) of each convolution on the main path
    let path = if b.bottleneck {
        let mid = planes * b.width;
        vec![(mid, 1, 1), (mid, 3, stride), (out, 1, 1)]
    } else {
        vec![(planes, 3, stride), (planes, 3, 1)]
    };
    let mut y = x;
    for (i, &(c, kernel, stride)) in path.iter().enumerate() {
        let residual = (i + 1 == path.len()).then_some(shortcut);
        y = r.conv(y, &format!("{name}.conv{}", i + 1), c, kernel, conv2d::Options::square(stride, kernel / 2))?;
        y = r.norm(y, &format!("{name}.ln{}", i + 1), residual, Activation::Relu)?;
    }
    Ok(y)
}

fn decode(r: &mut Recorder, a: &Architecture, code: Var) -> Result<Vec<Var>> {
    let mut maps = Vec::new();
    let mut x = code;
    for (stage, planes) in a.planes().into_iter().rev().enumerate() {
        for i in 0..a.backbone.blocks[stage] {
            let name = format!("decoder.backbone.layers.{stage}.{i}");
            x = decoder_block(r, a.backbone, x, &name, planes, i == 0)?;
        }
        maps.push(x);
    }
    maps.reverse();
    Ok(maps)
}

/// Residual block whose 3x3 (the first convolution of a basic block, the second of a bottleneck) is a transposed 2x2
/// convolution where it doubles the size.
fn decoder_block(r: &mut Recorder, b: &Backbone, x: Var, name: &str, planes: usize, doubles: bool) -> Result<Var> {
    let out = planes * b.expansion();
    let mut shortcut = x;
    if doubles || r.channels(x) != out {
        shortcut = r.conv_transpose(x, &format!("{name}.upsample.0"), out)?;
        shortcut = r.norm(shortcut, &format!("{name}.upsample.1"), None, Activation::None)?;
    }
    // (output channels, kernel, whether it is the one that doubles)
    let path = if b.bottleneck {
        let mid = planes * b.width;
        vec![(mid, 1, false), (mid, 3, doubles), (out, 1, false)]
    } else {
        vec![(planes, 3, doubles), (planes, 3, false)]
    };
    let mut y = x;
    for (i, &(c, kernel, doubles)) in path.iter().enumerate() {
        let residual = (i + 1 == path.len()).then_some(shortcut);
        let conv = format!("{name}.conv{}", i + 1);
        y = if doubles {
            r.conv_transpose(y, &conv, c)?
        } else {
            r.conv(y, &conv, c, kernel, conv2d::Options::square(1, kernel / 2))?
        };
        y = r.norm(y, &format!("{name}.bn{}", i + 1), residual, Activation::Relu)?;
    }
    Ok(y)
}
