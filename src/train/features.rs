//! Feature maps of pictures that never change, computed once: the backbone is frozen, so every epoch would compute the
//! same ones again. They are kept in memory while they fit the budget, else in a temporary file.

use super::pictures::Pictures;
use crate::engine::device::{Arena, Backend, Session};
use crate::engine::params::Values;
use crate::engine::tape::{Tape, Var};

use crate::model::features::{self, Feed};
use crate::model::{Architecture, resnet};
use crate::{Error, Result};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Where features are kept between epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CacheKind {
    /// In memory if they fit the budget, else on disk
    Auto,
    Memory,
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
    /// Bytes of one image's map at each layer.
    layers: Vec<usize>,
    store: Store,
}

enum Store {
    Memory(Vec<u8>),
    /// Same order as in memory.
    Disk(File),
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
        let layers: Vec<usize> = a.sizes().iter().zip(a.channels()).map(|(s, c)| s * s * c * element).collect();
        let each: usize = layers.iter().sum();
        let Place { kind, budget, folder } = place;
        let in_memory = match kind {
            CacheKind::Off => return Ok(None),
            CacheKind::Memory => true,
            CacheKind::Disk => false,
            CacheKind::Auto => pictures.len() * each <= budget,
        };
        let mut store = if in_memory {
            Store::Memory(Vec::with_capacity(pictures.len() * each))
        } else {
            Store::Disk(tempfile::tempfile_in(folder).map_err(|e| Error::io(folder, e))?)
        };
        let mut backbone = Backbone::new(a, backbone, batch, backend)?;
        let mut image = vec![0; each];
        for start in (0..pictures.len()).step_by(batch) {
            let indices: Vec<usize> = (start..pictures.len().min(start + batch)).collect();
            let maps = backbone.run(pictures, &indices)?;
            for i in 0..indices.len() {
                let mut rest = &mut image[..];
                for (map, len) in maps.iter().zip(&layers) {
                    let (to, behind) = rest.split_at_mut(*len);
                    to.copy_from_slice(&map[i * len..][..*len]);
                    rest = behind;
                }
                match &mut store {
                    Store::Memory(v) => v.extend_from_slice(&image),
                    Store::Disk(f) => f.write_all(&image).map_err(|e| Error::io(folder.join("(feature cache)"), e))?,
                }
            }
            progress(start + indices.len())?;
        }
        Ok(Some(FeatureCache { layers, store }))
    }

    /// Copies the features of these pictures into one buffer per layer, starting at image `first` of each buffer.
    pub fn gather(&mut self, indices: &[usize], first: usize, out: &mut [Vec<u8>]) -> Result<()> {
        let each: usize = self.layers.iter().sum();
        let mut from_disk = Vec::new();
        for (slot, &index) in indices.iter().enumerate() {
            let mut image: &[u8] = match &mut self.store {
                Store::Memory(v) => &v[index * each..][..each],
                Store::Disk(f) => {
                    from_disk.resize(each, 0);
                    f.seek(SeekFrom::Start((index * each) as u64))
                        .and_then(|_| f.read_exact(&mut from_disk))
                        .map_err(|e| Error::io("(feature cache)", e))?;
                    &from_disk
                }
            };
            for (out, &len) in out.iter_mut().zip(&self.layers) {
                let (map, behind) = image.split_at(len);
                out[(first + slot) * len..][..len].copy_from_slice(map);
                image = behind;
            }
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
        session.write_arena(net, Arena::Params, values)?;
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
