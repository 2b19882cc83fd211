//! Times scoring and training steps:
//! `cargo bench --bench networks -- [--case NAME] [--threads N] [--device cpu|cuda|sim] [--precision f32|tf32|bf16|f16]`.
//!
//! Random weights, random pixels; the median of 9 repetitions after 2 warm-ups, one JSON object a line.
//! `bench/compare_cpu.py` runs it beside PyTorch, case by case: only the ratio means anything on a shared machine.

use ckaad::engine::device::cuda::{Choices, Number};
use ckaad::engine::device::{Arena, Backend, Device};
use ckaad::engine::tape::{NetId, Var};
use ckaad::model::features::Feed;
use ckaad::model::init::{self, RandomBackbone, named_rng};
use ckaad::model::{Architecture, discriminator::Level, resnet};
use ckaad::score::program::{self, ScoreSpec};
use ckaad::train::step::{self, Hyper, StepSpec, Strategy};
use rand::Rng;
use std::time::Instant;

struct Case {
    name: &'static str,
    backbone: &'static str,
    layers: &'static [usize],
    size: usize,
    batch: usize,
    work: Work,
}

enum Work {
    Score,
    Train(Feed),
}

const R18: (&str, &[usize]) = ("resnet18", &[2, 3]);
const WIDE: (&str, &[usize]) = ("wide_resnet50_2", &[1, 2, 3]);

const fn case(
    name: &'static str,
    net: (&'static str, &'static [usize]),
    size: usize,
    batch: usize,
    work: Work,
) -> Case {
    Case { name, backbone: net.0, layers: net.1, size, batch, work }
}

const CASES: [Case; 9] = [
    case("score-resnet18-256-b1", R18, 256, 1, Work::Score),
    case("score-resnet18-256-b8", R18, 256, 8, Work::Score),
    case("score-resnet18-128-b8", R18, 128, 8, Work::Score),
    case("score-wide_resnet50_2-256-b1", WIDE, 256, 1, Work::Score),
    case("score-wide_resnet50_2-256-b8", WIDE, 256, 8, Work::Score),
    case("train-resnet18-128-8+8", R18, 128, 8, Work::Train(Feed::Pictures)),
    case("train-resnet18-256-8+8", R18, 256, 8, Work::Train(Feed::Pictures)),
    case("train-resnet18-128-8+8-cached", R18, 128, 8, Work::Train(Feed::Features)),
    case("train-resnet18-256-8+8-cached", R18, 256, 8, Work::Train(Feed::Features)),
];

fn main() -> ckaad::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let option = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1));
    if let Some(threads) = option("--threads").and_then(|t| t.parse().ok()) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        pool.expect("the thread pool is built once");
    }
    let number = match option("--precision").map(String::as_str) {
        None | Some("f32") => Number::F32,
        Some("tf32") => Number::Tf32,
        Some("bf16") => Number::Bf16,
        Some("f16") => Number::F16,
        Some(other) => panic!("--precision {other}: expected f32, tf32, bf16 or f16"),
    };
    let device = match option("--device").map(String::as_str) {
        None | Some("cpu") => Device::Cpu,
        Some("cuda") => Device::Cuda(0),
        Some("sim") => Device::Sim,
        Some(other) => panic!("--device {other}: expected cpu, cuda or sim"),
    };
    let backend = Backend { device, number, choices: Choices::Model };
    for case in CASES.iter().filter(|c| option("--case").is_none_or(|name| c.name == name)) {
        let mut session = open(case, backend)?;
        let mut times: Vec<f64> = Vec::new();
        for i in 0..11 {
            let started = Instant::now();
            session()?;
            if i >= 2 {
                times.push(started.elapsed().as_secs_f64());
            }
        }
        times.sort_by(f64::total_cmp);
        println!(
            "{{\"case\":\"{}\",\"median_s\":{:.6},\"min_s\":{:.6},\"max_s\":{:.6},\"repetitions\":{}}}",
            case.name,
            times[times.len() / 2],
            times[0],
            times[times.len() - 1],
            times.len()
        );
    }
    Ok(())
}

/// One repetition of a case: fill the inputs, run, read the results.
fn open(case: &Case, backend: Backend) -> ckaad::Result<Box<dyn FnMut() -> ckaad::Result<()>>> {
    let architecture = Architecture::new(case.backbone, case.layers, case.size)?;
    let (tape, inputs, outputs, backbone, nets): (_, Vec<Var>, Vec<Var>, NetId, Vec<NetId>) = match case.work {
        Work::Score => {
            let spec = ScoreSpec {
                architecture: architecture.clone(),
                batch: case.batch,
                feed: Feed::Pictures,
                sigma: 4.0,
                topk: Some(100),
                dtype: backend.dtype(),
            };
            let p = program::record(&spec)?;
            (p.tape, p.input, vec![p.map, p.score], p.backbone, vec![p.ae])
        }
        Work::Train(feed) => {
            let spec = StepSpec {
                architecture: architecture.clone(),
                strategy: Strategy::Adversarial(Level::Patch),
                hyper: Hyper::default(),
                normal: case.batch,
                anomalous: case.batch,
                normal_feed: feed,
                anomalous_feed: feed,
                dtype: backend.dtype(),
            };
            let p = step::record(&spec)?;
            (p.tape, p.normal, vec![p.losses.total], p.backbone, vec![p.ae, p.discriminator])
        }
    };
    let mut session = backend.open(tape)?;
    if !session.tape().layout(backbone).is_empty() {
        let weights = resnet::load::<f32>(&architecture, &RandomBackbone { seed: 0 })?;
        session.write_arena(backbone, Arena::Params, &weights)?;
    }
    for net in nets {
        let fresh = init::network(session.tape().layout(net), 0);
        session.write_arena(net, Arena::Params, &fresh)?;
    }
    let mut rng = named_rng(0, "pixels");
    // As bytes of the program's own type, so that no conversion is timed.
    let mut values: Vec<Vec<u8>> = Vec::new();
    for v in &inputs {
        let info = session.tape().info(*v).clone();
        let random = |_| f64::from(rng.next_u32() as f32 / u32::MAX as f32 * 4.0 - 2.0);
        session.write_values(*v, &(0..info.shape.len()).map(random).collect::<Vec<_>>())?;
        let mut bytes = vec![0; info.shape.len() * info.dtype.size()];
        session.read_bytes(*v, &mut bytes)?;
        values.push(bytes);
    }
    Ok(Box::new(move || {
        for (v, values) in inputs.iter().zip(&values) {
            session.write_bytes(*v, values)?;
        }
        session.run()?;
        for v in &outputs {
            std::hint::black_box(session.read::<f32>(*v)?);
        }
        Ok(())
    }))
}
