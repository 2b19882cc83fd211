//! The feature extractor: torchvision's ResNets up to the last layer used. Frozen, with batch norms folded into the convolutions;
//! or with batch norms of their own, as it is trained.

use super::layers::{ConvInit, Norm, Recorder};
use super::{Architecture, BACKBONES, Backbone, MAX_IMAGE_SIZE, PLANES, TensorSource};
use crate::Result;
use crate::engine::ops::{Activation, conv2d};
use crate::engine::params::{Init, Parameters, Values};
use crate::engine::real::Real;
use crate::engine::tape::{NetId, Tape, Var};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// Name of the network, and its prefix in model files.
pub const NETWORK: &str = "backbone";
/// torchvision's batch norm.
const BATCH_NORM_EPS: f64 = 1e-5;

/// One convolution with the batch norm behind it.
struct Conv {
    name: String,
    norm: String,
    shape: [usize; 4],
    stride: usize,
    pad: usize,
}

/// One residual block: the convolutions on its main path, and the one on its shortcut where shapes change.
struct Block {
    convs: Vec<Conv>,
    shortcut: Option<Conv>,
}

fn stem() -> Conv {
    Conv { name: "conv1".into(), norm: "bn1".into(), shape: [64, 3, 7, 7], stride: 2, pad: 3 }
}

/// Blocks of layer `layer` (1 to 4), as torchvision's BasicBlock or Bottleneck (stride on the 3x3).
fn blocks(a: &Architecture, layer: usize) -> Vec<Block> {
    let b = a.backbone;
    let planes = PLANES[layer - 1];
    let out = planes * b.expansion();
    let mut cin = if layer == 1 { 64 } else { PLANES[layer - 2] * b.expansion() };
    (0..b.blocks[layer - 1])
        .map(|i| {
            let prefix = format!("layer{layer}.{i}");
            let stride = if i == 0 && layer > 1 { 2 } else { 1 };
            let conv = |k: usize, cin: usize, cout: usize, kernel: usize, stride: usize| Conv {
                name: format!("{prefix}.conv{k}"),
                norm: format!("{prefix}.bn{k}"),
                shape: [cout, cin, kernel, kernel],
                stride,
                pad: kernel / 2,
            };
            let convs = if b.bottleneck {
                let mid = planes * b.width;
                vec![conv(1, cin, mid, 1, 1), conv(2, mid, mid, 3, stride), conv(3, mid, out, 1, 1)]
            } else {
                vec![conv(1, cin, planes, 3, stride), conv(2, planes, planes, 3, 1)]
            };
            let shortcut = (stride != 1 || cin != out).then(|| Conv {
                name: format!("{prefix}.downsample.0"),
                norm: format!("{prefix}.downsample.1"),
                shape: [out, cin, 1, 1],
                stride,
                pad: 0,
            });
            cin = out;
            Block { convs, shortcut }
        })
        .collect()
}

/// Every convolution up to the last layer used.
fn convs(a: &Architecture) -> Vec<Conv> {
    let last = a.layers[a.layers.len() - 1];
    let blocks = (1..=last).flat_map(|l| blocks(a, l)).flat_map(|b| b.convs.into_iter().chain(b.shortcut));
    std::iter::once(stem()).chain(blocks).collect()
}

/// Names and shapes of the torchvision tensors that this architecture needs.
pub fn tensors(a: &Architecture) -> Vec<(String, Vec<usize>)> {
    let each = |c: Conv| {
        let norm: Vec<_> = norm_of(&c).map(|name| (name, vec![c.shape[0]])).collect();
        std::iter::once((format!("{}.weight", c.name), c.shape.to_vec())).chain(norm)
    };
    convs(a).into_iter().flat_map(each).collect()
}

/// Folds an inference batch norm (gamma, beta, mean, variance) into the convolution before it, whose `weight` has one
/// filter per channel: `weight * gamma / sqrt(var + eps)` and the bias `beta - mean * gamma / sqrt(var + eps)`.
pub fn fold<T: Real>(weight: &[f32], [gamma, beta, mean, var]: [&[f32]; 4], eps: f64) -> (Vec<T>, Vec<T>) {
    let scale: Vec<f64> = gamma.iter().zip(var).map(|(g, v)| *g as f64 / (*v as f64 + eps).sqrt()).collect();
    let filter = weight.len() / gamma.len();
    let each = |(w, s): (&[f32], &f64)| w.iter().map(|w| T::of(*w as f64 * s)).collect::<Vec<T>>();
    let scaled = weight.chunks(filter).zip(&scale).flat_map(each).collect();
    let bias = (0..gamma.len()).map(|i| T::of(beta[i] as f64 - mean[i] as f64 * scale[i])).collect();
    (scaled, bias)
}

