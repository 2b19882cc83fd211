//! `ckaad devices`: what this machine can compute on.

use super::options::{Format, print};
use crate::Result;
use crate::engine::device::cuda::card::{self, Gpu};
use std::fmt::Write;

/// List the devices that --device takes
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  ckaad devices
  ckaad devices --format json | jq '.cuda[].name'")]
pub struct Args {
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &Args) -> Result<bool> {
    let threads = rayon::current_num_threads();
    let (gpus, why_none) = match card::gpus() {
        Ok(gpus) if gpus.is_empty() => (gpus, Some("the NVIDIA driver finds no GPU".to_string())),
        Ok(gpus) => (gpus, None),
        Err(e) => (Vec::new(), Some(e.to_string())),
    };
    let text = match args.format {
        Format::Table => table(threads, &gpus, why_none.as_deref()),
        Format::Json => {
            let cpu = serde_json::json!({ "threads": threads });
            format!("{}\n", serde_json::json!({ "cpu": cpu, "cuda": gpus, "no_cuda": why_none, "sim": {} }))
        }
    };
    print(&text)?;
    Ok(true)
}

fn table(threads: usize, gpus: &[Gpu], why_none: Option<&str>) -> String {
    let mut text = format!("cpu     {threads} threads\n");
    for g in gpus {
        let unusable = g.unusable.as_ref().map(|why| format!("; cannot be used: {why}")).unwrap_or_default();
        let _ = writeln!(text, "cuda:{}  {g}{unusable}", g.index);
    }
    if let Some(why) = why_none {
        let _ = writeln!(text, "cuda    none: {why}");
    }
    text + "sim     the CUDA kernels, emulated on the CPU with every access checked\n"
}
