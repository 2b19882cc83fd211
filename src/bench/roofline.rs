//! The least time a card can take: its arithmetic and its memory at their limits.

use crate::Result;
use crate::engine::device::cuda::card;
use crate::engine::device::{Backend, Device};
pub use crate::engine::toolkit::cuda::cards::Card;

/// The card of a backend, as its driver describes it; none for others.
pub fn of_backend(backend: &Backend) -> Result<Option<Card>> {
    let Device::Cuda(index) = backend.device else { return Ok(None) };
    let gpu = card::usable(index)?;
    let clock = f64::from(gpu.clock_khz) * 1e3;
    Ok(Some(Card::of(&gpu.name, gpu.multiprocessors, gpu.chip(), clock, gpu.memory_bytes_per_second)))
}
