//! The command line: one file per command. Arguments are checked into plain settings before any work starts.

/// Says something in a line on standard error.
macro_rules! tell {
    ($($arg:tt)*) => { $crate::cli::message::line(format_args!($($arg)*)) };
}

/// The same for a warning.
macro_rules! warning {
    ($($arg:tt)*) => { $crate::cli::message::warning(format_args!($($arg)*)) };
}

/// The same for what is good to know, unless it is to be quiet.
macro_rules! note {
    ($($arg:tt)*) => {
        if $crate::cli::verbosity::at_least($crate::cli::verbosity::USUAL) {
            tell!($($arg)*);
        }
    };
}

mod bench;
mod data;
mod demo;
mod detector;
mod devices;
mod doctor;
mod eval;
mod experiment;
mod export;
mod framing;
mod gradcheck;
mod info;
mod inputs;
mod log_file;
mod message;
mod options;
mod plan;
mod pretrain;
mod progress;
mod quantize;
mod score;
#[cfg(feature = "serve")]
mod serve;
mod shell;
mod theorems;
mod threshold;
mod train;
mod tune;
mod verbosity;
#[cfg(feature = "watch")]
mod watch;
mod weights;

use crate::{Error, Result};
use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code of a check that did not pass.
const FAILED: u8 = 1;
/// Exit code of wrong use and of input that cannot be used.
const ERROR: u8 = 2;
/// Exit code of work that Ctrl-C ended, as shells report it.
const INTERRUPTED: u8 = 130;

/// Heading of the flags that every command takes.
const GLOBAL: &str = "Every command";

/// Detects and localises anomalies in pictures: trains a detector on pictures of what is normal, scores others
#[derive(Parser)]
#[command(
    name = "ckaad",
    version,
    after_help = "Exit codes: 0 done; 1 a check did not pass; 2 wrong use, or input that cannot be used (one unreadable picture suffices); \
130 interrupted. \
Start with `ckaad demo`, or with `ckaad train --help`."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// No progress and no notices, only warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = GLOBAL)]
    quiet: bool,
    /// Say also what is computed where, and how long it took
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    verbose: bool,
    /// When to colour verdicts, warnings and errors: only on a terminal, always, or never
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN", help_heading = GLOBAL)]
    color: verbosity::Color,
    /// CPU threads [default: all]
    #[arg(long, global = true, value_name = "N", help_heading = GLOBAL, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Args),
    Train(train::Args),
    Pretrain(pretrain::Args),
    Score(score::Args),
    #[cfg(feature = "watch")]
    Watch(watch::Args),
    #[cfg(feature = "serve")]
    Serve(Box<serve::Args>),
    Eval(eval::Args),
    Threshold(threshold::Args),
    Info(info::Args),
    Quantize(quantize::Args),
    Export(export::Args),
    Plan(plan::Args),
    Gradcheck(gradcheck::Args),
    Bench(bench::Args),
    Tune(tune::Args),
    Experiment(experiment::Args),
    /// Check datasets, and split pictures that have no split
    Data(data::Args),
    Devices(devices::Args),
    Doctor(doctor::Args),
    /// List, download and inspect pretrained weights
    Weights(weights::Args),
    Completions(shell::CompletionsArgs),
    Man(shell::ManArgs),
}

pub fn main() -> ExitCode {
    let cli = Cli::parse();
    verbosity::set(cli.quiet, cli.verbose, cli.color);
    let started = std::time::Instant::now();
    let done = run(&cli);
    if verbosity::at_least(verbosity::VERBOSE) {
        tell!("took {:.2} s", started.elapsed().as_secs_f64());
    }
    match done {
        Ok(code) => code,
        // Whoever reads us has seen enough.
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Error::Cancelled) => ExitCode::from(INTERRUPTED),
        Err(e) => {
            message::error(format_args!("{e}"));
            ExitCode::from(ERROR)
        }
    }
}

/// What Ctrl-C sets.
fn stop_on_ctrl_c() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    let handler = move || {
        // The first request is granted at the end of the step; whoever asks again does not want to wait.
        if asked.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
    };
    match ctrlc::set_handler(handler) {
        Ok(()) => Ok(stop),
        Err(e) => Err(Error::Invalid(format!("cannot listen for Ctrl-C: {e}"))),
    }
}

fn run(cli: &Cli) -> Result<ExitCode> {
    if let Some(threads) = cli.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.into()).build_global();
        pool.map_err(|e| Error::Usage(format!("--threads {threads}: {e}")))?;
    }
    match &cli.command {
        Command::Demo(args) => demo::run(args),
        Command::Train(args) => train::run(args),
        Command::Pretrain(args) => pretrain::run(args),
        Command::Score(args) => score::run(args),
        #[cfg(feature = "watch")]
        Command::Watch(args) => watch::run(args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Threshold(args) => threshold::run(args),
        Command::Info(args) => info::run(args),
        Command::Quantize(args) => quantize::run(args),
        Command::Export(args) => export::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Gradcheck(args) => gradcheck::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Tune(args) => tune::run(args),
        Command::Experiment(args) => experiment::run(args),
        Command::Data(args) => data::run(args),
        Command::Devices(args) => devices::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Weights(args) => weights::run(args),
        Command::Completions(args) => shell::completions(args, Cli::command()),
        Command::Man(args) => shell::man(args, Cli::command()),
    }
    .map(|passed| if passed { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}
