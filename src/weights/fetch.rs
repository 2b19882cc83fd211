//! Downloading one file of the manifest: resumable, verified, never half there under its final name.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use ureq::http::{Response, StatusCode};

use super::registry::Listed;
use crate::{Error, Result, invalid};

/// How a file came to be in the cache.
#[derive(Debug, PartialEq, Eq)]
pub enum Fetched {
    /// It was there already and its hash is right.
    Present(PathBuf),
    Downloaded(PathBuf),
}

/// Downloads `entry` from `url` into `folder` (made if needed) and checks its hash. Bytes go to `<file>.part` first,
/// which a later call resumes. `progress` gets the bytes so far and the total, if the server names it.
/// Errors: no connection, an HTTP status, a connection that ends early, a wrong hash (the part is removed), the disk.
pub fn fetch(entry: &Listed, url: &str, folder: &Path, progress: &mut dyn FnMut(u64, Option<u64>)) -> Result<Fetched> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    let target = folder.join(&entry.file);
    if target.is_file() && sha256(&target)?.starts_with(&entry.sha256) {
        return Ok(Fetched::Present(target));
    }
    let part = folder.join(format!("{}.part", entry.file));
    let io_error = |e| Error::io(&part, e);
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&part).map_err(io_error)?;
    if file.try_lock().is_err() {
        invalid!("{}: another process is downloading this file; wait for it", part.display());
    }
    let outcome = complete(entry, url, &part, &mut file, progress)
        .and_then(|()| std::fs::rename(&part, &target).map_err(|e| Error::io(&target, e)));
    // Closing the file is not enough: a child process that another thread is just starting holds it open as well.
    file.unlock().map_err(io_error)?;
    outcome.map(|()| Fetched::Downloaded(target))
}

/// Downloads what is missing of the part and checks the whole; a part with the wrong hash is removed.
fn complete(
    entry: &Listed,
    url: &str,
    part: &Path,
    file: &mut File,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<()> {
    download(url, part, file, progress)?;
    file.sync_all().map_err(|e| Error::io(part, e))?;
    let found = sha256(part)?;
    if !found.starts_with(&entry.sha256) {
        std::fs::remove_file(part).map_err(|e| Error::io(part, e))?;
        invalid!(
            "{url}: the SHA-256 of what was downloaded begins with {}, expected {}; it was removed, try again or name \
             another source with --url",
            &found[..entry.sha256.len().min(found.len())],
            entry.sha256
        );
    }
    Ok(())
}

/// Appends to `file` what is missing of `url`, or all of it if the server cannot resume.
fn download(url: &str, part: &Path, file: &mut File, progress: &mut dyn FnMut(u64, Option<u64>)) -> Result<()> {
    let io_error = |e| Error::io(part, e);
    let mut done = file.seek(SeekFrom::End(0)).map_err(io_error)?;
    let mut response = request(url, done)?;
    let resumed = done > 0 && resumed_at(&response) == Some(done);
    if matches!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PARTIAL_CONTENT) && !resumed {
        // The part is as long as the file or longer, or another range came than the one asked for.
        response = request(url, 0)?;
    }
    if !response.status().is_success() {
        let status = response.status();
        invalid!("{url}: the server answered {status}; check the address, or name another source with --url");
    }
    if !resumed {
        file.set_len(0).and_then(|()| file.rewind()).map_err(io_error)?;
        done = 0;
    }
    let total = response.body().content_length().map(|rest| done + rest);
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 16];
    loop {
        progress(done, total);
        let count = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(cut(url, done, total, &e.to_string())),
        };
        file.write_all(&buffer[..count]).map_err(io_error)?;
        done += count as u64;
    }
    if total.is_some_and(|total| done < total) {
        return Err(cut(url, done, total, "the server closed the connection"));
    }
    Ok(())
}

fn cut(url: &str, done: u64, total: Option<u64>, why: &str) -> Error {
    let total = total.map_or(String::new(), |t| format!(" of {t}"));
    Error::Invalid(format!("{url}: cut off after {done}{total} bytes ({why}); run the same command again to resume"))
}

fn request(url: &str, from: u64) -> Result<Response<ureq::Body>> {
    // A mirror on this machine is not behind the proxy that the environment may name.
    let local = ["http://127.0.0.1", "http://localhost"].iter().any(|host| url.starts_with(host));
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        // Ranges and lengths have to mean the bytes of the file, not of something compressed.
        .accept_encoding("identity")
        .proxy(if local { None } else { ureq::Proxy::try_from_env() })
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .timeout_per_read(Some(Duration::from_secs(60)))
        .build();
    let mut request = ureq::Agent::new_with_config(config).get(url);
    if from > 0 {
        request = request.header("Range", format!("bytes={from}-"));
    }
    request.call().map_err(|e| {
        Error::Invalid(format!(
            "cannot download {url}: {e}; without a network, copy the file into the cache folder or pass it by path"
        ))
    })
}

/// Where the body of a partial answer begins.
fn resumed_at(response: &Response<ureq::Body>) -> Option<u64> {
    let range = response.headers().get("Content-Range").filter(|_| response.status() == StatusCode::PARTIAL_CONTENT);
    range?.to_str().ok()?.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// Lower-case hex digits of the file's SHA-256.
pub fn sha256(path: &Path) -> Result<String> {
    let io_error = |e| Error::io(path, e);
    let mut file = File::open(path).map_err(io_error)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut buffer).map_err(io_error)?;
        if count == 0 {
            return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hasher.update(&buffer[..count]);
    }
}
