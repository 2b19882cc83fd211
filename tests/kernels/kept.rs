//! Inputs filled from bytes that the device keeps: the right ones, with the same results as from the host, and clear errors.

use crate::common::driver;
use ckaad::data::framing::Framing;
use ckaad::detector::StepSpec;
use ckaad::detector::ckaad::step::{self, Hyper};
use ckaad::detector::ckaad::strategy::{Normalization, Strategy};
use ckaad::engine::device::cuda::{CudaSession, Driver, SimDriver};
use ckaad::engine::device::{Backend, Session};
use ckaad::engine::ops::Activation;
use ckaad::engine::tape::{Tape, Var};
use ckaad::engine::tensor::{DType, Shape};
use ckaad::engine::toolkit::cuda::Number;
use ckaad::model::features::Feed;
use ckaad::model::init::{self, RandomBackbone};
use ckaad::model::{Architecture, resnet};
use ckaad::program::Program;
use ckaad::train::features::{self, CacheKind, FeatureCache};
use ckaad::train::pictures::Pictures;
use std::ops::Range;

/// ReLU of 12 values.
fn program() -> (Tape, Var, Var) {
    let mut t = Tape::new(DType::F32);
    let x = t.input(Shape([1, 1, 3, 4]), DType::F32).unwrap();
    let y = t.activate(x, Activation::Relu).unwrap();
    let y = t.output(y);
    (t, x, y)
}

fn open(driver: Box<dyn Driver>) -> (CudaSession, Var, Var) {
    let (tape, x, y) = program();
    (CudaSession::new(tape, driver, Number::F32).unwrap(), x, y)
}

/// 100 values, each its own index.
fn values() -> Vec<u8> {
    (0..100).flat_map(|i| (i as f32).to_ne_bytes()).collect()
}

fn part(bytes: Range<usize>) -> [Range<usize>; 1] {
    [bytes]
}

fn bytes_of(values: Range<usize>) -> Range<usize> {
    values.start * 4..values.end * 4
}

#[test]
fn parts_come_one_behind_the_other() {
    let (mut session, x, y) = open(driver());
    assert!(session.keep(&values()).unwrap());
    let session: &mut dyn Session = &mut session;
    let whole = [bytes_of(88..100)];
    let cut = [bytes_of(93..98), bytes_of(0..0), bytes_of(0..1), bytes_of(93..98), bytes_of(40..41)];
    let taken = |parts: &[Range<usize>]| -> Vec<f32> {
        parts.iter().flat_map(|p| p.start / 4..p.end / 4).map(|i| i as f32).collect()
    };
    for parts in [&whole[..], &cut, &whole] {
        session.write_kept(x, parts).unwrap();
        session.run().unwrap();
        assert_eq!(session.read::<f32>(y).unwrap(), taken(parts), "{parts:?}");
    }
}

#[test]
fn parts_that_are_not_there_or_do_not_fit() {
    let (mut session, x, y) = open(driver());
    let error = session.write_kept(x, &part(0..48)).unwrap_err().to_string();
    assert!(error.contains("%0") && error.contains("keeps no bytes"), "{error}");
    assert!(session.keep(&values()).unwrap());
    let mut error = |v, parts: &[Range<usize>], named: &[&str]| {
        let error = session.write_kept(v, parts).unwrap_err().to_string();
        assert!(named.iter().all(|n| error.contains(n)), "{error}");
    };
    error(x, &part(353..401), &["353..401", "400"]);
    error(x, &[0..40, usize::MAX - 7..usize::MAX], &["400"]);
    error(x, &part(Range { start: 48, end: 0 }), &["48..0"]);
    error(x, &part(0..40), &["48 bytes", "40", "1 part"]);
    error(x, &[0..40, 0..12], &["48 bytes", "52", "2 part"]);
    error(y, &part(0..48), &["no input"]);
    let error = session.keep(&[1]).unwrap_err().to_string();
    assert!(error.contains("400 bytes") && error.contains("already"), "{error}");
}

