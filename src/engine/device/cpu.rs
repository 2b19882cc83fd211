//! Runs a plan on the CPU: one arena, cut into the slices that each op's kernel works on.

use crate::engine::device::{Cost, Profile, Session, fill};
use crate::engine::ops::{Args, MAX_OPERANDS, Op, Operation, dispatch};
use crate::engine::plan::{Decision, Plan, Planner, Step, bytes_of};
use crate::engine::real::Real;
use crate::engine::tape::{Storage, Tape, Var};
use crate::engine::tensor::{DType, Line};
use crate::{Error, Result, invalid};
use memmap2::MmapMut;
use std::marker::PhantomData;
use std::ops::Range;
use std::time::Instant;

/// A program on the CPU, computing in `T`.
pub struct CpuSession<T> {
    tape: Tape,
    plan: Plan,
    memory: Memory,
    /// What scratch memory was planned for.
    threads: usize,
    number: PhantomData<T>,
}

struct CpuPlanner<T> {
    threads: usize,
    number: PhantomData<T>,
}

impl<T: Real> Planner for CpuPlanner<T> {
    fn decide(&self, op: &Op, _: Option<(&Op, &Decision)>) -> Decision {
        let scratch = dispatch!(op, o => o.scratch::<T>(self.threads)) * size_of::<T>();
        let packed = dispatch!(op, o => o.packed_len::<T>()) * size_of::<T>();
        Decision { scratch, packed, ..Decision::default() }
    }
}

/// Plans `tape` for the CPU without allocating its memory.
pub fn plan(tape: &Tape) -> Result<Plan> {
    let threads = rayon::current_num_threads();
    match tape.dtype() {
        DType::F64 => Plan::new(tape, &CpuPlanner::<f64> { threads, number: PhantomData }),
        _ => Plan::new(tape, &CpuPlanner::<f32> { threads, number: PhantomData }),
    }
}

/// Plans `tape` and allocates its memory. The program computes in f32 or f64, as the tape says.
pub fn session(tape: Tape) -> Result<Box<dyn Session>> {
    Ok(match tape.dtype() {
        DType::F32 => Box::new(CpuSession::<f32>::new(tape)?),
        DType::F64 => Box::new(CpuSession::<f64>::new(tape)?),
        other => invalid!("the CPU computes in f32 or f64, not in {other}"),
    })
}

impl<T: Real> CpuSession<T> {
    pub fn new(tape: Tape) -> Result<Self> {
        let plan = plan(&tape)?;
        let memory = Memory::new(plan.total)?;
        let threads = rayon::current_num_threads();
        Ok(CpuSession { tape, plan, memory, threads, number: PhantomData })
    }

    fn bytes(&self, range: &Range<usize>) -> &[u8] {
        &self.memory.0[range.clone()]
    }

    fn bytes_mut(&mut self, range: &Range<usize>) -> &mut [u8] {
        &mut self.memory.0[range.clone()]
    }

    /// Rearranges a frozen parameter for every op that takes it packed.
    fn pack(&mut self, param: Var, bytes: &[u8]) -> Result<()> {
        let whole = match self.tape.info(param).dtype {
            DType::I8 => true,
            DType::I16 => bytemuck::try_cast_slice::<u8, i16>(bytes).is_ok(),
            _ => bytemuck::try_cast_slice::<u8, T>(bytes).is_ok(),
        };
        if !whole || bytes.len() != bytes_of(&self.tape, param) {
            invalid!("weights must be whole, aligned values of their own type, as many as there are");
        }
        for (record, step) in self.tape.records.iter().zip(&self.plan.steps) {
            let Some(packed) = &step.packed else { continue };
            if self.tape.root(record.inputs[1]) == param {
                let packed: &mut [T] = bytemuck::cast_slice_mut(&mut self.memory.0[packed.clone()]);
                dispatch!(&record.op, o => o.pack(bytes, packed));
            }
        }
        Ok(())
    }

