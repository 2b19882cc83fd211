//! `ckaad experiment`: a grid of trainings and evaluations from a file, whole or in shards, and its table.

use super::options::{Device, Format, command_line, count, plural, print};
use super::progress;
use crate::error::rows_or_folders;
use crate::experiment::file::Experiment;
use crate::experiment::folder::Folder;
use crate::experiment::grid::{self, Cell, Opened};
use crate::experiment::inputs::{Finder, Inputs};
use crate::experiment::merge::{self, Merged, Source};
use crate::experiment::results::{self, CategoryResult, Outcome};
use crate::experiment::run::{Progress, Runner, Summary};
use crate::experiment::shard::{Shard, shards};
use crate::experiment::table::Report;
use crate::model::pretrained::IMAGENET;
use crate::output::Outputs;
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Train and evaluate every cell of a grid that a file describes
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The file names strategies, norms, ratios of labelled anomalies, seeds and datasets (experiments/ has one for each table of the \
paper). Datasets are looked for below --root, as <path> of the file or by their names, in the layouts of `ckaad data check`; \
those that are not there are named and left out. Every cell is one training and its evaluation.

--out holds results.jsonl, a line per cell, and table.md and table.html: means and deviations over seeds, beside the printed \
figures. A mean over a part of what the file asks for says of how many results it is, and is not compared; what else is to be known \
(test pictures that were trained on, rows left out, fewer labelled pictures than asked for) stands under the table. A run that was \
stopped or killed goes on where it was, also in the middle of a cell, when it is started again; results of other settings, or of \
other contents of pictures or weights, whatever these are called, stay in the file and are not shown.

Over several machines: each runs --shard I/N of the same file, datasets and weights, and --merge makes one table of what they made. \
Cells are dealt by what they cost, the same on every machine and whatever has results. A shard writes into --out/shard-I-of-N, so all \
may have one --out at the same time; started again after it was killed, it goes on where it was. --merge reads these folders in --out, \
or the folders and files behind it. It holds the results against the grid, so it needs FILE, --root and --weights as the shards had them \
(every picture is read once, nothing is computed, the device is that of the results), and names every cell that has no result, and whose \
it is; one that has several, which may differ in nothing but time and threads; and results of other settings or other contents, which it \
passes over. What --out has already stays.

Examples:
  ckaad experiment experiments/ablation.toml --root /datasets --out runs/ablation --list
  ckaad experiment experiments/ablation.toml --root /datasets --out runs/ablation
  ckaad experiment experiments/tiles.toml --root /datasets --jobs 4 --out runs/tiles \\
      --format json | jq '.results[].metrics.image_auroc'
  ckaad experiment experiments/main.toml --root /datasets --out runs/main --shard 2/8
  ckaad experiment experiments/main.toml --root /datasets --out runs/main --merge
  ckaad experiment experiments/main.toml --root /datasets --out runs/main --merge node1/main node2/main

Exit codes: 0 all cells (of the shard) of the datasets that are there have results; 2 wrong use, or some cell failed, is missing from a \
merge or has different results there, or some picture, mask, row, folder or category could not be used (the others have results); 130 \
stopped by Ctrl-C.")]
pub struct Args {
    /// The experiment
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Folder of the datasets
    #[arg(long, default_value = ".", value_name = "DIR")]
    root: PathBuf,
    /// Folder for results, new or of an earlier run
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Backbone weights of all cells: a file, a name from `ckaad weights list`, `imagenet` for each backbone's own, `formula` for the
    /// built-in ones of resnet18, or `random`
    #[arg(long, default_value = IMAGENET, value_name = "FILE|NAME")]
    weights: String,
    /// Cells at a time, at most; fewer where memory does not allow. Threads are shared out among them
    #[arg(long, default_value_t = 1, value_parser = count)]
    jobs: usize,
    /// Keep every cell's model in --out/cells
    #[arg(long)]
    keep_models: bool,
    /// Name the cells and what is missing, and do nothing
    #[arg(long)]
    list: bool,
    /// Run a share of the cells only: that of machine I of N, counted from 1
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Run nothing; gather what shards made, in --out or in these folders and files
    #[arg(long, num_args = 0.., value_name = "DIR|FILE", conflicts_with_all = ["shard", "list", "jobs", "keep_models"])]
    merge: Option<Vec<PathBuf>>,
    /// table: the tables as Markdown; json: a line per cell
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    device: Device,
}

