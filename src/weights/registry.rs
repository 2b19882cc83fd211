//! The names of pretrained weights, where they come from and where they are kept. Downloading is in `fetch`.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::Archive;
use crate::{Error, Result};

/// What the backbone is called that is part of the program: ResNet-18 up to layer 3, pretrained on pictures by formula
/// (`weights/README.md`). A file of this name is `./formula`.
pub const FORMULA: &str = "formula";

/// Its file.
pub static FORMULA_FILE: &[u8] = include_bytes!("../../weights/resnet18-formula.safetensors");

/// One downloadable file of `weights/manifest.toml`.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// What the user types, such as `resnet50` (V1) or `resnet50_v2`.
    pub name: String,
    /// The architecture, such as `resnet50`.
    pub backbone: String,
    pub version: String,
    pub file: String,
    /// First hex digits of the file's SHA-256.
    pub sha256: String,
    /// Approximate size.
    pub mib: f64,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    base_url: String,
    pub licence: String,
    pub weights: Vec<Listed>,
}

/// The manifest that was compiled in.
pub fn manifest() -> &'static Manifest {
    static MANIFEST: LazyLock<Manifest> = LazyLock::new(|| {
        // Part of the program, not input; a test parses it.
        toml::from_str(include_str!("../../weights/manifest.toml")).expect("weights/manifest.toml is valid")
    });
    &MANIFEST
}

impl Listed {
    /// Where the file is downloaded from: `CKAAD_WEIGHTS_URL` (a folder) if set, else its original place.
    pub fn url(&self) -> String {
        let base = std::env::var("CKAAD_WEIGHTS_URL").ok().filter(|base| !base.is_empty());
        let base = base.as_deref().unwrap_or(&manifest().base_url);
        format!("{}/{}", base.trim_end_matches('/'), self.file)
    }
}

/// The entry called `name`; the error lists all names.
pub fn find(name: &str) -> Result<&'static Listed> {
    let entries = &manifest().weights;
    entries.iter().find(|e| e.name == name).ok_or_else(|| {
        let names: Vec<&str> = entries.iter().map(|e| e.name.as_str()).collect();
        let built_in = if name == FORMULA { ", which are built in," } else { "" };
        let to_fetch = names.join(", ");
        Error::Usage(format!("no weights that can be fetched are called \"{name}\"{built_in} but {to_fetch}"))
    })
}

/// The folder for downloads: `CKAAD_CACHE`, else `XDG_CACHE_HOME/ckaad`, else `~/.cache/ckaad`.
pub fn cache_dir() -> Result<PathBuf> {
    let folder = |variable: &str| std::env::var_os(variable).map(PathBuf::from).filter(|p| !p.as_os_str().is_empty());
    folder("CKAAD_CACHE")
        // The XDG specification says that relative paths are to be ignored.
        .or_else(|| folder("XDG_CACHE_HOME").filter(|p| p.is_absolute()).map(|p| p.join("ckaad")))
        .or_else(|| std::env::home_dir().map(|p| p.join(".cache/ckaad")))
        .ok_or_else(|| Error::Usage("there is no home folder to keep weights in; set CKAAD_CACHE to a folder".into()))
}

/// The weights that `--weights FILE|NAME` means: the built-in ones, or what [`locate`] finds.
pub fn open(file_or_name: &str) -> Result<Archive> {
    match file_or_name {
        FORMULA => Archive::built_in(FORMULA, FORMULA_FILE),
        _ => Archive::open(locate(file_or_name)?),
    }
}

/// An existing file is itself, a name of the manifest is its file in the cache.
/// Nothing is downloaded; the error for a name that is not there yet says which command does that.
pub fn locate(file_or_name: &str) -> Result<PathBuf> {
    let path = Path::new(file_or_name);
    if path.exists() && !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let entry = find(file_or_name).map_err(|e| {
        let what = if path.is_dir() { "is a folder" } else { "no such file" };
        Error::Usage(format!("{file_or_name}: {what}; {e}"))
    })?;
    let cached = cache_dir()?.join(&entry.file);
    if cached.is_file() {
        return Ok(cached);
    }
    Err(Error::Usage(format!(
        "the weights {file_or_name} are not in {} yet; run `ckaad weights fetch {file_or_name}` or pass a file",
        cached.display()
    )))
}
