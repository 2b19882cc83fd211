//! Model files: one `.safetensors` that holds everything scoring needs, in PyTorch's names and layouts.
//!
//! Tensors are `backbone.<torchvision name>` and `<network>.<name>` of every network that the detector scores or was trained
//! with. Metadata, all text: `format` ("ckaad"), `version` ("2"), `detector` (a method's name), its kept options by name
//! (`topk`, `sigma`; a dash is written as an underscore), `backbone`, `layers` ("2,3"), `image_size`, `mean`, `std`,
//! `threshold`, `pixel_threshold`, as JSON `training` and `calibration`, and as [`Digests`] `trained_on` and `calibrated_on`
//! (all may be absent). Anything else in the metadata is kept as it is. Version "3" is the same with layers of 8 bits; its tensors are those
//! that [`quantized`](super::quantized) tells. Version "4" is either of a detector whose pictures are not simply stretched: `resize` ("pad" or
//! "crop"), or `tile` and `overlap` in pixels, and `roi`, a PNG of one bit a cell in base64.
//!
//! Files of version 1 name no detector: all are of the first method. A kept option that a file lacks has its default.

use super::options::{OptionSpec, Options, Rule};
use super::provenance::{Calibration, Training};
use super::quantized::{Source, filed, fill};
use super::{BatchSpec, Detector, METHODS, Method};
use crate::data::digest::Digests;
use crate::data::framing::{Framer, Framing, Resize, Roi};
use crate::engine::device::Session;
use crate::engine::params::{Parameter, Values};
use crate::engine::quantized::{self, Scheme};
use crate::engine::tape::NetId;
use crate::engine::toolkit::Number;
use crate::model::features::Feed;
use crate::model::saved::Prefixed;
use crate::model::{Architecture, TensorSource, resnet};
use crate::program::Program;
use crate::weights::{Archive, Elem, Tensor, TensorView, write_safetensors};
use crate::{Error, Result, invalid};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

const FORMAT: &str = "ckaad";
const VERSION: &str = "2";
/// With quantised layers.
const QUANTIZED: &str = "3";
/// With a framing of its own, and perhaps quantised layers.
const FRAMED: &str = "4";
/// The version before detectors had names.
const NAMELESS: &str = "1";

/// What a model file says of itself.
#[derive(Clone, Debug)]
pub struct Config {
    pub detector: Arc<dyn Detector>,
    pub architecture: Architecture,
    /// How pictures become what its networks see.
    pub framing: Framing,
    /// Scores of at least this are anomalous.
    pub threshold: Option<f64>,
    /// Map values of at least this are anomalous.
    pub pixel_threshold: Option<f64>,
    /// What the detector was trained on and with.
    pub training: Option<Training>,
    /// What the thresholds rest on.
    pub calibration: Option<Calibration>,
    /// What of scoring is done in 8 bits; none of a model whose weights are as they were trained.
    pub quantized: Option<Arc<Scheme>>,
    /// Pictures that the detector has learned from, normal and anomalous ones; none where the file does not tell.
    pub trained_on: Digests,
    /// Pictures whose scores the thresholds were taken from; the same.
    pub calibrated_on: Digests,
    /// What training wants to remember.
    pub extra: BTreeMap<String, String>,
}

impl Config {
    /// Of a detector that nothing else is known of.
    pub fn new(detector: Arc<dyn Detector>, architecture: Architecture) -> Self {
        let (threshold, pixel_threshold) = (None, None);
        let (training, calibration, quantized, extra) = (None, None, None, BTreeMap::new());
        let (trained_on, calibrated_on) = Default::default();
        Config {
            detector,
            architecture,
            framing: Framing::default(),
            threshold,
            pixel_threshold,
            training,
            calibration,
            quantized,
            trained_on,
            calibrated_on,
            extra,
        }
    }

    /// Makes squares for its networks.
    pub fn framer(&self) -> Framer {
        self.architecture.framer(&self.framing)
    }