/// The emulator finds a copy that leaves its allocation, and one of bytes that nobody wrote.
#[test]
fn copies_are_checked() {
    let mut sim = SimDriver::default();
    let [from, to] = [100, 50].map(|bytes| sim.alloc(bytes).unwrap());
    sim.write(from, &[7; 60]).unwrap();
    sim.copy(from + 20..from + 60, to + 10).unwrap();
    let mut copied = [0; 40];
    sim.read(to + 10, &mut copied).unwrap();
    assert_eq!(copied, [7; 40]);
    for (range, to, named) in [
        (from + 90..from + 101, to, "in no allocation"),
        (from..from + 41, to + 10, "in no allocation"),
        (from + 50..from + 61, to, "never written"),
    ] {
        let error = sim.copy(range, to).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}

/// A sixteenth of the device's memory stays free: what fits beside that and the program is kept, one byte more is not.
#[test]
fn memory_is_left_for_others() {
    let needed = open(driver()).0.plan().total;
    let free = 15_000;
    // 16 parts in all: the program's, then free ones, then the one that stays.
    let capacity = (needed + free).div_ceil(15) * 16;
    let room = capacity - capacity / 16 - needed;
    let opened = || open(Box::new(SimDriver::new(capacity, SimDriver::MULTIPROCESSORS, SimDriver::CHIP))).0;
    assert!(room >= free && !opened().keep(&vec![1; room + 1]).unwrap());
    assert!(opened().keep(&vec![1; room]).unwrap());
}

const PICTURES: usize = 5;

/// A step of a small network on features of two normal pictures and an anomalous one.
fn training() -> (Architecture, Program) {
    let a = Architecture::new("resnet18", &[1, 2], 64).unwrap();
    let spec = StepSpec {
        architecture: &a,
        normal: 2,
        anomalous: 1,
        normal_feed: Feed::Features,
        anomalous_feed: Feed::Features,
        dtype: DType::F32,
    };
    let p = step::record(&spec, Strategy::CkaPatch, Normalization::Instance, Hyper::default()).unwrap();
    (a, p)
}

/// Features of pictures of noise, computed on the CPU.
fn cache(a: &Architecture, kind: CacheKind) -> FeatureCache {
    let folder = tempfile::tempdir().unwrap();
    let size = a.image_size as u32;
    let draw = |i: usize| {
        let path = folder.path().join(format!("{i}.png"));
        let level = |x: u32, y: u32| ((x * 7 + y * 13) * (i as u32 + 3) % 251) as u8;
        image::RgbImage::from_fn(size, size, |x, y| image::Rgb([level(x, y), level(y, x), 90])).save(&path).unwrap();
        path
    };
    let whole = a.framer(&Framing::default());
    let pictures =
        Pictures::open((0..PICTURES).map(|i| draw(i).into()).collect(), whole, usize::MAX, &|_| Ok(())).unwrap();
    let place = kind.place(0, folder.path()).unwrap();
    let backbone = resnet::load(a, &RandomBackbone { seed: 0 }).unwrap();
    let (program, all) = (features::program(a, 2, DType::F32).unwrap(), Vec::from_iter(0..PICTURES));
    let of = (&pictures, &all[..]);
    FeatureCache::build(&place, &program, &backbone, &Backend::CPU, of, &mut |_| Ok(())).unwrap()
}

/// Parameters after two steps, as bits.
fn trained(p: &Program, cache: &mut FeatureCache, keep: bool) -> Vec<u32> {
    let mut session = CudaSession::new(p.tape.clone(), driver(), Number::F32).unwrap();
    let session: &mut dyn Session = &mut session;
    let nets = ["ae", "discriminator"].map(|name| p.network(name).unwrap());
    let mut values = nets.map(|net| init::network(p.tape.parameters(net), 0));
    for (net, v) in nets.into_iter().zip(&values) {
        session.write_params(net, v).unwrap();
    }
    if keep {
        assert!(cache.keep_on_device(session).unwrap(), "there is room");
        assert!(!cache.keep_on_device(session).unwrap(), "it is there already");
    }
    for step in [[0, 3, 4], [2, 1, 4]] {
        cache.write(session, &p.groups[0].vars, &step).unwrap();
        session.run().unwrap();
    }
    for (net, v) in nets.into_iter().zip(&mut values) {
        session.read_params(net, v).unwrap();
    }
    values.iter().flat_map(|v| &v.data).map(|x| x.to_bits()).collect()
}

#[test]
fn training_on_kept_features_changes_no_bit() {
    let (a, p) = training();
    let mut cache = cache(&a, CacheKind::Memory);
    let from_host = trained(&p, &mut cache, false);
    let from_device = trained(&p, &mut cache, true);
    assert!(from_host == from_device);
}

/// What a step's inputs hold once filled.
fn filled(session: &mut dyn Session, inputs: &[Var], cache: &mut FeatureCache) -> Vec<Vec<f32>> {
    cache.write(session, inputs, &[4, 0, 4]).unwrap();
    inputs.iter().map(|v| session.read(*v).unwrap()).collect()
}

/// A device with no room for features takes them from the host in every step, and so does the CPU; a file stays a file.
#[test]
fn features_stay_where_there_is_room() {
    let (a, p) = training();
    let mut cpu = Backend::CPU.open(p.tape.clone()).unwrap();
    let mut roomy = CudaSession::new(p.tape.clone(), driver(), Number::F32).unwrap();
    let needed = roomy.plan().total;
    let small = Box::new(SimDriver::new(needed + 100_000, SimDriver::MULTIPROCESSORS, SimDriver::CHIP));
    let mut small = CudaSession::new(p.tape.clone(), small, Number::F32).unwrap();
    let mut disk = cache(&a, CacheKind::Disk);
    let mut memory = cache(&a, CacheKind::Memory);
    assert!(!disk.keep_on_device(&mut roomy).unwrap());
    assert!(!memory.keep_on_device(&mut *cpu).unwrap());
    assert!(!memory.keep_on_device(&mut small).unwrap());
    let expected = filled(&mut *cpu, &p.groups[0].vars, &mut disk);
    let [first, second, third] = [0, 1, 2].map(|i| &expected[0][i * 16 * 16 * 64..][..16 * 16 * 64]);
    assert!(first == third && first != second);
    assert!(filled(&mut *cpu, &p.groups[0].vars, &mut memory) == expected);
    assert!(filled(&mut small, &p.groups[0].vars, &mut memory) == expected);
    assert!(memory.keep_on_device(&mut roomy).unwrap());
    assert!(filled(&mut roomy, &p.groups[0].vars, &mut memory) == expected);
    for cache in [&mut disk, &mut memory] {
        let error = cache.write(&mut roomy, &p.groups[0].vars, &[0, 1, PICTURES]).unwrap_err().to_string();
        assert!(error.contains("picture 5") && error.contains("of 5"), "{error}");
    }
}
