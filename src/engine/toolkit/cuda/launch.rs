//! Launches as data: which kernel, over which grid, with which arguments.

use super::tiling::Tiling;
use super::{Cut, Entry, Number, SideOutput, Spread};
use crate::engine::tensor::DType;
use crate::{Result, invalid};
use std::ops::Range;

/// A buffer that a kernel reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct In(Buffer);

/// A buffer that a kernel writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Out {
    buffer: Buffer,
    /// The kernel also reads what was there before.
    update: bool,
}

/// A place on the device, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    pub at: u64,
    pub bytes: u64,
    pub dtype: DType,
}

impl Buffer {
    const NONE: Buffer = Buffer { at: 0, bytes: 0, dtype: DType::U8 };

    fn range(self) -> Range<u64> {
        self.at..self.at + self.bytes
    }

    fn slice(self, bytes: Range<usize>) -> Self {
        let (start, end) = (bytes.start as u64, bytes.end as u64);
        assert!(start <= end && end <= self.bytes, "a slice behind the end of its buffer");
        Buffer { at: self.at + start, bytes: end - start, ..self }
    }
}

impl In {
    /// A null pointer, for arguments that a kernel can do without.
    pub const NONE: In = In(Buffer::NONE);

    /// These bytes of it.
    pub fn slice(self, bytes: Range<usize>) -> Self {
        In(self.0.slice(bytes))
    }
}

impl Out {
    pub const NONE: Out = Out { buffer: Buffer::NONE, update: false };

    /// The same memory as an input of a later launch.
    pub fn read(self) -> In {
        In(self.buffer)
    }

    /// The same memory for a kernel that also reads it.
    pub fn update(self) -> Self {
        Out { update: true, ..self }
    }

    pub fn elements(self) -> u32 {
        // Shapes of 2^31 elements and more are refused when recorded.
        (self.buffer.bytes / self.buffer.dtype.size() as u64) as u32
    }

    /// Which of a family of kernels writes elements of this type: results that are kept exact are f32 in all programs.
    pub fn number(self) -> Number {
        match self.buffer.dtype {
            DType::Bf16 => Number::Bf16,
            DType::F16 => Number::F16,
            _ => Number::F32,
        }
    }

    /// These bytes of it.
    pub fn slice(self, bytes: Range<usize>) -> Self {
        Out { buffer: self.buffer.slice(bytes), ..self }
    }

    /// The same memory as elements of another type.
    pub fn cast(self, dtype: DType) -> Self {
        Out { buffer: Buffer { dtype, ..self.buffer }, ..self }
    }
}

/// How a launch uses a range of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Read,
    Write,
    Update,
}

/// A kernel with its arguments.
#[derive(Clone, Debug)]
pub struct Call {
    pub entry: &'static Entry,
    /// The parameter block.
    pub parameters: Vec<u8>,
    /// All memory the kernel may touch.
    pub buffers: Vec<(Range<u64>, Use)>,
    next: usize,
}

impl Call {
    pub fn new(entry: &'static Entry) -> Self {
        Call { entry, parameters: vec![0; entry.bytes], buffers: Vec::new(), next: 0 }
    }

    pub fn value(&mut self, bytes: &[u8]) {
        let (offset, size) = self.entry.parameters[self.next];
        self.parameters[offset..offset + size].copy_from_slice(bytes);
        self.next += 1;
    }

    pub fn input(&mut self, name: &str, dtype: Option<DType>, from: In) -> Result<()> {
        self.pointer(name, dtype, from.0, Use::Read)
    }

    pub fn output(&mut self, name: &str, dtype: Option<DType>, to: Out) -> Result<()> {
        self.pointer(name, dtype, to.buffer, if to.update { Use::Update } else { Use::Write })
    }

    fn pointer(&mut self, name: &str, dtype: Option<DType>, buffer: Buffer, how: Use) -> Result<()> {
        if let Some(expected) = dtype.filter(|d| *d != buffer.dtype && buffer != Buffer::NONE) {
            invalid!("{}: argument {name} takes {expected}, found a buffer of {}", self.entry.name, buffer.dtype);
        }
        if buffer.bytes > 0 {
            self.buffers.push((buffer.range(), how));
        }
        self.value(&buffer.at.to_le_bytes());
        Ok(())
    }
}

/// A kernel, its arguments and its grid.
#[derive(Clone, Debug)]
pub struct Launch {
    pub call: Call,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: u32,
}