    /// Records scoring of a batch of pixels in these numbers.
    pub fn scoring(&self, batch: usize, number: Number) -> Result<Program> {
        let architecture = &self.architecture;
        let recorded = |batch| {
            self.detector.scoring(&BatchSpec { architecture, batch, feed: Feed::Pixels, dtype: number.storage() })
        };
        let program = recorded(batch).map_err(|e| match e {
            // Where one picture can be scored, it is their number that cannot.
            Error::Invalid(why) if batch > 1 && recorded(1).is_ok() => {
                Error::Usage(format!("too many pictures in one pass, {batch}; take a smaller batch: {why}"))
            }
            e => e,
        })?;
        match (&self.quantized, number) {
            (Some(scheme), Number::Int8) => {
                let known = quantized::values(&program.tape, &scheme.layers);
                if let Some(name) = scheme.scales.keys().find(|name| known.iter().all(|value| value.name != **name)) {
                    invalid!("there is a scale of {name}, which is not computed in 8 bits");
                }
                Ok(Program { tape: quantized::rewrite(&program.tape, scheme)?, ..program })
            }
            (None, Number::Int8) => Err(Error::Usage(
                "--precision int8: this model has no weights of 8 bits; `ckaad quantize --model M --data DIR --out Q` makes \
                 a model that has"
                    .into(),
            )),
            _ => Ok(program),
        }
    }
}

/// An opened model file: mapped, with its metadata checked.
pub struct ModelFile {
    pub archive: Archive,
    pub config: Config,
}

impl ModelFile {
    pub fn open(path: &Path) -> Result<Self> {
        Self::of(Archive::open_as(path, "a model file, as `ckaad train` writes it")?)
    }

    /// The same of a file that was read, under a name in place of a path: what becomes of the file is no matter then.
    pub fn of_bytes(name: &str, bytes: Vec<u8>) -> Result<Self> {
        Self::of(Archive::of_bytes(name, bytes)?)
    }

    fn of(archive: Archive) -> Result<Self> {
        let name = archive.path().display();
        let mut config = parse(archive.metadata()).map_err(|e| match e {
            // A file's contents are not a wrong use of the command line.
            Error::Usage(m) => Error::Invalid(format!("{name}: {m}")),
            e => e.within(name),
        })?;
        let version = archive.metadata().get("version").map(String::as_str);
        let bytes = || archive.tensors().any(|t| t.elem == Elem::I8);
        if version == Some(QUANTIZED) || version == Some(FRAMED) && bytes() {
            config.quantized = Some(Arc::new(super::quantized::scheme(&archive)?));
        }
        Ok(ModelFile { archive, config })
    }

    /// Brings the networks of a program into its session, the backbone's batch norms folded, tensor by tensor and straight
    /// from the mapped file: start-up time is mostly the memory touched.
    pub fn load_into(&self, session: &mut dyn Session, program: &Program) -> Result<()> {
        if self.config.quantized.is_some() {
            return fill(session, program, &filed(&self.archive, program));
        }
        let mut memory: Vec<f32> = Vec::new();
        for network in &program.networks {
            let parameters = program.tape.parameters(network.id);
            self.each_parameter(program, network.id, |index, values| {
                memory.resize(values.len(), 0.0);
                parameters.entries()[index].from_file(values, &mut memory)?;
                session.write_param(network.id, index, &memory)
            })?;
        }
        Ok(())
    }

    /// Hands over the values of a network's parameters, each with its place among them, in the order that files have; the backbone's
    /// batch norms are folded.
    pub fn each_parameter(
        &self,
        program: &Program,
        network: NetId,
        mut take: impl FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let parameters = program.tape.parameters(network);
        if self.config.quantized.is_some() {
            let source = filed(&self.archive, program);
            let real = |e: &Parameter| source.real(&format!("{}.{}", parameters.network, e.name), &e.file_shape);
            return parameters.entries().iter().enumerate().try_for_each(|(index, e)| take(index, &real(e)?));
        }
        if parameters.network == resnet::NETWORK {
            let source = Prefixed { archive: &self.archive, prefix: "backbone." };
            return resnet::each_folded(&self.config.architecture, &source, take);
        }
        for (index, e) in parameters.entries().iter().enumerate() {
            let values = self.archive.f32(&format!("{}.{}", parameters.network, e.name), &e.file_shape)?;
            take(index, &values)?;
        }
        Ok(())
    }

    /// Writes the same tensors, as f32 but for quantised layers, with other metadata.
    pub fn rewrite(&self, path: &Path, config: &Config) -> Result<()> {
        if let Some((name, why)) = self.archive.refused().iter().next() {
            invalid!("{}: tensor {name} would be lost: {why}", self.archive.path().display());
        }
        let bytes = |t: &TensorView| t.elem == Elem::I8 && t.is_contiguous() && self.config.quantized.is_some();
        let values: Vec<Cow<[f32]>> =
            self.archive.tensors().map(|t| if bytes(&t) { Cow::default() } else { t.f32() }).collect();
        let mut tensors: Vec<Tensor> = Vec::new();
        for (t, values) in self.archive.tensors().zip(&values) {
            tensors.push(match bytes(&t) {
                true => Tensor::new(t.name, t.shape, bytemuck::cast_slice::<u8, i8>(t.data))?,
                false => Tensor::new(t.name, t.shape, values)?,
            });
        }
        write_safetensors(path, &tensors, &metadata(config)?)
    }
}

