//! Launch of the gathering of rows (kernels/gather.cu).

use super::Gather;
use crate::Result;
use crate::engine::ops::kernels;
use crate::engine::toolkit::cuda::{CudaOperation, Launches, size32};

const THREADS: u32 = 256;

impl CudaOperation for Gather {
    fn launch(&self, l: &mut Launches) -> Result<()> {
        let (table, at, y) = (l.input(0), l.input(1), l.output(0));
        let [rows, c] = [size32("rows", self.rows)?, size32("channels", self.c)?];
        let packs = y.elements() / y.number().pack(c);
        let call = kernels::gather_fwd(y.number(), y, table, at, y.elements() / c, rows, c)?;
        l.launch(call, [packs.div_ceil(THREADS), 1, 1], [THREADS, 1, 1], 0)
    }
}
