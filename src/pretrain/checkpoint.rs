//! Where a run can be gone on from: parameters, the optimizer's state, the next step.

use super::Position;
use super::program::Program;
use super::recipe::Recipe;
use crate::engine::device::{Backend, Session};
use crate::engine::params::Values;
use crate::model::saved::{expect_same, read_states, restore};
use crate::weights::{Archive, Tensor, write_safetensors};
use crate::{Error, Result, invalid};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

const KIND: &str = "pretraining";
const RECIPE: &str = "recipe";
const POSITION: &str = "position";

/// All that the numbers depend on, by name.
fn key(recipe: &Recipe, backend: &Backend) -> Result<Map<String, Value>> {
    let Ok(Value::Object(mut key)) = serde_json::to_value(recipe) else { invalid!("a recipe is an object") };
    key.insert("computed".into(), backend.identity()?.into());
    Ok(key)
}

/// Writes a checkpoint atomically: the networks, and what the session's ops keep beside them.
pub fn write(
    path: &Path,
    recipe: &Recipe,
    backend: &Backend,
    at: &Position,
    networks: &[Values<f32>],
    session: &dyn Session,
) -> Result<()> {
    let states = read_states(session)?;
    let mut held = Vec::new();
    for values in networks {
        for e in values.parameters.entries() {
            let name = format!("{}.{}", values.parameters.network, e.name);
            held.push((name, e.file_shape.clone(), values.to_file(e)));
        }
    }
    held.extend(states.into_iter().map(|(name, values)| (name, vec![values.len()], values)));
    let tensors: Vec<Tensor> =
        held.iter().map(|(name, shape, values)| Tensor::new(name.as_str(), shape, values)).collect::<Result<_>>()?;
    let metadata = BTreeMap::from([
        ("format".to_string(), env!("CARGO_PKG_NAME").to_string()),
        ("kind".to_string(), KIND.to_string()),
        (RECIPE.to_string(), Value::Object(key(recipe, backend)?).to_string()),
        (POSITION.to_string(), at.to_text()),
    ]);
    write_safetensors(path, &tensors, &metadata)
}

/// Fills a session from a checkpoint; returns where the run was. A recipe or a device other than then is an error that names what
/// differs.
pub fn read(
    path: &Path,
    recipe: &Recipe,
    backend: &Backend,
    program: &Program,
    session: &mut dyn Session,
) -> Result<Position> {
    let archive = Archive::open(path)?;
    let of = |name: &str| archive.metadata().get(name).map(String::as_str).unwrap_or_default();
    if of("kind") != KIND {
        invalid!("{}: not a checkpoint of `ckaad pretrain`", path.display());
    }
    let broken = |name: &str| Error::Invalid(format!("{}: its {name} cannot be read", path.display()));
    let then: Map<String, Value> = serde_json::from_str(of(RECIPE)).map_err(|_| broken(RECIPE))?;
    expect_same(&then, &key(recipe, backend)?).map_err(|e| e.within(path.display()))?;
    restore(session, &[program.backbone, program.heads], &archive)?;
    Position::from_text(of(POSITION)).ok_or_else(|| broken(POSITION))
}