/// Reads the weights, each batch norm folded into its convolution.
pub fn load<T: Real>(a: &Architecture, source: &dyn TensorSource) -> Result<Values<T>> {
    let parameters = Arc::new(parameters(a)?);
    let mut values = Values::zeros(parameters.clone());
    each_folded(a, source, |index, v| {
        let e = &parameters.entries()[index];
        e.from_file(v, &mut values.data[e.range.clone()])
    })?;
    Ok(values)
}

/// Hands out the folded weights and biases, in file order, with their index in the network's parameters.
pub fn each_folded<T: Real>(
    a: &Architecture,
    source: &dyn TensorSource,
    mut take: impl FnMut(usize, &[T]) -> Result<()>,
) -> Result<()> {
    expect_depth(a, source)?;
    for (i, c) in convs(a).into_iter().enumerate() {
        let weight = source.tensor(&format!("{}.weight", c.name), &c.shape)?;
        let norm = |s: &str| source.tensor(&format!("{}.{s}", c.norm), &c.shape[..1]);
        let [gamma, beta, mean, var] = [norm("weight")?, norm("bias")?, norm("running_mean")?, norm("running_var")?];
        if var.iter().any(|v| *v < 0.0) {
            let file = source.describe();
            crate::invalid!("{file}: {}.running_var holds a negative variance: the weights are broken", c.norm);
        }
        let (weight, bias) = fold::<T>(&weight, [&gamma, &beta, &mean, &var], BATCH_NORM_EPS);
        // Each convolution has two parameters.
        take(2 * i, &weight)?;
        take(2 * i + 1, &bias)?;
    }
    Ok(())
}

/// Blocks of layers 1 to 4 that there are tensors of, and whether they are bottlenecks.
fn depth<'a>(names: &[&'a str]) -> (BTreeMap<&'a str, usize>, bool) {
    let mut blocks: BTreeMap<&str, usize> = BTreeMap::new();
    let mut bottleneck = false;
    for name in names {
        let mut parts = name.split('.');
        let (layer, block, what) = (parts.next(), parts.next(), parts.next());
        let block = block.and_then(|b| b.parse::<usize>().ok());
        if let (Some(layer @ ("layer1" | "layer2" | "layer3" | "layer4")), Some(block)) = (layer, block) {
            let count = blocks.entry(layer).or_default();
            *count = (*count).max(block.saturating_add(1));
            bottleneck |= block == 0 && what == Some("conv3");
        }
    }
    (blocks, bottleneck)
}

/// Refuses weights of another depth. Their first blocks would fit, and the rest be left out unseen.
fn expect_depth(a: &Architecture, source: &dyn TensorSource) -> Result<()> {
    let names = source.names();
    let (found, bottleneck) = depth(&names);
    if found.is_empty() {
        // There is a better error for what is missing altogether.
        return Ok(());
    }
    let last = a.layers[a.layers.len() - 1];
    let (mut surplus, mut missing) = (Vec::new(), Vec::new());
    for layer in 1..=last {
        let (expected, found) = (a.backbone.blocks[layer - 1], found.get(&*format!("layer{layer}")).copied());
        surplus.extend((expected..found.unwrap_or(0)).map(|block| format!("layer{layer}.{block}")));
        missing.extend((found.unwrap_or(0)..expected).map(|block| format!("layer{layer}.{block}")));
    }
    if surplus.is_empty() && missing.is_empty() && bottleneck == a.backbone.bottleneck {
        return expect_no_more(a, source, &names);
    }
    let same = |b: &&Backbone| {
        let blocks = (1..=4).all(|l| found.get(&*format!("layer{l}")).is_none_or(|n| *n == b.blocks[l - 1]));
        blocks && b.bottleneck == bottleneck
    };
    let known: Vec<&str> = BACKBONES.iter().filter(same).map(|b| b.name).collect();
    let what = match &known[..] {
        [] => "a network of another depth".to_string(),
        names => format!("{}'s weights", names.join(" or ")),
    };
    let mut details = Vec::new();
    for (word, blocks) in [("too many", surplus), ("missing", missing)] {
        if !blocks.is_empty() {
            details.push(format!("{word}: {}", blocks.join(", ")));
        }
    }
    let details = if details.is_empty() { "blocks of another kind".into() } else { details.join("; ") };
    let advice = match &known[..] {
        [] => format!(
            "none of the backbones here is like it ({})",
            BACKBONES.iter().map(|b| b.name).collect::<Vec<_>>().join(", ")
        ),
        names if names.contains(&a.backbone.name) && !found.contains_key(&*format!("layer{last}")) => {
            let deepest = found.keys().next_back().map_or("none", |layer| layer.trim_start_matches("layer"));
            format!("its deepest layer is {deepest}: choose --layers up to it")
        }
        names => format!("give the matching --backbone {}", names.join(" or ")),
    };
    crate::invalid!("{}: holds {what}, expected {}'s ({details}); {advice}", source.describe(), a.backbone.name)
}

