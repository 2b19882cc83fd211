//! What must fail clearly: a cut PTX file, launches that cannot be, programs that do not fit, a device that goes away.

use crate::common::driver;
use ckaad::Result;
use ckaad::engine::device::Cost;
use ckaad::engine::device::cuda::{Copies, CudaSession, Driver, Graph, SimDriver, card};
use ckaad::engine::device::{Backend, Device, Session};
use ckaad::engine::ops::cases;
use ckaad::engine::tape::Tape;
use ckaad::engine::tensor::{DType, Shape};
use ckaad::engine::toolkit::cuda::cards::Chip;
use ckaad::engine::toolkit::cuda::{Choices, Entry, Launch, MODULES, Number, size32};
use std::ops::Range;

/// Some program, with its input.
fn program() -> (Tape, ckaad::engine::tape::Var) {
    let case = cases().into_iter().find(|c| c.op == "max_pool").unwrap();
    let p = case.record(DType::F32).unwrap();
    (p.tape, p.inputs[0])
}

#[test]
fn ptx_that_is_cut_short() {
    let whole = MODULES.iter().flat_map(|m| m.entries).find(|e| e.name == "add_fwd_f32").unwrap();
    let (start, last) = whole.text;
    for end in [start + 30, start + 400, last - 60] {
        let cut: &'static Entry = Box::leak(Box::new(Entry { name: "cut", text: (start, end), ..(*whole).clone() }));
        let error = driver().load(&[cut]).unwrap_err().to_string();
        assert!(error.contains("pointwise"), "{error}");
    }
}

#[test]
fn grids_and_blocks_that_cannot_be() {
    let (tape, _) = program();
    let session = CudaSession::new(tape, driver(), Number::F32).unwrap();
    let (_, launch) = session.launches().next().unwrap();
    launch.check().unwrap();
    for (grid, block) in
        [([0, 1, 1], [32, 1, 1]), ([1, 1 << 16, 1], [32, 1, 1]), ([1, 1, 1], [0, 1, 1]), ([1, 1, 1], [2048, 1, 1])]
    {
        let wrong = Launch { grid, block, ..launch.clone() };
        let error = wrong.check().unwrap_err().to_string();
        assert!(error.contains(launch.call.entry.name), "{error}");
        assert!(error.contains("grid of") || error.contains("threads"), "{error}");
    }
}

#[test]
fn more_elements_than_an_index_can_count() {
    assert_eq!(size32("x", (1 << 31) - 1).unwrap(), (1 << 31) - 1);
    for n in [1 << 31, 1 << 32, usize::MAX] {
        assert!(size32("batch", n).unwrap_err().to_string().contains("batch"));
    }
    // A tensor of that size cannot even be recorded.
    let error = Tape::new(DType::F32).input(Shape([1 << 15, 256, 256, 1]), DType::F32).unwrap_err().to_string();
    assert!(error.contains("32768x256x256x1") && error.contains("2^31"), "{error}");
}

#[test]
fn a_program_that_does_not_fit() {
    let (tape, _) = program();
    let small = Box::new(SimDriver::new(64, 4, SimDriver::CHIP));
    let error = CudaSession::new(tape, small, Number::F32).err().unwrap().to_string();
    assert!(error.contains("out of memory") && error.contains("needs") && error.contains("smaller"), "{error}");
}

#[test]
fn devices_that_are_not_there() {
    let backend = Backend { device: Device::Cuda(4096), number: Number::F32, choices: Choices::Model };
    let error = backend.open(program().0).err().unwrap().to_string();
    match card::gpus() {
        Ok(_) => assert!(error.contains("cuda:4096") && error.contains("ckaad devices"), "{error}"),
        Err(none) => assert_eq!(error, format!("cuda:4096: {none}")),
    }
}

#[test]
fn numbers_that_do_not_fit_the_program() {
    let error = CudaSession::new(program().0, driver(), Number::Bf16).err().unwrap().to_string();
    assert!(error.contains("f32") && error.contains("bf16"), "{error}");
    let error = Backend { device: Device::Cpu, number: Number::Bf16, choices: Choices::Model }
        .open(program().0)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("CPU"), "{error}");
}