fn parse(metadata: &BTreeMap<String, String>) -> Result<Config> {
    let mut extra = metadata.clone();
    let mut take = |key: &str| extra.remove(key);
    match take("format").as_deref() {
        Some(FORMAT) => {}
        _ => invalid!("not a model file: metadata `format` must be \"{FORMAT}\" (is this a plain weights file?)"),
    }
    // What else this program writes says what it is.
    if let Some(kind) = take("kind") {
        invalid!(
            "not a model file but a {kind}: a backbone is for `ckaad train --weights`, a pretraining for `ckaad pretrain --resume`"
        );
    }
    let version = take("version");
    let nameless = version.as_deref() == Some(NAMELESS);
    let method = match version.as_deref() {
        Some(NAMELESS) => METHODS[0],
        Some(VERSION | QUANTIZED | FRAMED) => {
            let name = take("detector").ok_or_else(|| Error::Invalid("the metadata lacks `detector`".into()))?;
            Method::find(&name).map_err(|e| e.within("metadata `detector`"))?
        }
        other => {
            invalid!("model version {}, this program reads versions {NAMELESS} to {FRAMED}", other.unwrap_or("(none)"))
        }
    };
    let required =
        |key: &str, value: Option<String>| value.ok_or_else(|| Error::Invalid(format!("the metadata lacks `{key}`")));
    let backbone = required("backbone", take("backbone"))?;
    let layers = list(&required("layers", take("layers"))?, "layers")?;
    let image_size = number(&required("image_size", take("image_size"))?, "image_size")?;
    let mut architecture = Architecture::new(&backbone, &layers, image_size)?;
    for (key, value) in [("mean", &mut architecture.mean), ("std", &mut architecture.std)] {
        let Some(text) = take(key) else { continue };
        let numbers: Vec<f64> = list(&text, key)?;
        let wrong = |_| Error::Invalid(format!("metadata `{key}` = \"{text}\": expected three numbers"));
        *value = numbers.try_into().map_err(wrong)?;
        if value.iter().any(|v| !v.is_finite() || key == "std" && *v <= 0.0) {
            invalid!("metadata `{key}` = \"{text}\": expected finite numbers, deviations above 0");
        }
    }
    let framing = match version.as_deref() {
        Some(FRAMED) => {
            let mut take = |key: &str| extra.remove(key);
            let resize = take("resize").map(|name| Resize::find(&name)).transpose()?;
            let mut pixels = |key| take(key).map(|text| number(&text, key)).transpose();
            let (tile, overlap) = (pixels("tile")?, pixels("overlap")?);
            let roi = take("roi").map(|text| Roi::from_text(&text)).transpose();
            let roi = roi.map_err(|e| e.within("metadata `roi`"))?;
            let framing = Framing::new(resize, tile, overlap, roi)?;
            framing.expect_for(image_size)?;
            framing
        }
        _ => Framing::default(),
    };
    let mut take = |key: &str| extra.remove(key);
    let mut options = Options::new(method.options);
    for spec in method.options.iter().filter(|s| s.need.in_scoring()) {
        let Some(text) = take(&key_of(spec)) else { continue };
        // As version 1 read it.
        let all = nameless && matches!(spec.rule, Rule::CountOrAll) && text.trim() == "0";
        let text = if all { "all".into() } else { text };
        options = options.with(spec.name, &text).map_err(|e| e.within("metadata"))?;
    }
    let mut finite = |key: &str| -> Result<Option<f64>> {
        let value: Option<f64> = take(key).map(|s| number(&s, key)).transpose()?;
        if value.is_some_and(f64::is_nan) {
            invalid!("metadata `{key}` is not a number");
        }
        Ok(value)
    };
    let (threshold, pixel_threshold) = (finite("threshold")?, finite("pixel_threshold")?);
    Ok(Config {
        framing,
        threshold,
        pixel_threshold,
        training: told(&mut extra, "training", |text| serde_json::from_str(text).ok()),
        calibration: told(&mut extra, "calibration", |text| serde_json::from_str(text).ok()),
        trained_on: told(&mut extra, "trained_on", |text| text.parse().ok()).unwrap_or_default(),
        calibrated_on: told(&mut extra, "calibrated_on", |text| text.parse().ok()).unwrap_or_default(),
        extra,
        ..Config::new((method.detector)(options)?, architecture)
    })
}

