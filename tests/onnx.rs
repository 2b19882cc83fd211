//! Programs as ONNX. Here: what has a counterpart and what is refused, that graphs are whole, and one file for every case of every op
//! that is exported, with its inputs and what the CPU computes in f64. ONNX Runtime, OpenVINO and ONNX's own reference run those
//! files in `crates/python/tests/test_onnx.py`.

use ckaad::detector::{BatchSpec, Learning, Method, StepSpec};
use ckaad::engine::device::cpu;
use ckaad::engine::ops::{case::Case, cases};
use ckaad::engine::tape::Tape;
use ckaad::engine::tensor::DType;
use ckaad::engine::toolkit::onnx::proto::Graph;
use ckaad::export::onnx::{Batch, Builder, Named, Shown, write};
use ckaad::model::Architecture;
use ckaad::model::features::Feed;
use ckaad::weights::{Tensor, write_safetensors};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

/// Numbers of rows, which are integers in ONNX, and no results: what takes them is exported and checked.
fn counts(case: &Case) -> bool {
    case.op == "argmax" || case.name.ends_with(": rows")
}

/// The case's graph; inputs are called `in0`, `in1` and so on, the result is `out`.
fn graph(case: &Case, batch: Batch) -> ckaad::Result<Graph> {
    let p = case.record(DType::F32).unwrap();
    let names: Vec<String> = (0..p.inputs.len()).map(|i| format!("in{i}")).collect();
    let inputs: Vec<Named> = names.iter().zip(&p.inputs).map(|(name, var)| Named { name, var: *var }).collect();
    let mut builder = Builder::new(&p.tape, batch);
    builder.inputs(&inputs)?;
    builder.records()?;
    builder.output(&Named { name: "out", var: p.output }, Shown::Whole)?;
    Ok(builder.finish())
}

/// Names of the ops in a program.
fn ops(tape: &Tape) -> impl Iterator<Item = &'static str> {
    tape.records().iter().map(|r| r.op.name())
}

/// What scoring takes is exported; every op that is not says so, and where it is.
#[test]
fn every_case_is_written_or_refused() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("onnx");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).unwrap();
    let (mut written, mut without, mut other) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (i, case) in cases().iter().enumerate() {
        let tape = case.record(DType::F32).unwrap().tape;
        match graph(case, Batch::Recorded) {
            Ok(graph) => {
                expect_whole(&graph);
                written.extend(ops(&tape));
                if !counts(case) {
                    let stem = folder.join(format!("{}-{i}", case.op));
                    write(graph, &[("case".into(), case.name.clone())], &stem.with_extension("onnx")).unwrap();
                    keep(case, &stem.with_extension("safetensors"));
                }
            }
            // Weights of 8 and 16 bits do not even enter.
            Err(e)
                if e.to_string().starts_with("input in1 of i")
                    && e.to_string().ends_with(": programs are exported in f32") =>
            {
                without.extend(ops(&tape).map(String::from));
            }
            Err(e) => {
                let text = e.to_string();
                let (record, why) = text.strip_prefix("record ").and_then(|t| t.split_once(": ")).unwrap();
                let (number, op) = record.split_once(", ").unwrap();
                assert_eq!(ops(&tape).nth(number.parse().unwrap()), Some(op), "{text}");
                match why == "has no counterpart in ONNX" {
                    true => without.insert(op.to_string()),
                    false => other.insert(format!("{op}: {why}")),
                };
            }
        }
    }
    let both: Vec<&str> = written.iter().copied().filter(|op| without.contains(*op)).collect();
    assert!(both.is_empty(), "{both:?}");
    for method in ["ckaad", "patchcore"] {
        let tape = scoring(method);
        ops(&tape).for_each(|op| assert!(written.contains(op), "{method} scores with {op}, which is not exported"));
    }
    // What depends on how an op is used; and parameters, whose values models have.
    let told = |t: &String| t.starts_with("preprocess: resizes from ") || t.ends_with("nothing in ONNX stands for");
    assert!(!other.is_empty() && other.iter().all(told), "{other:?}");
}

