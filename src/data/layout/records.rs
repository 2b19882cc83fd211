//! CSV files as records, each with the line on which it begins.

use ::csv::{ErrorKind, ReaderBuilder, StringRecord, Trim};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, plural};
use crate::invalid;

/// A record, and the number of the line on which an editor shows its beginning.
pub struct Record {
    pub line: usize,
    pub fields: StringRecord,
}

/// The header and the records of a CSV file, without a byte order mark, by the separator of its first line. Records that cannot be
/// read are left out, and named.
pub fn read(file: &Path, left_out: &mut Vec<String>) -> Result<(StringRecord, Vec<Record>)> {
    let mut bytes = std::fs::read(file).map_err(|e| Error::io(file, e))?;
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        bytes.drain(..3);
    }
    if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
        invalid!("{}: is UTF-16, expected UTF-8: save it as \"CSV UTF-8\"", file.display());
    }
    let first = bytes.split(|b| b"\r\n".contains(b)).find(|line| !line.is_empty()).unwrap_or_default();
    let count = |separator: &u8| first.iter().filter(|b| *b == separator).count();
    // Of several that are as frequent the last one.
    let separator = [b'\t', b';', b','].into_iter().max_by_key(count).unwrap_or(b',');
    let mut table =
        ReaderBuilder::new().delimiter(separator).trim(Trim::All).flexible(true).from_reader(bytes.as_slice());
    let header = table.headers().map_err(|e| Error::Invalid(format!("{}: {e}", file.display())))?.clone();
    let (mut records, mut lines) = (Vec::new(), Lines { bytes: &bytes, at: 0, line: 1 });
    for record in table.records() {
        let position = match &record {
            Ok(fields) => fields.position(),
            Err(e) => e.position(),
        };
        let line = lines.of(position.map_or(0, |p| p.byte() as usize));
        let mut refuse = |why: String| left_out.push(format!("{}: line {line}: {why}", file.display()));
        match record {
            Ok(fields) if fields.len() == header.len() => records.push(Record { line, fields }),
            Ok(fields) => {
                let (found, expected) = (plural(fields.len(), "field"), header.len());
                let quoted = fields.iter().any(|field| field.contains(['\r', '\n']));
                let quote = if quoted { "; is a quote before a line break never closed?" } else { "" };
                refuse(format!("{found}, expected {expected} as in the first line{quote}"));
            }
            Err(e) if matches!(e.kind(), ErrorKind::Utf8 { .. }) => refuse("it is not UTF-8".into()),
            Err(e) => refuse(e.to_string()),
        }
    }
    Ok((header, records))
}

/// Where the column of one of these names is, in any case. Two of them are an error.
pub fn column(file: &Path, header: &StringRecord, names: &[&str]) -> Result<Option<usize>> {
    let mut found = header.iter().enumerate().filter(|(_, h)| names.iter().any(|name| name.eq_ignore_ascii_case(h)));
    let (first, second) = (found.next(), found.next());
    if let (Some((a, one)), Some((b, other))) = (first, second) {
        let (file, what, a, b) = (file.display(), names[0], a + 1, b + 1);
        invalid!(
            "{file}: its columns {a} (\"{one}\") and {b} (\"{other}\") are both read as the {what}: rename one of them, or leave it out"
        );
    }
    Ok(first.map(|(at, _)| at))
}

/// What the rows of a table say of pictures.
#[derive(Default)]
pub struct Said(HashMap<PathBuf, (usize, String)>);

impl Said {
    /// Those of which anything was said.
    pub fn pictures(&self) -> HashSet<&Path> {
        self.0.keys().map(PathBuf::as_path).collect()
    }

    /// The line that said the same of the picture before this one did, if there is any. What says something else is an error.
    pub fn before(&mut self, file: &Path, line: usize, picture: &Path, called: &str) -> Result<Option<usize>> {
        match self.0.entry(picture.to_path_buf()) {
            Entry::Vacant(new) => {
                new.insert((line, called.to_string()));
                Ok(None)
            }
            Entry::Occupied(there) => {
                let (first, other) = there.get();
                if other != called {
                    let (file, picture) = (file.display(), picture.display());
                    invalid!(
                        "{file}: line {line}: {picture} is \"{called}\" here and \"{other}\" in line {first}: a picture has one \
                         label and is on one side"
                    );
                }
                Ok(Some(*first))
            }
        }
    }
}

/// Counts lines up to records, one after the other. A reader's own count lags behind by what it skips before a record: the second
/// half of a line's end, and empty lines.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    /// That of the byte at `at`.
    line: usize,
}

impl Lines<'_> {
    /// The line of the record that is read from the byte at `from` on.
    fn of(&mut self, from: usize) -> usize {
        let rest = self.bytes.get(from..).unwrap_or_default();
        let start = from + rest.iter().take_while(|b| b"\r\n".contains(b)).count();
        let ends = |i: &usize| match self.bytes[*i] {
            b'\r' => true,
            b'\n' => *i == 0 || self.bytes[i - 1] != b'\r',
            _ => false,
        };
        self.line += (self.at..start.min(self.bytes.len())).filter(ends).count();
        self.at = start.max(self.at);
        self.line
    }
}
