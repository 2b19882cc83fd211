//! The command line: one file per command. Arguments are checked into plain settings before any work starts.

/// Prints a line to standard error. That nobody reads it, or that its disk is full, must not stop the work.
macro_rules! tell {
    ($($arg:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(anstream::stderr(), $($arg)*);
    }};
}

mod bench;
mod demo;
mod detector;
mod devices;
mod eval;
mod gradcheck;
mod info;
mod inputs;
mod options;
mod plan;
mod progress;
mod score;
mod threshold;
mod train;
mod tune;
mod weights;

use crate::{Error, Result};
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Exit code of a check that did not pass.
const FAILED: u8 = 1;
/// Exit code of wrong use and of input that cannot be used.
const ERROR: u8 = 2;
/// Exit code of work that Ctrl-C ended, as shells report it.
const INTERRUPTED: u8 = 130;

/// Detects and localises anomalies in pictures: trains a detector on pictures of what is normal, scores others
#[derive(Parser)]
#[command(
    name = "ckaad",
    version,
    after_help = "Exit codes: 0 done; 1 a check did not pass; 2 wrong use, or input that cannot be used (one unreadable picture suffices);
130 interrupted.
Start with `ckaad demo`, or with `ckaad train --help`."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// CPU threads [default: all]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Args),
    Train(train::Args),
    Score(score::Args),
    Eval(eval::Args),
    Threshold(threshold::Args),
    Info(info::Args),
    Plan(plan::Args),
    Gradcheck(gradcheck::Args),
    Bench(bench::Args),
    Tune(tune::Args),
    Devices(devices::Args),
    /// List, download and inspect pretrained weights
    Weights(weights::Args),
}

pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => code,
        // Whoever reads us has seen enough.
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Error::Cancelled) => ExitCode::from(INTERRUPTED),
        Err(e) => {
            tell!("ckaad: error: {e}");
            ExitCode::from(ERROR)
        }
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
        Command::Score(args) => score::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Threshold(args) => threshold::run(args),
        Command::Info(args) => info::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Gradcheck(args) => gradcheck::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Tune(args) => tune::run(args),
        Command::Devices(args) => devices::run(args),
        Command::Weights(args) => weights::run(args),
    }
    .map(|passed| if passed { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}
