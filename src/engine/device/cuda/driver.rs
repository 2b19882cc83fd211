//! What a device must be able to do. Everything above it is the same for a GPU and for the emulator.

use super::{Launch, Module};
use crate::Result;
use std::ops::Range;

/// A device with its memory, modules and one stream of work. Addresses are the device's own, never 0.
pub trait Driver: Send {
    /// Name for people, as `cuda:0 (NVIDIA H200)`.
    fn name(&self) -> String;

    fn multiprocessors(&self) -> u32;

    /// Bytes free, and bytes in all.
    fn memory(&self) -> Result<(usize, usize)>;

    /// Device memory, freed with the driver.
    fn alloc(&mut self, bytes: usize) -> Result<u64>;

    /// Copies to the device, ordered behind the work submitted so far. `bytes` may be reused at once.
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()>;

    /// Fills with zeros.
    fn zero(&mut self, range: Range<u64>) -> Result<()>;

    /// Copies from the device, after all work submitted so far.
    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<()>;

    /// Makes the kernels of a module ready for launches.
    fn load(&mut self, module: &'static Module) -> Result<()>;

    /// Says that nothing in `range` will be read before it is written. Checked by the emulator; nothing on a GPU.
    fn forget(&mut self, range: Range<u64>) -> Result<()>;

    /// Submits a kernel.
    fn launch(&mut self, launch: &Launch) -> Result<()>;

    /// Waits for all work; an error is that of anything submitted since the last wait.
    fn synchronize(&self) -> Result<()>;

    /// From here on, `forget` and `launch` are noted and not done.
    fn begin_capture(&mut self) -> Result<()>;

    /// Ends the noting; what was noted can be replayed.
    fn end_capture(&mut self) -> Result<()>;

    /// Submits all that was noted.
    fn replay(&mut self) -> Result<()>;
}
