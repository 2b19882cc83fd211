//! `ckaad experiment`: a grid of trainings and evaluations from a file, and its table.

use super::options::{Device, Format, command_line, count, plural, print};
use super::progress;
use crate::error::rows_or_folders;
use crate::experiment::file::Experiment;
use crate::experiment::grid::{self, Cell, Opened};
use crate::experiment::inputs::{Finder, Inputs};
use crate::experiment::results::{self, CategoryResult, Outcome};
use crate::experiment::run::{Progress, Runner, Summary};
use crate::experiment::table::Report;
use crate::model::pretrained::IMAGENET;
use crate::output::Outputs;
use crate::{Error, Result};
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

Examples:
  ckaad experiment experiments/ablation.toml --root /datasets --out runs/ablation --list
  ckaad experiment experiments/ablation.toml --root /datasets --out runs/ablation
  ckaad experiment experiments/tiles.toml --root /datasets --jobs 4 --out runs/tiles \\
      --format json | jq '.results[].metrics.image_auroc'

Exit codes: 0 all cells of the datasets that are there have results; 2 wrong use, or some cell failed, or some picture, mask, \
row, folder or category could not be used (the others have results); 130 stopped by Ctrl-C.")]
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
    let backend = args.device.training_backend()?;
    if args.list {
        let cells = grid::cells(&experiment, &opened, |_, _, _| Ok(Inputs::default())).map_err(within)?;
        return print(&cells.iter().map(|c| c.describe() + "\n").collect::<String>()).map(|()| true);
    }
    if opened.is_empty() {
        return Err(Error::Invalid(format!(
            "{}: none of its datasets is below {}; --root names their folder",
            args.file.display(),
            args.root.display()
        )));
    }
    Outputs::default().folder("--out", &args.out)?;
    let mut finder = Finder::new(&args.weights, backend.to_string());
    let inputs = |dataset: &Opened, of: &[String], backbone: &str| finder.find(dataset, of, backbone);
    let cells = grid::cells(&experiment, &opened, inputs).map_err(within)?;
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
            let (cell, seconds, of) = (outcome.cell.describe(), outcome.seconds, cells.len());
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
        folder: args.out.clone(),
        jobs: args.jobs,
        keep_models: args.keep_models,
        command: &command_line(),
        stop: &stop,
        tell: &tell,
    };
    let Summary { outcomes, failed, interrupted } = runner.run(&cells)?;
    bar.finish_and_clear();
    print(&match args.format {
        Format::Table => {
            let report = Report { experiment: &experiment, opened: &opened, cells: &cells, outcomes: &outcomes };
            report.markdown()?
        }
        Format::Json => results::to_text(&outcomes)?,
    })?;
    if interrupted {
        return Err(Error::Cancelled);
    }
    expect_whole(failed, &outcomes, &opened).map(|()| true)
}

/// How much longer it takes, if all goes on as before; nothing before anything is done, and after all is.
fn time_left(elapsed: Duration, done: u64, of: u64) -> Option<Duration> {
    let left = (0 < done && done < of).then(|| elapsed.as_secs_f64() * (of - done) as f64 / done as f64)?;
    // Whole minutes of many, since nobody knows the seconds.
    let step = if left > 120.0 { 60.0 } else { 1.0 };
    Some(Duration::from_secs((left / step).ceil() as u64 * step as u64))
}

/// An error that says what the tables lack.
fn expect_whole(failed: usize, outcomes: &[Outcome], opened: &[Opened]) -> Result<()> {
    let count = |of: fn(&CategoryResult) -> usize| outcomes.iter().flat_map(|o| &o.results).map(of).sum();
    let counted = |n: usize, what: &str| format!("{} could not be read, counted in every cell", plural(n, what));
    let left_out = opened.iter().map(Opened::count_left_out).sum();
    let lacks = [
        (failed, format!("{} failed", plural(failed, "cell"))),
        (count(|r| r.unreadable), counted(count(|r| r.unreadable), "test picture")),
        (count(|r| r.unreadable_masks), counted(count(|r| r.unreadable_masks), "mask")),
        (left_out, format!("{} of the datasets could not be used", rows_or_folders(left_out))),
    ];
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
