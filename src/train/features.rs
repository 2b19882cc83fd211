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
use crate::program::{Group, Network, Program, Role};
use crate::{Error, Result, invalid};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

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
}

/// Where a cache may be made.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub kind: CacheKind,
    /// Bytes it may take in memory.
    pub budget: usize,
    /// Folder for a file cache, which has no name there and vanishes with the process.
    pub folder: &'a Path,
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
    Memory(Vec<u8>),
    Disk(Mutex<File>),
    /// What the training session keeps.
    Device,
}

impl Store {
    fn write(&mut self, at: usize, bytes: &[u8]) -> Result<()> {
        match self {
            Store::Memory(all) => all[at..at + bytes.len()].copy_from_slice(bytes),
            Store::Disk(file) => {
                let file = file.get_mut().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(at as u64)).and_then(|_| file.write_all(bytes)).map_err(of_cache)?;
            }
            Store::Device => invalid!("features on the device cannot be changed"),
        }
        Ok(())
    }

    fn read(&self, from: Range<usize>, to: &mut [u8]) -> Result<()> {
        match self {
            Store::Memory(all) => to.copy_from_slice(&all[from]),
            Store::Disk(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(from.start as u64)).and_then(|_| file.read_exact(to)).map_err(of_cache)?;
            }
            Store::Device => invalid!("features on the device cannot be read back"),
        }
        Ok(())
    }
}

fn of_cache(e: std::io::Error) -> Error {
    Error::io("(feature cache)", e)
}

impl FeatureCache {
    /// Runs a program, of the backbone and what follows it, over the pictures of these indices; `None` for
    /// [`CacheKind::Off`]. `progress` hears how many pictures are done and may stop the work.
    pub fn build(
        place: Place,
        program: &Program,
        backbone: &Values<f32>,
        backend: &Backend,
        pictures: (&Pictures, &[usize]),
        progress: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Option<Self>> {
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
        let Place { kind, budget, folder } = place;
        let in_memory = match kind {
            CacheKind::Off => return Ok(None),
            CacheKind::Memory => true,
            CacheKind::Disk => false,
            CacheKind::Auto => bytes <= budget,
        };
        let mut store = if in_memory {
            Store::Memory(vec![0; bytes])
        } else {
            Store::Disk(Mutex::new(tempfile::tempfile_in(folder).map_err(|e| Error::io(folder, e))?))
        };
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
                match &mut store {
                    // Straight from the device to where it stays.
                    Store::Memory(all) if chosen.len() == batch => session.read_bytes(*v, &mut all[place])?,
                    store => {
                        map.resize(batch * report.each, 0);
                        session.read_bytes(*v, &mut map)?;
                        store.write(place.start, &map[..place.len()])?;
                    }
                }
            }
            progress(start + chosen.len())?;
        }
        Ok(Some(FeatureCache { reports, pictures: indices.len(), store, batch: Vec::new() }))
    }

    /// Moves features from the host's memory to that of `session`'s device if they fit, so that a step copies none to it;
    /// says whether. From then on they can be written to this session only.
    pub fn keep_on_device(&mut self, session: &mut dyn Session) -> Result<bool> {
        let Store::Memory(all) = &self.store else { return Ok(false) };
        let kept = session.keep(all)?;
        if kept {
            self.store = Store::Device;
        }
        Ok(kept)
    }

    /// Fills inputs, one per report, with the features of these pictures.
    pub fn write(&mut self, session: &mut dyn Session, inputs: &[Var], indices: &[usize]) -> Result<()> {
        if let Some(index) = indices.iter().find(|i| **i >= self.pictures) {
            invalid!("feature cache: asked for picture {index}, counted from 0, of {}", self.pictures);
        }
        for (&v, report) in inputs.iter().zip(&self.reports) {
            let parts = indices.iter().map(|&i| report.bytes(i..i + 1));
            if let Store::Device = self.store {
                session.write_kept(v, &parts.collect::<Vec<_>>())?;
                continue;
            }
            self.batch.resize(indices.len() * report.each, 0);
            for (part, to) in parts.zip(self.batch.chunks_exact_mut(report.each)) {
                self.store.read(part, to)?;
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
        self.store.read(report.bytes(picture..picture + 1), tensor.bytes_mut())?;
        to.iter_mut().zip(tensor.to_vec::<f32>()).for_each(|(to, v)| *to = v);
        Ok(())
    }
}
