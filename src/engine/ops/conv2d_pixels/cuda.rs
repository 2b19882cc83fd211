//! No launch so far.

use super::Conv2dPixels;
use crate::engine::toolkit::cuda::{CudaOperation, Launches};
use crate::{Result, invalid};

impl CudaOperation for Conv2dPixels {
    fn launch(&self, _: &mut Launches) -> Result<()> {
        invalid!("8-bit programs run on the CPU only: choose --device cpu")
    }
}
