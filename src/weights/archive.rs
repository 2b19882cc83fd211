//! An opened weights file: names, views into the map, conversion to floats. The formats are read elsewhere.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};

use super::elem::{Elem, Element};
use super::{map, safetensors, torch_stream, torch_zip};
use crate::{Error, Result, invalid};

/// How a file stores its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `torch.save` since PyTorch 1.6: a zip of stored entries.
    TorchZip,
    /// `torch.save` before 1.6: pickles followed by raw storages.
    TorchStream,
    Safetensors,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Format::TorchZip => "PyTorch zip",
            Format::TorchStream => "PyTorch stream (before 1.6)",
            Format::Safetensors => "safetensors",
        })
    }
}

/// One tensor of the index. `new` has checked that every element lies inside the tensor's storage.
#[derive(Debug)]
pub(super) struct Stored {
    name: String,
    elem: Elem,
    shape: Vec<usize>,
    strides: Vec<usize>,
    /// Bytes of the file from the first element to the end of the last one.
    bytes: Range<usize>,
}

impl Stored {
    /// `storage`: the bytes of the file that belong to the tensor's storage; `offset` and `strides` in elements.
    pub fn new(
        name: String,
        elem: Elem,
        shape: Vec<usize>,
        strides: Vec<usize>,
        storage: Range<usize>,
        offset: usize,
    ) -> Result<Stored> {
        if strides.len() != shape.len() {
            invalid!("tensor \"{name}\": {} sizes but {} strides", shape.len(), strides.len());
        }
        let capacity = storage.len() / elem.size();
        let overflow = || Error::Invalid(format!("tensor \"{name}\": shape {shape:?} is too large"));
        let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let (extent, offset) = match count {
            // The other sizes cannot matter once one is zero, not even when their product would overflow.
            _ if shape.contains(&0) => (0, offset.min(capacity)),
            None => return Err(overflow()),
            Some(n) if n > capacity => {
                invalid!("tensor \"{name}\": shape {shape:?} needs {n} elements, its storage has {capacity}")
            }
            Some(_) => {
                let last = shape
                    .iter()
                    .zip(&strides)
                    .try_fold(0usize, |at, (&d, &s)| at.checked_add((d - 1).checked_mul(s)?))
                    .ok_or_else(overflow)?;
                (last.checked_add(1).ok_or_else(overflow)?, offset)
            }
        };
        if offset.checked_add(extent).is_none_or(|end| end > capacity) {
            invalid!(
                "tensor \"{name}\": shape {shape:?}, strides {strides:?} and offset {offset} reach outside its storage \
                 of {capacity} elements"
            );
        }
        // Cannot overflow: both are at most the storage's byte length.
        let start = storage.start + offset * elem.size();
        Ok(Stored { name, elem, shape, strides, bytes: start..start + extent * elem.size() })
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A mapped weights file. Only the index is parsed by [`Archive::open`]; tensor data stays on disk until it is read.
pub struct Archive {
    path: PathBuf,
    held: Held,
    format: Format,
    entries: Vec<Stored>,
    /// Why tensors that are there cannot be had.
    refused: BTreeMap<String, String>,
    by_name: HashMap<String, usize>,
    metadata: BTreeMap<String, String>,
}

impl Archive {
    /// Opens a PyTorch (`torch.save`, either format) or safetensors file, recognised by its content.
    ///
    /// Nested dicts are flattened with dots; one wrapper such as `state_dict` and `module.` prefixes are dropped.
    /// Errors name the file and what is wrong with it; a pickle that would call anything is refused.
    pub fn open(path: impl AsRef<Path>) -> Result<Archive> {
        Self::open_as(path.as_ref(), "a weights file (.pth or .safetensors)")
    }

    /// The same of what is more than weights: errors of a path that leads to no file say what was `expected`.
    pub fn open_as(path: &Path, expected: &str) -> Result<Archive> {
        Self::of(path, Held::Mapped(map::open(path, expected)?))
    }

    /// The same of a file that is part of the program, under a name in place of a path.
    pub fn built_in(name: &str, bytes: &'static [u8]) -> Result<Archive> {
        Self::of(Path::new(name), Held::BuiltIn(bytes))
    }

    /// The same of a file that was read, under a name in place of a path: whatever becomes of the file, these are its bytes.
    pub fn of_bytes(name: impl AsRef<Path>, bytes: Vec<u8>) -> Result<Archive> {
        Self::of(name.as_ref(), Held::Owned(bytes))
    }

    fn of(path: &Path, held: Held) -> Result<Archive> {
        let parsed = parse(held.bytes()).map_err(|e| e.within(path.display()))?;
        let Parsed { format, index: Index { entries, refused }, inflated, metadata } = parsed;
        let held = inflated.map_or(held, Held::Owned);
        // The readers of all formats return distinct names.
        let by_name = entries.iter().enumerate().map(|(i, entry)| (entry.name.clone(), i)).collect();
        Ok(Archive { path: path.to_path_buf(), held, format, entries, refused, by_name, metadata })
    }

    /// The file, or what stands in place of a path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, where it is not part of the program.
    pub fn file(&self) -> Option<&Path> {
        (!matches!(self.held, Held::BuiltIn(_))).then_some(&self.path)
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// Tensor names in file order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.entries.iter().map(Stored::name)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Tensors that are there but cannot be had, each with the reason.
    pub fn refused(&self) -> &BTreeMap<String, String> {
        &self.refused
    }

    /// The text metadata of a safetensors file; empty for `.pth`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The tensor called `name`; the error for a missing one lists the nearest names.
    pub fn get(&self, name: &str) -> Result<TensorView<'_>> {
        match self.by_name.get(name) {
            Some(&i) => Ok(self.view(&self.entries[i])),
            None => Err(Error::Invalid(self.missing(name))),
        }
    }

    /// All tensors in file order.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = TensorView<'_>> {
        self.entries.iter().map(|e| self.view(e))
    }

    /// The values of `name` in row-major order, borrowed from the map when they lie there as aligned contiguous f32.
    /// Errors: missing tensor, a shape other than `shape`, NaN or infinite values.
    pub fn f32(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>> {
        let view = self.get(name)?;
        if view.shape != shape {
            invalid!("{name}: expected {shape:?}, found {:?} in {}", view.shape, self.path.display());
        }
        let values = view.f32();
        // No early exit, so that the compiler can vectorise the pass.
        if !values.iter().fold(true, |all, x| all & x.is_finite()) {
            let bad = values.iter().filter(|x| !x.is_finite()).count();
            invalid!("{name}: {bad} of {} values are NaN or infinite in {}", values.len(), self.path.display());
        }
        Ok(values)
    }

    fn view<'a>(&'a self, entry: &'a Stored) -> TensorView<'a> {
        TensorView {
            name: &entry.name,
            elem: entry.elem,
            shape: &entry.shape,
            strides: &entry.strides,
            data: &self.held.bytes()[entry.bytes.clone()],
        }
    }

    fn missing(&self, name: &str) -> String {
        if let Some(why) = self.refused.get(name) {
            return format!("{}: tensor \"{name}\" cannot be read: {why}", self.path.display());
        }
        let mut near: Vec<(f64, &str)> = self.names().map(|n| (strsim::jaro_winkler(name, n), n)).collect();
        near.retain(|&(score, _)| score > 0.8);
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        let near: Vec<String> = near.iter().take(3).map(|(_, n)| format!("\"{n}\"")).collect();
        let hint = if near.is_empty() {
            "`ckaad weights inspect` lists what the file holds".to_string()
        } else {
            format!("did you mean {}?", near.join(" or "))
        };
        format!("{}: no tensor \"{name}\" among {}; {hint}", self.path.display(), self.entries.len())
    }
}

/// Where an archive's bytes are.
enum Held {
    Mapped(memmap2::Mmap),
    BuiltIn(&'static [u8]),
    /// What a compressed zip holds, or what somebody has read.
    Owned(Vec<u8>),
}

impl Held {
    fn bytes(&self) -> &[u8] {
        match self {
            Held::Mapped(map) => map,
            Held::BuiltIn(bytes) => bytes,
            Held::Owned(bytes) => bytes,
        }
    }
}

/// The tensors of a file.
#[derive(Default)]
pub(super) struct Index {
    pub entries: Vec<Stored>,
    /// Why tensors that are there cannot be had.
    pub refused: BTreeMap<String, String>,
}

struct Parsed {
    format: Format,
    index: Index,
    /// What the index refers to, if that is not the file's own bytes.
    inflated: Option<Vec<u8>>,
    metadata: BTreeMap<String, String>,
}

fn parse(bytes: &[u8]) -> Result<Parsed> {
    let parsed = |format, index| Parsed { format, index, inflated: None, metadata: BTreeMap::new() };
    if bytes.starts_with(b"PK\x03\x04") {
        let (index, inflated) = torch_zip::read(bytes)?;
        Ok(Parsed { inflated, ..parsed(Format::TorchZip, index) })
    } else if torch_stream::recognise(bytes) {
        Ok(parsed(Format::TorchStream, torch_stream::read(bytes)?))
    } else if safetensors::recognise(bytes) {
        let (index, metadata) = safetensors::read(bytes)?;
        Ok(Parsed { metadata, ..parsed(Format::Safetensors, index) })
    } else {
        let hint = match bytes {
            [b'<', ..] => " (it looks like a web page)",
            b if b.starts_with(b"version https://git-lfs") => " (it is a Git LFS pointer; run `git lfs pull`)",
            _ => "",
        };
        invalid!("not a weights file{hint}: expected a complete PyTorch .pth or .safetensors file")
    }
}

/// A tensor inside a mapped file. `strides` are in elements; `data` runs from the first element to the last one.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TensorView<'a> {
    pub name: &'a str,
    pub elem: Elem,
    pub shape: &'a [usize],
    pub strides: &'a [usize],
    pub data: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        if self.data.is_empty() { 0 } else { self.shape.iter().product() }
    }

    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Whether the elements lie in row-major order without gaps.
    pub fn is_contiguous(&self) -> bool {
        let mut step = 1;
        self.is_empty()
            || self.shape.iter().zip(self.strides).rev().all(|(&d, &s)| {
                let fits = d == 1 || s == step;
                step *= d;
                fits
            })
    }

    /// Row-major values as f32; wider types are rounded.
    pub fn to_f32(&self) -> Vec<f32> {
        match self.elem {
            Elem::F64 => self.decode(|x: f64| x as f32),
            Elem::F32 => self.decode(|x: f32| x),
            Elem::F16 => self.decode(f16::to_f32),
            Elem::BF16 => self.decode(bf16::to_f32),
            Elem::I64 => self.decode(|x: i64| x as f32),
            Elem::I32 => self.decode(|x: i32| x as f32),
            Elem::I16 => self.decode(|x: i16| f32::from(x)),
            Elem::I8 => self.decode(|x: i8| f32::from(x)),
            Elem::U8 | Elem::Bool => self.decode(|x: u8| f32::from(x)),
        }
    }

    /// Row-major values as f64; exact but for integers beyond 2^53.
    pub fn to_f64(&self) -> Vec<f64> {
        match self.elem {
            Elem::F64 => self.decode(|x: f64| x),
            Elem::F32 => self.decode(|x: f32| x.f64()),
            Elem::F16 => self.decode(|x: f16| x.f64()),
            Elem::BF16 => self.decode(|x: bf16| x.f64()),
            Elem::I64 => self.decode(|x: i64| x.f64()),
            Elem::I32 => self.decode(|x: i32| x.f64()),
            Elem::I16 => self.decode(|x: i16| x.f64()),
            Elem::I8 => self.decode(|x: i8| x.f64()),
            Elem::U8 | Elem::Bool => self.decode(|x: u8| x.f64()),
        }
    }

    /// Row-major values as f32, borrowed when the file holds them as aligned contiguous f32.
    pub fn f32(&self) -> Cow<'a, [f32]> {
        if self.elem == Elem::F32
            && self.is_contiguous()
            && cfg!(target_endian = "little")
            && let Ok(values) = bytemuck::try_cast_slice(self.data)
        {
            return Cow::Borrowed(values);
        }
        Cow::Owned(self.to_f32())
    }

    fn decode<E: Element, T>(&self, convert: impl Fn(E) -> T) -> Vec<T> {
        let size = size_of::<E>();
        if self.is_contiguous() {
            return self.data.chunks_exact(size).map(|b| convert(E::decode(b))).collect();
        }
        // An odometer over the outer axes, a strided run over the innermost one. Not contiguous implies two axes or a
        // stride, so `shape` is not empty, and `Stored::new` bounded `len` by the storage and every index by `data`.
        let (Some((&inner, outer)), Some(&step)) = (self.shape.split_last(), self.strides.last()) else {
            return Vec::new();
        };
        let mut values = Vec::with_capacity(self.len());
        let mut index = vec![0; outer.len()];
        loop {
            let base: usize = index.iter().zip(self.strides).map(|(i, s)| i * s).sum();
            values.extend((0..inner).map(|i| {
                let at = (base + i * step) * size;
                convert(E::decode(&self.data[at..at + size]))
            }));
            let Some(axis) = (0..outer.len()).rev().find(|&a| index[a] + 1 < outer[a]) else { return values };
            index[axis] += 1;
            index[axis + 1..].fill(0);
        }
    }
}
