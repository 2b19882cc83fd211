//! `ckaad gradcheck`: every op's gradient against finite differences, and whole networks along random directions.

use super::options::{Device, Format, print};
use crate::detector::{METHODS, gradcheck as networks};
use crate::engine::device::{Device as Place, cpu};
use crate::engine::gradcheck::{self, Report};
use crate::engine::ops;
use crate::engine::tape::Tape;
use crate::engine::tensor::DType;
use crate::{Error, Result};

/// Compare gradients with finite differences, op by op and for whole networks
#[derive(clap::Args, Debug)]
#[command(after_help = "\
On the CPU everything is computed in f64, elsewhere the gradients in f32, unless --precision says otherwise. A gradient g \
passes beside a difference d if |g - d| <= 1e-5 + 1e-3 |d|; `worst` is the largest |g - d| / (|d| + 0.01) of a case.

In bf16 and f16 the gradients of a case are compared as one vector with the CPU's in f64: `worst` is |g - e| / |e|, and may be \
0.01 for an op and 0.5 for a whole network, whose many small maps amplify rounding.

Exit code 1 when any case fails.

Examples:
  ckaad gradcheck
  ckaad gradcheck --op conv2d
  ckaad gradcheck --op autoencoder --format json | jq .worst")]
pub struct Args {
    /// Only this op, or this network
    #[arg(long, value_name = "NAME")]
    op: Option<String>,
    /// A table, or one JSON object a line
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    device: Device,
}

pub fn run(args: &Args) -> Result<bool> {
    let nets = || METHODS.into_iter().flat_map(|m| m.networks);
    let cases: Vec<_> = ops::cases().into_iter().filter(|c| c.differentiable).collect();
    let wanted = |name: &str| args.op.as_deref().is_none_or(|op| op == name);
    if let Some(op) = &args.op {
        let mut names: Vec<&str> = cases.iter().map(|c| c.op).chain(nets().map(|(name, _)| *name)).collect();
        names.dedup();
        if !names.contains(&op.as_str()) {
            let names = names.join(", ");
            return Err(Error::Usage(format!(
                "--op {op}: no op or network of this name has a gradient; there are {names}"
            )));
        }
    }
    let backend = args.device.exact_backend()?;
    // The CPU has the numbers to check gradients in.
    let (dtype, open): (_, &dyn Fn(Tape) -> _) = match backend.device {
        Place::Cpu => (DType::F64, &cpu::session),
        _ => (backend.dtype(), &|tape| backend.open(tape)),
    };
    let of_cases = cases.iter().filter(|c| wanted(c.op)).map(|c| gradcheck::check(c, dtype, open));
    let of_networks =
        nets().filter(|(name, _)| wanted(name)).map(|(name, network)| networks::check(name, *network, dtype, open));
    let mut all_passed = true;
    for report in of_cases.chain(of_networks) {
        let report = report?;
        all_passed &= report.passed();
        print(&line(&report, args.format))?;
    }
    Ok(all_passed)
}

fn line(r: &Report, format: Format) -> String {
    match format {
        Format::Table => {
            let verdict = if r.passed() { "ok" } else { "FAILED" };
            format!("{:<24} {:<40} {:>6} checked  worst {:>8.1e}  {verdict}\n", r.op, r.case, r.checked, r.worst)
        }
        Format::Json => {
            // JSON has no infinity; null stands for it.
            let worst = r.worst.is_finite().then_some(r.worst);
            let object = serde_json::json!({"op": r.op, "case": r.case, "checked": r.checked, "worst": worst, "passed": r.passed()});
            format!("{object}\n")
        }
    }
}
