//! Every case of every op, forward and backward, in every kind of number.

use crate::common::relative_error;
use crate::session_by;
use ckaad::engine::device::{Session, cpu};
use ckaad::engine::gradcheck;
use ckaad::engine::ops::case::Case;
use ckaad::engine::ops::cases;
use ckaad::engine::tensor::DType;
use ckaad::engine::toolkit::cuda::tiling::{Choice, Variant};
use ckaad::engine::toolkit::cuda::{Choices, MODULES, Number};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Mutex;

/// Largest ‖found - expected‖ / ‖expected‖ against f64 over the same rounded inputs.
///
/// f32 sums of up to some thousand terms stay well under 1e-5. tf32 keeps 10 fraction bits of every factor: 2^-11 each.
/// bf16 keeps 7 and f16 10, of factors and of results between fused steps.
fn tolerance(number: Number) -> f64 {
    match number {
        Number::F32 | Number::Int8 => 1e-5,
        Number::Tf32 => 1e-3,
        Number::Bf16 | Number::F16 => 1e-2,
    }
}

/// What updates a network in place.
const TRAINS: [&str; 4] = ["adam", "clip_grad_norm", "sgd", "weight_decay"];

/// What has bytes beside f32 alone.
const EIGHT_BITS: [&str; 3] = ["conv2d_int8", "conv2d_pixels", "quantize"];

/// Nothing is trained in f16.
fn exists(case: &Case, number: Number) -> bool {
    let narrow = number.storage() != DType::F32;
    let bytes = || case.record(DType::F32).unwrap().tape.records().iter().any(|r| EIGHT_BITS.contains(&r.op.name()));
    (number != Number::F16 || !TRAINS.contains(&case.op)) && !(narrow && bytes())
}

/// How to launch a case: as the model says, and convolutions with every kernel there is for them, their depth whole and,
/// where it is deep enough for that, in two.
fn choices(case: &Case, number: Number) -> Vec<Choices> {
    let (number, splits) = match case.op {
        "conv2d" | "conv_transpose2d" => (number, 1..=2),
        "conv2d_int8" => (Number::Int8, 1..=1),
        _ => return vec![Choices::Model],
    };
    let of = |variant| splits.clone().map(move |splits| Choices::Forced(Choice { variant, splits }));
    let variants = Variant::ALL.into_iter().filter(|v| v.exists(number));
    std::iter::once(Choices::Model).chain(variants.flat_map(of)).collect()
}

/// The result on the CPU.
fn expected(case: &Case, inputs: &[Vec<f64>]) -> Vec<f64> {
    let p = case.record(DType::F64).unwrap();
    let mut session = cpu::session(p.tape.clone()).unwrap();
    p.write(&mut *session, inputs).unwrap();
    session.run().unwrap();
    session.read_values(p.output).unwrap()
}

/// Adds a line to the file that `CKAAD_TEST_REPORT` names.
fn report(case: &Case, number: Number, what: &str, error: f64) {
    let Some(path) = std::env::var_os("CKAAD_TEST_REPORT") else { return };
    let line = serde_json::json!({
        "op": case.op, "case": case.name, "number": number.to_string(), "what": what, "error": error,
    });
    let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// What went wrong with one case, if anything.
fn check(
    case: &Case,
    number: Number,
    choices: Choices,
    launched: &Mutex<BTreeSet<&'static str>>,
) -> Result<(), String> {
    let text = |e: ckaad::Error| e.to_string();
    let inputs: Vec<Vec<f64>> =
        case.values().into_iter().map(|v| v.into_iter().map(|x| number.storage().round(x)).collect()).collect();
    let compare = |what: &str, found: &[f64], expected: &[f64]| {
        let e = relative_error(found, expected);
        report(case, number, what, e);
        if e <= tolerance(number) { Ok(()) } else { Err(format!("{what}: relative error {e:.1e}")) }
    };

    let p = case.record(number.storage()).map_err(text)?;
    let mut s = session_by(choices.clone(), p.tape.clone(), number).map_err(text)?;
    launched.lock().unwrap().extend(s.launches().map(|(_, l)| l.call.entry.name));
    let run = |s: &mut dyn Session| -> ckaad::Result<Vec<f64>> {
        p.write(s, &inputs)?;
        s.run()?;
        s.read_values(p.output)
    };
    let found = run(&mut s).map_err(text)?;
    compare("result", &found, &expected(case, &inputs))?;
    if TRAINS.contains(&case.op) {
        // Every run is one more step: another session repeats the first.
        s = session_by(choices.clone(), p.tape.clone(), number).map_err(text)?;
    }
    let again = run(&mut s).map_err(text)?;
    let bits = |v: &[f64]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    if bits(&found) != bits(&again) {
        return Err("a second run gives other bits".into());
    }
    if case.differentiable {
        let on_device = gradcheck::gradients(case, &inputs, number.storage(), &|tape| {
            let s = session_by(choices.clone(), tape, number)?;
            launched.lock().unwrap().extend(s.launches().map(|(_, l)| l.call.entry.name));
            Ok(Box::new(s))
        });
        let on_cpu = gradcheck::gradients(case, &inputs, DType::F64, &cpu::session);
        compare("gradients", &on_device.map_err(text)?, &on_cpu.map_err(text)?)?;
    }
    Ok(())
}

/// All cases agree, and no kernel is left that none of them launches.
#[test]
fn every_kernel_agrees_with_f64() {
    let launched = Mutex::new(BTreeSet::new());
    let all = cases();
    let only = std::env::var("CKAAD_TEST_OP").ok();
    let ops: BTreeSet<&str> = all.iter().map(|c| c.op).collect();
    assert!(
        only.as_deref().is_none_or(|op| ops.contains(op)),
        "CKAAD_TEST_OP: there are {}",
        Vec::from_iter(ops).join(" ")
    );
    let numbers = [Number::F32, Number::Tf32, Number::Bf16, Number::F16];
    let all: Vec<(&Case, Number, Choices)> = all
        .iter()
        .filter(|c| only.as_deref().is_none_or(|op| op == c.op))
        .flat_map(|c| numbers.map(|n| (c, n)))
        .filter(|(c, n)| exists(c, *n))
        .flat_map(|(c, n)| choices(c, n).into_iter().map(move |how| (c, n, how)))
        .collect();
    let failures: Vec<String> = all
        .par_iter()
        .filter_map(|(c, n, how)| {
            check(c, *n, how.clone(), &launched).err().map(|e| format!("{}, {}, {n}, {how:?}: {e}", c.op, c.name))
        })
        .collect();
    assert!(failures.is_empty(), "{} of {} fail:\n{}", failures.len(), all.len(), failures.join("\n"));
    if only.is_none() {
        let launched = launched.into_inner().unwrap();
        let entries = MODULES.iter().flat_map(|m| m.entries).map(|e| e.name);
        let missed: Vec<&str> = entries.filter(|e| !launched.contains(e)).collect();
        assert!(missed.is_empty(), "kernels that no case launches: {missed:?}");
    }
}

/// Who adds a kernel says in the table what it does.
#[test]
fn every_kernel_has_its_row() {
    let table = include_str!("../../kernels/README.md");
    let rows: BTreeSet<&str> = table.lines().filter_map(|l| l.strip_prefix("| `")?.split('`').next()).collect();
    let entries: BTreeSet<&str> = MODULES.iter().flat_map(|m| m.entries).map(|e| e.name).collect();
    assert_eq!(rows, entries);
}
