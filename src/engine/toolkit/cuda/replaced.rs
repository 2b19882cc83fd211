//! PTX from a folder in place of the built-in one, so that a changed kernel runs without building the program anew.
//!
//! `CKAAD_PTX=DIR` names the folder, usually `kernels/ptx`. A file of it that has the name of a module takes that one's place;
//! what is not there stays built in. It has to have the same kernels with the same parameters, and to be made from the source
//! that lies beside it or in the folder above, if there is one.

use super::ptx_file::{entries, made_from, source_hash};
use super::registry::{Entry, MODULES, Module, cut};
use crate::{Error, Result, invalid};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Environment variable that names the folder.
const VARIABLE: &str = "CKAAD_PTX";

/// What a folder replaces.
#[derive(Debug, Default)]
pub struct Replaced {
    folder: PathBuf,
    /// By module: the text, if there is a file of it.
    texts: Vec<Option<String>>,
}

impl Replaced {
    /// Reads and checks the folder.
    pub fn open(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            return Err(Error::Usage(format!("{VARIABLE}={}: is no folder", folder.display())));
        }
        let texts: Vec<Option<String>> = MODULES.iter().map(|m| read(folder, m)).collect::<Result<_>>()?;
        if texts.iter().all(Option::is_none) {
            let names: Vec<String> = MODULES.iter().map(|m| format!("{}.ptx", m.name)).collect();
            let expected = names.join(", ");
            return Err(Error::Usage(format!("{VARIABLE}={}: holds none of {expected}", folder.display())));
        }
        Ok(Replaced { folder: folder.to_path_buf(), texts })
    }

    /// The folder's text of a module, if it has one.
    pub fn text(&self, module: usize) -> Option<&str> {
        self.texts.get(module)?.as_deref()
    }

    /// One line: which kernels are not the built-in ones.
    pub fn describe(&self) -> String {
        let differs = |(m, text): &(&Module, &Option<String>)| text.as_ref().is_some_and(|t| t != m.ptx);
        let names: Vec<&str> = MODULES.iter().zip(&self.texts).filter(differs).map(|(m, _)| m.name).collect();
        let which =
            if names.is_empty() { "all as built in".to_string() } else { format!("changed: {}", names.join(", ")) };
        format!("PTX from {} ({which})", self.folder.display())
    }
}

/// What `CKAAD_PTX` names, read once; none where it is not set.
pub fn replaced() -> Result<Option<&'static Replaced>> {
    static READ: OnceLock<std::result::Result<Option<Replaced>, String>> = OnceLock::new();
    let read = READ.get_or_init(|| match std::env::var_os(VARIABLE).filter(|v| !v.is_empty()) {
        None => Ok(None),
        Some(folder) => Replaced::open(Path::new(&folder)).map(Some).map_err(|e| e.to_string()),
    });
    match read {
        Ok(replaced) => Ok(replaced.as_ref()),
        Err(why) => Err(Error::Invalid(why.clone())),
    }
}

impl Entry {
    /// PTX with this kernel alone, in the lines where its file has it.
    pub fn ptx(&self) -> Result<String> {
        let Some(text) = replaced()?.and_then(|r| r.text(self.module)) else {
            let Module { ptx, entries, .. } = self.module();
            return Ok(cut(ptx, entries.iter().map(|e| e.text.0).min(), self.text));
        };
        let all = entries(text).map_err(Error::Invalid)?;
        match all.iter().find(|e| e.name == self.name) {
            Some(entry) => Ok(cut(text, all.iter().map(|e| e.text.0).min(), entry.text)),
            None => invalid!("{}: not in the PTX of {VARIABLE}", self.name),
        }
    }
}

/// A module's file in the folder, if there is one, checked.
fn read(folder: &Path, module: &Module) -> Result<Option<String>> {
    let path = folder.join(format!("{}.ptx", module.name));
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
    let named = |e: String| Error::Invalid(format!("{}: {e}", path.display()));
    let compile = format!("run scripts/compile-kernels {}", module.name);
    let source = format!("{}.cu", module.name);
    let places = [Some(folder), folder.parent()];
    if let Some(place) = places.into_iter().flatten().find(|p| p.join(&source).is_file()) {
        let hash = source_hash(place, &place.join(&source)).map_err(named)?;
        if made_from(&text) != Some(hash.as_str()) {
            let source = place.join(&source);
            return Err(named(format!("was made from another version of {}; {compile}", source.display())));
        }
    }
    let found = entries(&text).map_err(named)?;
    for expected in module.entries {
        let Some(entry) = found.iter().find(|e| e.name == expected.name) else {
            return Err(named(format!("has no kernel {}; {compile}", expected.name)));
        };
        if entry.parameters != expected.parameters {
            let said = |p: &[(usize, usize)]| {
                let sizes: Vec<String> = p.iter().map(|(_, size)| size.to_string()).collect();
                format!("{} parameters of {} bytes", p.len(), sizes.join(", "))
            };
            return Err(named(format!(
                "{} takes {}, this program calls it with {}: build it anew (cargo build --release)",
                entry.name,
                said(&entry.parameters),
                said(expected.parameters)
            )));
        }
        if entry.max_threads != expected.max_threads {
            return Err(named(format!(
                "{} is bounded to {} threads a block, this program launches it with up to {}: build it anew (cargo build \
                 --release)",
                entry.name, entry.max_threads, expected.max_threads
            )));
        }
    }
    Ok(Some(text))
}
