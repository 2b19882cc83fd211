//! The memory plan: what lives at the same time never overlaps, and reusing memory changes no bit of any result.
//!
//! Lifetimes are computed here a second time, from the records alone. And every program is run against itself without
//! reuse (all its variables declared outputs) and with memory full of NaN.

use crate::common::uniform;
use ckaad::detector::ckaad::scoring::{self, Judgement};
use ckaad::detector::ckaad::step::{self, Hyper};
use ckaad::detector::ckaad::strategy::{Normalization, Strategy};
use ckaad::detector::{BatchSpec, StepSpec};
use ckaad::engine::device::cuda::{self};
use ckaad::engine::device::{Session, cpu};
use ckaad::engine::ops::concat::Axis;
use ckaad::engine::ops::energy::Term;
use ckaad::engine::ops::optimizer::{Adam, LrSchedule};
use ckaad::engine::ops::{Activation, Op, conv2d, instance_norm};
use ckaad::engine::params::{Init, Values};
use ckaad::engine::plan::{Decision, Plan, Planner};
use ckaad::engine::tape::{NetId, Storage, Tape, Var, Whole};
use ckaad::engine::tensor::{DType, Shape};
use ckaad::engine::toolkit::cuda::cards::Chip;
use ckaad::engine::toolkit::cuda::{Choices, Number, Target};
use ckaad::model::Architecture;
use ckaad::model::features::Feed;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// A variable's bytes and the records between which they must keep its value.
#[derive(Clone, Debug)]
struct Life {
    bytes: Range<usize>,
    born: isize,
    dies: isize,
}

