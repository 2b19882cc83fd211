//! `ckaad serve`: answers over HTTP.

use super::options::{Device, count, print};
use super::verbosity;
use crate::data::image::{MAX_PIXELS, MAX_TILED_PIXELS};
use crate::serve::{Batching, Settings, Tls, expect_name, name_of, run as serve};
use crate::{Error, Result};
use clap::ArgGroup;
use std::ffi::OsString;
use std::io::stderr;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::Level;

/// Where the token is, if no file has it.
const TOKEN: &str = "CKAAD_TOKEN";
/// The longest that anything may be asked to wait for, in seconds.
const LONGEST: f64 = 86_400.0;

/// Score pictures over HTTP
#[derive(clap::Args, Debug)]
#[command(group = ArgGroup::new("served").required(true).multiple(true).args(["model", "models"]), after_help = "\
POST a picture to /score, as it is or in a form with several files, and JSON comes back as `ckaad score --format json` prints it; \
?heatmap=png and ?map=float32 add what is drawn. /v2 is the Open Inference Protocol (KServe), which tritonclient and others speak. \
/metrics is for Prometheus, and / is a page to drop pictures on. docs/serving.md has all of it.

A model file that changes is loaded again, and replaces the one before once it has opened and scored; one that does not leaves \
it in service. From the folder of --models, new ones are loaded and vanished ones dropped. Clients name models, never files.

It listens on this machine alone unless told otherwise, and then wants to know who may ask: by a token (the file of --token-file, or \
CKAAD_TOKEN), or by the certificates of --client-ca. The address is printed on standard output once clients can connect; \
requests are logged on standard error, a line each. Ctrl-C, or SIGTERM, stops it once everything begun is finished; a second \
one stops it at once.

Examples:
  ckaad serve --model screw.safetensors
  curl --data-binary @photo.jpg 'http://127.0.0.1:8080/score?heatmap=png'
  ckaad serve --models models/ --listen 127.0.0.1:0 --log-format json
  ckaad serve --model screw.safetensors --listen 0.0.0.0:8443 --token-file token \\
      --tls-cert cert.pem --tls-key key.pem

Exit codes: 0 stopped when asked to; 2 wrong use, or a model that cannot be loaded; 130 stopped at once.")]
pub struct Args {
    /// Model file to serve, under its name without .safetensors or under NAME; can be given several times
    #[arg(long, value_name = "[NAME=]FILE")]
    model: Vec<OsString>,
    /// Folder whose model files are served, as they come, change and go
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Address to listen on; port 0 takes one that is free
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080", value_parser = address)]
    listen: SocketAddr,
    /// File with the token that clients must send, as `Authorization: Bearer TOKEN`
    #[arg(long, value_name = "FILE", help_heading = WHO)]
    token_file: Option<PathBuf>,
    /// Certificate to serve HTTPS with, and those between it and a root (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key", help_heading = WHO)]
    tls_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = WHO)]
    tls_key: Option<PathBuf>,
    /// Roots (PEM) of the certificates that clients must show
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = WHO)]
    client_ca: Option<PathBuf>,
    /// Let anybody ask who reaches the address
    #[arg(long, help_heading = WHO)]
    insecure: bool,
    /// Let clients load and unload models, by name
    #[arg(long, help_heading = WHO)]
    allow_load: bool,
    /// Pictures in one pass of the engine, at most
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = count, help_heading = LIMITS)]
    batch_size: usize,
    /// Milliseconds that a picture may wait for others that are being decoded
    #[arg(long, value_name = "MS", default_value = "5", value_parser = milliseconds, help_heading = LIMITS)]
    max_delay: Duration,
    /// Pictures that a model decodes, computes or has waiting; beyond that clients are told to come again (503)
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = count, help_heading = LIMITS)]
    queue: usize,
    /// Largest body, in MB, also once it is decompressed
    #[arg(long, value_name = "MB", default_value_t = 64, value_parser = count, help_heading = LIMITS)]
    max_body: usize,
    /// Most pixels of a picture; of a model without tiles no more than 2^27
    #[arg(long, value_name = "N", default_value_t = MAX_PIXELS, help_heading = LIMITS)]
    max_pixels: u64,
    /// Most that all requests together may hold in bodies and pictures, in MB
    #[arg(long, value_name = "MB", default_value_t = 1024, value_parser = count, help_heading = LIMITS)]
    max_memory: usize,
    /// Most connections at once
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = count, help_heading = LIMITS)]
    max_connections: usize,
    /// Seconds for a request until its answer is made; for as long again it may go unread
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds, help_heading = LIMITS)]
    timeout: Duration,
    /// Seconds for the head of a request, and until the next one on the same connection
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds, help_heading = LIMITS)]
    header_timeout: Duration,
    /// Seconds to finish what was begun when it is stopped
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds, help_heading = LIMITS)]
    grace: Duration,
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(flatten)]
    device: Device,
}

