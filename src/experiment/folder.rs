//! The folder of an experiment: its results and its tables, written by one run at a time.

use super::results::{self, Outcome};
use super::table::Report;
use crate::output::{MARK, OurFolder};
use crate::{Error, Result};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// Where results lie in it.
pub const RESULTS: &str = "results.jsonl";

pub struct Folder {
    file: PathBuf,
    ours: OurFolder,
    /// Locked until this ends: another run would write over its results.
    _held: File,
}

impl Folder {
    /// The folder is marked as ours. Errors: another run has it.
    pub fn open(path: &Path, warn: &mut dyn FnMut(&str)) -> Result<Self> {
        let ours = OurFolder::open(path.to_path_buf())?;
        let held = File::open(path.join(MARK)).map_err(|e| Error::io(path, e))?;
        match held.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Usage(format!("{}: another run writes into it; wait for it", path.display())));
            }
            // Some file systems that machines share have no locks.
            Err(TryLockError::Error(e)) => {
                warn(&format!("{}: cannot be locked ({e}); see that no other run writes into it", path.display()));
            }
        }
        Ok(Folder { file: path.join(RESULTS), ours, _held: held })
    }

    /// The file of its results.
    pub fn file(&self) -> &Path {
        &self.file
    }

    pub fn results(&self) -> Result<Vec<Outcome>> {
        results::read(&self.file)
    }

    pub fn write_results(&mut self, outcomes: &[Outcome]) -> Result<()> {
        let text = results::to_text(outcomes)?;
        self.ours.write(RESULTS.as_ref(), |f| f.write_all(text.as_bytes())).map(drop)
    }

    /// `command` is the command line that makes them.
    pub fn write_tables(&mut self, report: &Report, command: &str) -> Result<()> {
        let pages = [("table.md", report.markdown()?), ("table.html", report.html(command)?)];
        for (name, page) in pages {
            self.ours.write(name.as_ref(), |f| f.write_all(page.as_bytes()))?;
        }
        Ok(())
    }
}
