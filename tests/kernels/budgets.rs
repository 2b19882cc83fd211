//! Speed, guarded without a GPU: what every kernel does, counted by the emulator, may not grow beyond what is recorded in
//! `budgets.txt`. The counts are those of the shipped PTX, the same on every machine and in every run.
//!
//! `CKAAD_BUDGETS=instance_norm` counts the programs of one op alone, in seconds.
//! `CKAAD_UPDATE_BUDGETS=1 cargo test --release --test kernels budgets` records anew; the difference belongs into the
//! commit that causes it. [`LIMITS`] hold whatever is recorded.

use crate::common::uniform;
use ckaad::bench::roofline::Card;
use ckaad::detector::ckaad::scoring::{self, Judgement};
use ckaad::detector::ckaad::step::{self, Hyper};
use ckaad::detector::ckaad::strategy::{Normalization, Strategy};
use ckaad::detector::{BatchSpec, StepSpec};
use ckaad::engine::device::Cost;
use ckaad::engine::device::Session;
use ckaad::engine::device::cuda::{self, CudaSession, SimDriver};
use ckaad::engine::ops::batch_norm::BatchStatistics;
use ckaad::engine::ops::case::{Case, Recorded};
use ckaad::engine::ops::concat::Axis;
use ckaad::engine::ops::conv2d_int8::Quantized;
use ckaad::engine::ops::conv2d_pixels::Conv2dPixels;
use ckaad::engine::ops::energy::Term;
use ckaad::engine::ops::optimizer::{Decay, LrSchedule, Sgd};
use ckaad::engine::ops::{Activation, conv2d, instance_norm};
use ckaad::engine::params::Init;
use ckaad::engine::tape::{Tape, Var, Whole};
use ckaad::engine::tensor::{DType, Shape};
use ckaad::engine::toolkit::cuda::tiling::{Choice, Variant};
use ckaad::engine::toolkit::cuda::{Choices, MODULES, Number, Target};
use ckaad::engine::toolkit::{Quantization, Stored};
use ckaad::model::features::Feed;
use ckaad::model::init::RandomBackbone;
use ckaad::model::{Architecture, resnet};
use ckaad::{Error, Result};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

const NUMBERS: [Number; 4] = [Number::F32, Number::Tf32, Number::Bf16, Number::F16];
/// What has bytes beside f32.
const EXACT: [Number; 1] = [Number::F32];
/// Gradients in f16 would need scaling.
const TRAINED: [Number; 3] = [Number::F32, Number::Tf32, Number::Bf16];

/// Cards that launches are counted for: small and large ones of each kind. They decide how work is cut.
const CARDS: [&str; 5] = ["a100", "l4", "rtx3090", "rtx4090", "h200"];
/// For the networks that are run: pictures of 64 pixels have 1/16 of the area of usual ones, so tiles are chosen as there.
const SCALED: u32 = 132 / 16;
/// Few enough that products of a few tiles take the large ones.
const FEW: u32 = 4;

/// Growth of instructions that passes, as a share: another compiler's, or a loop that was unrolled differently.
const SLACK: f64 = 0.02;
/// An improvement beyond this is worth recording, or it could be lost again unnoticed.
const GAIN: f64 = 0.05;

/// Main loops that shapes marked as aligned must keep to, whatever is recorded: global sectors over the fewest that hold
/// what was asked for, and passes over shared memory that bank conflicts add.
const LIMITS: [&str; 6] = [
    "conv2d_fwd",
    "conv2d_bwd_input",
    "conv2d_bwd_weight",
    "conv_transpose2d_fwd",
    "conv2d_int8_fwd",
    "conv_transpose2d_int8_fwd",
];
const SECTORS_OVER_IDEAL: f64 = 1.1;
/// Kernel launches of scoring one picture with ResNet-18, layers 2 and 3, at 256 pixels, on any of [`CARDS`]; in f32 one
/// more, since an A100 computes those products slowest: splitting the depth of one more convolution is worth the launch.
const LAUNCHES_PER_IMAGE: u64 = 60;