/// A device that is pulled out after some replays, and whose memory is in pieces after some allocations.
struct Fails {
    inner: SimDriver,
    replays: usize,
    allocations: usize,
}

impl Driver for Fails {
    fn name(&self) -> String {
        self.inner.name()
    }
    fn multiprocessors(&self) -> u32 {
        self.inner.multiprocessors()
    }
    fn chip(&self) -> Chip {
        self.inner.chip()
    }
    fn memory(&self) -> Result<(usize, usize)> {
        self.inner.memory()
    }
    fn alloc(&mut self, bytes: usize) -> Result<u64> {
        if self.allocations == 0 {
            return Err(ckaad::Error::Invalid("no piece is that large".into()));
        }
        self.allocations -= 1;
        self.inner.alloc(bytes)
    }
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.inner.write(at, bytes)
    }
    fn copy(&mut self, from: Range<u64>, to: u64) -> Result<()> {
        self.inner.copy(from, to)
    }
    fn zero(&mut self, range: Range<u64>) -> Result<()> {
        self.inner.zero(range)
    }
    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<()> {
        self.inner.read(at, bytes)
    }
    fn alloc_host(&mut self, bytes: usize) -> Result<()> {
        self.inner.alloc_host(bytes)
    }
    fn host(&self, range: Range<usize>) -> &[u8] {
        self.inner.host(range)
    }

    fn host_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        self.inner.host_mut(range)
    }
    fn load(&mut self, entries: &[&'static Entry]) -> Result<()> {
        self.inner.load(entries)
    }
    fn forget(&mut self, range: Range<u64>) -> Result<()> {
        self.inner.forget(range)
    }
    fn launch(&mut self, launch: &Launch) -> Result<()> {
        self.inner.launch(launch)
    }
    fn synchronize(&self) -> Result<()> {
        self.inner.synchronize()
    }
    fn begin_capture(&mut self, copies: Copies) -> Result<()> {
        self.inner.begin_capture(copies)
    }
    fn end_capture(&mut self) -> Result<Graph> {
        self.inner.end_capture()
    }
    fn replay(&mut self, graph: Graph) -> Result<()> {
        if self.replays == 0 {
            return Err(ckaad::Error::Invalid("the device fell off the bus".into()));
        }
        self.replays -= 1;
        self.inner.replay(graph)
    }
    fn wait(&self, graph: Graph) -> Result<()> {
        self.inner.wait(graph)
    }
    fn measure(&mut self, launch: &Launch, repetitions: usize) -> Result<Cost> {
        self.inner.measure(launch, repetitions)
    }
}

#[test]
fn a_device_that_goes_away() {
    let (tape, input) = program();
    let n = tape.shape(input).len();
    let device = Fails { inner: SimDriver::default(), replays: 1, allocations: 1 };
    let mut session = CudaSession::new(tape, Box::new(device), Number::F32).unwrap();
    let session: &mut dyn Session = &mut session;
    session.write(input, &vec![1f32; n]).unwrap();
    session.run().unwrap();
    session.write(input, &vec![1f32; n]).unwrap();
    assert!(session.run().unwrap_err().to_string().contains("fell off the bus"));
}

/// Free memory that is not in one piece is no reason to give up: nothing is kept.
#[test]
fn memory_in_pieces_keeps_nothing() {
    let device = Fails { inner: SimDriver::default(), replays: 1, allocations: 1 };
    let mut session = CudaSession::new(program().0, Box::new(device), Number::F32).unwrap();
    assert!(!session.keep(&[1; 1000]).unwrap());
}

/// A kernel that touches what it was not given is stopped, and the message says which op, kernel and line.
#[test]
fn a_fault_names_the_op() {
    let (tape, _) = program();
    let mut session = CudaSession::new(tape, Box::new(SimDriver::default()), Number::F32).unwrap();
    // The input was never written.
    let error = session.run().unwrap_err().to_string();
    assert!(error.contains("max_pool") && error.contains("line"), "{error}");
}