    /// Runs every record; `done` is told of each when it is.
    fn replay(&mut self, mut done: impl FnMut(usize)) {
        for (i, (record, step)) in self.tape.records.iter().zip(&self.plan.steps).enumerate() {
            let args = args::<T>(&mut self.memory.0, step);
            dispatch!(&record.op, o => o.run(args));
            done(i);
        }
    }

    fn run_and(&mut self, done: impl FnMut(usize) + Send) -> Result<()> {
        let threads = rayon::current_num_threads();
        if threads > self.threads {
            invalid!("this program was planned for {} thread(s) and cannot run on {threads}", self.threads);
        }
        // From a thread outside of the pool every parallel op would wait for a worker to wake up: move there once.
        if rayon::current_thread_index().is_none() {
            rayon::scope(|_| self.replay(done));
        } else {
            self.replay(done);
        }
        Ok(())
    }
}

/// The arena: page-aligned, zeroed, touched only where it is used.
struct Memory(MmapMut);

impl Memory {
    fn new(bytes: usize) -> Result<Self> {
        let map = MmapMut::map_anon(bytes.max(1)).map_err(|e| {
            Error::Device(format!("out of memory: this program needs {:.1} MB in one piece: {e}", bytes as f64 / 1e6))
        })?;
        // Fewer page faults at start-up. Merely advice: a kernel without huge pages runs as well.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Memory(map))
    }
}

impl<T: Real> Session for CpuSession<T> {
    fn tape(&self) -> &Tape {
        &self.tape
    }

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn write_bytes(&mut self, v: Var, bytes: &[u8]) -> Result<()> {
        let range = self.plan.range(v)?;
        let root = self.tape.root(v);
        if matches!(self.tape.info(root).storage, Storage::Param { .. }) {
            self.pack(root, bytes)?;
            if range.is_empty() {
                return Ok(());
            }
        }
        if range.len() != bytes.len() {
            invalid!("variable %{} takes {} bytes, found {}", v.0, range.len(), bytes.len());
        }
        self.bytes_mut(&range).copy_from_slice(bytes);
        Ok(())
    }

    fn read_bytes(&self, v: Var, bytes: &mut [u8]) -> Result<()> {
        let range = self.plan.range(v)?;
        if range.len() != bytes.len() {
            invalid!("frozen weights are kept packed for the kernels that use them and cannot be read back");
        }
        bytes.copy_from_slice(self.bytes(&range));
        Ok(())
    }

    fn keep(&mut self, _: &[u8]) -> Result<bool> {
        Ok(false)
    }

    fn write_kept(&mut self, v: Var, _: &[Range<usize>]) -> Result<()> {
        invalid!("variable %{}: the CPU's memory is the host's, nothing is kept apart from it", v.0)
    }

    fn run(&mut self) -> Result<()> {
        self.run_and(|_| {})
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    fn lanes(&self) -> usize {
        1
    }

    fn submit(&mut self, inputs: &[(Var, &[&[u8]])]) -> Result<()> {
        for (v, parts) in inputs {
            let range = self.plan.range(*v)?;
            fill(*v, self.bytes_mut(&range), parts)?;
        }
        self.run()
    }

    fn collect(&mut self, outputs: &[Var]) -> Result<Vec<&[u8]>> {
        outputs.iter().map(|v| Ok(self.bytes(&self.plan.range(*v)?))).collect()
    }

    fn profile(&mut self, repetitions: usize) -> Result<Vec<Profile>> {
        self.run()?;
        let mut times = vec![Vec::with_capacity(repetitions); self.tape.records.len()];
        for _ in 0..repetitions {
            let mut last = Instant::now();
            self.run_and(|record| {
                let now = Instant::now();
                times[record].push((now - last).as_secs_f64());
                last = now;
            })?;
        }
        let profile = |(record, seconds)| Profile { record, launch: None, cost: Cost::Seconds(seconds) };
        Ok(times.into_iter().enumerate().map(profile).collect())
    }
}

/// The buffers of one step as typed slices.
fn args<'a, T: Real>(memory: &'a mut [u8], step: &Step) -> Args<'a, T> {
    const SCRATCH: usize = 2 * MAX_OPERANDS;
    const PACKED: usize = SCRATCH + 1;
    let packed = step.packed.clone().unwrap_or(0..0);
    let ranges: [(Range<usize>, bool); PACKED + 1] = std::array::from_fn(|i| match i {
        SCRATCH => (step.scratch.clone(), true),
        PACKED => (packed.clone(), false),
        i if i < MAX_OPERANDS => (step.inputs.get(i).cloned().unwrap_or(0..0), false),
        i => (step.outputs.get(i - MAX_OPERANDS).cloned().unwrap_or(0..0), true),
    });
    let mut borrowed = Borrowed::new(memory, ranges);
    Args {
        inputs: std::array::from_fn(|i| borrowed.shared(i)),
        outputs: std::array::from_fn(|i| borrowed.exclusive(MAX_OPERANDS + i)),
        scratch: borrowed.exclusive(SCRATCH),
        packed: step.packed.is_some().then(|| borrowed.shared(PACKED)),
    }
}