/// Kernels that no program here launches, and why.
const NOT_LAUNCHED: [(&str, &str); 0] = [];

/// Its atomics meet in banks that the values of the map choose: any change of a kernel before it moves them.
const CONFLICTS_BY_VALUE: (&str, f64) = ("topk_mean_f32", 1.2);

/// What launches of one kernel did together.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Counts {
    launches: u64,
    instructions: u64,
    sectors: u64,
    ideal: u64,
    conflicts: u64,
}

impl Counts {
    /// Of one launch.
    fn new(of: &ptxsim::Counters) -> Self {
        let [sectors, ideal, conflicts] = [of.sectors, of.ideal_sectors, of.conflicts];
        Counts { launches: 1, instructions: of.total(), sectors, ideal, conflicts }
    }

    fn columns(&self) -> [u64; 5] {
        [self.launches, self.instructions, self.sectors, self.ideal, self.conflicts]
    }

    fn plus(&self, other: &Counts) -> Counts {
        let (a, b) = (self.columns(), other.columns());
        let [launches, instructions, sectors, ideal, conflicts] = std::array::from_fn(|i| a[i] + b[i]);
        Counts { launches, instructions, sectors, ideal, conflicts }
    }

    fn exceeds(&self, old: &Counts, kernel: &str) -> bool {
        let factor = if kernel == CONFLICTS_BY_VALUE.0 { CONFLICTS_BY_VALUE.1 } else { 1.0 };
        self.instructions as f64 > old.instructions as f64 * (1.0 + SLACK)
            || self.launches > old.launches
            || self.sectors > old.sectors
            || self.conflicts as f64 > old.conflicts as f64 * factor
    }

    fn improves(&self, old: &Counts) -> bool {
        let columns = self.columns().into_iter().zip(old.columns());
        columns.into_iter().any(|(new, old)| (new as f64) < old as f64 * (1.0 - GAIN))
    }
}

/// Recorded, number, kernel (`*`: all of them, not run).
type Key = (String, String, String);
type Table = BTreeMap<Key, Counts>;

/// Something to run: a name without spaces, and how it is recorded.
struct Work {
    name: String,
    numbers: &'static [Number],
    multiprocessors: u32,
    choices: Choices,
    /// Channels and sizes are such that [`LIMITS`] hold.
    aligned: bool,
    what: What,
}

enum What {
    Score(Architecture),
    Train(Architecture, Strategy),
    /// Forward, and backward where there is a gradient.
    Op(Case),
}

fn architecture(size: usize) -> Architecture {
    Architecture::new("resnet18", &[2, 3], size).unwrap()
}

