//! Feature maps of pictures that never change, computed once: the backbone is frozen, so every epoch would compute the
//! same ones again. They are kept in memory while they fit the budget, else in a temporary file. From memory they move on
//! to the device that trains, if it has memory of its own and room for all of them.

use super::pictures::Pictures;
use crate::detector::Features;
use crate::engine::device::{Backend, Session};
use crate::engine::params::Values;
use crate::engine::tape::{Tape, Var};
use crate::engine::tensor::{DType, Shape, Tensor};
use crate::model::features::{self, Feed};
use crate::model::{Architecture, resnet};
use crate::output::{Place, Spill};
use crate::program::{Group, Network, Program, Role};
use crate::{Error, Result, invalid};
use std::ops::Range;
use std::path::Path;

/// Where features are kept between epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheKind {
    /// As `Memory` if they fit the budget, else as `Disk`.
    Auto,
    /// In the device's memory if they fit there beside the training step, else in the host's.
    Memory,
    /// In a temporary file.
    Disk,
    /// Nowhere: computed again in every step.
    Off,
}

impl CacheKind {
    /// Names, each with a line of help.
    pub const NAMES: &[(&str, &str)] = &[
        ("auto", "As `memory` if they fit the budget, else as `disk`"),
        ("memory", "In the GPU's memory if they fit there beside the training step, else in the host's"),
        ("disk", "In a temporary file beside the model"),
        ("off", "Nowhere: computed again in every step"),
    ];

    pub fn find(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(CacheKind::Auto),
            "memory" => Ok(CacheKind::Memory),
            "disk" => Ok(CacheKind::Disk),
            "off" => Ok(CacheKind::Off),
            _ => Err(Error::Usage(format!("unknown feature cache '{name}': expected auto, memory, disk or off"))),
        }
    }

    /// Where features are kept, if they are: in memory with `budget` bytes for them, in a file in `folder`.
    pub fn place(self, budget: usize, folder: &Path) -> Option<Place<'_>> {
        Some(match self {
            CacheKind::Auto => Place { budget, folder },
            CacheKind::Memory => Place::memory(),
            CacheKind::Disk => Place { budget: 0, folder },
            CacheKind::Off => return None,
        })
    }
}

/// Records the backbone alone over `batch` pictures; reports the map of each layer.
pub fn program(a: &Architecture, batch: usize, dtype: DType) -> Result<Program> {
    const LAYERS: [&str; 4] = ["layer1", "layer2", "layer3", "layer4"];
    let mut tape = Tape::new(dtype);
    let id = tape.network(resnet::NETWORK);
    let (vars, maps) = features::record(&mut tape, id, a, batch, Feed::Pixels)?;
    let report = |(layer, map): (&usize, Var)| (LAYERS[layer - 1], tape.output(map));
    let reports = a.layers.iter().zip(maps).map(report).collect();
    Ok(Program {
        groups: vec![Group { pictures: vec![(Role::Normal, batch)], feed: Feed::Pixels, vars }],
        networks: vec![Network { id, trained: false }],
        reports,
        taps: vec![],
        tape,
    })
}

/// What a program reports of each of a list of pictures, as bytes: a step takes it in the type it was computed in.
///
/// Every report lies by itself, all pictures one behind the other, so that a batch moves in one piece.
pub struct FeatureCache {
    reports: Vec<Report>,
    pictures: usize,
    store: Store,
    /// A batch on its way to the session.
    batch: Vec<u8>,
}

/// Where a report lies.
struct Report {
    /// Of one picture, (1, h, w, c).
    shape: Shape,
    dtype: DType,
    /// First byte of the first picture's.
    start: usize,
    /// Bytes of one picture's.
    each: usize,
}

impl Report {
    fn bytes(&self, pictures: Range<usize>) -> Range<usize> {
        self.start + pictures.start * self.each..self.start + pictures.end * self.each
    }
}

enum Store {
    Host(Spill),
    /// What the training session keeps.
    Device,
}