/// Lifetimes of everything that shares memory over time, by the variable's name in this program.
fn lives(tape: &Tape, plan: &Plan, outputs: &[Var]) -> HashMap<Var, Life> {
    let mut lives: HashMap<Var, Life> = HashMap::new();
    for (i, r) in tape.records().iter().enumerate() {
        let i = i as isize;
        for v in r.inputs.iter().chain(&r.outputs) {
            let root = tape.root(*v);
            // Inputs are there before the first record.
            let born = match tape.info(root).storage {
                Storage::Input => -1,
                Storage::Temp => i,
                _ => continue,
            };
            let bytes = plan.range(*v).unwrap();
            lives.entry(root).or_insert(Life { bytes, born, dies: i }).dies = i;
        }
    }
    for v in outputs {
        lives.get_mut(&tape.root(*v)).expect("outputs are computed").dies = isize::MAX;
    }
    lives
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

/// No two lives overlap in time and space, except where a record works in place.
fn check_lives(tape: &Tape, plan: &Plan, lives: &HashMap<Var, Life>) -> Result<(), String> {
    let mut all: Vec<(&Var, &Life)> = lives.iter().collect();
    all.sort_by_key(|(v, _)| **v);
    for (i, (a, la)) in all.iter().enumerate() {
        for (b, lb) in &all[i + 1..] {
            if !overlap(&la.bytes, &lb.bytes) || la.dies < lb.born || lb.dies < la.born {
                continue;
            }
            let ((_, first), (second, next)) = if la.born < lb.born { ((a, la), (b, lb)) } else { ((b, lb), (a, la)) };
            let in_place = first.dies == next.born && first.bytes == next.bytes && {
                let record = &tape.records()[next.born as usize];
                let step = &plan.steps[next.born as usize];
                let shared = record.inputs.iter().zip(&step.inputs).filter(|(_, bytes)| bytes.is_empty());
                record.outputs[0] == **second && shared.count() == 1
            };
            if !in_place {
                return Err(format!("{a:?} {la:?} and {b:?} {lb:?} live at the same time in the same place"));
            }
        }
    }
    Ok(())
}

/// Everything the plan promises about one program.
fn check_plan(tape: &Tape, outputs: &[Var]) {
    let plan = cpu::plan(tape).unwrap();
    let lives = lives(tape, &plan, outputs);
    check_lives(tape, &plan, &lives).unwrap();

    // What never moves: whole networks, states and rearranged weights. Apart from each other and from what does.
    let packed = plan.steps.iter().filter_map(|s| s.packed.clone());
    let mut fixed: Vec<Range<usize>> = plan.kept.iter().cloned().chain(packed).collect();
    // Frozen parameters lie by themselves, unless every use takes them rearranged.
    let mut frozen: HashMap<Var, Range<usize>> = HashMap::new();
    for (step, record) in plan.steps.iter().zip(tape.records()) {
        for (k, v) in record.inputs.iter().enumerate() {
            let root = tape.root(*v);
            let Storage::Param { net, .. } = tape.info(root).storage else { continue };
            let as_it_is = k != 1 || step.packed.is_none();
            if as_it_is && !tape.trains(net) {
                frozen.insert(root, plan.range(root).unwrap());
            }
        }
    }
    fixed.extend(frozen.values().cloned());
    fixed.retain(|r| !r.is_empty());
    fixed.sort_by_key(|r| r.start);
    assert!(fixed.windows(2).all(|w| w[0].end <= w[1].start));
    for l in lives.values() {
        assert!(fixed.iter().all(|r| !overlap(r, &l.bytes)), "{l:?} lies in what is kept");
    }

    let mut end = 0;
    let moving = lives.values().map(|l| &l.bytes).chain(plan.steps.iter().map(|s| &s.scratch));
    for bytes in moving.chain(&fixed) {
        assert_eq!(bytes.start % 64, 0, "{bytes:?} is not aligned");
        end = end.max(bytes.end.next_multiple_of(64));
    }
    assert_eq!(end, plan.total);

    for (i, (step, record)) in plan.steps.iter().zip(tape.records()).enumerate() {
        for l in lives.values().filter(|l| l.born <= i as isize && i as isize <= l.dies) {
            assert!(!overlap(&step.scratch, &l.bytes), "scratch of record {i} overlaps {l:?}");
        }
        for v in record.inputs.iter().chain(&record.outputs) {
            let bytes = plan.range(*v).unwrap();
            assert_eq!(bytes.start % 64, 0);
            let packed_only = step.packed.is_some() && record.inputs.get(1) == Some(v) && bytes.is_empty();
            assert!(packed_only || bytes.len() == tape.shape(*v).len() * tape.info(*v).dtype.size());
        }
    }
}

/// A program with its results.
struct Program {
    tape: Tape,
    net: NetId,
    inputs: Vec<Var>,
    outputs: Vec<Var>,
}

/// Picks from a list by a number in [-1, 1).
fn pick<T: Copy>(list: &[T], u: f32) -> T {
    list[((u + 1.0) / 2.0 * list.len() as f32) as usize]
}

/// A program of random records over random earlier variables, some of them outputs, with the gradients of a loss.
fn random_program(seed: usize) -> Program {
    let mut t = Tape::new(DType::F64);
    let net = t.network("net");
    let size = Shape([2, 4, 3, 8]);
    let inputs: Vec<Var> = (0..3).map(|_| t.input(size, DType::F64).unwrap()).collect();
    let mut vars = inputs.clone();
    let mut outputs = vec![];
    let numbers = uniform(&format!("program {seed}"), 6 * 30);
    for (i, u) in numbers.chunks_exact(6).enumerate() {
        // Mostly recent ones, so that chains form; `other` may be the same as `x`.
        let recent = vars.len().saturating_sub(4);
        let x = pick(&vars[if u[0] < 0.5 { recent } else { 0 }..], u[1]);
        let other = pick(&vars, u[2]);
        let act = pick(&[Activation::None, Activation::Relu, Activation::LeakyRelu(0.1)], u[3]);
        let residual = (u[4] < 0.0).then_some(other);
        let y = match pick(&[0, 1, 2, 3, 4, 5, 6], u[5]) {
            0 => t.add(x, other),
            1 => t.activate(x, act),
            2 => {
                let w = t.param(net, &format!("{i}.weight"), &[8, 8, 3, 3], Init::Zeros).unwrap();
                t.conv2d(x, w, conv2d::Options { residual, act, ..conv2d::Options::square(1, 1) })
            }
            3 => t.instance_norm(x, 1e-5, instance_norm::Options { residual, act, ..Default::default() }),
            4 => t.l2_normalize(x),
            5 => {
                let both = t.concat(&[x, other], Axis::Channels).unwrap();
                let w = t.param(net, &format!("{i}.weight"), &[8, 16, 1, 1], Init::Zeros).unwrap();
                t.conv2d(both, w, conv2d::Options { act, ..conv2d::Options::square(1, 0) })
            }
            _ => {
                let flat = t.view(x, Shape([4, 2, 3, 8])).unwrap();
                let y = t.activate(flat, act).unwrap();
                t.view(y, size)
            }
        };
        vars.push(y.unwrap());
        if u[4] > 0.8 {
            outputs.push(vars[vars.len() - 1]);
        }
    }
    let loss = t.cosine_loss(vars[vars.len() - 1], vars[vars.len() - 2], 0..2).unwrap();
    let more = t.energy(vars[vars.len() - 3], Term::Low, 0..2).unwrap();
    let loss = t.weighted_sum(&[(1.0, loss), (0.5, more)]).unwrap();
    outputs.push(loss);
    t.backward(loss, net).unwrap();
    for v in &outputs {
        t.output(*v);
    }
    Program { tape: t, net, inputs, outputs }
}

/// Fills inputs and parameters of a session and runs it once; `tag` chooses the inputs.
fn run(p: &Program, s: &mut dyn Session, tag: &str) -> Vec<u64> {
    let parameters = Arc::new(p.tape.parameters(p.net).clone());
    let mut values = Values::<f64>::zeros(parameters.clone());
    values.data.iter_mut().zip(uniform("parameters", parameters.len())).for_each(|(v, u)| *v = 0.3 * u as f64);
    s.write_params(p.net, &values).unwrap();
    for (i, v) in p.inputs.iter().enumerate() {
        let u = uniform(&format!("{tag} {i}"), p.tape.shape(*v).len());
        s.write_values(*v, &u.into_iter().map(f64::from).collect::<Vec<_>>()).unwrap();
    }
    s.run().unwrap();
    let mut all: Vec<f64> = p.outputs.iter().flat_map(|v| s.read_values(*v).unwrap()).collect();
    // Some programs' losses do not depend on the parameters.
    if p.tape.find_whole(p.net, Whole::Grads).is_some() {
        s.read_grads(p.net, &mut values).unwrap();
        all.extend(values.data);
    }
    all.into_iter().map(f64::to_bits).collect()
}

/// Fills all memory of intermediate results with NaN.
fn poison(tape: &Tape, s: &mut dyn Session) {
    for v in tape.records().iter().flat_map(|r| &r.outputs) {
        if tape.info(*v).storage == Storage::Temp {
            s.write_values(*v, &vec![f64::NAN; tape.shape(*v).len()]).unwrap();
        }
    }
}

const PROGRAMS: usize = 40;

#[test]
fn random_programs_do_not_overlap() {
    for seed in 0..PROGRAMS {
        let p = random_program(seed);
        check_plan(&p.tape, &p.outputs);
    }
}

#[test]
fn reuse_changes_no_bit() {
    let mut saved = 0;
    for seed in 0..PROGRAMS {
        let p = random_program(seed);
        let mut apart = Program { tape: p.tape.clone(), outputs: p.outputs.clone(), inputs: p.inputs.clone(), ..p };
        for v in p.tape.records().iter().flat_map(|r| &r.outputs).chain(&p.inputs) {
            apart.tape.output(*v);
        }
        let mut s = cpu::session(p.tape.clone()).unwrap();
        let mut without = cpu::session(apart.tape.clone()).unwrap();
        saved += without.plan().total - s.plan().total;
        let expected = run(&apart, &mut *without, "a");
        assert!(expected.iter().all(|bits| f64::from_bits(*bits).is_finite()));
        assert_eq!(run(&p, &mut *s, "a"), expected, "program {seed}\n{}", p.tape);
        // Other values, then garbage: nothing of a run may depend on what memory held before.
        assert_ne!(run(&p, &mut *s, "b"), expected);
        poison(&p.tape, &mut *s);
        assert_eq!(run(&p, &mut *s, "a"), expected, "program {seed} after NaN\n{}", p.tape);
    }
    assert!(saved > 0, "no program reused any memory");
}

#[test]
fn sessions_agree_bit_for_bit() {
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let p = random_program(1);
        let once = || pool.install(|| run(&p, &mut *cpu::session(p.tape.clone()).unwrap(), "a"));
        assert_eq!(once(), once(), "{threads} threads");
    }
}

