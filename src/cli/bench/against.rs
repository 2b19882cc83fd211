//! `ckaad bench kernels --against cudnn`: every convolution of a program beside NVIDIA's.

use crate::bench::Workload;
use crate::cli::options::Format;
use crate::engine::device::Backend;
use crate::{Error, Result};

/// Whose convolutions ours are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Rival {
    /// NVIDIA's cuDNN 9: its fastest algorithm on this card, of the same numbers in the same order
    Cudnn,
}

#[cfg(not(feature = "cudnn"))]
pub fn run(_: &Workload, _: &Backend, _: usize, _: Format) -> Result<bool> {
    Err(Error::Usage("--against cudnn: this ckaad was built without it; build it with --features cudnn".into()))
}

#[cfg(feature = "cudnn")]
pub use with_cudnn::run;

#[cfg(feature = "cudnn")]
mod with_cudnn {
    use super::*;
    use crate::bench::Stats;
    use crate::cli::bench::time;
    use crate::cli::options::{plural, print};
    use crate::cli::progress;
    use crate::engine::device::cuda::cudnn::{Cudnn, Fastest};
    use crate::engine::device::{Cost, Device};
    use crate::engine::ops::Op;
    use crate::engine::ops::conv2d::{Conv2d, Options};
    use crate::engine::tape::{Record, Tape, Var};
    use crate::engine::tensor::Tensor;
    use crate::engine::toolkit::Number;
    use crate::engine::toolkit::cuda::tiling::Pass;
    use serde_json::json;
    use std::fmt::Write as _;

    /// A convolution, or one of its gradients, by itself: nothing is fused with it, since cuDNN would not do so.
    struct Plain {
        pass: Pass,
        sizes: Conv2d,
        /// How many times the program computes it.
        uses: usize,
        tape: Tape,
        inputs: Vec<Var>,
        output: Var,
    }

    impl Plain {
        fn new(tape: &Tape, record: &Record) -> Result<Option<Self>> {
            let (pass, sizes) = match &record.op {
                Op::Conv2d(o) => (Pass::Forward, o.sizes),
                Op::Conv2dBwdInput(o) => (Pass::InputGradient, o.sizes),
                Op::ConvTranspose2d(o) => (Pass::InputGradient, o.sizes),
                Op::Conv2dBwdWeight(o) => (Pass::WeightGradient, o.sizes),
                _ => return Ok(None),
            };
            let (tape, inputs) = if pass == Pass::Forward {
                let mut plain = Tape::new(tape.dtype());
                let [x, w] = [sizes.input(), sizes.weights()].map(|shape| plain.input(shape, tape.dtype()));
                let inputs = [x?, w?];
                let [stride, pad] =
                    [[sizes.stride_h, sizes.stride_w], [sizes.pad_h, sizes.pad_w]].map(|both| both.map(|v| v as usize));
                let y = plain.conv2d(inputs[0], inputs[1], Options { stride, pad, ..Options::default() })?;
                plain.output(y);
                (plain, inputs.to_vec())
            } else {
                tape.alone(record)?
            };
            let output = tape.outputs[0];
            Ok(Some(Plain { pass, sizes, uses: 1, tape, inputs, output }))
        }
    }

    /// The distinct ones of a workload's programs.
    fn convolutions(workload: &Workload, number: Number) -> Result<Vec<Plain>> {
        let mut all: Vec<Plain> = Vec::new();
        for program in workload.record(number)? {
            for record in program.tape.records() {
                let Some(plain) = Plain::new(&program.tape, record)? else { continue };
                match all.iter_mut().find(|p| p.pass == plain.pass && p.sizes == plain.sizes) {
                    Some(known) => known.uses += 1,
                    None => all.push(plain),
                }
            }
        }
        Ok(all)
    }

    struct Row {
        ours: Stats,
        cudnn: Stats,
        algorithm: i32,
        /// Of the two results, as ‖ours - cuDNN's‖ / ‖cuDNN's‖.
        difference: f64,
    }

