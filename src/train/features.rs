//! Feature maps of pictures that never change, computed once: the backbone is frozen, so every epoch would compute the
//! same ones again. They are kept in memory while they fit the budget, else in a temporary file. From memory they move on
//! to the device that trains, if it has memory of its own and room for all of them.

use super::pictures::Pictures;
use crate::engine::device::{Backend, Session};
use crate::engine::params::Values;
use crate::engine::tape::{Tape, Var};

use crate::model::features::{self, Feed};
use crate::model::{Architecture, resnet};
use crate::{Error, Result, invalid};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

/// Where features are kept between epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CacheKind {
    /// As `memory` if they fit the budget, else as `disk`
    Auto,
    /// In the GPU's memory if they fit there beside the training step, else in the host's
    Memory,
    /// In a temporary file beside the model
    Disk,
    /// Nowhere: computed again in every step
    Off,
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

/// Features of a list of pictures, as bytes: a step takes them in the type they were computed in.
pub struct FeatureCache {
    /// Where the map of each layer lies among one picture's bytes.
    layers: Vec<Range<usize>>,
    pictures: usize,
    store: Store,
    /// Maps of a batch on their way to the session.
    batch: Vec<u8>,
}

/// Pictures one behind the other, in any of these.
enum Store {
    Memory(Vec<u8>),
    Disk(File),
    /// What the training session keeps.
    Device,
}

impl FeatureCache {
    /// Runs the backbone over all pictures; `None` for [`CacheKind::Off`]. `progress` hears how many pictures are done
    /// and may stop the work.
    pub fn build(
        place: Place,
        a: &Architecture,
        backbone: &Values<f32>,
        backend: Backend,
        pictures: &Pictures,
        batch: usize,
        progress: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Option<Self>> {
        let element = backend.dtype().size();
        let mut each = 0;
        let layer = |(s, c): (usize, usize)| {
            let start = each;
            each += s * s * c * element;
            start..each
        };
        let layers: Vec<Range<usize>> = a.sizes().into_iter().zip(a.channels()).map(layer).collect();
        let Place { kind, budget, folder } = place;
        let in_memory = match kind {
            CacheKind::Off => return Ok(None),
            CacheKind::Memory => true,
            CacheKind::Disk => false,
            CacheKind::Auto => pictures.len() * each <= budget,
        };
        let (mut memory, mut file) = (Vec::new(), None);
        if in_memory {
            memory.reserve_exact(pictures.len() * each);
        } else {
            file = Some(tempfile::tempfile_in(folder).map_err(|e| Error::io(folder, e))?);
        }
        let mut backbone = Backbone::new(a, backbone, batch, backend)?;
        let mut image = vec![0; each];
        for start in (0..pictures.len()).step_by(batch) {
            let indices: Vec<usize> = (start..pictures.len().min(start + batch)).collect();
            let maps = backbone.run(pictures, &indices)?;
            for i in 0..indices.len() {
                for (map, layer) in maps.iter().zip(&layers) {
                    image[layer.clone()].copy_from_slice(&map[i * layer.len()..][..layer.len()]);
                }
                match &mut file {
                    None => memory.extend_from_slice(&image),
                    Some(f) => f.write_all(&image).map_err(|e| Error::io(folder.join("(feature cache)"), e))?,
                }
            }
            progress(start + indices.len())?;
        }
        let store = file.map_or(Store::Memory(memory), Store::Disk);
        Ok(Some(FeatureCache { layers, pictures: pictures.len(), store, batch: Vec::new() }))
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

    /// Fills inputs, one per layer, with the features of these pictures.
    pub fn write(&mut self, session: &mut dyn Session, inputs: &[Var], indices: &[usize]) -> Result<()> {
        if let Some(index) = indices.iter().find(|i| **i >= self.pictures) {
            invalid!("feature cache: asked for picture {index}, counted from 0, of {}", self.pictures);
        }
        let each = self.layers.last().map_or(0, |l| l.end);
        for (&v, layer) in inputs.iter().zip(&self.layers) {
            let parts = indices.iter().map(|i| i * each + layer.start..i * each + layer.end);
            self.batch.clear();
            match &mut self.store {
                Store::Memory(all) => parts.for_each(|part| self.batch.extend_from_slice(&all[part])),
                Store::Disk(file) => {
                    for part in parts {
                        let done = self.batch.len();
                        self.batch.resize(done + part.len(), 0);
                        file.seek(SeekFrom::Start(part.start as u64))
                            .and_then(|_| file.read_exact(&mut self.batch[done..]))
                            .map_err(|e| Error::io("(feature cache)", e))?;
                    }
                }
                Store::Device => {
                    session.write_kept(v, &parts.collect::<Vec<_>>())?;
                    continue;
                }
            }
            session.write_bytes(v, &self.batch)?;
        }
        Ok(())
    }
}

/// The backbone alone, for a fixed number of pictures.
struct Backbone {
    session: Box<dyn Session>,
    input: Var,
    maps: Vec<Var>,
    pixels: Vec<u8>,
}

impl Backbone {
    fn new(a: &Architecture, values: &Values<f32>, batch: usize, backend: Backend) -> Result<Self> {
        let mut tape = Tape::new(backend.dtype());
        let net = tape.network(resnet::NETWORK);
        let (input, maps) = features::record(&mut tape, net, a, batch, Feed::Pixels)?;
        for m in &maps {
            tape.output(*m);
        }
        let mut session = backend.open(tape)?;
        session.write_params(net, values)?;
        Ok(Backbone { session, input: input[0], maps, pixels: vec![0; batch * a.image_size * a.image_size * 3] })
    }

    /// Feature maps of up to a batch of pictures; what is behind them in each map is meaningless.
    fn run(&mut self, pictures: &Pictures, indices: &[usize]) -> Result<Vec<Vec<u8>>> {
        pictures.gather(indices, &mut self.pixels[..indices.len() * pictures.each()])?;
        self.session.write(self.input, &self.pixels)?;
        self.session.run()?;
        let read = |m: &Var| {
            let info = self.session.tape().info(*m);
            let mut bytes = vec![0; info.shape.len() * info.dtype.size()];
            self.session.read_bytes(*m, &mut bytes).map(|()| bytes)
        };
        self.maps.iter().map(read).collect()
    }
}