/// How far the tensors of a file are those of a backbone. A layer is a convolution with its norm.
#[derive(Debug)]
pub struct Fit {
    pub backbone: &'static Backbone,
    /// How many layers the backbone has.
    pub layers: usize,
    /// Those of which a tensor is missing or has another shape.
    pub missing: Vec<String>,
    /// Convolutions and norms in layers 1 to 4 that the backbone does not have.
    pub surplus: Vec<String>,
    /// All up to this one of layers 1 to 4 is there, and nothing that the backbone does not have.
    pub up_to: Option<usize>,
}

impl Fit {
    fn new(backbone: &'static Backbone, tensors: &BTreeMap<&str, &[usize]>) -> Result<Self> {
        let a = Architecture::new(backbone.name, &[1, 2, 3, 4], MAX_IMAGE_SIZE)?;
        let all = convs(&a);
        let is = |name: String, shape: &[usize]| tensors.get(&*name).is_some_and(|found| *found == shape);
        let there = |c: &Conv| is(format!("{}.weight", c.name), &c.shape) && norm_of(c).all(|n| is(n, &c.shape[..1]));
        let missing: Vec<String> = all.iter().filter(|c| !there(c)).map(|c| c.name.clone()).collect();
        let known = known(&all);
        let surplus = tensors.keys().filter(|name| in_layers(name, 4) && !known.contains(**name));
        let surplus: BTreeSet<&str> = surplus.filter_map(|name| Some(name.rsplit_once('.')?.0)).collect();
        let surplus: Vec<String> = surplus.into_iter().map(String::from).collect();
        let whole = |last: &usize| missing.iter().all(|name| name.starts_with("layer") && !in_layers(name, *last));
        let up_to = (1..=4).rev().find(whole).filter(|_| surplus.is_empty());
        Ok(Fit { backbone, layers: all.len(), missing, surplus, up_to })
    }
}

/// The backbones whose tensors these are, by name and shape, or else those that they are nearest to. None where they have no
/// layer in common with any.
pub fn nearest(tensors: &BTreeMap<&str, &[usize]>) -> Result<Vec<Fit>> {
    let mut fits = BACKBONES.iter().map(|b| Fit::new(b, tensors)).collect::<Result<Vec<Fit>>>()?;
    fits.retain(|f| f.missing.len() < f.layers);
    // What is whole as far as it goes comes before what merely differs less.
    let rank = |f: &Fit| match f.up_to {
        Some(last) => (0, 4 - last),
        None => (1, f.missing.len() + f.surplus.len()),
    };
    let best = fits.iter().map(rank).min();
    fits.retain(|f| Some(rank(f)) == best);
    Ok(fits)
}

/// Names of the tensors of a norm that are read.
fn norm_of(c: &Conv) -> impl Iterator<Item = String> {
    ["weight", "bias", "running_mean", "running_var"].into_iter().map(|what| format!("{}.{what}", c.norm))
}

/// Names of all tensors that torchvision has of these.
fn known(convs: &[Conv]) -> HashSet<String> {
    let count = |c: &Conv| format!("{}.num_batches_tracked", c.norm);
    let of = |c: &Conv| norm_of(c).chain([count(c), format!("{}.weight", c.name)]).collect::<Vec<_>>();
    convs.iter().flat_map(of).collect()
}

/// Whether a name is one of layers 1 to `last`.
fn in_layers(name: &str, last: usize) -> bool {
    (1..=last).any(|layer| name.starts_with(&format!("layer{layer}.")))
}

/// Refuses layers in the used part of the network that it does not have: without them it would compute something else.
fn expect_no_more(a: &Architecture, source: &dyn TensorSource, names: &[&str]) -> Result<()> {
    let known = known(&convs(a));
    let used = |name: &str| in_layers(name, a.layers[a.layers.len() - 1]);
    let more: BTreeSet<&str> = names.iter().copied().filter(|name| used(name) && !known.contains(*name)).collect();
    if more.is_empty() {
        return Ok(());
    }
    crate::invalid!(
        "{}: holds more than {} has, which would be left out: {}",
        source.describe(),
        a.backbone.name,
        more.into_iter().collect::<Vec<_>>().join(", ")
    )
}