#[test]
fn training_and_scoring_do_not_overlap() {
    let architecture = Architecture::new("resnet18", &[2, 3], 64).unwrap();
    for strategy in [Strategy::Recon, Strategy::ReconSub, Strategy::Gan, Strategy::CkaPatch, Strategy::CkaImage] {
        for (normal_feed, anomalous_feed) in [(Feed::Pixels, Feed::Pixels), (Feed::Features, Feed::Pixels)] {
            let spec = StepSpec {
                architecture: &architecture,
                normal: 3,
                anomalous: 2,
                normal_feed,
                anomalous_feed,
                dtype: DType::F32,
            };
            let p = step::record(&spec, strategy, Normalization::Instance, Hyper::default()).unwrap();
            check_plan(&p.tape, &p.reports.iter().map(|(_, v)| *v).collect::<Vec<_>>());
        }
    }
    let spec = BatchSpec { architecture: &architecture, batch: 2, feed: Feed::Pixels, dtype: DType::F32 };
    let p = scoring::record(&spec, Normalization::Instance, Judgement { sigma: 4.0, topk: Some(100) }).unwrap();
    check_plan(&p.tape, &p.reports.iter().map(|(_, v)| *v).collect::<Vec<_>>());
}

/// The check above finds two lives in one place.
#[test]
fn overlaps_are_found() {
    let p = random_program(0);
    let plan = cpu::plan(&p.tape).unwrap();
    let good = lives(&p.tape, &plan, &p.outputs);
    let mut names: Vec<Var> = good.keys().copied().filter(|v| *v != p.outputs[0]).collect();
    names.sort();
    let mut found = 0;
    for v in &names {
        let mut bad = good.clone();
        // The first output lives to the end; whatever moves onto it while it lives is a mistake.
        let kept = bad[&p.outputs[0]].clone();
        let moved = bad.get_mut(v).unwrap();
        moved.bytes = kept.bytes.start..kept.bytes.start + 8;
        if moved.dies > kept.born {
            assert!(check_lives(&p.tape, &plan, &bad).is_err(), "{v:?}");
            found += 1;
        }
    }
    assert!(found > 10);
}

