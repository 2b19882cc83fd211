//! The safetensors format: an 8-byte header length, a JSON header, then the tensors back to back.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde_json::json;

use super::archive::{Index, Stored};
use super::elem::{Elem, Element};
use crate::output::write_atomically;
use crate::{Error, Result, invalid};

/// Whether `bytes` begin as a safetensors file does: a plausible header length, then a JSON object.
pub(super) fn recognise(bytes: &[u8]) -> bool {
    bytes.get(8) == Some(&b'{')
}

pub(super) fn read(bytes: &[u8]) -> Result<(Index, BTreeMap<String, String>)> {
    let (length, header) = SafeTensors::read_metadata(bytes)
        .map_err(|e| Error::Invalid(format!("corrupt or truncated safetensors file: {e}")))?;
    let data = 8 + length;
    let mut index = Index::default();
    for name in header.offset_keys() {
        let Some(info) = header.info(&name) else { continue };
        let elem = match info.dtype {
            Dtype::F64 => Elem::F64,
            Dtype::F32 => Elem::F32,
            Dtype::F16 => Elem::F16,
            Dtype::BF16 => Elem::BF16,
            Dtype::I64 => Elem::I64,
            Dtype::I32 => Elem::I32,
            Dtype::I16 => Elem::I16,
            Dtype::I8 => Elem::I8,
            Dtype::U8 => Elem::U8,
            Dtype::BOOL => Elem::Bool,
            other => {
                index.refused.insert(name, format!("type {other} is not supported"));
                continue;
            }
        };
        let storage = data + info.data_offsets.0..data + info.data_offsets.1;
        let strides = row_major(&info.shape);
        index.entries.push(Stored::new(name, elem, info.shape.clone(), strides, storage, 0)?);
    }
    let metadata = header.metadata().clone().unwrap_or_default();
    Ok((index, metadata.into_iter().collect()))
}

/// Strides of a dense tensor; saturating, as a shape with a zero in it may have any other sizes.
fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i].saturating_mul(shape[i]);
    }
    strides
}

/// A tensor to be written: little-endian row-major data.
#[derive(Clone, Debug)]
pub struct Tensor<'a> {
    name: String,
    shape: Vec<usize>,
    elem: Elem,
    data: Cow<'a, [u8]>,
}

impl<'a> Tensor<'a> {
    /// Errors: `values` and `shape` disagree.
    pub fn new<E: Element>(name: impl Into<String>, shape: &[usize], values: &'a [E]) -> Result<Self> {
        let name = name.into();
        if shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)) != Some(values.len()) {
            invalid!("tensor \"{name}\": shape {shape:?} does not fit {} values", values.len());
        }
        let native: &[u8] = bytemuck::cast_slice(values);
        let data = if cfg!(target_endian = "little") {
            Cow::Borrowed(native)
        } else {
            Cow::Owned(native.chunks_exact(E::ELEM.size()).flat_map(|b| b.iter().rev().copied()).collect())
        };
        Ok(Tensor { name, shape: shape.to_vec(), elem: E::ELEM, data })
    }
}

/// Writes `tensors` and `metadata` as one safetensors file, atomically (see [`write_atomically`]); equal arguments
/// give equal bytes. Errors: a tensor's name used twice or reserved, whatever the disk says.
pub fn write_safetensors(path: &Path, tensors: &[Tensor], metadata: &BTreeMap<String, String>) -> Result<()> {
    // Wider types first, so that every tensor is aligned to its own type.
    let mut order: Vec<&Tensor> = tensors.iter().collect();
    order.sort_by_key(|t| std::cmp::Reverse(t.elem.size()));
    let mut names = BTreeSet::from(["__metadata__"]);
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), json!(metadata));
    let mut end = 0;
    for tensor in &order {
        if !names.insert(&tensor.name) {
            invalid!("{}: the tensor name \"{}\" is used twice or reserved", path.display(), tensor.name);
        }
        let start = end;
        end += tensor.data.len();
        let info = json!({ "dtype": tensor.elem.name(), "shape": tensor.shape, "data_offsets": [start, end] });
        header.insert(tensor.name.clone(), info);
    }
    let mut header = serde_json::Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    write_atomically(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        order.iter().try_for_each(|t| file.write_all(&t.data))
    })
}