/// Everything that is counted: whole networks in small, and ops in the shapes that those do not reach.
fn works() -> Vec<Work> {
    let network = |name: &str, numbers, what| Work {
        name: name.into(),
        numbers,
        multiprocessors: SCALED,
        choices: Choices::Model,
        aligned: false,
        what,
    };
    let mut all = vec![
        network("score-resnet18-64", &NUMBERS, What::Score(architecture(64))),
        network("train-resnet18-64-patch", &TRAINED, What::Train(architecture(64), Strategy::CkaPatch)),
        network("train-resnet18-64-image", &TRAINED, What::Train(architecture(64), Strategy::CkaImage)),
    ];
    let op = |aligned: bool, case: Case| Work {
        name: case.name.clone(),
        numbers: &NUMBERS,
        multiprocessors: FEW,
        choices: Choices::Model,
        aligned,
        what: What::Op(case),
    };
    let conv = |name: &str, x: [usize; 4], w: [usize; 4], o: conv2d::Options| {
        Case::new("conv2d", name, &[x, w, [1, 1, 1, w[0]]], move |t, v| {
            t.conv2d(v[0], v[1], conv2d::Options { bias: Some(v[2]), act: Activation::Relu, ..o })
        })
    };
    let transposed = |name: &str, x: [usize; 4], w: [usize; 4]| {
        Case::new("conv_transpose2d", name, &[x, w], |t, v| t.conv_transpose2d(v[0], v[1], [2; 2], [0; 2], [0; 2]))
    };
    let same = conv2d::Options::square(1, 1);
    // Each kernel of every pass by force, whatever the model takes.
    for variant in Variant::ALL {
        let numbers = if variant.exists(Number::F32) { &NUMBERS[..] } else { &NUMBERS[1..] };
        let name = |of: &str| format!("{of}-{variant:?}").to_lowercase();
        let cases = [
            conv(&name("conv3x3-128"), [2, 16, 16, 128], [128, 3, 3, 128], same),
            transposed(&name("conv_transpose-256-128"), [2, 16, 16, 256], [256, 2, 2, 128]),
        ];
        let choices = Choices::Forced(Choice { variant, splits: 1 });
        all.extend(cases.map(|case| Work { numbers, choices: choices.clone(), ..op(true, case) }));
        for (zero, operand) in [(0, "u8"), (128, "s8")] {
            let name = |of: &str| name(&format!("{of}-{operand}"));
            let cases = [
                bytes(name("int8-conv3x3-128"), [2, 16, 16, 128], [128, 3, 3, 128], zero),
                transposed_bytes(name("int8-transposed-256"), [2, 16, 16, 256], [256, 2, 2, 128], zero),
            ];
            all.extend(cases.map(|case| Work { numbers: &EXACT, choices: choices.clone(), ..op(true, case) }));
        }
    }
    all.push(Work { numbers: &EXACT, ..op(false, pixels("conv2d_pixels-64x64", [1, 64, 64, 3], [64, 7, 7, 3])) });
    let rounded = Case::new("quantize", "quantize", &[[1, 64, 64, 64]], |t, v| t.quantize(v[0], of_bytes(128)));
    let pooled = Case::new("max_pool", "max_pool-of-bytes", &[[1, 64, 64, 64]], |t, v| t.max_pool(v[0], 3, 2, 1));
    let rounded = Work { numbers: &EXACT, ..op(false, rounded.forward_only()) };
    all.extend([rounded, Work { numbers: &EXACT, ..op(false, pooled.pixels()) }]);
    all.extend(
        [
            conv("conv3x3-stride2-64-128", [2, 32, 32, 64], [128, 3, 3, 64], conv2d::Options::square(2, 1)),
            conv("conv1x1-256-128", [2, 16, 16, 256], [128, 1, 1, 256], conv2d::Options::square(1, 0)),
            conv("conv1x1-32-32", [2, 16, 16, 32], [32, 1, 1, 32], conv2d::Options::square(1, 0)),
            conv("conv3x3-256-of-4x4", [1, 4, 4, 256], [256, 3, 3, 256], same),
            transposed("conv_transpose-256-128-of-4x4", [1, 4, 4, 256], [256, 2, 2, 128]),
        ]
        .map(|case| op(true, case)),
    );
    let norm = |name: &str, x: [usize; 4]| {
        let c = [1, 1, 1, x[3]];
        Case::new("instance_norm", name, &[x, c, c, x], |t, v| {
            let affine = Some((v[1], v[2]));
            let o = instance_norm::Options { affine, residual: Some(v[3]), act: Activation::Relu };
            t.instance_norm(v[0], 1e-5, o)
        })
    };
    let features = [2, 16, 16, 256];
    all.extend(
        [
            norm("instance_norm-64x64x64", [1, 64, 64, 64]),
            norm("instance_norm-16x16x256", features),
            batch_norm("batch_norm", [2, 16, 16, 256]),
            Case::new("running_stats", "running_stats", &[[1, 4, 4, 256]], running_stats).forward_only(),
            Case::new("add", "add", &[features, features], |t, v| t.add(v[0], v[1])),
            Case::new("activate", "activate", &[features], |t, v| t.activate(v[0], Activation::LeakyRelu(0.1))),
            Case::new("concat", "concat", &[features, features], |t, v| t.concat(v, Axis::Channels)),
            Case::new("cosine_loss", "cosine_loss", &[features, features], |t, v| t.cosine_loss(v[0], v[1], 0..1)),
            Case::new("cosine_map", "cosine_map", &[features, features], |t, v| Ok(t.cosine_map(&[(v[0], v[1])])?[0]))
                .forward_only(),
            Case::new("energy", "energy", &[[2, 16, 16, 1]], |t, v| t.energy(v[0], Term::High { margin: 0.5 }, 0..1)),
            Case::new("l2_normalize", "l2_normalize", &[features], |t, v| t.l2_normalize(v[0])),
            Case::new("max_pool", "max_pool", &[[1, 64, 64, 64]], |t, v| t.max_pool(v[0], 3, 2, 1)).forward_only(),
            Case::new("max_pool", "max_pool-trained", &[[1, 64, 64, 64]], |t, v| t.max_pool(v[0], 3, 2, 1)),
            Case::new("mean_pool", "mean_pool", &[[1, 28, 28, 64]], |t, v| t.mean_pool(v[0], 3, 1, 1)),
            Case::new("cross_entropy", "cross_entropy", &[[64, 1, 1, 1000], [64, 1, 1, 8], [1000, 1, 1, 8]], |t, v| {
                let labels = t.nearest(v[1], v[2], 1)?.1;
                t.cross_entropy(v[0], labels, 0.1)
            }),
            Case::new("interpolate", "interpolate", &[[1, 14, 14, 64]], |t, v| t.interpolate(v[0], 28, 28))
                .forward_only(),
            Case::new("anomaly_map", "anomaly_map-wide-blur", &[[1, 16, 16, 1]], |t, v| t.anomaly_map(v, 64, 8.0))
                .forward_only()
                .exact(),
            nearest("nearest", 1),
            nearest("nearest-nine", 9),
            Case::new("gather", "gather", &[[1, 8, 8, 64], [256, 1, 1, 64]], |t, v| {
                let rows = t.nearest(v[0], v[1], 1)?.1;
                t.gather(v[1], rows)
            })
            .forward_only(),
            Case::new("argmax", "argmax-and-its-value", &[[1, 28, 28, 1]], |t, v| {
                let at = t.argmax(v[0])?;
                t.gather(v[0], at)
            })
            .forward_only()
            .exact(),
            Case::new("neighbourhood", "neighbourhood", &[[1, 1, 1, 384], [9, 1, 1, 384]], |t, v| {
                let distance = t.nearest(v[0], v[1], 1)?.0;
                let rows = t.view(v[1], Shape([1, 9, 1, 384]))?;
                t.neighbourhood(distance, v[0], rows)
            })
            .forward_only(),
            resize("resize-wide", [1, 96, 128, 3]),
            resize("resize-tall", [1, 128, 96, 3]),
            resize("resize-very-tall", [1, 200, 80, 3]),
            resize("resize-columns", [1, 64, 128, 3]),
            resize("resize-rows", [1, 128, 64, 3]),
        ]
        .map(|case| op(false, case)),
    );
    let case = Case::new("sgd", "sgd-and-weight-decay", &[[1, 1, 1, 4]], sgd).forward_only();
    all.push(Work { numbers: &TRAINED, ..op(false, case) });
    all
}