pub fn run(args: &Args) -> Result<bool> {
    let experiment = Experiment::open(&args.file)?;
    let within = |e: Error| e.within(args.file.display());
    let (opened, missing) = grid::open(&experiment, &args.root).map_err(within)?;
    for name in &missing {
        note!("ckaad: dataset {name}: not below {}, its cells are left out", args.root.display());
    }
    for dataset in &opened {
        dataset.remarks(&experiment)?.iter().for_each(|text| note!("ckaad: dataset {}: {text}", dataset.spec.name));
    }
    if let Some(places) = &args.merge {
        expect_any(args, &opened)?;
        return merge(args, places, &experiment, &opened, &missing);
    }
    let backend = args.device.training_backend()?;
    let cells = grid::cells(&experiment, &opened, |_, _, _| Ok(Inputs::default())).map_err(within)?;
    let is_own: Vec<bool> = match args.shard {
        None => vec![true; cells.len()],
        Some(shard) => shards(&cells, &opened, shard.of)?.into_iter().map(|number| number == shard.number).collect(),
    };
    if let Some(shard) = args.shard {
        note!("ckaad: shard {shard} has {} of {}", own(&cells, &is_own).count(), plural(cells.len(), "cell"));
    }
    if args.list {
        return print(&own(&cells, &is_own).map(|c| c.describe() + "\n").collect::<String>()).map(|()| true);
    }
    expect_any(args, &opened)?;
    let mut folder = args.out.clone();
    Outputs::default().folder("--out", &folder)?;
    if let Some(shard) = args.shard {
        folder.push(shard.folder());
        Outputs::default().folder("--out", &folder)?;
    }
    let mut finder = Finder::new(&args.weights, backend.to_string());
    // Of other shards' cells nothing is asked, and a disk that all read from has enough to do.
    let inputs = |dataset: &Opened, of: &[String], backbone: &str| {
        let is_read = own(&cells, &is_own).any(|cell| cell.dataset == dataset.spec.name && cell.categories == of);
        if is_read { finder.find(dataset, of, backbone) } else { Ok(Inputs::default()) }
    };
    let cells = grid::cells(&experiment, &opened, inputs).map_err(within)?;
    let own: Vec<&Cell> = own(&cells, &is_own).collect();
    let stop = super::stop_on_ctrl_c()?;
    let bar = progress::bar("experiment", 0);
    let begun = |cell: &Cell| bar.set_message(cell.describe());
    let (started, left) = (Instant::now(), Mutex::new(None));
    let tell = |progress: Progress| match progress {
        Progress::Work { done, of } => {
            bar.set_length(of);
            bar.set_position(done);
            if let Ok(mut left) = left.lock() {
                *left = time_left(started.elapsed(), done, of);
            }
        }
        Progress::Begun(cell) => begun(cell),
        Progress::Done(outcome, done) => {
            let aurocs: Vec<String> = outcome.results.iter().map(auroc).collect();
            let (cell, seconds, of) = (outcome.cell.describe(), outcome.seconds, own.len());
            let left = left.lock().ok().and_then(|left| *left);
            let left = left.map_or(String::new(), |left| format!(", about {} left", humantime::format_duration(left)));
            let aurocs = aurocs.join(", ");
            bar.suspend(|| note!("ckaad: {cell}: image AUROC {aurocs}, {seconds:.0} s; {done} of {of} cells{left}"));
        }
        Progress::Failed(cell, e) => bar.suspend(|| tell!("{}: {e}", cell.describe())),
        Progress::Warning(text) => bar.suspend(|| note!("ckaad: {text}")),
    };
    let runner = Runner {
        experiment: &experiment,
        opened: &opened,
        backend,
        weights: &args.weights,
        folder,
        shard: args.shard,
        jobs: args.jobs,
        keep_models: args.keep_models,
        command: &command_line(),
        stop: &stop,
        tell: &tell,
    };
    let Summary { outcomes, failed, interrupted } = runner.run(&cells, &own)?;
    bar.finish_and_clear();
    let report =
        Report { experiment: &experiment, opened: &opened, shard: args.shard, cells: &cells, outcomes: &outcomes };
    print_results(args, &report)?;
    if interrupted {
        return Err(Error::Cancelled);
    }
    expect_whole(vec![(failed, format!("{} failed", plural(failed, "cell")))], &outcomes, &opened).map(|()| true)
}

