//! `ckaad watch`: scores pictures as they come into a folder.

use super::framing::Framed;
use super::inputs::tell_hard_links;
use super::message::plain;
use super::options::{Device, Thresholds, count, plural, tell_device};
use super::progress;
use super::stop_on_ctrl_c;
use crate::detector::file::ModelFile;
use crate::output::{FileKind, Outputs, expect_no_stream};
use crate::report::files::{MapFiles, MapFormat};
use crate::report::heatmap::Scale;
use crate::score::scorer::{Gives, Scorer};
use crate::score::verdict::Judge;
use crate::watch::{Counts, Folder, How, Journal, Note, Settings, Sorting, Times, watch};
use crate::{Error, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Score pictures as they come into a folder, each once, also over restarts
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Every picture gets one line in the file of --out: the object that `ckaad score --format json` prints, with name (its path below the \
folder), size, mtime_ns and inode, which tell this picture from a later one of the same name, and moved_to or linked_to. A file that \
changes after it was scored is another picture, and gets a line of its own. A line is on the disk before its picture is moved. These lines are \
the memory of what is done, which is why --out is not left out: after a restart, also after kill -9 or a power failure, nothing is \
scored twice or forgotten. A last line that was not finished is cut off, and a move that was not made is made.

A picture is taken when its writer closes it or renames it into the folder (Linux), or when nothing has happened to it for --settle \
seconds (elsewhere, and with --poll or --once). Hidden files, and names that do not end as pictures' do (.tmp, .part, .crdownload, ~), are passed over \
until they are renamed; writing so is the surest. One that is still open, or cannot be read, is tried again while it changes; \
once nothing has happened to it for ten times --settle it gets its line, with an error.

The system tells of files that this machine writes. A folder on a network file system is looked at every 2 seconds instead; any folder is looked \
at when the system cannot tell, or lost count, and once a minute. What is moved keeps its name below the folder it is moved to, or \
gets -2, -3 and so on where there is one; to another file system it is copied, then removed.

Where the file of --out is moved away or emptied while this runs (logrotate), a new one is begun with a line, without a score (null), for every \
picture that still lies in the folder and is done. A line whose score is null and that has moved_to says that the place of an earlier \
line was taken. What is not in the folder then is forgotten: put back unchanged, it is scored again.

One folder wants one file of --out, and one `ckaad watch`: two with files of their own know nothing of each other, and both score and move the \
same pictures. A folder that is moved away and made anew under its name is watched on, with a warning; one that is gone ends this.

Ctrl-C and SIGTERM end it when the pictures that were begun have their lines; a second one does at once.

Examples:
  ckaad watch --model screw.safetensors --out lines.jsonl /line/camera1
  ckaad watch --model screw.safetensors --out lines.jsonl incoming/ \\
      --normal-to good/ --anomalous-to bad/ --failed-to unreadable/ --heatmaps heat/
  ckaad watch --model screw.safetensors --out lines.jsonl --poll 5 --recursive /mnt/nas/parts
  ckaad watch --model screw.safetensors --out lines.jsonl --once incoming/     # from cron
  tail -F lines.jsonl | jq -r 'select(.anomalous) | .moved_to'

Exit codes: 0 ended by SIGTERM, or all there was is scored (--once); 2 wrong use, the folder or the file of --out failed, or with \
--once some picture could not be read or moved; 130 ended by Ctrl-C.")]
pub struct Args {
    /// Model file that `ckaad train` wrote
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Folder that pictures come into
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// File of JSON lines to go on with, or to begin
    #[arg(long, value_name = "LINES.jsonl")]
    out: PathBuf,
    /// Where normal pictures go
    #[arg(long, value_name = "DIR")]
    normal_to: Option<PathBuf>,
    /// Where anomalous pictures go
    #[arg(long, value_name = "DIR")]
    anomalous_to: Option<PathBuf>,
    /// Where pictures go that cannot be read
    #[arg(long, value_name = "DIR")]
    failed_to: Option<PathBuf>,
    /// Leave pictures where they are, and make links to them in these folders
    #[arg(long, value_enum, value_name = "KIND")]
    link: Option<Link>,
    #[command(flatten)]
    thresholds: Thresholds,
    /// Write every picture with its anomalies outlined and coloured, as PNG, into this folder
    #[arg(long, value_name = "DIR")]
    heatmaps: Option<PathBuf>,
    /// Also the folders below, but hidden ones, those that pictures go to, and links to others
    #[arg(long)]
    recursive: bool,
    /// Leave alone what is in the folder when the file of --out is begun
    #[arg(long)]
    new_only: bool,
    /// Score what is there, and end
    #[arg(long)]
    once: bool,
    /// Seconds in which nothing may happen to a file that nobody was seen to close
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = seconds)]
    settle: Duration,
    /// Look at the folder every so many seconds, rather than have the system tell [default: 2 on network file systems]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    poll: Option<Duration>,
    /// Pictures in one pass of the engine, at most; none waits for others
    #[arg(long, default_value_t = 1, value_parser = count)]
    batch_size: usize,
    #[command(flatten)]
    framed: Framed,
    #[command(flatten)]
    device: Device,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Link {
    /// A second name of the file, on the same file system
    Hard,
    /// A link to its path
    Symbolic,
}