fn of_bytes(zero: u8) -> Quantization {
    Quantization { scale: 0.02, zero }
}

/// With bias, a residual in bytes and ReLU, to bytes.
fn bytes(name: String, x: [usize; 4], w: [usize; 4], zero: u8) -> Case {
    let channels = [1, 1, 1, w[0]];
    Case::new("conv2d_int8", name, &[x, w, [x[0], x[1], x[2], w[0]], channels, channels], move |t, v| {
        let kept = Stored::Bytes(of_bytes(0));
        let act = Activation::Relu;
        let o = conv2d::Options { bias: Some(v[4]), residual: Some(v[2]), act, ..conv2d::Options::square(1, 1) };
        t.conv2d_int8(v[0], v[1], v[3], Quantized { x: of_bytes(zero), residual: kept, y: kept }, o)
    })
    .whole(&[DType::U8, DType::I8, DType::U8])
}

/// A first layer, to bytes.
fn pixels(name: &str, x: [usize; 4], w: [usize; 4]) -> Case {
    let channels = [1, 1, 1, w[0]];
    Case::new("conv2d_pixels", name, &[x, w, channels, channels], move |t, v| {
        let sizes = conv2d::Conv2d::new(Shape(x), Shape(w), [2; 2], [3; 2]).map_err(Error::Invalid)?;
        let kept = Stored::Bytes(of_bytes(0));
        t.conv2d_pixels(
            Conv2dPixels { sizes, mean: [0.5; 3], std: [0.25; 3], act: Activation::Relu, y: kept },
            [v[0], v[1], v[2], v[3]],
        )
    })
    .whole(&[DType::U8, DType::I16])
}

