//! The backbone as a file: batch norms folded into the convolutions, weights in 16 bits.

use super::recipe::Recipe;
use crate::engine::device::Backend;
use crate::engine::params::Values;
use crate::model::resnet;
use crate::weights::{Tensor, write_safetensors};
use crate::{Result, invalid};
use half::f16;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// Writes a trained backbone with what is known of it: how it was made, on what kind of device and by how many threads, after how
/// many steps, by which version of the program, and the SHA-256 of all its numbers, in the order of the tensors' names.
pub fn export(
    path: &Path,
    recipe: &Recipe,
    steps: u32,
    backend: &Backend,
    commit: &str,
    trained: &Values<f32>,
) -> Result<()> {
    let folded = resnet::load::<f32>(&recipe.architecture, trained)?;
    let mut weights: BTreeMap<&str, (&[usize], Vec<f16>)> = BTreeMap::new();
    let mut biases: BTreeMap<&str, (&[usize], Vec<f32>)> = BTreeMap::new();
    let mut digest = Sha256::new();
    let mut entries: Vec<_> = folded.parameters.entries().iter().collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    for e in entries {
        let values = folded.to_file(e);
        if e.name.ends_with(".bias") {
            digest.update(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
            biases.insert(&e.name, (&e.file_shape, values));
            continue;
        }
        let rounded: Vec<f16> = values.into_iter().map(f16::from_f32).collect();
        if let Some(v) = rounded.iter().find(|v| !v.is_finite()) {
            invalid!("{}: {} is {v} in 16 bits: the training has diverged", path.display(), e.name);
        }
        digest.update(rounded.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
        weights.insert(&e.name, (&e.file_shape, rounded));
    }
    let mut tensors = Vec::new();
    for (name, (shape, values)) in &weights {
        tensors.push(Tensor::new(*name, shape, values)?);
    }
    for (name, (shape, values)) in &biases {
        tensors.push(Tensor::new(*name, shape, values)?);
    }
    let recipe_text = serde_json::to_string(recipe).map_err(|e| crate::Error::Invalid(format!("the recipe: {e}")))?;
    let sha256: String = digest.finalize().iter().map(|b| format!("{b:02x}")).collect();
    let text = [
        ("format", env!("CARGO_PKG_NAME").to_string()),
        ("kind", "backbone".to_string()),
        ("backbone", recipe.architecture.backbone.name.to_string()),
        ("batch_norm", "folded".to_string()),
        ("recipe", recipe_text),
        ("seed", recipe.seed.to_string()),
        ("steps", steps.to_string()),
        ("computed", backend.identity()?),
        ("made_by", concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_string()),
        ("commit", commit.to_string()),
        ("sha256", sha256),
    ];
    let metadata = text.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
    write_safetensors(path, &tensors, &metadata)
}
