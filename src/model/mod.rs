//! What every method builds on: the frozen ResNet and the form its pictures come in, layers recorded by PyTorch's names, initial
//! values, and where pretrained tensors come from.
//!
//! Parameter names are those of the authors' state dicts (torchvision's for the backbone).

pub mod features;
pub mod folded;
pub mod init;
pub mod layers;
pub mod pretrained;
pub mod resnet;
pub mod saved;

use crate::data::framing::{Framer, Framing};
use crate::engine::params::{Parameters, Values};
use crate::{Error, Result, invalid};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::sync::Arc;

/// Channels of the four ResNet layers, before a bottleneck's expansion.
pub const PLANES: [usize; 4] = [64, 128, 256, 512];

/// A supported backbone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backbone {
    pub name: &'static str,
    pub bottleneck: bool,
    /// Residual blocks of layers 1 to 4.
    pub blocks: [usize; 4],
    /// Width of a bottleneck's 3x3 convolution relative to its planes.
    pub width: usize,
}

pub const BACKBONES: [Backbone; 7] = [
    Backbone { name: "resnet18", bottleneck: false, blocks: [2, 2, 2, 2], width: 1 },
    Backbone { name: "resnet34", bottleneck: false, blocks: [3, 4, 6, 3], width: 1 },
    Backbone { name: "resnet50", bottleneck: true, blocks: [3, 4, 6, 3], width: 1 },
    Backbone { name: "resnet101", bottleneck: true, blocks: [3, 4, 23, 3], width: 1 },
    Backbone { name: "resnet152", bottleneck: true, blocks: [3, 8, 36, 3], width: 1 },
    Backbone { name: "wide_resnet50_2", bottleneck: true, blocks: [3, 4, 6, 3], width: 2 },
    Backbone { name: "wide_resnet101_2", bottleneck: true, blocks: [3, 4, 23, 3], width: 2 },
];

impl Backbone {
    pub fn find(name: &str) -> Result<&'static Backbone> {
        let names = || BACKBONES.map(|b| b.name).join(", ");
        let unknown = || Error::Usage(format!("unknown backbone '{name}'; there are {}", names()));
        BACKBONES.iter().find(|b| b.name == name).ok_or_else(unknown)
    }

    fn name_of<S: Serializer>(backbone: &&'static Backbone, to: S) -> std::result::Result<S::Ok, S::Error> {
        backbone.name.serialize(to)
    }

    /// Output channels of a block over its planes.
    pub fn expansion(&self) -> usize {
        if self.bottleneck { 4 } else { 1 }
    }
}

/// What the networks are built from: which backbone, which of its layers, and for which picture size. Serialized, it is what
/// people choose of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Architecture {
    #[serde(serialize_with = "Backbone::name_of")]
    pub backbone: &'static Backbone,
    /// Consecutive layers, 1 to 4, finest first.
    pub layers: Vec<usize>,
    /// Side of the square pictures in pixels.
    pub image_size: usize,
    /// Normalisation of pixels, per channel, where 1 is white: `(v - mean) / std`.
    #[serde(skip)]
    pub mean: [f64; 3],
    #[serde(skip)]
    pub std: [f64; 3],
}

/// ImageNet statistics, which torchvision's weights expect.
const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const STD: [f64; 3] = [0.229, 0.224, 0.225];

/// Largest picture side accepted.
pub const MAX_IMAGE_SIZE: usize = 4096;

impl Architecture {
    /// With ImageNet's normalisation. Refuses layers that are not consecutive and sizes that the networks cannot halve and double exactly.
    pub fn new(backbone: &str, layers: &[usize], image_size: usize) -> Result<Self> {
        let backbone = Backbone::find(backbone)?;
        let consecutive = layers.windows(2).all(|w| w[1] == w[0] + 1);
        if layers.is_empty() || !consecutive || layers[0] < 1 || layers[layers.len() - 1] > 4 {
            return Err(Error::Usage(format!(
                "layers {layers:?}: expected consecutive layers between 1 and 4, such as 2,3"
            )));
        }
        let step = 1 << (layers[layers.len() - 1] + 2);
        // At one step the auto-encoder's code is a single position, and an instance norm over that is always 0.
        if image_size < 2 * step || !image_size.is_multiple_of(step) || image_size > MAX_IMAGE_SIZE {
            return Err(Error::Usage(format!(
                "image size {image_size}: with layers {layers:?} it must be a multiple of {step} between {} and {MAX_IMAGE_SIZE}",
                2 * step
            )));
        }
        Ok(Architecture { backbone, layers: layers.to_vec(), image_size, mean: MEAN, std: STD })
    }

    /// Planes of each chosen layer.
    pub fn planes(&self) -> Vec<usize> {
        self.layers.iter().map(|l| PLANES[l - 1]).collect()
    }

    /// Channels of each chosen layer's feature map.
    pub fn channels(&self) -> Vec<usize> {
        self.planes().iter().map(|p| p * self.backbone.expansion()).collect()
    }

    /// Makes the networks' squares. Their ground is the mean of pixels, which normalisation makes 0.
    pub fn framer(&self, framing: &Framing) -> Framer {
        let ground = self.mean.map(|v| (255.0 * v).round().clamp(0.0, 255.0) as u8);
        Framer { framing: framing.clone(), size: self.image_size, ground }
    }

    /// Side of each chosen layer's feature map.
    pub fn sizes(&self) -> Vec<usize> {
        self.layers.iter().map(|l| self.image_size >> (l + 1)).collect()
    }
}

/// Where pretrained tensors come from, in PyTorch's names and shapes.
pub trait TensorSource {
    /// The values of `name`; an error names it when it is missing or has another shape.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>>;

    /// Names of all tensors that there are; none where any can be had.
    fn names(&self) -> Vec<&str>;

    /// What error messages call it: the file.
    fn describe(&self) -> String;
}

/// A network's parameters, each from the tensor of its name.
pub fn network(source: &dyn TensorSource, parameters: &Parameters) -> Result<Values<f32>> {
    let mut values = Values::zeros(Arc::new(parameters.clone()));
    for e in parameters.entries() {
        values.set_from_file(&e.name, &source.tensor(&e.name, &e.file_shape)?)?;
    }
    Ok(values)
}

/// The tensors of a network, as files have them.
impl TensorSource for Values<f32> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>> {
        match self.parameters.find(name) {
            Some(e) if e.file_shape == shape => Ok(self.to_file(e).into()),
            _ => invalid!("network {} has no parameter {name} of shape {shape:?}", self.parameters.network),
        }
    }

    fn names(&self) -> Vec<&str> {
        self.parameters.entries().iter().map(|e| e.name.as_str()).collect()
    }

    fn describe(&self) -> String {
        format!("network {}", self.parameters.network)
    }
}