/// Twice as large as x along both axes, in f32.
fn transposed_bytes(name: String, x: [usize; 4], w: [usize; 4], zero: u8) -> Case {
    Case::new("conv2d_int8", name, &[x, w, [1, 1, 1, w[3]]], move |t, v| {
        let sizes = conv2d::Conv2d::new(Shape([x[0], 2 * x[1], 2 * x[2], w[3]]), Shape(w), [2; 2], [0; 2]);
        let q = Quantized { x: of_bytes(zero), residual: Stored::Real, y: Stored::Real };
        t.conv_transpose2d_int8(v[0], v[1], v[2], q, sizes.map_err(Error::Invalid)?)
    })
    .whole(&[DType::U8, DType::I8])
}

/// A convolution's weights, decayed in both ways and updated. What they are does not matter, as there are no gradients.
fn sgd(t: &mut Tape, _: &[Var]) -> Result<Var> {
    let net = t.network("net");
    t.param(net, "weight", &[64, 64, 3, 3], Init::Zeros)?;
    let schedule = LrSchedule::Cosine { warmup: 10, steps: 100 };
    t.weight_decay(net, 1e-4, Decay::L2, |_| true)?;
    t.weight_decay(net, 1e-4, Decay::Decoupled { lr: 0.1, schedule }, |_| true)?;
    t.sgd(Sgd { net, lr: 0.1, momentum: 0.9, nesterov: false, schedule })?;
    t.whole(net, Whole::Params)
}

/// By statistics that stand in one tensor for scale and shift, too.
fn batch_norm(name: &str, x: [usize; 4]) -> Case {
    Case::new("batch_norm", name, &[x, [1, 1, 1, x[3]], x], |t, v| {
        let o = instance_norm::Options { affine: Some((v[1], v[1])), residual: Some(v[2]), act: Activation::Relu };
        t.batch_norm_by(v[0], [v[1]; 2], 1e-5, o)
    })
    .forward_only()
}

fn running_stats(t: &mut Tape, v: &[Var]) -> Result<Var> {
    let (net, c) = (t.network("net"), t.shape(v[0]).c());
    let running = ["mean", "var"].map(String::from);
    for name in &running {
        t.param(net, name, &[c], Init::Zeros)?;
    }
    let (_, [mean, rstd]) = t.batch_norm(v[0], 1e-5, instance_norm::Options::default())?;
    t.running_stats(net, &BatchStatistics { running, mean, rstd, count: 16, eps: 1e-5 }, 0.1)?;
    t.whole(net, Whole::Params)
}