/// Largest grid along y and z; along x it is 2^31 - 1.
const MAX_GRID_YZ: u32 = 65_535;

impl Launch {
    /// Refuses what no device runs.
    pub fn check(&self) -> Result<()> {
        let (name, [x, y, z]) = (self.call.entry.name, self.grid);
        if self.grid.contains(&0) || x >= 1 << 31 || y > MAX_GRID_YZ || z > MAX_GRID_YZ {
            invalid!("{name}: a grid of {x} x {y} x {z} blocks; 1 to 2^31 - 1, {MAX_GRID_YZ} and {MAX_GRID_YZ} can be");
        }
        let threads: u32 = self.block.iter().product();
        if threads == 0 || threads > self.call.entry.max_threads {
            let [x, y, z] = self.block;
            invalid!(
                "{name}: blocks of {x} x {y} x {z} threads; it was compiled for 1 to {}",
                self.call.entry.max_threads
            );
        }
        Ok(())
    }
}

/// The memory that one record may use.
#[derive(Clone, Debug)]
pub struct Operands {
    /// An op that works in place finds its first output's memory here, too.
    pub inputs: Vec<Buffer>,
    pub outputs: Vec<Buffer>,
    pub scratch: Buffer,
    pub cut: Cut,
    /// What this record leaves for the next, and where.
    pub leaves: Option<(SideOutput, Buffer)>,
    /// What the record before leaves for this one, and where.
    pub takes: Option<(SideOutput, Buffer)>,
}

/// What an op launches from, and where its launches go.
pub struct Launches {
    number: Number,
    operands: Operands,
    recorded: Vec<Launch>,
}

impl Launches {
    /// For a program whose products are computed in `number`.
    pub fn new(number: Number, operands: Operands) -> Self {
        Launches { number, operands, recorded: Vec::new() }
    }

    /// What was launched.
    pub fn recorded(self) -> Vec<Launch> {
        self.recorded
    }

    /// The type tensors are kept in, as kernel families are chosen by it.
    pub fn number(&self) -> Number {
        match self.number {
            Number::Tf32 => Number::F32,
            other => other,
        }
    }

    /// As [`Launches::number`], or `Tf32` where products are.
    pub fn precision(&self) -> Number {
        self.number
    }

    /// How the product is cut.
    pub fn tiling(&self) -> Result<Tiling> {
        match self.operands.cut {
            Cut::Product(tiling) => Ok(tiling),
            other => invalid!("the plan cut a matrix product as {other:?}"),
        }
    }

    /// How the norm is spread.
    pub fn spread(&self) -> Result<Spread> {
        match self.operands.cut {
            Cut::Spread(spread) => Ok(spread),
            other => invalid!("the plan cut a norm as {other:?}"),
        }
    }

    /// In how many parts the reduction is.
    pub fn parts(&self) -> Result<usize> {
        match self.operands.cut {
            Cut::Parts(parts) => Ok(parts),
            other => invalid!("the plan cut a reduction as {other:?}"),
        }
    }

    /// The `i`-th input; for an op that works in place, the buffer of the first output.
    pub fn input(&self, i: usize) -> In {
        In(self.operands.inputs[i])
    }

    pub fn output(&self, i: usize) -> Out {
        Out { buffer: self.operands.outputs[i], update: false }
    }

    /// An output that the kernel also reads.
    pub fn update(&self, i: usize) -> Out {
        self.output(i).update()
    }

    /// Scratch memory, as f32.
    pub fn scratch(&self) -> Out {
        Out { buffer: self.operands.scratch, update: false }
    }

    /// What this record leaves for the next, and where.
    pub fn leaves(&self) -> Option<(SideOutput, Out)> {
        self.operands.leaves.map(|(what, buffer)| (what, Out { buffer, update: false }))
    }

    /// What the record before leaves for this one, and where.
    pub fn takes(&self) -> Option<(SideOutput, In)> {
        self.operands.takes.map(|(what, buffer)| (what, In(buffer)))
    }

    /// The first input, which the record before left to this one to write.
    pub fn left_to_write(&self) -> Out {
        Out { buffer: self.input(0).0, update: false }
    }

    /// Adds a launch.
    pub fn launch(&mut self, call: Call, grid: [u32; 3], block: [u32; 3], shared: u32) -> Result<()> {
        let launch = Launch { call, grid, block, shared };
        launch.check()?;
        self.recorded.push(launch);
        Ok(())
    }
}