/// The cells that are to be run.
fn own<'a>(cells: &'a [Cell], is_own: &'a [bool]) -> impl Iterator<Item = &'a Cell> {
    std::iter::zip(cells, is_own).filter(|(_, is_own)| **is_own).map(|(cell, _)| cell)
}

fn print_results(args: &Args, report: &Report) -> Result<()> {
    print(&match args.format {
        Format::Table => report.markdown()?,
        Format::Json => results::to_text(report.outcomes)?,
    })
}

fn expect_any(args: &Args, opened: &[Opened]) -> Result<()> {
    if !opened.is_empty() {
        return Ok(());
    }
    let (file, root) = (args.file.display(), args.root.display());
    Err(Error::Invalid(format!("{file}: none of its datasets is below {root}; --root names their folder")))
}

/// Gathers what shards made, in the folder itself or at `places`; `missing` are the datasets that are not there.
fn merge(
    args: &Args,
    places: &[PathBuf],
    experiment: &Experiment,
    opened: &[Opened],
    missing: &[&str],
) -> Result<bool> {
    let found = merge::find(&args.out, if places.is_empty() { std::slice::from_ref(&args.out) } else { places })?;
    for folder in &found.empty {
        note!("ckaad: {}: no results there", folder.display());
    }
    if found.sources.is_empty() {
        return Err(Error::Usage(
            "--merge: nothing to merge; expected folders that `ckaad experiment --shard` wrote results into, in --out or behind \
             --merge"
                .into(),
        ));
    }
    let mut finder = Finder::new(&args.weights, String::new());
    let inputs = |dataset: &Opened, of: &[String], backbone: &str| finder.find(dataset, of, backbone);
    let cells = grid::cells(experiment, opened, inputs).map_err(|e| e.within(args.file.display()))?;
    Outputs::default().folder("--out", &args.out)?;
    let mut folder = Folder::open(&args.out, &mut |text| note!("ckaad: {text}"))?;
    let own = Source { path: folder.file().to_path_buf(), outcomes: folder.results()? };
    let merged = merge::merge(&cells, &own, &found.sources, &args.device.request(), missing)?;
    for passed in &merged.passed {
        note!("ckaad: {}: passed over: {}: {}", passed.path.display(), passed.cell, passed.why);
    }
    let in_both = |files: [&std::path::Path; 2]| files.map(|f| f.display().to_string()).join(" and in ");
    if let n @ 1.. = merged.different.len() {
        for twice in &merged.different {
            tell!("{}: different results in {}", twice.cell, in_both(twice.files));
        }
        return Err(Error::Invalid(format!(
            "{} with different results, so nothing is merged; take out the line that is wrong, or leave out its file",
            plural(n, "cell")
        )));
    }
    for twice in &merged.equal {
        note!("ckaad: {}: the same result in {}", twice.cell, in_both(twice.files));
    }
    let whose = whose(&merged, opened, &found.splits)?;
    for (at, whose) in merged.missing.iter().zip(&whose) {
        let whose: Vec<String> = whose.iter().map(|s| format!("--shard {}/{}", s.number, s.of)).collect();
        let whose = if whose.is_empty() { String::new() } else { format!(" ({})", whose.join(" or ")) };
        tell!("{}: no result{whose}", merged.cells[*at].describe());
    }
    let (cells, outcomes) = (&merged.cells[..], &merged.outcomes[..]);
    note!(
        "ckaad: {} of {} have results, from {}; {} there more than once, {} passed over",
        outcomes.len(),
        plural(cells.len(), "cell"),
        plural(found.sources.len(), "file"),
        merged.equal.len(),
        plural(merged.passed.len(), "result")
    );
    folder.write_results(&[&merged.kept[..], outcomes].concat())?;
    let report = Report { experiment, opened, shard: None, cells, outcomes };
    folder.write_tables(&report, &command_line())?;
    print_results(args, &report)?;
    let mut without = format!("{} of {} without a result", merged.missing.len(), plural(cells.len(), "cell"));
    // Of shards of several splits either would do, as the cells' lines say.
    if found.splits.len() == 1 {
        let again: BTreeSet<Shard> = whose.into_iter().flatten().collect();
        let again: Vec<String> = again.iter().map(|s| format!("{}/{}", s.number, s.of)).collect();
        without += &format!(": start --shard {} again, then merge again", again.join(", "));
    }
    let of_missing = format!("{} of datasets that are not below --root", plural(merged.of_missing, "result"));
    let lacks = vec![(merged.missing.len(), without), (merged.of_missing, of_missing)];
    expect_whole(lacks, outcomes, opened).map(|()| true)
}