/// `N` ranges of one memory, borrowed at the same time. Shared ranges may be equal; others must not overlap.
struct Borrowed<'a, const N: usize> {
    slices: [Slice<'a>; N],
    lens: [usize; N],
}

#[derive(Default)]
enum Slice<'a> {
    #[default]
    Empty,
    Shared(&'a [u8]),
    Exclusive(&'a mut [u8]),
}

impl<'a, const N: usize> Borrowed<'a, N> {
    /// Byte ranges and whether each is written to.
    fn new(memory: &'a mut [u8], ranges: [(Range<usize>, bool); N]) -> Self {
        let mut order: [usize; N] = std::array::from_fn(|i| i);
        order.sort_unstable_by_key(|&i| ranges[i].0.start);
        let mut slices: [Slice<'a>; N] = std::array::from_fn(|_| Slice::Empty);
        let mut rest = memory;
        let mut position = 0;
        let mut last: Option<usize> = None;
        for i in order {
            let (range, exclusive) = &ranges[i];
            if range.is_empty() {
                continue;
            }
            if let Some(j) = last.filter(|&j| ranges[j].0 == *range) {
                let Slice::Shared(same) = &slices[j] else { panic!("plan: a written buffer is also read") };
                assert!(!exclusive, "plan: a read buffer is also written");
                slices[i] = Slice::Shared(same);
                continue;
            }
            assert!(range.start >= position, "plan: buffers of one step overlap");
            let len = range.len().next_multiple_of(size_of::<Line>());
            let (slice, behind) = rest.split_at_mut(range.start - position).1.split_at_mut(len);
            rest = behind;
            position = range.start + len;
            slices[i] = if *exclusive { Slice::Exclusive(slice) } else { Slice::Shared(slice) };
            last = Some(i);
        }
        Borrowed { slices, lens: std::array::from_fn(|i| ranges[i].0.len()) }
    }

    /// Bytes of slice `i` as whole elements. Pictures, made of single bytes, may end inside an element of `T`; the
    /// padding behind them belongs to the same buffer.
    fn whole<T: Real>(&self, i: usize) -> usize {
        self.lens[i].next_multiple_of(size_of::<T>())
    }

    fn shared<T: Real>(&mut self, i: usize) -> &'a [T] {
        match std::mem::take(&mut self.slices[i]) {
            Slice::Shared(s) => bytemuck::cast_slice(&s[..self.whole::<T>(i)]),
            _ => &[],
        }
    }

    fn exclusive<T: Real>(&mut self, i: usize) -> &'a mut [T] {
        match std::mem::take(&mut self.slices[i]) {
            Slice::Exclusive(s) => bytemuck::cast_slice_mut(&mut s[..self.whole::<T>(i)]),
            _ => &mut [],
        }
    }
}