/// Inputs 1, -2, 3, -4 and what small programs make of them.
fn small(build: impl Fn(&mut Tape, Var) -> Vec<Var>) -> Vec<Vec<f64>> {
    let mut t = Tape::new(DType::F64);
    let x = t.input(Shape::vector(4), DType::F64).unwrap();
    let outputs = build(&mut t, x);
    for v in &outputs {
        t.output(*v);
    }
    check_plan(&t, &outputs);
    let mut s = cpu::session(t).unwrap();
    let once = |s: &mut dyn Session| -> Vec<Vec<f64>> {
        s.write(x, &[1.0, -2.0, 3.0, -4.0]).unwrap();
        s.run().unwrap();
        outputs.iter().map(|v| s.read(*v).unwrap()).collect()
    };
    let first = once(&mut *s);
    assert_eq!(once(&mut *s), first);
    first
}

const HALF: Activation = Activation::LeakyRelu(0.5);

#[test]
fn sum_with_itself() {
    let found = small(|t, x| {
        let twice = t.add(x, x).unwrap();
        vec![t.add(twice, twice).unwrap()]
    });
    assert_eq!(found, [[4.0, -8.0, 12.0, -16.0]]);
}

#[test]
fn chain_in_place() {
    let found = small(|t, x| {
        let twice = t.add(x, x).unwrap();
        let once = t.activate(twice, HALF).unwrap();
        let again = t.activate(once, HALF).unwrap();
        vec![t.add(again, x).unwrap()]
    });
    assert_eq!(found, [[3.0, -3.0, 9.0, -6.0]]);
}