pub fn run(args: &Args) -> Result<bool> {
    let mut model = ModelFile::open(&args.model)?;
    args.framed.put_and_warn(&mut model.config)?;
    let judge = args.thresholds.judge(&model.config);
    let Judge { threshold, pixel_threshold, .. } = judge;
    for (flag, folder) in [("--normal-to", &args.normal_to), ("--anomalous-to", &args.anomalous_to)] {
        if folder.is_some() && threshold.is_none() {
            return Err(Error::Usage(format!(
                "{flag}: the model has no threshold, and calls nothing normal or anomalous; give --threshold"
            )));
        }
    }
    let mut outputs = Outputs::default().file("--out", &args.out, FileKind::JsonLines)?;
    if let Some(folder) = &args.heatmaps {
        outputs = outputs.folder("--heatmaps", folder)?;
    }
    outputs.expect_apart(&args.model)?;
    outputs.expect_apart(&args.folder)?;
    tell_hard_links(&outputs);
    let sorting = sorting(args)?;
    let folder = Folder::new(&args.folder, args.recursive, &sorting.folders().collect::<Vec<_>>())?;
    let journal = Journal::open(&args.out)?;
    let chosen = args.device.chosen_for(&model.config)?;
    let looks_at_maps = args.heatmaps.is_some() || pixel_threshold.is_some();
    let gives = if looks_at_maps { Gives::ScoresAndMaps } else { Gives::Scores };
    let mut scorer = Scorer::from_file(&model, args.batch_size, &chosen.backend, gives)?;
    let scale = pixel_threshold.or(threshold).map(Scale::above);
    let settings = Settings {
        folder,
        times: Times { settle: args.settle, poll: args.poll, once: args.once },
        sorting,
        new_only: args.new_only,
        judge,
        heatmaps: MapFiles::new(args.heatmaps.clone(), None, MapFormat::Npy, scale)?,
    };
    tell_device(&chosen)?;
    let (stop, terminated) = (stop_on_ctrl_c()?, termination()?);
    if !args.once {
        note!("ckaad: watching {} (Ctrl-C ends it)", plain(args.folder.display()));
    }
    let bar = progress::spinner("scored");
    let tell = |note: Note| match note {
        Note::Usual(text) => note!("ckaad: {text}"),
        Note::Warning(text) => warning!("{text}"),
    };
    let counts = watch(&mut scorer, settings, journal, stop.clone(), Arc::new(tell), |counts| {
        bar.set_position(counts.scored + counts.unreadable);
    })?;
    bar.finish_and_clear();
    let Counts { scored, anomalous, unreadable, unmoved } = counts;
    let stayed = if unmoved > 0 { format!("; {unmoved} could not be moved") } else { String::new() };
    note!("ckaad: {scored} scored, {anomalous} of them anomalous; {unreadable} could not be read{stayed}");
    if stop.load(Ordering::Relaxed) && !terminated.load(Ordering::Relaxed) {
        return Err(Error::Cancelled);
    }
    let failed = [
        (unreadable, "read", format!("the lines in {} say why", args.out.display())),
        (unmoved, "moved or linked to", "the warnings say why".to_string()),
    ];
    let failed = failed.iter().filter(|(count, ..)| *count > 0).map(|(count, what, why)| {
        let pictures = plural(*count as usize, "picture");
        format!("{pictures} could not be {what}; {why}")
    });
    let failed = failed.collect::<Vec<_>>().join(". ");
    if args.once && !failed.is_empty() {
        return Err(Error::Invalid(failed));
    }
    Ok(true)
}

/// The folders that pictures go to, which are made where there are none.
fn sorting(args: &Args) -> Result<Sorting> {
    let how = match args.link {
        None => How::Move,
        Some(Link::Hard) => How::HardLink,
        Some(Link::Symbolic) => How::SymbolicLink,
    };
    let watched = std::fs::canonicalize(&args.folder).ok();
    let made = |flag: &str, folder: &Option<PathBuf>| -> Result<Option<PathBuf>> {
        let Some(folder) = folder else { return Ok(None) };
        expect_no_stream(flag, folder)?;
        let failed = |e| Error::io(folder, e);
        std::fs::create_dir_all(folder).map_err(failed)?;
        let resolved = std::fs::canonicalize(folder).map_err(failed)?;
        if watched.as_deref() == Some(&resolved) {
            let folder = folder.display();
            return Err(Error::Usage(format!("{flag} {folder}: is the folder that is watched; name another")));
        }
        // Also for who goes on from elsewhere.
        Ok(Some(std::path::absolute(folder).map_err(failed)?))
    };
    let sorting = Sorting {
        normal: made("--normal-to", &args.normal_to)?,
        anomalous: made("--anomalous-to", &args.anomalous_to)?,
        failed: made("--failed-to", &args.failed_to)?,
        how,
    };
    if args.link.is_some() && sorting.folders().next().is_none() {
        let what = "--link: nothing is linked to without --normal-to, --anomalous-to or --failed-to; name one of them";
        return Err(Error::Usage(what.into()));
    }
    Ok(sorting)
}

/// What SIGTERM sets, by which a service is ended as it should be. [`stop_on_ctrl_c`] comes first: it hears of both.
#[cfg(unix)]
fn termination() -> Result<Arc<AtomicBool>> {
    let terminated = Arc::new(AtomicBool::new(false));
    match signal_hook::flag::register(signal_hook::consts::SIGTERM, terminated.clone()) {
        Ok(_) => Ok(terminated),
        Err(e) => Err(Error::Invalid(format!("cannot listen for SIGTERM: {e}"))),
    }
}

#[cfg(not(unix))]
fn termination() -> Result<Arc<AtomicBool>> {
    Ok(Arc::new(AtomicBool::new(false)))
}

/// A time of at least a millisecond and at most a day.
fn seconds(text: &str) -> std::result::Result<Duration, String> {
    let seconds = text.parse().ok().filter(|v: &f64| (1e-3..=86_400.0).contains(v));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected seconds, from 0.001 to 86400".into())
}
