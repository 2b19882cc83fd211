//! A folder for one command's files. A hidden mark in it says whose they are: later runs may replace them, and lists of
//! pictures pass them over. A folder without the mark may hold somebody's only copy.

use super::write_atomically;
use crate::{Error, Result};
use std::path::Path;

const MARK: &str = ".ckaad-output";
const SAYS: &[u8] = b"The files in this folder were written by ckaad, which may replace them.\n";

/// Whether the files of a folder are ours.
pub fn is_ours(folder: &Path) -> bool {
    folder.join(MARK).is_file()
}

/// Makes and marks a folder to write files into, which `flag` named. One that holds something else is refused.
pub fn make(flag: &str, path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|e| Error::io(path, e))?;
    if is_ours(path) {
        return Ok(());
    }
    if std::fs::read_dir(path).map_err(|e| Error::io(path, e))?.next().is_some() {
        return Err(Error::Usage(format!(
            "{flag} {}: holds files that ckaad did not write, which could be replaced; name an empty or a new folder",
            path.display()
        )));
    }
    write_atomically(&path.join(MARK), |f| f.write_all(SAYS))
}
