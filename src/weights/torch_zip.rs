//! PyTorch's zip format: `<any folder>/data.pkl` describes the tensors, `<folder>/data/<key>` hold the storages.

use std::collections::HashMap;
use std::io::Cursor;
use std::ops::Range;

use super::archive::Stored;
use super::{pickle, state_dict};
use crate::{Error, Result, invalid};

pub(super) fn read(bytes: &[u8]) -> Result<Vec<Stored>> {
    let files = directory(bytes)?;
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
        let Some(range) = file(&format!("data/{}", storage.key)) else {
            invalid!("tensor \"{name}\": its storage {prefix}data/{} is missing", storage.key);
        };
        let needed = storage.count.checked_mul(storage.elem.size());
        let Some(needed) = needed.filter(|&n| n <= range.len()) else {
            invalid!(
                "tensor \"{name}\": storage {prefix}data/{} should hold {} elements of {}, but has {} bytes",
                storage.key,
                storage.count,
                storage.elem.name(),
                range.len()
            );
        };
        let range = range.start..range.start + needed;
        Stored::new(name, storage.elem, tensor.shape.clone(), tensor.strides.clone(), range, tensor.offset)
    };
    let tensors = state_dict::flatten(&pickle, root)?;
    tensors.into_iter().map(|(name, t)| locate(name, &pickle.tensors[t])).collect()
}

/// Where each file of the zip lies; only stored ones are there, the others cannot be read in place.
fn directory(bytes: &[u8]) -> Result<HashMap<String, Range<usize>>> {
    let corrupt = |e: zip::result::ZipError| Error::Invalid(format!("corrupt or truncated zip file: {e}"));
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(corrupt)?;
    let mut files = HashMap::with_capacity(archive.len());
    for i in 0..archive.len() {
        let file = archive.by_index_raw(i).map_err(corrupt)?;
        let name = file.name().map_err(corrupt)?.into_owned();
        if file.compression() != zip::CompressionMethod::Stored || file.encrypted() {
            invalid!(
                "{name} is compressed or encrypted inside the zip, so torch.save did not write it (of a TorchScript \
                 archive, save the state_dict() instead)"
            );
        }
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
    Ok(files)
}
