//! Discriminators. Energy-based, they learn low energies for features of normal images, and the margin for generated and
//! anomalous ones; in a GAN, their outputs are logits.
//!
//! Patch-level: an energy for every position of every layer, over channel-normalised maps. Image-level: one energy an
//! image, over raw maps.

use crate::engine::ops::concat::Axis;
use crate::engine::ops::{Activation, conv2d};
use crate::engine::tape::{NetId, Tape, Var};
use crate::engine::tensor::Shape;
use crate::model::Architecture;
use crate::model::layers::{ConvInit, Norm, Recorder, expect_maps};
use crate::{Result, invalid};

/// Name of the network, and its prefix in model files.
pub const NETWORK: &str = "discriminator";
const LEAKY: Activation = Activation::LeakyRelu(0.1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Patch,
    Image,
}

/// Records a discriminator over feature maps (finest first); returns energies: one map (n, h, w, 1) per layer at patch
/// level, a single (n, 1, 1, 1) at image level.
pub fn record(tape: &mut Tape, net: NetId, a: &Architecture, level: Level, maps: &[Var]) -> Result<Vec<Var>> {
    expect_maps(tape, maps, a)?;
    let mut r = Recorder { tape, net, conv_init: ConvInit::Default, norm: Norm::Instance };
    match level {
        Level::Patch => maps.iter().zip(a.channels()).enumerate().map(|(i, (&m, c))| patch(&mut r, i, m, c)).collect(),
        Level::Image => Ok(vec![image(&mut r, maps)?]),
    }
}

/// Layer `i`'s discriminator of positions: three 1x1 convolutions over `map`, `c` channels between them.
pub fn patch(r: &mut Recorder, i: usize, map: Var, c: usize) -> Result<Var> {
    r.label(&format!("layers.{i}"));
    let hidden = conv2d::Options { act: LEAKY, ..conv2d::Options::square(1, 0) };
    let mut x = r.tape.l2_normalize(map)?;
    x = r.conv(x, &format!("layers.{i}.0"), c, 1, hidden)?;
    x = r.conv(x, &format!("layers.{i}.2"), c, 1, hidden)?;
    r.conv(x, &format!("layers.{i}.4"), 1, 1, conv2d::Options::square(1, 0))
}

/// Strided 3x3 convolutions down to 2x2, a 2x2 convolution to one vector, and a small fully connected head.
fn image(r: &mut Recorder, maps: &[Var]) -> Result<Var> {
    let last = r.tape.shape(maps[maps.len() - 1]);
    let top = last.c();
    let halve = |r: &mut Recorder, x: Var, name: &str, out: usize| -> Result<Var> {
        let x = r.conv(x, &format!("{name}.0"), out, 3, conv2d::Options::square(2, 1))?;
        r.plain_norm(x, &format!("{name}.1"), LEAKY)
    };
    let mut fused = Vec::new();
    for (i, &map) in maps.iter().enumerate() {
        let mut x = map;
        for step in 0.. {
            if r.tape.shape(x).h() <= last.h() {
                break;
            }
            let out = 2 * r.channels(x);
            x = halve(r, x, &format!("layers.{i}.{step}"), out)?;
        }
        fused.push(x);
    }
    r.label("layer1");
    let mut x = r.tape.concat(&fused, Axis::Channels)?;
    let mut step = 0;
    while r.tape.shape(x).h() > 2 {
        x = halve(r, x, &format!("layer1.{step}"), top)?;
        step += 1;
    }
    if r.tape.shape(x).h() != 2 {
        invalid!("the image-level discriminator needs maps of at least 2x2, found {}", r.tape.shape(x));
    }
    x = r.conv(x, &format!("layer1.{step}"), top, 2, conv2d::Options::square(2, 0))?;
    x = linear(r, x, "cls_layer.0", top / 4)?;
    // InstanceNorm1d over a vector normalises it over its own elements: they take the place of positions.
    let vector = r.tape.shape(x);
    x = r.tape.view(x, Shape([vector.n(), vector.c(), 1, 1]))?;
    x = r.plain_norm(x, "cls_layer.1", LEAKY)?;
    x = r.tape.view(x, vector)?;
    linear(r, x, "cls_layer.3", 1)
}

fn linear(r: &mut Recorder, x: Var, name: &str, out: usize) -> Result<Var> {
    use crate::engine::params::Init;
    r.label(name);
    let c = r.channels(x);
    let init = Init::Uniform(1.0 / (c as f64).sqrt());
    let w = r.tape.param(r.net, &format!("{name}.weight"), &[out, c], init)?;
    r.tape.linear(x, w)
}