/// The shards that each missing cell is of, one for every number of shards that there are folders of.
fn whose(merged: &Merged, opened: &[Opened], splits: &BTreeSet<usize>) -> Result<Vec<Vec<Shard>>> {
    let mut whose = vec![vec![]; merged.missing.len()];
    for of in splits {
        let dealt = shards(&merged.cells, opened, *of)?;
        for (whose, at) in whose.iter_mut().zip(&merged.missing) {
            whose.push(Shard { of: *of, number: dealt[*at] });
        }
    }
    Ok(whose)
}

/// How much longer it takes, if all goes on as before; nothing before anything is done, and after all is.
fn time_left(elapsed: Duration, done: u64, of: u64) -> Option<Duration> {
    let left = (0 < done && done < of).then(|| elapsed.as_secs_f64() * (of - done) as f64 / done as f64)?;
    // Whole minutes of many, since nobody knows the seconds.
    let step = if left > 120.0 { 60.0 } else { 1.0 };
    Some(Duration::from_secs((left / step).ceil() as u64 * step as u64))
}

/// An error that says what the tables lack: so many of something, in words, and what results count.
fn expect_whole(mut lacks: Vec<(usize, String)>, outcomes: &[Outcome], opened: &[Opened]) -> Result<()> {
    let count = |of: fn(&CategoryResult) -> usize| outcomes.iter().flat_map(|o| &o.results).map(of).sum();
    let counted = |n: usize, what: &str| format!("{} could not be read, counted in every cell", plural(n, what));
    let left_out = opened.iter().map(Opened::count_left_out).sum();
    lacks.extend([
        (count(|r| r.unreadable), counted(count(|r| r.unreadable), "test picture")),
        (count(|r| r.unreadable_masks), counted(count(|r| r.unreadable_masks), "mask")),
        (left_out, format!("{} of the datasets could not be used", rows_or_folders(left_out))),
    ]);
    let lacks: Vec<String> = lacks.into_iter().filter(|(n, _)| *n > 0).map(|(_, text)| text).collect();
    if lacks.is_empty() { Ok(()) } else { Err(Error::Invalid(lacks.join("; "))) }
}

/// `0.9731`, or why there is none.
fn auroc(result: &CategoryResult) -> String {
    let why = || match result.category.as_str() {
        "" => format!("- ({})", result.why_none("image_auroc")),
        category => format!("- ({category}: {})", result.why_none("image_auroc")),
    };
    result.metrics.get("image_auroc").map_or_else(why, |a| format!("{a:.4}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_is_as_before() {
        let left = |seconds, done| time_left(Duration::from_secs(seconds), done, 100).map(|d| d.as_secs());
        assert_eq!([left(10, 0), left(10, 100)], [None; 2]);
        assert_eq!([left(10, 50), left(30, 30), left(3600, 25)], [Some(10), Some(70), Some(3 * 3600)]);
        assert_eq!(left(100, 40), Some(180), "in whole minutes, rounded up");
    }
}
