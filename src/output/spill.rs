//! Bytes that a command keeps while it works: in memory as long as they fit there, else in a file without a name that vanishes
//! with the process.

use crate::{Error, Result, invalid};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Where bytes may be kept.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Bytes that may be in memory; what takes more is in a file as a whole.
    pub budget: usize,
    /// Folder of such a file.
    pub folder: &'a Path,
}

impl Place<'_> {
    /// In memory, whatever it takes.
    pub fn memory() -> Self {
        Place { budget: usize::MAX, folder: Path::new("") }
    }
}

/// Kept bytes.
pub enum Spill {
    /// As many as fill whole words, so that slices of any number's type are aligned.
    Memory(Vec<u64>),
    Disk(Mutex<File>),
}

impl Spill {
    /// Room for `len` bytes, which are to be written before they are read.
    pub fn new(place: &Place, len: usize) -> Result<Self> {
        if len > place.budget {
            let file = tempfile::tempfile_in(place.folder).map_err(|e| Error::io(place.folder, e))?;
            return Ok(Spill::Disk(Mutex::new(file)));
        }
        let words = len.div_ceil(8);
        let mut memory = Vec::new();
        if memory.try_reserve_exact(words).is_err() {
            invalid!(
                "out of memory: {:.1} GB were to be kept; a smaller budget keeps them in a file",
                len as f64 * 1e-9
            );
        }
        memory.resize(words, 0);
        Ok(Spill::Memory(memory))
    }

    /// Bytes that it takes in memory.
    pub fn in_memory(&self) -> usize {
        self.memory().map_or(0, <[u8]>::len)
    }

    /// What is in memory; nothing where a file holds it.
    pub fn memory(&self) -> Option<&[u8]> {
        match self {
            Spill::Memory(words) => Some(bytemuck::cast_slice(words)),
            Spill::Disk(_) => None,
        }
    }

    pub fn memory_mut(&mut self) -> Option<&mut [u8]> {
        match self {
            Spill::Memory(words) => Some(bytemuck::cast_slice_mut(words)),
            Spill::Disk(_) => None,
        }
    }

    pub fn write(&mut self, at: usize, bytes: &[u8]) -> Result<()> {
        match self {
            Spill::Memory(words) => bytemuck::cast_slice_mut(words)[at..at + bytes.len()].copy_from_slice(bytes),
            Spill::Disk(file) => {
                let file = file.get_mut().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(at as u64)).and_then(|_| file.write_all(bytes)).map_err(of_file)?;
            }
        }
        Ok(())
    }

    pub fn read(&self, from: Range<usize>, to: &mut [u8]) -> Result<()> {
        match self {
            Spill::Memory(words) => to.copy_from_slice(&bytemuck::cast_slice(words)[from]),
            Spill::Disk(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(from.start as u64)).and_then(|_| file.read_exact(to)).map_err(of_file)?;
            }
        }
        Ok(())
    }
}

fn of_file(e: std::io::Error) -> Error {
    Error::io("(temporary file)", e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_file_hold_the_same() {
        let folder = tempfile::tempdir().unwrap();
        for budget in [12, 13] {
            let mut spill = Spill::new(&Place { budget, folder: folder.path() }, 13).unwrap();
            assert_eq!(spill.memory().is_some(), budget == 13);
            assert_eq!(spill.in_memory() >= 13, budget == 13);
            spill.write(5, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
            spill.write(0, &[9; 5]).unwrap();
            let mut found = [0; 6];
            spill.read(3..9, &mut found).unwrap();
            assert_eq!(found, [9, 9, 1, 2, 3, 4]);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
