//! `ckaad gradcheck`: every op's gradient against finite differences, and whole networks along random directions.

use std::io::{self, Write};

use clap::ValueEnum;
use serde_json::json;

use crate::engine::device::cpu;
use crate::engine::gradcheck::{self, Report};
use crate::engine::ops;
use crate::model::gradcheck::{self as networks, NETWORKS};
use crate::{Error, Result, invalid};

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  ckaad gradcheck\n  ckaad gradcheck --op conv2d\n  \
                        ckaad gradcheck --op autoencoder --format json | jq .worst\n\n\
                        Exit code 1 when any case fails.")]
pub struct Args {
    /// Only this op, or this network
    #[arg(long, value_name = "NAME")]
    op: Option<String>,
    /// Where to compute, always in f64
    #[arg(long, value_enum, default_value_t)]
    device: Device,
    /// How to print: a table, or one JSON object a line
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(ValueEnum, Clone, Copy, Debug, Default)]
enum Device {
    #[default]
    Cpu,
}

#[derive(ValueEnum, Clone, Copy, Debug, Default)]
enum Format {
    #[default]
    Table,
    Json,
}

pub fn run(args: &Args) -> Result<()> {
    let open = match args.device {
        Device::Cpu => cpu::session,
    };
    let wanted = |name: &str| args.op.as_deref().is_none_or(|op| op == name);
    let cases: Vec<_> = ops::cases().into_iter().filter(|c| c.differentiable).collect();
    let networks: Vec<_> = NETWORKS.iter().filter(|(name, _)| wanted(name)).collect();
    if networks.is_empty() && !cases.iter().any(|c| wanted(c.op)) {
        let mut names: Vec<&str> = cases.iter().map(|c| c.op).collect();
        names.dedup();
        names.extend(NETWORKS.map(|(name, _)| name));
        return Err(Error::Usage(format!(
            "--op {}: no op or network of this name has a gradient to check; there are {}",
            args.op.as_deref().unwrap_or_default(),
            names.join(", ")
        )));
    }
    let of_cases = cases.iter().filter(|c| wanted(c.op)).map(|c| gradcheck::check(c, &open));
    let of_networks = networks.iter().map(|(name, network)| networks::check(name, *network, &open));
    let (mut count, mut failed) = (0, 0);
    for report in of_cases.chain(of_networks) {
        let report = report?;
        count += 1;
        failed += usize::from(!report.passed());
        match print(&report, args.format) {
            // A reader that stops early (`| head`) is not an error.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            other => other.map_err(|e| Error::io("standard output", e))?,
        }
    }
    if failed > 0 {
        invalid!("{failed} of {count} gradient checks failed");
    }
    Ok(())
}

fn print(r: &Report, format: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Table => {
            let verdict = if r.passed() { "ok" } else { "FAILED" };
            writeln!(out, "{:<24} {:<40} {:>6} checked  worst {:>8.1e}  {verdict}", r.op, r.case, r.checked, r.worst)
        }
        Format::Json => {
            // JSON has no infinity; null stands for it.
            let worst = r.worst.is_finite().then_some(r.worst);
            let line = json!({"op": r.op, "case": r.case, "checked": r.checked, "worst": worst, "passed": r.passed()});
            writeln!(out, "{line}")
        }
    }
}
