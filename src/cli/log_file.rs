//! A log of one JSON object a line, on which a resumed run goes on.

use crate::{Error, Result};
use serde::Serialize;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

pub struct LogFile {
    file: File,
    /// What the lines are numbered by: `epoch`, `step`.
    by: &'static str,
    /// The last number of an earlier run that is kept, until this run's first line is written.
    behind: Option<u64>,
}

impl LogFile {
    pub fn open(path: &Path, by: &'static str) -> Result<Self> {
        let file = File::options().create(true).read(true).append(true).open(path).map_err(|e| Error::io(path, e))?;
        Ok(LogFile { file, by, behind: None })
    }

    /// The run begins behind this number: later lines are an earlier run's, which this one writes again.
    pub fn begin_behind(&mut self, number: u64) {
        self.behind = Some(number);
    }

    pub fn write(&mut self, line: &impl Serialize) {
        // Only now is there something to take the place of what an earlier run wrote.
        if let Some(number) = self.behind.take() {
            self.cut(number);
        }
        let text = serde_json::to_string(line).map_err(std::io::Error::from);
        if let Err(e) = text.and_then(|text| writeln!(self.file, "{text}")) {
            warning!("the log cannot be written: {e}");
        }
    }

    fn cut(&mut self, number: u64) {
        // A pipe or a device has no lines to keep.
        if !self.file.metadata().is_ok_and(|m| m.is_file()) {
            return;
        }
        let mut text = String::new();
        let cut = self.file.read_to_string(&mut text).and_then(|_| {
            let done = |line: &&str| {
                let line: std::result::Result<serde_json::Value, _> = serde_json::from_str(line);
                line.is_ok_and(|l| l[self.by].as_u64().is_some_and(|n| n <= number))
            };
            let kept: usize = text.split_inclusive('\n').take_while(done).map(str::len).sum();
            self.file.set_len(kept as u64)
        });
        if let Err(e) = cut {
            warning!("the old log cannot be cut: {e}");
        }
    }
}
