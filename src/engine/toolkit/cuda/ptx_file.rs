//! What a PTX file says of itself: which source it was made from, and its kernels' parameters. The build reads the committed
//! files with it, and the program those of a folder that is to take their place.

use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

type Outcome<T> = Result<T, String>;

/// A kernel in a PTX file.
pub struct PtxEntry<'a> {
    pub name: &'a str,
    /// Offset and size of every parameter, in bytes.
    pub parameters: Vec<(usize, usize)>,
    /// Threads a block may have.
    pub max_threads: u32,
    /// Where its text lies in the file.
    pub text: (usize, usize),
}

/// The hash that the first line of a PTX file has of its source.
pub fn made_from(ptx: &str) -> Option<&str> {
    ptx.lines().next().and_then(|l| l.strip_prefix("// source sha256 "))
}

/// SHA-256 over a source and the project's headers it includes, as `scripts/cuda_tools.py` computes it.
pub fn source_hash(kernels: &Path, source: &Path) -> Outcome<String> {
    fn visit(kernels: &Path, path: &Path, seen: &mut Vec<PathBuf>, digest: &mut Sha256) -> Outcome<()> {
        if seen.iter().any(|p| p == path) {
            return Ok(());
        }
        seen.push(path.into());
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        digest.update(&text);
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("#include \"").and_then(|l| l.split('"').next()) {
                visit(kernels, &kernels.join(name), seen, digest)?;
            }
        }
        Ok(())
    }
    let mut digest = Sha256::new();
    visit(kernels, source, &mut Vec::new(), &mut digest)?;
    Ok(digest.finalize().iter().fold(String::new(), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    }))
}

/// The kernels of a file, in its order.
pub fn entries(ptx: &str) -> Outcome<Vec<PtxEntry<'_>>> {
    const HEAD: &str = ".visible .entry ";
    let mut found = Vec::new();
    let mut end = ptx.find(HEAD).unwrap_or_default();
    for part in ptx.split(HEAD).skip(1) {
        let text = (end, end + HEAD.len() + part.len());
        end = text.1;
        let (name, rest) = part.split_once('(').ok_or("PTX: an entry without parameters")?;
        let (list, rest) = rest.split_once(')').ok_or("PTX: an entry without an end")?;
        let head = rest.split('{').next().unwrap_or_default();
        let max_threads = head
            .split(".maxntid ")
            .nth(1)
            .and_then(|l| l.split([',', '\n']).next())
            .and_then(|n| n.trim().parse().ok())
            .ok_or_else(|| format!("{name}: give it __launch_bounds__"))?;
        found.push(PtxEntry { name, parameters: layout(list)?, max_threads, text });
    }
    Ok(found)
}

/// Offset and size of every parameter of an entry.
fn layout(list: &str) -> Outcome<Vec<(usize, usize)>> {
    let mut offset: usize = 0;
    let mut all = Vec::new();
    for line in list.split(',').map(str::trim).filter(|l| !l.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (size, align) = match words[..] {
            [".param", ".align", align, ".b8", array] => {
                let size = array.split_once('[').and_then(|(_, n)| n.strip_suffix(']')?.parse().ok());
                (size, align.parse().ok())
            }
            [".param", kind, _] => {
                let bits: Option<usize> = kind.get(2..).and_then(|b| b.parse().ok());
                (bits.map(|b| b / 8), bits.map(|b| b / 8))
            }
            _ => (None, None),
        };
        let (Some(size), Some(align)) = (size, align) else { return Err(format!("PTX parameter {line:?}")) };
        offset = offset.checked_next_multiple_of(align).ok_or_else(|| format!("PTX parameter {line:?}"))?;
        all.push((offset, size));
        offset += size;
    }
    Ok(all)
}