impl FeatureCache {
    /// Runs a program, of the backbone and what follows it, over the pictures of these indices. `progress` hears how many
    /// pictures are done and may stop the work.
    pub fn build(
        place: &Place,
        program: &Program,
        backbone: &Values<f32>,
        backend: &Backend,
        pictures: (&Pictures, &[usize]),
        progress: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Self> {
        let (pictures, indices) = pictures;
        let mut bytes = 0;
        let mut reports = Vec::new();
        for (_, v) in &program.reports {
            let (info, [_, h, w, c]) = (program.tape.info(*v), program.tape.shape(*v).0);
            let shape = Shape([1, h, w, c]);
            let each = shape.len() * info.dtype.size();
            reports.push(Report { shape, dtype: info.dtype, start: bytes, each });
            bytes += indices.len() * each;
        }
        let mut kept = Spill::new(place, bytes)?;
        let mut session = backend.open(program.tape.clone())?;
        for network in &program.networks {
            session.write_params(network.id, backbone)?;
        }
        let inputs: Vec<Var> = program.inputs().collect();
        let [input] = inputs[..] else {
            invalid!("features are computed from pixels, one input; found {}", inputs.len())
        };
        let batch = program.pictures();
        let mut pixels = vec![0; batch * pictures.each()];
        let mut map = Vec::new();
        for (start, chosen) in (0..).step_by(batch).zip(indices.chunks(batch)) {
            pictures.gather(chosen, &mut pixels[..chosen.len() * pictures.each()])?;
            session.write(input, &pixels)?;
            session.run()?;
            for (report, (_, v)) in reports.iter().zip(&program.reports) {
                let place = report.bytes(start..start + chosen.len());
                match kept.memory_mut() {
                    // Straight from the device to where it stays.
                    Some(all) if chosen.len() == batch => session.read_bytes(*v, &mut all[place])?,
                    _ => {
                        map.resize(batch * report.each, 0);
                        session.read_bytes(*v, &mut map)?;
                        kept.write(place.start, &map[..place.len()])?;
                    }
                }
            }
            progress(start + chosen.len())?;
        }
        Ok(FeatureCache { reports, pictures: indices.len(), store: Store::Host(kept), batch: Vec::new() })
    }

    /// Moves features from the host's memory to that of `session`'s device if they fit, so that a step copies none to it;
    /// says whether. From then on they can be written to this session only.
    pub fn keep_on_device(&mut self, session: &mut dyn Session) -> Result<bool> {
        let Store::Host(Spill::Memory(all)) = &self.store else { return Ok(false) };
        let kept = session.keep(bytemuck::cast_slice(all))?;
        if kept {
            self.store = Store::Device;
        }
        Ok(kept)
    }

    /// Bytes that it takes in the host's memory.
    pub fn in_memory(&self) -> usize {
        match &self.store {
            Store::Host(kept) => kept.in_memory(),
            Store::Device => 0,
        }
    }

    /// Fills inputs, one per report, with the features of these pictures.
    pub fn write(&mut self, session: &mut dyn Session, inputs: &[Var], indices: &[usize]) -> Result<()> {
        if let Some(index) = indices.iter().find(|i| **i >= self.pictures) {
            invalid!("feature cache: asked for picture {index}, counted from 0, of {}", self.pictures);
        }
        for (&v, report) in inputs.iter().zip(&self.reports) {
            let parts = indices.iter().map(|&i| report.bytes(i..i + 1));
            let Store::Host(kept) = &self.store else {
                session.write_kept(v, &parts.collect::<Vec<_>>())?;
                continue;
            };
            self.batch.resize(indices.len() * report.each, 0);
            for (part, to) in parts.zip(self.batch.chunks_exact_mut(report.each)) {
                kept.read(part, to)?;
            }
            session.write_bytes(v, &self.batch)?;
        }
        Ok(())
    }
}

/// The first report of every picture.
impl Features for FeatureCache {
    fn len(&self) -> usize {
        self.pictures
    }

    fn shape(&self) -> Shape {
        self.reports[0].shape
    }

    fn read(&self, picture: usize, to: &mut [f32]) -> Result<()> {
        let report = &self.reports[0];
        if picture >= self.pictures || to.len() != report.shape.len() {
            invalid!("feature cache: asked for {} values of picture {picture} of {}", to.len(), self.pictures);
        }
        let mut tensor = Tensor::zeros(report.shape, report.dtype);
        let Store::Host(kept) = &self.store else { invalid!("features on the device cannot be read back") };
        kept.read(report.bytes(picture..picture + 1), tensor.bytes_mut())?;
        to.iter_mut().zip(tensor.to_vec::<f32>()).for_each(|(to, v)| *to = v);
        Ok(())
    }
}
