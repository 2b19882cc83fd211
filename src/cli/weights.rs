//! `ckaad weights`: list, download and inspect weights files.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::json;

use super::message::plain;
use super::verbosity;
use crate::model::folded;
use crate::model::pretrained::prefix_of;
use crate::model::resnet::{self, Fit};
use crate::weights::fetch::{Fetched, fetch};
use crate::weights::{Archive, TensorView, registry};
use crate::{Error, Result};

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Which ResNet a .pth or .safetensors file holds, and its tensors: names, shapes, types, statistics
    #[command(after_help = "Examples:\n  ckaad weights inspect model.safetensors\n  \
                            ckaad weights inspect resnet18-f37072fd.pth --format json | jq .totals")]
    Inspect {
        /// The file, the name of weights that were fetched, or `formula` for the built-in ones
        #[arg(value_name = "FILE|NAME")]
        file: String,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Download pretrained weights into the cache folder and verify them
    #[command(after_help = "Examples:\n  ckaad weights fetch resnet18\n  \
                            ckaad weights fetch wide_resnet50_2 --cache-dir /data/weights\n\n\
                            An interrupted download is resumed. CKAAD_WEIGHTS_URL names a mirror of the whole folder.")]
    Fetch {
        /// A name from `ckaad weights list`
        name: String,
        /// Where to keep the file [default: $CKAAD_CACHE, else $XDG_CACHE_HOME/ckaad, else ~/.cache/ckaad]
        #[arg(long, value_name = "DIR")]
        cache_dir: Option<PathBuf>,
        /// Download from here instead; the content has to be the same
        #[arg(long)]
        url: Option<String>,
    },
    /// The built-in weights, and those that can be fetched
    List,
}

#[derive(ValueEnum, Clone, Copy, Debug, Default)]
enum Format {
    #[default]
    Table,
    Json,
}

pub fn run(args: &Args) -> Result<bool> {
    let done = match &args.command {
        Command::Inspect { file, format } => {
            let archive = registry::open(file)?;
            let fits = fits(&archive)?;
            print(|out| match format {
                Format::Table => inspect_table(&archive, &fits, out),
                Format::Json => inspect_json(&archive, &fits, out),
            })
        }
        Command::Fetch { name, cache_dir, url } => fetch_one(name, cache_dir.as_deref(), url.as_deref()),
        Command::List => {
            let cache = registry::cache_dir().ok();
            print(|out| list(cache.as_deref(), out))
        }
    };
    done.map(|()| true)
}

/// Runs `write` on buffered standard output. A reader that stops early (`| head`) is not an error.
fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Error::io("standard output", e)),
        _ => Ok(()),
    }
}

fn list(cache: Option<&Path>, out: &mut dyn Write) -> io::Result<()> {
    let manifest = registry::manifest();
    writeln!(out, "{:<20} {:<15} {:>6}  {:<30} here", "name", "version", "MiB", "file")?;
    let formula = registry::FORMULA;
    let mib = registry::FORMULA_FILE.len() as f64 / (1 << 20) as f64;
    writeln!(out, "{formula:<20} {:<15} {mib:>6.1}  {:<30} built in", "of resnet18", "-")?;
    for e in &manifest.weights {
        let here = if cache.is_some_and(|c| c.join(&e.file).is_file()) { "yes" } else { "-" };
        writeln!(out, "{:<20} {:<15} {:>6.1}  {:<30} {here}", e.name, e.version, e.mib, e.file)?;
    }
    writeln!(out, "\nSource of those that are fetched: torchvision, licence {}.", manifest.licence)?;
    writeln!(out, "`--weights imagenet` means the one that is called as the backbone is.")?;
    match cache {
        Some(cache) => writeln!(out, "Cache folder: {}", plain(cache.display())),
        None => Ok(()),
    }
}