/// With any number of pictures, what mixes them is refused.
#[test]
fn pictures_of_a_batch_stay_apart() {
    let mixing = cases().into_iter().find(|c| c.op == "neighbourhood" && c.inputs[0].n() == 3).unwrap();
    assert!(graph(&mixing, Batch::Recorded).is_ok());
    let error = graph(&mixing, Batch::Any).unwrap_err().to_string();
    assert_eq!(
        error,
        "record 0, nearest: reads 3x9x1x12 as 27x1x1x12: the pictures of a batch cannot be told apart any more"
    );
}

fn scoring(method: &str) -> Tape {
    let method = Method::find(method).unwrap();
    let detector = (method.detector)(ckaad::detector::options::Options::new(method.options)).unwrap();
    let architecture = Architecture::new("resnet18", &[2, 3], 64).unwrap();
    let spec = BatchSpec { architecture: &architecture, batch: 1, feed: Feed::Pixels, dtype: DType::F32 };
    detector.scoring(&spec).unwrap().tape
}

/// Inputs, and the result on the CPU in f64, as programs have them: channels last.
fn keep(case: &Case, path: &Path) {
    let (p, values) = (case.record(DType::F64).unwrap(), case.values());
    let mut session = cpu::session(p.tape.clone()).unwrap();
    p.write(&mut *session, &values).unwrap();
    session.run().unwrap();
    let out = session.read_values(p.output).unwrap();
    let named = values.into_iter().enumerate().map(|(i, v)| (format!("in{i}"), p.tape.shape(p.inputs[i]), v));
    let all: Vec<(String, Vec<usize>, Vec<f32>)> = named
        .chain([("out".to_string(), p.tape.shape(p.output), out)])
        .map(|(name, shape, v)| (name, shape.0.to_vec(), v.into_iter().map(|x| x as f32).collect()))
        .collect();
    let tensors: Vec<Tensor> = all.iter().map(|(name, shape, v)| Tensor::new(name, shape, v).unwrap()).collect();
    write_safetensors(path, &tensors, &BTreeMap::new()).unwrap();
}

/// Every value is written once, before it is read.
fn expect_whole(graph: &Graph) {
    let mut there: HashSet<&str> = HashSet::new();
    let given = graph.input.iter().map(|i| i.name.as_str()).chain(graph.initializer.iter().map(|t| t.name.as_str()));
    given.for_each(|name| assert!(there.insert(name), "{name} is there twice"));
    for node in &graph.node {
        node.input.iter().for_each(|name| assert!(there.contains(name.as_str()), "{} reads {name}", node.name));
        node.output.iter().for_each(|name| assert!(there.insert(name), "{name} is written twice"));
    }
    graph.output.iter().for_each(|o| assert!(there.contains(o.name.as_str()), "nothing writes {}", o.name));
}

/// A training step cannot be exported: the error names the first record that has no counterpart.
#[test]
fn a_training_step_is_refused_by_its_record() {
    let method = Method::find("ckaad").unwrap();
    let detector = (method.detector)(ckaad::detector::options::Options::new(method.options)).unwrap();
    let architecture = Architecture::new("resnet18", &[2, 3], 64).unwrap();
    let Learning::Steps(steps) = detector.learning() else { panic!("it learns in steps") };
    let spec = StepSpec {
        architecture: &architecture,
        normal: 2,
        anomalous: 2,
        normal_feed: Feed::Pictures,
        anomalous_feed: Feed::Pictures,
        dtype: DType::F32,
    };
    let program = steps.record(&spec).unwrap().remove(0);
    let mut builder = Builder::new(&program.tape, Batch::Recorded);
    let inputs: Vec<(String, _)> = program.inputs().enumerate().map(|(i, var)| (format!("in{i}"), var)).collect();
    let named: Vec<Named> = inputs.iter().map(|(name, var)| Named { name, var: *var }).collect();
    builder.inputs(&named).unwrap();
    for network in &program.networks {
        for (i, e) in program.tape.parameters(network.id).entries().iter().enumerate() {
            builder.parameter(network.id, i, &vec![0.0; e.range.len()]).unwrap();
        }
    }
    let error = builder.records().unwrap_err().to_string();
    let first = ops(&program.tape).position(|op| ["energy", "cosine_loss"].contains(&op)).unwrap();
    let record = &program.tape.records()[first];
    let expected = format!("record {first}, {} {}: has no counterpart in ONNX", record.op.name(), record.label);
    assert_eq!(error, expected.replace(" :", ":"));
}
