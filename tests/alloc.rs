//! Once running, the engine allocates nothing: every byte of a step is in the plan.

use ckaad::detector::ckaad::scoring::{self, Judgement};
use ckaad::detector::ckaad::step::{self, Hyper};
use ckaad::detector::ckaad::strategy::{Normalization, Strategy};
use ckaad::detector::{BatchSpec, StepSpec};
use ckaad::engine::device::{Session, cpu};
use ckaad::engine::quantized::{Scheme, layers, rewrite, values};
use ckaad::engine::tape::Var;
use ckaad::engine::tensor::{DType, Shape, Tensor};
use ckaad::model::features::Feed;
use ckaad::model::init::RandomBackbone;
use ckaad::model::{Architecture, resnet};
use ckaad::program::Program;
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, counting calls.
struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises about `layout` are those the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc` above, that is, from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `round` a few times to warm up (threads start, their queues grow), then counts what further rounds allocate.
fn allocations(mut round: impl FnMut()) -> usize {
    (0..3).for_each(|_| round());
    let before = CALLS.load(Ordering::Relaxed);
    (0..5).for_each(|_| round());
    CALLS.load(Ordering::Relaxed) - before
}

fn session(p: &Program, a: &Architecture) -> Box<dyn Session> {
    let mut s = cpu::session(p.tape.clone()).unwrap();
    p.fill(&mut *s, &resnet::load(a, &RandomBackbone { seed: 0 }).unwrap(), 0).unwrap();
    s
}

/// The program with every layer but the first in 8 bits, and any weights.
fn quantised(p: &Program) -> Box<dyn Session> {
    let layers: BTreeSet<String> = layers(&p.tape).into_iter().skip(1).map(|layer| layer.name).collect();
    let scales = values(&p.tape, &layers).into_iter().map(|value| (value.name, 0.02)).collect();
    let mut s = cpu::session(rewrite(&p.tape, &Scheme { layers, scales }).unwrap()).unwrap();
    for network in &p.networks {
        for i in 0..s.tape().parameters(network.id).entries().len() {
            let Some(v) = s.tape().param_var(network.id, i) else { continue };
            let (len, dtype) = (s.tape().shape(v).len(), s.tape().info(v).dtype);
            let numbers = (0..len).map(|i| (i * 37 % 101) as f32 - 50.0);
            // Of f32, scales of channels among them, small ones.
            let scale = if dtype == DType::F32 { 2e-5 } else { 1.0 };
            s.write_bytes(v, Tensor::rounded(Shape::vector(len), dtype, numbers.map(|x| x * scale)).bytes()).unwrap();
        }
    }
    s
}

fn picture_bytes(s: &dyn Session, v: Var) -> Vec<u8> {
    (0..s.tape().shape(v).len()).map(|i| (i * 31 % 251) as u8).collect()
}

/// One test, since others running beside it would be counted too.
#[test]
fn nothing_is_allocated_while_running() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(0u8)))), 5, "the counter counts");
    // Work enters from inside the pool: entering it from outside makes rayon allocate a block now and then.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    pool.install(|| {
        let a = Architecture::new("resnet18", &[2, 3], 64).unwrap();
        for strategy in [Strategy::ReconSub, Strategy::Gan, Strategy::CkaPatch, Strategy::CkaImage] {
            let spec = StepSpec {
                architecture: &a,
                normal: 2,
                anomalous: 1,
                normal_feed: Feed::Pixels,
                anomalous_feed: Feed::Pixels,
                dtype: DType::F32,
            };
            let p = step::record(&spec, strategy, Normalization::Instance, Hyper::default()).unwrap();
            let mut s = session(&p, &a);
            let (input, output) = (p.inputs().next().unwrap(), p.report("loss").unwrap());
            let pixels = picture_bytes(&*s, input);
            let mut loss = [0f32];
            let count = allocations(|| {
                s.write(input, &pixels).unwrap();
                s.run().unwrap();
                s.read_into(output, &mut loss).unwrap();
                assert!(loss[0].is_finite());
            });
            assert_eq!(count, 0, "training with {strategy:?}");
        }
        let spec = BatchSpec { architecture: &a, batch: 2, feed: Feed::Pixels, dtype: DType::F32 };
        let p = scoring::record(&spec, Normalization::Instance, Judgement { sigma: 4.0, topk: Some(100) }).unwrap();
        for (what, mut s) in [("f32", session(&p, &a)), ("int8", quantised(&p))] {
            let (input, output) = (p.inputs().next().unwrap(), p.report("map").unwrap());
            let pixels = picture_bytes(&*s, input);
            let mut map = vec![0f32; s.tape().shape(output).len()];
            let count = allocations(|| {
                s.write(input, &pixels).unwrap();
                s.run().unwrap();
                s.read_into(output, &mut map).unwrap();
            });
            assert!(map.iter().all(|v| v.is_finite()) && map.iter().any(|v| *v != map[0]), "{what}");
            assert_eq!(count, 0, "scoring in {what}");
        }
    });
}
