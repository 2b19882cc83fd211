//! A program on a CUDA device or its emulator: one arena, one list of launches, replayed as one graph.

use super::norm_input;
use super::{CudaOperation, Driver, Launch, Launches, Number, Target};
use crate::engine::device::{Arena, Session};
use crate::engine::ops::{Op, dispatch};
use crate::engine::plan::{NetArenas, Plan, Sizing};
use crate::engine::tape::{NetId, Storage, Tape, Var};
use crate::engine::tensor::DType;
use crate::{Error, Result, invalid};
use half::{bf16, f16};
use std::ops::Range;

impl Sizing for Target {
    fn scratch(&self, op: &Op) -> usize {
        dispatch!(op, o => o.workspace(self))
    }

    fn packed_weights(&self, _: &Op) -> usize {
        0
    }

    fn handed_on(&self, op: &Op, next: &Op) -> usize {
        norm_input::of(op, next, self).map_or(0, |x| x.bytes())
    }
}

/// Plans `tape` without allocating its memory.
pub fn plan(tape: &Tape, target: Target) -> Result<Plan> {
    Plan::new(tape, &target)
}

/// A program with its memory and its launches.
pub struct CudaSession {
    tape: Tape,
    plan: Plan,
    driver: Box<dyn Driver>,
    /// Address of the arena.
    base: u64,
    steps: Vec<Work>,
    /// Wait after every launch.
    synchronous: bool,
    captured: bool,
}

/// What one record does.
struct Work {
    /// Memory that holds nothing before: outputs and scratch.
    fresh: Vec<Range<u64>>,
    launches: Vec<Launch>,
}

impl CudaSession {
    /// Plans `tape`, which must keep its tensors as `number` says, and makes it ready to run.
    ///
    /// With `CKAAD_SYNC_LAUNCHES=1` in the environment every launch is waited for, so that an error names its op.
    pub fn new(tape: Tape, mut driver: Box<dyn Driver>, number: Number) -> Result<Self> {
        if tape.dtype() != number.storage() {
            invalid!(
                "{} computes this program's {} as {number}; record it in {}",
                driver.name(),
                tape.dtype(),
                number.storage()
            );
        }
        let target = Target { number, multiprocessors: driver.multiprocessors() };
        let plan = plan(&tape, target)?;
        let (free, total) = driver.memory()?;
        if plan.total > free {
            let mb = |b: usize| b as f64 / 1e6;
            return Err(Error::Invalid(format!(
                "out of memory: this program needs {:.1} MB in one piece, {} has {:.1} MB free of {:.1} MB; use a smaller \
                 batch or image size",
                mb(plan.total),
                driver.name(),
                mb(free),
                mb(total)
            )));
        }
        let base = driver.alloc(plan.total)?;
        let mut steps = Vec::with_capacity(plan.steps.len());
        for (i, (record, step)) in tape.records.iter().zip(&plan.steps).enumerate() {
            let neighbours = |at: usize| norm_input::of(&tape.records[at].op, &tape.records[at + 1].op, &target);
            let handed_on = if step.handed_on.is_empty() { None } else { neighbours(i) };
            let handed_over = if step.handed_over.is_empty() { None } else { neighbours(i - 1) };
            let recorded = Vec::new();
            let mut l = Launches { target, tape: &tape, record, step, handed_on, handed_over, base, recorded };
            dispatch!(&record.op, o => CudaOperation::launch(o, &mut l)).map_err(|e| e.within(describe(record)))?;
            let launches = l.recorded;
            for launch in &launches {
                driver.load(launch.call.module())?;
            }
            // The optimizer's outputs are arenas that it updates, but for the last, the rounded parameters; an op in place
            // reads its first output.
            let in_place = step.inputs.iter().any(Range::is_empty);
            let kept = match &record.op {
                Op::Adam(_) => 4,
                Op::ClipGradNorm(_) => 2,
                _ => in_place as usize,
            };
            let outputs =
                step.outputs.iter().skip(kept).chain([&step.scratch, &step.handed_on]).filter(|r| !r.is_empty());
            let fresh = outputs.map(|r| base + r.start as u64..base + r.end as u64).collect();
            steps.push(Work { fresh, launches });
        }
        // Parameters, gradients and moments: the gaps between their entries are read too, and moments start at 0.
        for net in &plan.nets {
            for range in [&net.params, &net.working, &net.grads, &net.moment1, &net.moment2, &net.steps] {
                if !range.is_empty() {
                    driver.zero(base + range.start as u64..base + range.end as u64)?;
                }
            }
        }
        let synchronous = std::env::var_os("CKAAD_SYNC_LAUNCHES").is_some_and(|v| v == "1");
        Ok(CudaSession { tape, plan, driver, base, steps, synchronous, captured: false })
    }

