//! PyTorch's zip format: `<any folder>/data.pkl` describes the tensors, `<folder>/data/<key>` hold the storages.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::ops::Range;

use super::archive::{Index, Stored};
use super::{pickle, state_dict};
use crate::{Error, Result, invalid};

/// Where each file of a zip lies, by name.
type Files = HashMap<String, Range<usize>>;

/// The tensors, and the bytes that they lie in where those are not the file's own: of a compressed zip.
pub(super) fn read(bytes: &[u8]) -> Result<(Index, Option<Vec<u8>>)> {
    let (files, inflated) = directory(bytes)?;
    let index = index(inflated.as_deref().unwrap_or(bytes), &files)?;
    Ok((index, inflated))
}

fn index(bytes: &[u8], files: &Files) -> Result<Index> {
    let is_folder = |prefix: &str| prefix.is_empty() || prefix.ends_with('/');
    let candidates = files.iter().filter_map(|(name, range)| Some((name.strip_suffix("data.pkl")?, range)));
    let mut indices = candidates.filter(|(prefix, _)| is_folder(prefix));
    let (Some((prefix, index)), None) = (indices.next(), indices.next()) else {
        invalid!("is a zip file, but not one that torch.save wrote: expected exactly one data.pkl in it");
    };
    let file = |name: &str| files.get(&format!("{prefix}{name}")).cloned();
    if let Some(order) = file("byteorder").map(|range| &bytes[range])
        && order != b"little"
    {
        invalid!("byte order \"{}\" is not supported, only \"little\" is", order.escape_ascii());
    }
    let (pickle, root, _) = pickle::read(&bytes[index.clone()]).map_err(|e| e.within(format!("{prefix}data.pkl")))?;
    let locate = |name: String, tensor: &pickle::Tensor| {
        let storage = pickle.storages[tensor.storage];
        let Some(elem) = storage.elem else { invalid!("tensor \"{name}\": its type is not supported") };
        let Some(range) = file(&format!("data/{}", storage.key)) else {
            invalid!("tensor \"{name}\": its storage {prefix}data/{} is missing", storage.key);
        };
        let needed = storage.count.checked_mul(elem.size());
        let Some(needed) = needed.filter(|&n| n <= range.len()) else {
            invalid!(
                "tensor \"{name}\": storage {prefix}data/{} should hold {} elements of {}, but has {} bytes",
                storage.key,
                storage.count,
                elem.name(),
                range.len()
            );
        };
        let range = range.start..range.start + needed;
        Stored::new(name, elem, tensor.shape.clone(), tensor.strides.clone(), range, tensor.offset)
    };
    state_dict::flatten(&pickle, root)?.index(&pickle, locate)
}

/// The most that a compressed zip may hold in all: as much as the largest ResNet in f64 with Adam's moments.
const MAX_INFLATED: u64 = 4 << 30;

/// Where each file of the zip lies: in the file itself if all are stored, as `torch.save` does, else in what comes back.
fn directory(bytes: &[u8]) -> Result<(Files, Option<Vec<u8>>)> {
    let corrupt = |e: zip::result::ZipError| Error::Invalid(format!("corrupt or truncated zip file: {e}"));
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(corrupt)?;
    let mut files = HashMap::with_capacity(archive.len());
    let mut compressed = false;
    for i in 0..archive.len() {
        let file = archive.by_index_raw(i).map_err(corrupt)?;
        let name = file.name().map_err(corrupt)?.into_owned();
        if file.encrypted() {
            invalid!("{name} is encrypted inside the zip, so torch.save did not write it");
        }
        compressed |= file.compression() != zip::CompressionMethod::Stored;
        let start = file.data_start().and_then(|s| usize::try_from(s).ok());
        let end = start.zip(usize::try_from(file.compressed_size()).ok()).and_then(|(s, n)| s.checked_add(n));
        match start.zip(end) {
            Some((start, end)) if end <= bytes.len() => {
                if files.insert(name.clone(), start..end).is_some() {
                    invalid!("{name}: is twice in the zip");
                }
            }
            _ => invalid!("{name}: reaches past the end of the file"),
        }
    }
    if !compressed {
        return Ok((files, None));
    }
    let mut inflated = Vec::new();
    for i in 0..archive.len() {
        let file = archive.by_index(i).map_err(corrupt)?;
        let name = file.name().map_err(corrupt)?.into_owned();
        let (start, left) = (inflated.len(), MAX_INFLATED - inflated.len() as u64);
        // What a file says of its size is not believed: memory grows with what really comes.
        file.take(left + 1).read_to_end(&mut inflated).map_err(|e| Error::Invalid(format!("{name}: {e}")))?;
        if inflated.len() as u64 > MAX_INFLATED {
            invalid!("holds more than {} GiB once it is decompressed", MAX_INFLATED >> 30);
        }
        files.insert(name, start..inflated.len());
    }
    Ok((files, Some(inflated)))
}