/// Patches against a bank of five and a half tiles.
fn nearest(name: &str, k: usize) -> Case {
    let inputs = [[1, 14, 14, 64], [350, 1, 1, 64]];
    Case::new("nearest", name, &inputs, move |t, v| Ok(t.nearest(v[0], v[1], k)?.0)).forward_only()
}

/// Of pictures whose size differs along both axes, and along one alone.
fn resize(name: &str, pixels: [usize; 4]) -> Case {
    Case::new("preprocess", name, &[pixels], |t, v| t.preprocess(v[0], 64, [0.5; 3], [0.25; 3])).pixels()
}

fn score(a: &Architecture, dtype: DType) -> Result<ckaad::program::Program> {
    let spec = BatchSpec { architecture: a, batch: 1, feed: Feed::Pixels, dtype };
    scoring::record(&spec, Normalization::Instance, Judgement { sigma: 4.0, topk: Some(100) })
}

impl Work {
    /// Runs it and counts what every launch did.
    fn count(&self, number: Number) -> Result<Table> {
        let dtype = number.storage();
        let mut filled = None;
        let mut of = |a, p: ckaad::program::Program, output: &str| -> Result<Recorded> {
            let program = Recorded { tape: p.tape.clone(), inputs: p.inputs().collect(), output: p.report(output)? };
            filled = Some((a, p));
            Ok(program)
        };
        let program = match &self.what {
            What::Score(a) => of(a, score(a, dtype)?, "score")?,
            What::Train(a, strategy) => {
                let spec = StepSpec {
                    architecture: a,
                    normal: 1,
                    anomalous: 1,
                    normal_feed: Feed::Pixels,
                    anomalous_feed: Feed::Features,
                    dtype,
                };
                of(a, step::record(&spec, *strategy, Normalization::Instance, Hyper::default())?, "loss")?
            }
            What::Op(case) => {
                let mut p = case.record(dtype)?;
                if case.differentiable {
                    let output = p.tape.info(p.output).clone();
                    let seed = p.tape.input(output.shape, output.dtype)?;
                    for gradient in p.tape.gradients(&[(p.output, seed)], &p.inputs)?.into_iter().flatten() {
                        p.tape.output(gradient);
                    }
                    p.inputs.push(seed);
                }
                p
            }
        };
        let driver = SimDriver::new(SimDriver::MEMORY, self.multiprocessors, SimDriver::CHIP);
        let mut session =
            CudaSession::with_lanes(program.tape.clone(), Box::new(driver), number, 1, self.choices.clone())?;
        let session: &mut dyn Session = &mut session;
        if let Some((a, p)) = filled {
            p.fill(session, &resnet::load(a, &RandomBackbone { seed: 0 })?, 0)?;
        }
        for (i, &v) in program.inputs.iter().enumerate() {
            let (info, u) = (program.tape.info(v), |n| uniform(&format!("{}.{i}", self.name), n));
            match info.dtype {
                DType::U8 => {
                    let bytes: Vec<u8> = u(info.shape.len()).into_iter().map(|u| ((u + 1.0) * 128.0) as u8).collect();
                    session.write(v, &bytes)?;
                }
                _ => session.write_values(v, &u(info.shape.len()).into_iter().map(f64::from).collect::<Vec<_>>())?,
            }
        }
        let mut table = Table::new();
        for profile in session.profile(1)? {
            let (Some(launch), Cost::Counters(counters)) = (profile.launch, profile.cost) else { continue };
            let key = (self.name.clone(), number.to_string(), launch.call.entry.name.to_string());
            let sum = table.entry(key).or_default();
            *sum = sum.plus(&Counts::new(&counters));
        }
        Ok(table)
    }
}