#[test]
fn output_used_later() {
    let found = small(|t, x| {
        let twice = t.add(x, x).unwrap();
        let half = t.activate(twice, HALF).unwrap();
        let more = t.activate(half, HALF).unwrap();
        vec![twice, half, more]
    });
    assert_eq!(found, [[2.0, -4.0, 6.0, -8.0], [2.0, -2.0, 6.0, -4.0], [2.0, -1.0, 6.0, -2.0]]);
}

#[test]
fn views_share_memory_but_not_results() {
    let found = small(|t, x| {
        let twice = t.add(x, x).unwrap();
        let column = t.view(twice, Shape([4, 1, 1, 1])).unwrap();
        let half = t.activate(column, HALF).unwrap();
        let half = t.view(half, Shape::vector(4)).unwrap();
        // The viewed is needed after the view was activated: that cannot have happened in place.
        vec![t.add(half, twice).unwrap(), column]
    });
    assert_eq!(found, [[4.0, -6.0, 12.0, -12.0], [2.0, -4.0, 6.0, -8.0]]);
}

#[test]
fn input_that_is_an_output() {
    let found = small(|t, x| {
        let half = t.activate(x, HALF).unwrap();
        vec![x, half]
    });
    assert_eq!(found, [[1.0, -2.0, 3.0, -4.0], [1.0, -1.0, 3.0, -2.0]]);
}

