//! Convolutions allocate nothing while they run: all their memory is planned scratch. One test only, since it counts
//! every allocation of the process.

use ckaad::engine::ops::conv2d::Conv2d;
use ckaad::engine::ops::conv2d::cpu::{self, Filters};
use ckaad::engine::toolkit::cpu::microkernel::Finish;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

static BYTES: AtomicUsize = AtomicUsize::new(0);
struct Counting;

// SAFETY: forwards to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), SeqCst);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// rayon's queues grow by a block now and then; scratch in the kernels would be far above this.
const QUEUES: usize = 16 << 10;

#[test]
fn nothing_is_allocated_while_running() {
    let base = Conv2d {
        n: 2,
        h: 24,
        w: 24,
        c: 32,
        k: 64,
        r: 3,
        s: 3,
        stride_h: 1,
        stride_w: 1,
        pad_h: 1,
        pad_w: 1,
        oh: 24,
        ow: 24,
    };
    let strided = Conv2d { stride_h: 2, stride_w: 2, oh: 12, ow: 12, ..base };
    rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap().install(|| {
        // The first is a Winograd convolution, the second a direct one.
        for p in [base, strided] {
            let x = vec![1f32; (p.n * p.h * p.w * p.c) as usize];
            let w = vec![1f32; (p.k * p.r * p.s * p.c) as usize];
            let dy = vec![1f32; (p.n * p.oh * p.ow * p.k) as usize];
            let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), w.clone());
            let scratch = cpu::forward_scratch::<f32>(&p, false, 2).max(cpu::bwd_input_scratch::<f32>(&p, 2));
            let mut scratch = vec![0f32; scratch.max(cpu::bwd_weight_scratch::<f32>(&p, 2))];
            let before = BYTES.load(SeqCst);
            for _ in 0..20 {
                cpu::forward(&p, false, &x, Filters::Krsc(&w), Finish::NONE, &mut y, &mut scratch);
                cpu::bwd_input(&p, &dy, Filters::Krsc(&w), None, &mut dx, &mut scratch);
                cpu::bwd_weight(&p, &x, &dy, &mut dw, &mut scratch);
            }
            let bytes = BYTES.load(SeqCst) - before;
            assert!(bytes <= QUEUES, "{p:?}: {bytes} bytes allocated in 60 calls");
        }
    });
}