/// Launches of scoring one picture of the usual size. Nothing runs.
fn launches_per_image() -> Table {
    let of = |(card, number): (&str, Number)| {
        let Card { multiprocessors, chip, .. } = Card::named(card).unwrap();
        let target = Target { number, multiprocessors, chip, choices: Choices::Model };
        let tape = score(&architecture(256), number.storage()).unwrap().tape;
        let launches = cuda::launches(&tape, &target).unwrap().len() as u64;
        let key = (format!("{PER_IMAGE}{card}"), number.to_string(), "*".into());
        (key, Counts { launches, ..Counts::default() })
    };
    CARDS.into_iter().flat_map(|c| NUMBERS.map(|n| (c, n))).map(of).collect()
}

const PER_IMAGE: &str = "score-resnet18-256-on-";

fn path() -> PathBuf {
    crate::common::path("kernels/budgets.txt")
}

const HEAD: &str = "\
# What every kernel does in the programs of budgets.rs, by the emulator's count. Tests fail where a number grows: see there.
# Warp instructions; 32-byte sectors that global accesses moved, and the fewest that hold what was asked for; passes over
# shared memory that bank conflicts add. Launches of the same kernel are added up. Kernel *: all, which are not run.";

fn line(out: &mut String, [program, number, kernel]: [&str; 3], columns: [impl std::fmt::Display; 5]) {
    let [a, b, c, d, e] = columns;
    let _ = writeln!(out, "{program:30} {number:6} {kernel:32} {a:>8} {b:>12} {c:>10} {d:>10} {e:>9}");
}

fn text(table: &Table) -> String {
    let mut out = format!("{HEAD}\n");
    line(&mut out, ["# program", "number", "kernel"], ["launches", "instructions", "sectors", "ideal", "conflicts"]);
    for ((program, number, kernel), counts) in table {
        line(&mut out, [program, number, kernel], counts.columns());
    }
    out
}

fn parse(text: &str) -> Table {
    let row = |l: &str| {
        let words: Vec<&str> = l.split_whitespace().collect();
        let [program, number, kernel, columns @ ..] = &words[..] else { panic!("budgets.txt: {l}") };
        let [launches, instructions, sectors, ideal, conflicts] = columns
            .iter()
            .map(|c| c.parse().unwrap_or_else(|e| panic!("budgets.txt: {l}: {e}")))
            .collect::<Vec<u64>>()
            .try_into()
            .unwrap_or_else(|_| panic!("budgets.txt: {l}: expected five numbers"));
        let key = (program.to_string(), number.to_string(), kernel.to_string());
        (key, Counts { launches, instructions, sectors, ideal, conflicts })
    };
    text.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty()).map(row).collect()
}

/// Rows of both tables, old above new.
fn compared<'a>(rows: impl Iterator<Item = (&'a Key, Option<&'a Counts>, Option<&'a Counts>)>) -> String {
    let mut out = String::new();
    line(&mut out, ["program", "number", "kernel"], ["launches", "instructions", "sectors", "ideal", "conflicts"]);
    for ((program, number, kernel), old, new) in rows {
        let columns = |c: Option<&Counts>| c.map_or(["-"; 5].map(String::from), |c| c.columns().map(|v| v.to_string()));
        line(&mut out, [program, number, kernel], columns(old));
        line(&mut out, ["", "", "  now"], columns(new));
    }
    out
}