    fn compare(plain: &Plain, backend: &Backend, index: usize, repetitions: usize) -> Result<Row> {
        let random = |v: &Var| {
            let shape = plain.tape.shape(*v);
            Tensor::rounded(
                shape,
                backend.dtype(),
                crate::engine::ops::case::uniform(&format!("%{}", v.0), shape.len()),
            )
        };
        let operands: Vec<Tensor> = plain.inputs.iter().map(random).collect();
        let mut session = backend.open(plain.tape.clone())?;
        for (v, values) in plain.inputs.iter().zip(&operands) {
            session.write_bytes(*v, values.bytes())?;
        }
        let mut times = vec![0.0; repetitions];
        for profile in session.profile(repetitions)? {
            let Cost::Seconds(seconds) = profile.cost else { continue };
            times.iter_mut().zip(seconds).for_each(|(sum, s)| *sum += s);
        }
        let ours = session.read_values(plain.output)?;
        drop(session);
        let mut cudnn = Cudnn::open(index)?;
        let both = [operands[0].bytes(), operands[1].bytes()];
        let Fastest { algorithm, seconds, result } =
            cudnn.fastest(plain.pass, &plain.sizes, backend.number.real(), both, repetitions)?;
        let mut theirs = Tensor::zeros(plain.tape.shape(plain.output), backend.dtype());
        theirs.bytes_mut().copy_from_slice(&result);
        let theirs = theirs.to_vec();
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
        let difference = norm(&mut ours.iter().zip(&theirs).map(|(a, b)| a - b)) / norm(&mut theirs.iter().copied());
        Ok(Row { ours: Stats::of(times), cudnn: Stats::of(seconds), algorithm, difference })
    }

    pub fn run(workload: &Workload, backend: &Backend, repetitions: usize, format: Format) -> Result<bool> {
        let Device::Cuda(index) = backend.device else {
            return Err(Error::Usage(format!("--against cudnn: {} is no GPU", backend.device)));
        };
        // What is missing is said before anything is measured.
        drop(Cudnn::open(index)?);
        let all = convolutions(workload, backend.number)?;
        let bar = progress::bar("convolutions", all.len() as u64);
        let (mut rows, mut refused) = (Vec::with_capacity(all.len()), 0);
        for plain in all {
            // What cuDNN refuses is said, and the others are compared.
            match compare(&plain, backend, index, repetitions) {
                Ok(row) if format == Format::Json => print(&format!("{}\n", json(&plain, &row)))?,
                Ok(row) => rows.push((plain, row)),
                Err(e) => {
                    refused += 1;
                    warning!("{} of {}: {e}", name(plain.pass), plain.sizes.input());
                }
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        if format == Format::Table {
            print(&table(&rows))?;
        }
        if refused > 0 {
            tell!("{} not compared", plural(refused, "convolution"));
        }
        Ok(refused == 0)
    }

    fn name(pass: Pass) -> &'static str {
        match pass {
            Pass::Forward => "forward",
            Pass::InputGradient | Pass::Transposed => "input gradient",
            Pass::WeightGradient => "weight gradient",
        }
    }

    fn json(plain: &Plain, row: &Row) -> serde_json::Value {
        let s = &plain.sizes;
        json!({
            "pass": name(plain.pass), "input": s.input().0, "weights": s.weights().0, "stride": [s.stride_h, s.stride_w],
            "pad": [s.pad_h, s.pad_w], "uses": plain.uses, "ours": row.ours, "cudnn": row.cudnn,
            "algorithm": row.algorithm, "ratio": row.ours.median_s / row.cudnn.median_s, "difference": row.difference,
        })
    }

    fn table(rows: &[(Plain, Row)]) -> String {
        let mut out = format!(
            "{:<16} {:>16} {:>16} {:>6} {:>5} {:>11} {:>11} {:>6} {:>10}\n",
            "", "input", "weights", "stride", "times", "ours", "cuDNN", "ratio", "difference"
        );
        let mut sums = [0.0; 2];
        for (plain, row) in rows {
            let s = &plain.sizes;
            let (uses, [ours, theirs]) = (plain.uses, [row.ours.median_s, row.cudnn.median_s]);
            sums = [sums[0] + uses as f64 * ours, sums[1] + uses as f64 * theirs];
            let shape = |shape: [usize; 4]| shape.map(|n| n.to_string()).join("x");
            let _ = writeln!(
                out,
                "{:<16} {:>16} {:>16} {:>6} {uses:>5} {:>11} {:>11} {:>6.2} {:>10.1e}",
                name(plain.pass),
                shape(s.input().0),
                shape(s.weights().0),
                s.stride_h,
                time(ours),
                time(theirs),
                ours / theirs,
                row.difference
            );
        }
        let [ours, theirs] = sums;
        let times = rows.iter().map(|(plain, _)| plain.uses).sum::<usize>();
        let _ = writeln!(
            out,
            "{:<16} {:>16} {:>16} {:>6} {times:>5} {:>11} {:>11} {:>6.2}",
            "all",
            "",
            "",
            "",
            time(ours),
            time(theirs),
            ours / theirs
        );
        out
    }
}