/// What a file tells of its origin. Scoring does without: what another version wrote otherwise is kept as it is.
fn told<T>(extra: &mut BTreeMap<String, String>, key: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
    let value = read(extra.get(key)?)?;
    extra.remove(key);
    Some(value)
}

/// What the metadata call an option.
fn key_of(spec: &OptionSpec) -> String {
    spec.name.replace('-', "_")
}

fn number<N: FromStr>(text: &str, key: &str) -> Result<N> {
    text.trim().parse().map_err(|_| Error::Invalid(format!("metadata `{key}` = \"{text}\": not a valid number")))
}

fn list<N: FromStr>(text: &str, key: &str) -> Result<Vec<N>> {
    text.split(',').map(|t| number(t, key)).collect()
}

/// `1,2,3`
fn join<N: ToString>(values: &[N]) -> String {
    values.iter().map(N::to_string).collect::<Vec<_>>().join(",")
}

pub(super) fn metadata(c: &Config) -> Result<BTreeMap<String, String>> {
    let a = &c.architecture;
    let mut m = c.extra.clone();
    let mut put = |key: &str, value: String| m.insert(key.to_string(), value);
    put("format", FORMAT.into());
    let version = match (&c.framing, &c.quantized) {
        (framing, _) if *framing != Framing::default() => FRAMED,
        (_, Some(_)) => QUANTIZED,
        (_, None) => VERSION,
    };
    put("version", version.into());
    for (key, value) in c.framing.told()? {
        put(key, value);
    }
    put("backbone", a.backbone.name.into());
    put("layers", join(&a.layers));
    put("image_size", a.image_size.to_string());
    put("mean", join(&a.mean));
    put("std", join(&a.std));
    put("detector", c.detector.method().name.into());
    let options = c.detector.options();
    for spec in options.specs().iter().filter(|s| s.need.in_scoring()) {
        if let Some(text) = options.text(spec.name) {
            put(&key_of(spec), text.into());
        }
    }
    for (key, threshold) in [("threshold", c.threshold), ("pixel_threshold", c.pixel_threshold)] {
        if let Some(t) = threshold {
            put(key, t.to_string());
        }
    }
    let json = |told: serde_json::Result<String>| told.map_err(|e| Error::Invalid(format!("cannot be told: {e}")));
    if let Some(training) = &c.training {
        put("training", json(serde_json::to_string(training))?);
    }
    if let Some(calibration) = &c.calibration {
        put("calibration", json(serde_json::to_string(calibration))?);
    }
    for (key, pictures) in [("trained_on", &c.trained_on), ("calibrated_on", &c.calibrated_on)] {
        if !pictures.is_empty() {
            put(key, pictures.to_string());
        }
    }
    Ok(m)
}

/// Everything a model file or checkpoint is written from.
pub struct Contents<'a> {
    pub config: &'a Config,
    /// Where the tensors of a frozen backbone come from: they are stored as they were, not folded.
    pub backbone: &'a dyn TensorSource,
    /// All others, and a backbone that was trained.
    pub networks: &'a [Values<f32>],
    /// What a checkpoint keeps besides, by name.
    pub state: Vec<(String, &'a [f32])>,
}

/// Writes a model file atomically.
pub fn save(path: &Path, c: &Contents) -> Result<()> {
    let mut held: Vec<(String, Vec<usize>, Cow<[f32]>)> = Vec::new();
    let (trained, networks): (Vec<_>, Vec<_>) =
        c.networks.iter().partition(|v| v.parameters.network == resnet::NETWORK);
    let backbone = trained.first().map_or(c.backbone, |trained| *trained as &dyn TensorSource);
    for (name, shape) in resnet::tensors(&c.config.architecture) {
        let values = backbone.tensor(&name, &shape)?;
        held.push((format!("{}.{name}", resnet::NETWORK), shape, values));
    }
    for values in networks {
        for e in values.parameters.entries() {
            held.push((
                format!("{}.{}", values.parameters.network, e.name),
                e.file_shape.clone(),
                values.to_file(e).into(),
            ));
        }
    }
    for (name, values) in &c.state {
        held.push((name.clone(), vec![values.len()], Cow::Borrowed(values)));
    }
    let tensors: Vec<Tensor> =
        held.iter().map(|(name, shape, values)| Tensor::new(name.as_str(), shape, values)).collect::<Result<_>>()?;
    write_safetensors(path, &tensors, &metadata(c.config)?)
}
