//! Parsed modules, kept until the process ends: parsing takes longer than most launches.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use crate::error::ParseError;
use crate::run::module::{Image, Module};

type Parsed = Arc<OnceLock<Result<Arc<Image>, ParseError>>>;

/// By name (it stands in messages), then by text.
static PARSED: LazyLock<Mutex<HashMap<String, HashMap<String, Parsed>>>> = LazyLock::new(Mutex::default);

/// As [`Module::parse`]; a text that was read before under this name is not read again.
pub fn module(name: &str, text: &str) -> Result<Module, ParseError> {
    // Read outside of the lock: others go on with texts of their own, and wait here for this one.
    let image = place(name, text).get_or_init(|| Image::parse(name, text).map(Arc::new)).clone()?;
    Module::new(image)
}

fn place(name: &str, text: &str) -> Parsed {
    let mut parsed = PARSED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = parsed.get(name).and_then(|texts| texts.get(text)) {
        return known.clone();
    }
    parsed.entry(name.into()).or_default().entry(text.into()).or_default().clone()
}