fn fetch_one(name: &str, cache_dir: Option<&Path>, url: Option<&str>) -> Result<()> {
    let entry = registry::find(name)?;
    let folder = cache_dir.map_or_else(registry::cache_dir, |dir| Ok(dir.to_path_buf()))?;
    let url = url.map_or_else(|| entry.url(), str::to_string);
    let seen = io::stderr().is_terminal() && verbosity::at_least(verbosity::USUAL);
    let bar = if seen { indicatif::ProgressBar::new(0) } else { indicatif::ProgressBar::hidden() };
    if let Ok(style) =
        indicatif::ProgressStyle::with_template("{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} left")
    {
        bar.set_style(style);
    }
    bar.set_prefix(entry.file.clone());
    let fetched = fetch(entry, &url, &folder, &mut |done, total| {
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let (path, how) = match fetched? {
        Fetched::Present(path) => (path, "was there already"),
        Fetched::Downloaded(path) => (path, "downloaded"),
    };
    print(|out| writeln!(out, "{} ({how}, sha256 verified)", plain(path.display())))
}

/// Characters of a metadata value that the table shows.
const VALUE: usize = 400;

/// Statistics of one tensor; all but the counts over its finite values, `None` when there are none.
struct Summary {
    non_finite: usize,
    range: Option<(f64, f64)>,
    mean: Option<f64>,
    /// Population standard deviation, two passes.
    std: Option<f64>,
}

fn summarise(tensor: &TensorView) -> Summary {
    let mut values = tensor.to_f64();
    let all = values.len();
    values.retain(|x| x.is_finite());
    let count = values.len();
    let average = |sum: f64| (count > 0).then(|| sum / count as f64);
    let mean = average(values.iter().sum());
    let std = mean.and_then(|m| average(values.iter().map(|x| (x - m) * (x - m)).sum())).map(f64::sqrt);
    let range = values.iter().fold(None, |range, &x| match range {
        None => Some((x, x)),
        Some((low, high)) => Some((x.min(low), x.max(high))),
    });
    Summary { non_finite: all - count, range, mean, std }
}

/// The ResNets whose tensors a file holds, or else those that they are nearest to; none where it holds no ResNet, or several.
fn fits(archive: &Archive) -> Result<Vec<Fit>> {
    let Ok(prefix) = prefix_of(archive) else { return Ok(vec![]) };
    let shapes = archive.tensors().filter_map(|t| Some((t.name.strip_prefix(&*prefix)?, t.shape)));
    let shapes = folded::unfolded(shapes.collect());
    resnet::nearest(&shapes.iter().map(|(name, shape)| (name.as_str(), *shape)).collect())
}

/// Which network a file holds, in words.
fn network(fits: &[Fit]) -> String {
    let names: Vec<&str> = fits.iter().map(|f| f.backbone.name).collect();
    let names = names.join(" or ");
    let Some(first) = fits.first() else { return "none of the ResNets, or several".into() };
    let begin = match first.up_to {
        Some(4) => return names,
        Some(last) => format!("{names}, up to layer {last}"),
        None => format!("none of the ResNets, nearest is {names}"),
    };
    let mut parts = Vec::new();
    if let Some(name) = first.missing.first() {
        parts.push(format!(
            "{} of {} layers missing or of another shape, as {name}",
            first.missing.len(),
            first.layers
        ));
    }
    if let Some(name) = first.surplus.first() {
        parts.push(format!("{} that it does not have, as {}", first.surplus.len(), name.escape_debug()));
    }
    format!("{begin}: {}", parts.join("; "))
}

fn inspect_table(archive: &Archive, fits: &[Fit], out: &mut dyn Write) -> io::Result<()> {
    // Names come from outside: control characters must not reach the terminal.
    let width = archive.names().map(|n| n.escape_debug().count()).max().unwrap_or(0).max(4);
    let (file, format) = (plain(archive.path().display()), archive.format());
    writeln!(out, "{file}: {format}")?;
    writeln!(out, "network: {}", network(fits))?;
    for (key, value) in archive.metadata() {
        let begin: String = value.chars().take(VALUE).collect();
        let more = value.chars().count() - begin.chars().count();
        let more = if more > 0 { format!("... and {more} characters, in --format json") } else { String::new() };
        writeln!(out, "  {} = {}{more}", key.escape_debug(), begin.escape_debug())?;
    }
    let heads = ["min", "max", "mean", "std"].map(|h| format!("{h:>11}")).join(" ");
    writeln!(out, "{:<width$}  {:<18} {:<4} {heads}", "name", "shape", "type")?;
    for t in archive.tensors() {
        let s = summarise(&t);
        let numbers = [s.range.map(|r| r.0), s.range.map(|r| r.1), s.mean, s.std];
        let numbers = numbers.map(|x| format!("{:>11}", x.map_or("-".into(), short))).join(" ");
        let (name, shape) = (t.name.escape_debug().to_string(), format!("{:?}", t.shape));
        write!(out, "{name:<width$}  {shape:<18} {:<4} {numbers}", t.elem.name())?;
        if s.non_finite > 0 {
            write!(out, "  {} NaN or infinite", s.non_finite)?;
        }
        writeln!(out)?;
    }
    for (name, why) in archive.refused() {
        writeln!(out, "{}  cannot be read: {}", name.escape_debug(), why.escape_debug())?;
    }
    let (elements, bytes) = totals(archive);
    writeln!(out, "{} tensors, {elements} elements, {bytes} bytes", archive.names().len())
}

fn inspect_json(archive: &Archive, fits: &[Fit], out: &mut dyn Write) -> io::Result<()> {
    let tensors: Vec<_> = archive
        .tensors()
        .map(|t| {
            let s = summarise(&t);
            let (low, high) = s.range.unzip();
            json!({
                "name": t.name, "shape": t.shape, "type": t.elem.name(), "min": low, "max": high,
                "mean": s.mean, "std": s.std, "non_finite": s.non_finite,
            })
        })
        .collect();
    let (elements, bytes) = totals(archive);
    let network = fits.first().map(|first| {
        let names: Vec<&str> = fits.iter().map(|f| f.backbone.name).collect();
        json!({ "nearest": names, "up_to_layer": first.up_to, "missing": first.missing, "surplus": first.surplus })
    });
    let report = json!({
        "network": network,
        "file": archive.path().to_string_lossy(), "format": archive.format().to_string(),
        "metadata": archive.metadata(), "tensors": tensors, "refused": archive.refused(),
        "totals": { "tensors": tensors.len(), "elements": elements, "bytes": bytes },
    });
    writeln!(out, "{report}")
}

/// Elements and their bytes over all tensors; views of one storage count each.
fn totals(archive: &Archive) -> (usize, usize) {
    archive.tensors().fold((0, 0), |(n, bytes), t| (n + t.len(), bytes + t.len() * t.elem.size()))
}

/// Five significant digits in at most eleven characters.
fn short(x: f64) -> String {
    let size = x.abs();
    if x == 0.0 {
        "0".into()
    } else if (1e-3..1e5).contains(&size) {
        let digits = (4 - size.log10().floor() as i32).max(0) as usize;
        format!("{x:.digits$}")
    } else {
        format!("{x:.4e}")
    }
}
