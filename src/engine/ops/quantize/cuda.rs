//! No launch so far.

use super::Quantize;
use crate::engine::toolkit::cuda::{CudaOperation, Launches};
use crate::{Result, invalid};

impl CudaOperation for Quantize {
    fn launch(&self, _: &mut Launches) -> Result<()> {
        invalid!("8-bit programs run on the CPU only: choose --device cpu")
    }
}