#[test]
fn no_kernel_does_more_than_recorded() {
    let one = std::env::var("CKAAD_BUDGETS").ok().filter(|op| !op.is_empty());
    let mut works = works();
    if let Some(one) = &one {
        works.retain(|w| w.name == *one || matches!(&w.what, What::Op(case) if case.op == one));
        assert!(!works.is_empty(), "CKAAD_BUDGETS={one}: no program of budgets.txt and no op that one is of");
    }
    let pairs: Vec<(&Work, Number)> = works.iter().flat_map(|w| w.numbers.iter().map(move |n| (w, *n))).collect();
    let count = |(w, n): &(&Work, Number)| w.count(*n).unwrap_or_else(|e| panic!("{}, {n}: {e}", w.name));
    let mut found: Table = pairs.par_iter().map(count).flatten_iter().collect();
    if one.is_none() {
        found.extend(launches_per_image());
    }
    // Of one op the others' rows stay as they are, and are not looked at.
    let read = || parse(&std::fs::read_to_string(path()).unwrap_or_else(|e| panic!("{}: {e}", path().display())));
    let counted: BTreeSet<String> = works.iter().map(|w| w.name.clone()).collect();
    let looked_at = |key: &Key| one.is_none() || counted.contains(&key.0);

    if std::env::var_os("CKAAD_UPDATE_BUDGETS").is_some_and(|v| v == "1") {
        let mut all = if one.is_some() { read() } else { Table::new() };
        all.retain(|key, _| !looked_at(key));
        all.extend(found.clone());
        std::fs::write(path(), text(&all)).unwrap();
    }

    if one.is_none() {
        let launched: BTreeSet<&str> = found.keys().map(|(_, _, kernel)| kernel.as_str()).collect();
        let entries = MODULES.iter().flat_map(|m| m.entries).map(|e| e.name);
        let excused = |e: &str| NOT_LAUNCHED.iter().any(|(name, _)| *name == e);
        let missed: Vec<&str> = entries.filter(|e| launched.contains(e) == excused(e)).collect();
        assert!(missed.is_empty(), "launched by no program here, or launched but excused as not: {missed:?}");
    }

    // What no recording can change.
    let aligned: BTreeSet<&str> = works.iter().filter(|w| w.aligned).map(|w| w.name.as_str()).collect();
    let limited =
        |(program, _, kernel): &Key| aligned.contains(program.as_str()) && LIMITS.iter().any(|l| kernel.starts_with(l));
    let beyond = |c: &Counts| c.sectors as f64 > c.ideal as f64 * SECTORS_OVER_IDEAL || c.conflicts > 0;
    let over: Vec<_> = found.iter().filter(|(k, c)| limited(k) && beyond(c)).map(|(k, c)| (k, None, Some(c))).collect();
    assert!(
        over.is_empty(),
        "more than {SECTORS_OVER_IDEAL} times the ideal sectors, or bank conflicts:\n{}",
        compared(over.into_iter())
    );
    let many = |((program, number, _), c): &(&Key, &Counts)| {
        program.starts_with(PER_IMAGE) && c.launches > LAUNCHES_PER_IMAGE + u64::from(number == "f32")
    };
    let many: Vec<_> = found.iter().filter(many).map(|(k, c)| (k, None, Some(c))).collect();
    assert!(many.is_empty(), "more launches an image than {LAUNCHES_PER_IMAGE}:\n{}", compared(many.into_iter()));

    let mut recorded = read();
    recorded.retain(|key, _| looked_at(key));
    let keys: BTreeSet<&Key> = recorded.keys().chain(found.keys()).collect();
    let rows = || keys.iter().map(|k| (*k, recorded.get(*k), found.get(*k)));
    let improved: Vec<_> = rows().filter(|r| matches!(r, (_, Some(old), Some(new)) if new.improves(old))).collect();
    if !improved.is_empty() {
        println!("better by more than {:.0} %, record it:\n{}", GAIN * 100.0, compared(improved.into_iter()));
    }
    let failed: Vec<_> =
        rows().filter(|r| !matches!(r, (key, Some(old), Some(new)) if !new.exceeds(old, &key.2))).collect();
    assert!(
        failed.is_empty(),
        "{} of {} budgets do not hold (instructions by more than {:.0} %, anything else at all):\n{}\n\
         If this is meant, record it with CKAAD_UPDATE_BUDGETS=1 and commit tests/kernels/budgets.txt; do so as well \
         after an improvement of more than {:.0} %.",
        failed.len(),
        keys.len(),
        SLACK * 100.0,
        compared(failed.into_iter()),
        GAIN * 100.0
    );
}