    /// What a run submits, record by record.
    pub fn launches(&self) -> impl Iterator<Item = &Launch> {
        self.steps.iter().flat_map(|s| &s.launches)
    }

    fn at(&self, range: &Range<usize>) -> u64 {
        self.base + range.start as u64
    }

    fn arena(&self, net: NetId, arena: Arena, len: usize) -> Result<u64> {
        let NetArenas { params, working, grads, moment1, moment2, steps } = self.plan.arenas(net);
        let range = match arena {
            Arena::Params => params,
            Arena::Working => working,
            Arena::Grads => grads,
            Arena::Moment1 => moment1,
            Arena::Moment2 => moment2,
            Arena::Steps => steps,
        };
        if range.len() != len {
            invalid!("{arena:?} of this network take {} bytes in this program, found {len}", range.len());
        }
        Ok(self.at(range))
    }

    /// Submits every launch, one by one.
    fn submit(&mut self) -> Result<()> {
        for (record, work) in self.tape.records.iter().zip(&self.steps) {
            for range in &work.fresh {
                self.driver.forget(range.clone())?;
            }
            for launch in &work.launches {
                let submitted = self.driver.launch(launch);
                let done =
                    if self.synchronous { submitted.and_then(|()| self.driver.synchronize()) } else { submitted };
                done.map_err(|e| e.within(describe(record)))?;
            }
        }
        Ok(())
    }
}

/// A record, for messages: its op and its layer.
fn describe(record: &crate::engine::tape::Record) -> String {
    if record.label.is_empty() { record.op.name().into() } else { format!("{} in {}", record.op.name(), record.label) }
}

/// The bytes of f32 values, to nearest even in 16 bits.
fn rounded(bytes: &[u8], dtype: DType) -> Vec<u8> {
    let values = bytes.as_chunks().0.iter().map(|b| f32::from_ne_bytes(*b));
    match dtype {
        DType::F16 => values.flat_map(|x| f16::from_f32(x).to_ne_bytes()).collect(),
        _ => values.flat_map(|x| bf16::from_f32(x).to_ne_bytes()).collect(),
    }
}

impl Session for CudaSession {
    fn tape(&self) -> &Tape {
        &self.tape
    }

    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn write_bytes(&mut self, v: Var, bytes: &[u8]) -> Result<()> {
        let range = self.plan.range(v)?;
        // Frozen parameters that no record reads have no memory.
        let unused = range.is_empty() && matches!(self.tape.info(self.tape.root(v)).storage, Storage::Param { .. });
        if unused {
            return Ok(());
        }
        let master = self.plan.master(v);
        let taken = master.as_ref().unwrap_or(&range);
        if taken.len() != bytes.len() {
            invalid!("variable %{} takes {} bytes, found {}", v.0, taken.len(), bytes.len());
        }
        if master.is_some() {
            self.driver.write(self.at(&range), &rounded(bytes, self.tape.info(v).dtype))?;
        }
        self.driver.write(self.at(taken), bytes)
    }

    fn read_bytes(&self, v: Var, bytes: &mut [u8]) -> Result<()> {
        let range = self.plan.master(v).map_or_else(|| self.plan.range(v), Ok)?;
        if range.len() != bytes.len() {
            invalid!("variable %{} takes {} bytes, found {}", v.0, range.len(), bytes.len());
        }
        self.driver.read(self.at(&range), bytes)
    }

    fn write_arena_bytes(&mut self, net: NetId, arena: Arena, bytes: &[u8]) -> Result<()> {
        let at = self.arena(net, arena, bytes.len())?;
        self.driver.write(at, bytes)
    }

    fn read_arena_bytes(&self, net: NetId, arena: Arena, bytes: &mut [u8]) -> Result<()> {
        self.driver.read(self.arena(net, arena, bytes.len())?, bytes)
    }

    fn run(&mut self) -> Result<()> {
        if self.synchronous {
            return self.submit();
        }
        if !self.captured {
            self.driver.begin_capture()?;
            let submitted = self.submit();
            let ended = self.driver.end_capture();
            // A launch that failed may have spoilt the capture: its own error says more.
            submitted?;
            ended?;
            self.captured = true;
        }
        self.driver.replay()
    }
}
