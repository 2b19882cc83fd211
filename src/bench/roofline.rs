//! The least time that a card or this machine's processor can take: arithmetic, and on cards memory, at their limits.

use crate::Result;
use crate::engine::device::cuda::card;
use crate::engine::device::{Backend, Device};
use crate::engine::ops::Op;
use crate::engine::tape::Record;
use crate::engine::toolkit::Number;
use crate::engine::toolkit::cpu::gemm::multiply_panel;
use crate::engine::toolkit::cpu::int8::microkernel::{Dot, Tile, Words};
use crate::engine::toolkit::cpu::isa::Isa;
use crate::engine::toolkit::cpu::microkernel::{DEPTH_BLOCK, PANEL, Packing, ROW_STRIDE, TILE_ROWS};
pub use crate::engine::toolkit::cuda::cards::Card;
use std::time::{Duration, Instant};

/// The card of a backend, as its driver describes it; none for others.
pub fn of_backend(backend: &Backend) -> Result<Option<Card>> {
    let Device::Cuda(index) = backend.device else { return Ok(None) };
    let gpu = card::usable(index)?;
    let clock = f64::from(gpu.clock_khz) * 1e3;
    Ok(Some(Card::of(&gpu.name, gpu.multiprocessors, gpu.chip(), clock, gpu.memory_bytes_per_second)))
}

/// What times are held against.
#[derive(Clone, Debug)]
pub enum Limits {
    Card(Card),
    Cpu(Cpu),
}

impl Limits {
    /// The least seconds of a record, of so many multiply-adds, with its products in `number`, and so many bytes that are moved once.
    pub fn least_seconds(&self, record: &Record, number: Number, multiply_adds: u64, bytes: u64) -> Option<f64> {
        match self {
            Limits::Card(card) => {
                let bytes_multiplied = matches!(record.op, Op::Conv2dInt8(_) | Op::Conv2dPixels(_));
                let number = if bytes_multiplied { Number::Int8 } else { number.real() };
                Some(card.least_seconds(number, multiply_adds, bytes))
            }
            Limits::Cpu(cpu) => cpu.least_seconds(record, multiply_adds),
        }
    }
}

/// Products per second of all threads together, with operands that are in the nearest cache.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    /// With sums in registers, as matrix products of f32 take them.
    pub f32: f64,
    /// Of bytes, with exact sums.
    pub int8: f64,
}

/// How long each of them is measured.
const MEASURED: Duration = Duration::from_millis(150);

impl Cpu {
    /// Measures this machine.
    pub fn measure() -> Cpu {
        let (isa, dot) = (Isa::detect(), Dot::detect());
        let products = (TILE_ROWS * PANEL * DEPTH_BLOCK) as f64;
        let f32 = rate(products, || {
            let (a, b) = (vec![1f32; TILE_ROWS * ROW_STRIDE], vec![1f32; DEPTH_BLOCK * PANEL]);
            let mut out = vec![0f32; TILE_ROWS * PANEL];
            move || multiply_panel(isa, Packing::Rows, DEPTH_BLOCK, &a, &b, &[], false, &mut out)
        });
        let words = Words::Bytes;
        let int8 = rate(products * words.numbers() as f64, || {
            let (a, b) = (vec![1i32; TILE_ROWS * ROW_STRIDE], vec![1i32; DEPTH_BLOCK * PANEL]);
            let mut out = [[0; PANEL]; TILE_ROWS];
            move || {
                let (rows, depth, block) = (TILE_ROWS, DEPTH_BLOCK, 0);
                Tile::<ROW_STRIDE> { words, rows, depth, a: &a, run: DEPTH_BLOCK, block, b: &b, ahead: &[] }
                    .sum(dot, &mut out);
            }
        });
        Cpu { f32, int8 }
    }

    /// Of convolutions alone: what else there is waits for memory. Winograd's form takes fewer products than are counted, and may be below it.
    fn least_seconds(&self, record: &Record, multiply_adds: u64) -> Option<f64> {
        let products = match &record.op {
            Op::Conv2dInt8(_) => self.int8,
            // Of two products in a word instead of four.
            Op::Conv2dPixels(_) => self.int8 / 2.0,
            _ => self.f32,
        };
        (multiply_adds > 0).then_some(multiply_adds as f64 / products)
    }
}

/// Products per second of all threads, each doing `products` of them in one call of what `job` makes for it: the best of some tries.
fn rate<J: FnMut()>(products: f64, job: impl Fn() -> J + Sync) -> f64 {
    const TRIES: usize = 5;
    let each = rayon::broadcast(|_| {
        let mut job = job();
        let mut best = 0f64;
        for _ in 0..TRIES {
            let (begun, mut calls) = (Instant::now(), 0u32);
            while begun.elapsed() < MEASURED / TRIES as u32 {
                (0..16).for_each(|_| job());
                calls += 16;
            }
            best = best.max(f64::from(calls) * products / begun.elapsed().as_secs_f64());
        }
        best
    });
    each.iter().sum()
}