/// In bf16 what moves through the passes halves; parameters take half as much again, and the optimizer what it took.
#[test]
fn training_in_bf16_takes_less_memory() {
    let architecture = Architecture::new("resnet18", &[2, 3], 64).unwrap();
    let record = |number: Number| {
        let spec = StepSpec {
            architecture: &architecture,
            normal: 2,
            anomalous: 2,
            normal_feed: Feed::Features,
            anomalous_feed: Feed::Features,
            dtype: number.storage(),
        };
        let p = step::record(&spec, Strategy::CkaPatch, Normalization::Instance, Hyper::default()).unwrap();
        let target = Target { number, multiprocessors: 100, chip: Chip::of((9, 0), "H100"), choices: Choices::Model };
        let plan = cuda::plan(&p.tape, &target).unwrap();
        (p, plan)
    };
    let (f32s, wide) = record(Number::Tf32);
    let (bf16s, narrow) = record(Number::Bf16);
    let (a, b) = (wide.usage, narrow.usage);
    // More than half: statistics, and sums of splits, stay f32.
    assert!(b.activations * 10 <= a.activations * 8, "{b} in bf16, {a} in tf32");
    assert_eq!(b.optimizer, a.optimizer);
    for net in bf16s.trained() {
        let len = bf16s.tape.parameters(net).len();
        let bytes = |what| bf16s.tape.find_whole(net, what).map(|v| narrow.range(v).unwrap().len());
        assert_eq!(bytes(Whole::Rounded), Some(2 * len));
        assert_eq!([Whole::Params, Whole::Grads].map(bytes), [Some(4 * len); 2]);
        let states = bf16s.tape.states().iter().filter(|s| s.net == net);
        let states: Vec<(&str, usize)> = states.map(|s| (&*s.name, narrow.range(s.var).unwrap().len())).collect();
        assert_eq!(states, [("moment1", 4 * len), ("moment2", 4 * len), ("steps", 4)]);
        assert!(f32s.tape.find_whole(net, Whole::Rounded).is_none());
    }
    // Frozen networks would have no use for a second copy.
    assert!(!bf16s.tape.trains(bf16s.network("backbone").unwrap()));
    // Nothing on the way to an optimizer is added up in 16 bits.
    let is_gradient = |tape: &Tape, v: Var| matches!(tape.info(v).storage, Storage::Grad { .. });
    for record in bf16s.tape.records() {
        for v in record.outputs.iter().filter(|v| is_gradient(&bf16s.tape, **v)) {
            assert_eq!(bf16s.tape.info(*v).dtype, DType::F32);
            let summed = record.op.name() == "add";
            assert!(!summed || record.inputs.iter().all(|v| bf16s.tape.info(*v).dtype == DType::F32));
        }
    }
    let count = |tape: &Tape| tape.records().iter().flat_map(|r| &r.outputs).filter(|v| is_gradient(tape, **v)).count();
    assert_eq!(count(&bf16s.tape), count(&f32s.tape));
    assert_eq!(bf16s.tape.info(bf16s.report("loss").unwrap()).dtype, DType::F32);
}

#[test]
fn nothing_is_trained_in_f16() {
    let mut t = Tape::new(DType::F16);
    let net = t.network("net");
    t.param(net, "weight", &[3], Init::Zeros).unwrap();
    let message = t
        .adam(Adam { net, lr: 1e-3, betas: (0.9, 0.999), eps: 1e-8, schedule: LrSchedule::Constant })
        .unwrap_err()
        .to_string();
    assert!(message.contains("f16") && message.contains("train in bf16"), "{message}");
}

/// Every record is decided once, and what one leaves is what the next takes.
#[test]
fn decisions_are_made_once() {
    struct Counting {
        target: Target,
        calls: std::cell::Cell<usize>,
    }
    impl Planner for Counting {
        fn decide(&self, op: &Op, next: Option<(&Op, &Decision)>) -> Decision {
            self.calls.set(self.calls.get() + 1);
            self.target.decide(op, next)
        }
    }
    let architecture = Architecture::new("resnet18", &[2, 3], 128).unwrap();
    let spec = BatchSpec { architecture: &architecture, batch: 1, feed: Feed::Pixels, dtype: DType::F32 };
    let p = scoring::record(&spec, Normalization::Instance, Judgement { sigma: 4.0, topk: Some(100) }).unwrap();
    let target =
        Target { number: Number::Tf32, multiprocessors: 100, chip: Chip::of((9, 0), "H100"), choices: Choices::Model };
    let device = Counting { target: target.clone(), calls: Default::default() };
    let plan = Plan::new(&p.tape, &device).unwrap();
    assert_eq!(device.calls.get(), p.tape.records().len());
    let mut handed = 0;
    for pair in plan.steps.windows(2) {
        assert_eq!(pair[0].decision.leaves, pair[1].decision.takes);
        assert_eq!(pair[0].leaves, pair[1].takes);
        assert_eq!(pair[0].leaves.len(), pair[0].decision.leaves.map_or(0, |what| what.bytes()));
        handed += usize::from(pair[0].decision.leaves.is_some());
    }
    assert!(handed > 5, "convolutions leave something for {handed} norms");
    // The session's plan is the same one.
    let same = cuda::plan(&p.tape, &target).unwrap();
    assert_eq!((plan.total, plan.steps.len()), (same.total, same.steps.len()));
}