/// The folded network's parameters, in recording order.
fn parameters(a: &Architecture) -> Result<Parameters> {
    let mut parameters = Parameters::new(NETWORK);
    for c in convs(a) {
        parameters.add(&format!("{}.weight", c.name), &c.shape, Init::Zeros)?;
        parameters.add(&format!("{}.bias", c.name), &c.shape[..1], Init::Zeros)?;
    }
    Ok(parameters)
}

/// Records the backbone over normalised pictures (n, size, size, 3); returns the chosen layers' maps, finest first.
pub fn record(tape: &mut Tape, net: NetId, a: &Architecture, x: Var) -> Result<Vec<Var>> {
    let conv = |tape: &mut Tape, c: &Conv, x: Var, residual: Option<Var>, act: Activation| -> Result<Var> {
        tape.set_label(format!("{NETWORK}.{}", c.name));
        let w = tape.param(net, &format!("{}.weight", c.name), &c.shape, Init::Zeros)?;
        let bias = tape.param(net, &format!("{}.bias", c.name), &c.shape[..1], Init::Zeros)?;
        // Steady, so that features kept from one batch are those of any other.
        let o = conv2d::Options {
            bias: Some(bias),
            residual,
            act,
            steady: true,
            ..conv2d::Options::square(c.stride, c.pad)
        };
        tape.conv2d(x, w, o)
    };
    // Declared up front, so that the arena's order does not depend on the recording.
    for c in convs(a) {
        tape.param(net, &format!("{}.weight", c.name), &c.shape, Init::Zeros)?;
        tape.param(net, &format!("{}.bias", c.name), &c.shape[..1], Init::Zeros)?;
    }
    let mut x = conv(tape, &stem(), x, None, Activation::Relu)?;
    x = tape.max_pool(x, 3, 2, 1)?;
    each_block(a, x, |c, x, residual, act| conv(tape, c, x, residual, act))
}

/// Records the backbone over normalised pictures with its batch norms as they are, each with residual and activation fused, under
/// torchvision's names; returns the chosen layers' maps. With [`Norm::Batch`] it is trained: what running statistics learn is added
/// there, for [`layers::update_running`](super::layers::update_running).
pub fn record_unfolded(tape: &mut Tape, net: NetId, a: &Architecture, x: Var, norm: Norm) -> Result<Vec<Var>> {
    let init = ConvInit::KaimingFanOut;
    // All convolutions before all norms: what weight decay takes is one piece of the network.
    for c in convs(a) {
        let [out, channels, h, w] = c.shape;
        tape.param(net, &format!("{}.weight", c.name), &c.shape, init.of(channels, out, h * w))?;
    }
    let mut r = Recorder { tape, net, conv_init: init, norm };
    let conv = |r: &mut Recorder, c: &Conv, x: Var, residual: Option<Var>, act: Activation| -> Result<Var> {
        let y = r.conv(x, &c.name, c.shape[0], c.shape[2], conv2d::Options::square(c.stride, c.pad))?;
        r.norm(y, &c.norm, residual, act)
    };
    let x = conv(&mut r, &stem(), x, None, Activation::Relu)?;
    let x = r.tape.max_pool(x, 3, 2, 1)?;
    each_block(a, x, |c, x, residual, act| conv(&mut r, c, x, residual, act))
}

/// Everything behind the stem, in order: `conv` records a convolution with its norm over a map, with a residual and an activation.
/// Returns the chosen layers' maps.
fn each_block(
    a: &Architecture,
    mut x: Var,
    mut conv: impl FnMut(&Conv, Var, Option<Var>, Activation) -> Result<Var>,
) -> Result<Vec<Var>> {
    let mut maps = Vec::new();
    for layer in 1..=a.layers[a.layers.len() - 1] {
        for block in blocks(a, layer) {
            let shortcut = match &block.shortcut {
                Some(c) => conv(c, x, None, Activation::None)?,
                None => x,
            };
            for (i, c) in block.convs.iter().enumerate() {
                let residual = (i + 1 == block.convs.len()).then_some(shortcut);
                x = conv(c, x, residual, Activation::Relu)?;
            }
        }
        if a.layers.contains(&layer) {
            maps.push(x);
        }
    }
    Ok(maps)
}