const WHO: &str = "Who may ask, and for what";
const LIMITS: &str = "Limits";

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    Text,
    /// One object a line
    Json,
}

pub fn run(args: &Args) -> Result<bool> {
    let models = args.model.iter().map(named).collect::<Result<_>>()?;
    let token = token(args.token_file.as_deref())?;
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(cert), Some(key)) => {
            Some(Tls { certificate: cert.clone(), key: key.clone(), clients: args.client_ca.clone() })
        }
        _ => None,
    };
    let anybody = token.is_none() && args.client_ca.is_none();
    if !args.listen.ip().is_loopback() && anybody && !args.insecure {
        return Err(Error::Usage(format!(
            "--listen {}: others can reach this address: say who may ask by --token-file (or {TOKEN}) or --client-ca, or \
             that anybody may by --insecure",
            args.listen
        )));
    }
    log(args.log_format);
    if token.is_some() && tls.is_none() && !args.listen.ip().is_loopback() {
        tracing::warn!("without --tls-cert the token can be read by whoever sees the network");
    }
    let scheme = if tls.is_some() { "https" } else { "http" };
    let settings = Settings {
        listen: args.listen,
        models,
        folder: args.models.clone(),
        device: args.device.request(),
        batching: Batching { size: args.batch_size.min(args.queue), delay: args.max_delay, queue: args.queue },
        max_body: args.max_body.saturating_mul(1_000_000),
        max_pixels: args.max_pixels.min(MAX_TILED_PIXELS),
        max_memory: args.max_memory.saturating_mul(1_000_000),
        max_connections: args.max_connections,
        timeout: args.timeout,
        header_timeout: args.header_timeout,
        grace: args.grace,
        token,
        tls,
        allow_load: args.allow_load,
    };
    serve(settings, super::stop_on_ctrl_c()?, |address| print(&format!("listening on {scheme}://{address}\n")))?;
    Ok(true)
}

/// `FILE`, or `NAME=FILE`. A path with a sign of equality behind something that is no name is a path.
fn named(given: &OsString) -> Result<(String, PathBuf)> {
    if let Some((name, path)) = given.to_str().and_then(|text| text.split_once('='))
        && !name.contains(['/', '\\'])
    {
        expect_name(name).map_err(|e| e.within("--model"))?;
        return Ok((name.into(), path.into()));
    }
    let path = PathBuf::from(given);
    Ok((name_of(&path).map_err(|e| e.within("--model"))?, path))
}

/// Of the file, or of the environment.
fn token(file: Option<&Path>) -> Result<Option<String>> {
    let (text, from) = match (file, std::env::var(TOKEN)) {
        (Some(file), _) => {
            let text = std::fs::read_to_string(file).map_err(|e| Error::unread(file, e, "a file with a token"))?;
            (text, format!("--token-file {}", file.display()))
        }
        (None, Ok(text)) => (text, TOKEN.into()),
        (None, Err(_)) => return Ok(None),
    };
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Error::Usage(format!("{from}: expected a token of visible ASCII characters, without blanks")));
    }
    Ok(Some(token.into()))
}

/// Lines on standard error, as many as every command's.
fn log(format: LogFormat) {
    let level = match () {
        () if verbosity::at_least(verbosity::VERBOSE) => Level::DEBUG,
        () if verbosity::at_least(verbosity::USUAL) => Level::INFO,
        () => Level::WARN,
    };
    let lines = tracing_subscriber::fmt().with_max_level(level).with_writer(stderr).with_target(false);
    let colored = anstream::AutoStream::choice(&stderr()) != anstream::ColorChoice::Never;
    // Another subscriber that is there already serves as well.
    let _ = match format {
        LogFormat::Text => lines.with_ansi(colored).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}

fn address(text: &str) -> std::result::Result<SocketAddr, String> {
    let found = text.to_socket_addrs().ok().and_then(|mut all| all.next());
    found.ok_or_else(|| "expected an address and a port, as 127.0.0.1:8080 or [::1]:8080".into())
}

fn seconds(text: &str) -> std::result::Result<Duration, String> {
    let seconds = text.parse().ok().filter(|v: &f64| *v > 0.0 && *v <= LONGEST);
    seconds.map(Duration::from_secs_f64).ok_or_else(|| format!("expected seconds, above 0 and up to {LONGEST}"))
}

fn milliseconds(text: &str) -> std::result::Result<Duration, String> {
    let ms = text.parse().ok().filter(|v: &f64| (0.0..=1000.0).contains(v));
    ms.map(|v| Duration::from_secs_f64(v / 1e3)).ok_or_else(|| "expected milliseconds, 0 to 1000".into())
}
