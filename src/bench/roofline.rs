//! The least time a card can take: its arithmetic and its memory at their limits.

use crate::Result;
use crate::engine::device::cuda::card::{self, Gpu};
use crate::engine::device::{Backend, Device};
use crate::engine::toolkit::cuda::Number;

/// Limits of a card, from its data sheet or from what its driver says. Tensor cores count dense products, sums in f32.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    pub name: String,
    pub multiprocessors: u32,
    /// Compute capability.
    pub capability: (i32, i32),
    /// Multiplications and additions per second in f32, tf32 and 16-bit numbers.
    pub flops: [f64; 3],
    /// Bytes per second of its memory.
    pub bandwidth: f64,
}

/// Name, multiprocessors, compute capability, clock in GHz under load, operations of a multiprocessor in a clock, memory in GB/s.
type Sheet = (&'static str, u32, (i32, i32), f64, [u32; 3], f64);
const SHEETS: [Sheet; 7] = [
    ("a100", 108, (8, 0), 1.41, [128, 1024, 2048], 2039.0),
    ("h100", 132, (9, 0), 1.83, [256, 2048, 4096], 3350.0),
    ("h200", 132, (9, 0), 1.83, [256, 2048, 4096], 4800.0),
    ("l4", 58, (8, 9), 2.04, [256, 512, 1024], 300.0),
    ("l40s", 142, (8, 9), 2.52, [256, 512, 1024], 864.0),
    ("rtx3090", 82, (8, 6), 1.70, [256, 256, 512], 936.0),
    ("rtx4090", 128, (8, 9), 2.52, [256, 256, 512], 1008.0),
];

impl Card {
    /// Names that [`Card::named`] knows.
    pub fn names() -> Vec<&'static str> {
        SHEETS.iter().map(|s| s.0).collect()
    }

    /// By its data sheet.
    pub fn named(name: &str) -> Option<Card> {
        let (name, multiprocessors, capability, ghz, each, bandwidth) = SHEETS.iter().find(|s| s.0 == name)?;
        let flops = each.map(|n| f64::from(n) * f64::from(*multiprocessors) * ghz * 1e9);
        Some(Card {
            name: (*name).into(),
            multiprocessors: *multiprocessors,
            capability: *capability,
            flops,
            bandwidth: bandwidth * 1e9,
        })
    }

    /// Of a backend's GPU; none for others.
    pub fn of_backend(backend: &Backend) -> Result<Option<Card>> {
        match backend.device {
            Device::Cuda(index) => card::usable(index).map(|gpu| Some(Card::of(&gpu))),
            Device::Cpu | Device::Sim => Ok(None),
        }
    }

    /// By what the driver says; operations per clock by compute capability.
    pub fn of(gpu: &Gpu) -> Card {
        let each = match gpu.compute_capability {
            (8, 0) => [128, 1024, 2048],
            (8, 9) => [256, 512, 1024],
            (8, _) => [256, 256, 512],
            _ => [256, 2048, 4096],
        };
        let clocks = f64::from(gpu.multiprocessors) * f64::from(gpu.clock_khz) * 1e3;
        Card {
            name: gpu.name.clone(),
            multiprocessors: gpu.multiprocessors,
            capability: gpu.compute_capability,
            flops: each.map(|n| f64::from(n) * clocks),
            bandwidth: gpu.memory_bytes_per_second,
        }
    }

    /// Least seconds for so many multiply-adds on numbers of this kind and bytes moved once.
    pub fn least_seconds(&self, number: Number, multiply_adds: u64, bytes: u64) -> f64 {
        let [f32, tf32, half] = self.flops;
        let flops = match number {
            Number::F32 => f32,
            Number::Tf32 => tf32,
            Number::Bf16 | Number::F16 => half,
        };
        (2.0 * multiply_adds as f64 / flops).max(bytes as f64 / self.bandwidth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_h200_by_its_data_sheet() {
        let card = Card::named("h200").unwrap();
        // 67, 494 and 989 TFLOP/s dense in NVIDIA's data sheet.
        for (ours, sheet) in card.flops.iter().zip([67e12, 494e12, 989e12]) {
            assert!((ours / sheet - 1.0).abs() < 0.1, "{ours} {sheet}");
        }
        // 989 GFLOP of products take a millisecond, 4.8 GB of memory take one, too: the longer counts.
        let ms = |macs, bytes| card.least_seconds(Number::Bf16, macs, bytes) * 1e3;
        assert!((ms(495_000_000_000, 0) - 1.0).abs() < 0.01 && (ms(0, 4_800_000_000) - 1.0).abs() < 0.01);
        assert!((ms(495_000_000_000, 9_600_000_000) - 2.0).abs() < 0.01);
    }
}
