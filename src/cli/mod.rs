//! The command line: one file per command.

mod gradcheck;
mod weights;

use std::process::ExitCode;

use clap::Parser;

use crate::Error;

/// Visual anomaly detection.
#[derive(Parser)]
#[command(name = "ckaad", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Compare gradients with finite differences, op by op and for whole networks
    Gradcheck(gradcheck::Args),
    /// List, download and inspect pretrained weights
    Weights(weights::Args),
}

pub fn main() -> ExitCode {
    let outcome = match &Cli::parse().command {
        Command::Gradcheck(args) => gradcheck::run(args),
        Command::Weights(args) => weights::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            anstream::eprintln!("ckaad: error: {e}");
            ExitCode::from(if matches!(e, Error::Usage(_)) { 2 } else { 1 })
        }
    }
}
