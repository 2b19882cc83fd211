//! PyTorch's format from before 1.6: five pickles (magic number, protocol, system, tensors, storage keys), then the
//! storages in the order of their keys, each an element count (8 bytes) and its elements.

use std::collections::HashMap;

use super::archive::{Index, Stored};
use super::pickle::{self, Value};
use super::state_dict;
use crate::{Result, invalid};

/// The pickled magic number 0x1950a86a20f9469cfc6c. Before it stand two bytes that name the pickle protocol, and from protocol 4 on a
/// frame: 0x95 and its length.
const MAGIC: [u8; 13] = *b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

const FRAME: u8 = 0x95;

/// Where the first pickle ends, if the file begins with it.
fn behind_magic(bytes: &[u8]) -> Option<usize> {
    let at = if bytes.get(2) == Some(&FRAME) { 2 + 9 } else { 2 };
    let begins = bytes.first() == Some(&0x80) && bytes.get(at..).is_some_and(|rest| rest.starts_with(&MAGIC));
    begins.then_some(at + MAGIC.len())
}

pub(super) fn recognise(bytes: &[u8]) -> bool {
    behind_magic(bytes).is_some()
}

pub(super) fn read(bytes: &[u8]) -> Result<Index> {
    let Some(begin) = behind_magic(bytes) else { invalid!("not PyTorch's stream format") };
    let mut rest = &bytes[begin..];
    let mut next = |what: &str| {
        let (pickle, root, length) = pickle::read(rest).map_err(|e| e.within(what))?;
        rest = &rest[length..];
        Ok::<_, crate::Error>((pickle, root))
    };
    let (_, version) = next("format version")?;
    if version != Value::Int(1001) {
        invalid!("format version: expected 1001, found {}", version.kind());
    }
    let (system, root) = next("system information")?;
    if let Value::Dict(d) = root
        && system.dicts[d].contains(&(Value::Str("little_endian"), Value::Bool(false)))
    {
        invalid!("byte order \"big\" is not supported, only \"little\" is");
    }
    let (index, root) = next("tensors")?;
    let (keys, key_list) = next("storage keys")?;
    let named = state_dict::flatten(&index, root)?;
    let Value::List(key_list) = key_list else { invalid!("storage keys: expected a list, found {}", key_list.kind()) };

    let mut at = bytes.len() - rest.len();
    let types: HashMap<&str, _> = index.storages.iter().map(|s| (s.key, s.elem)).collect();
    let mut storages = HashMap::with_capacity(types.len());
    for &key in &keys.sequences[key_list] {
        let Value::Str(key) = key else { invalid!("storage keys: expected text, found {}", key.kind()) };
        let Some(elem) = types.get(key) else { invalid!("storage {key} belongs to no tensor") };
        // Where the next one begins is known only of a type whose size is.
        let Some(elem) = elem else { invalid!("storage {key} has elements of a type that is not supported") };
        let Some(&count) = bytes[at..].first_chunk::<8>() else { invalid!("truncated: storage {key} is missing") };
        at += count.len();
        let length = usize::try_from(i64::from_le_bytes(count)).ok().and_then(|n| n.checked_mul(elem.size()));
        let Some(length) = length.filter(|&n| n <= bytes.len() - at) else {
            invalid!("truncated: storage {key} should hold {} elements", i64::from_le_bytes(count));
        };
        storages.insert(key, at..at + length);
        at += length;
    }
    let locate = |name: String, tensor: &pickle::Tensor| {
        let storage = index.storages[tensor.storage];
        let Some(elem) = storage.elem else { invalid!("tensor \"{name}\": its type is not supported") };
        let size = elem.size();
        let (Some(whole), true) = (storages.get(storage.key), types.get(storage.key) == Some(&storage.elem)) else {
            invalid!("tensor \"{name}\": its storage {} is missing or of another type", storage.key);
        };
        let (offset, count) = storage.view.unwrap_or((0, storage.count));
        let within = offset.checked_add(count).and_then(|end| end.checked_mul(size)).filter(|&n| n <= whole.len());
        let Some(end) = within else {
            invalid!(
                "tensor \"{name}\": elements {offset}+{count} of storage {}, which holds {}",
                storage.key,
                whole.len() / size
            );
        };
        let range = whole.start + offset * size..whole.start + end;
        Stored::new(name, elem, tensor.shape.clone(), tensor.strides.clone(), range, tensor.offset)
    };
    named.index(&index, locate)
}
