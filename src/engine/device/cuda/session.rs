//! A program on a CUDA device or its emulator: one arena, one list of launches, replayed as one graph.

use super::{Copies, Copy, Driver, Graph, nvtx};
use crate::engine::device::{Profile, Session, fill};
use crate::engine::ops::{Op, Operation, dispatch};
use crate::engine::plan::{Decision, Plan, Planner, Step};
use crate::engine::tape::{Record, Storage, Tape, Var, Whole};
use crate::engine::tensor::{DType, Tensor};
use crate::engine::toolkit::cuda::{
    Buffer, Choices, CudaOperation, Entry, Launch, Launches, Number, Operands, Schedule, SideOutput, Target,
};
use crate::{Error, Result, invalid};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;

impl Planner for Target {
    fn decide(&self, op: &Op, next: Option<(&Op, &Decision)>) -> Decision {
        let Schedule { cut, scratch, offers } = dispatch!(op, o => CudaOperation::schedule(o, self));
        let leaves = offers.filter(|offer| {
            next.is_some_and(|(next, decision)| dispatch!(next, o => o.takes(offer, &decision.cut, self.number)))
        });
        Decision { cut, scratch, packed: 0, leaves, takes: None }
    }
}

/// Plans `tape` without allocating its memory.
pub fn plan(tape: &Tape, target: &Target) -> Result<Plan> {
    Plan::new(tape, target)
}

/// What a run of `tape` submits on such a device, with the index of the record that each launch belongs to.
pub fn launches(tape: &Tape, target: &Target) -> Result<Vec<(usize, Launch)>> {
    let steps = plan(tape, target)?.steps;
    // Addresses that no device has to have.
    let works = record(tape, &steps, target.number, 1 << 16)?.into_iter().enumerate();
    Ok(works.flat_map(|(i, work)| work.launches.into_iter().map(move |l| (i, l))).collect())
}

/// [`Session::keep`] leaves one part in so many of a device's memory free: graphs take some when they are first replayed, and
/// other programs may be on the same card.
const SPARE: usize = 16;

/// A program with its memory and its launches.
pub struct CudaSession {
    tape: Tape,
    plan: Plan,
    driver: Box<dyn Driver>,
    number: Number,
    /// Address of the arena.
    base: u64,
    /// Where the bytes of [`Session::keep`] are, if there are any.
    kept: Option<Range<u64>>,
    /// What [`Session::run`] replays.
    program: Replay,
    /// What [`Session::submit`] replays in turn; none until it is first called.
    lanes: Vec<Lane>,
    wanted_lanes: usize,
    /// Lanes on their way, oldest first, and the next to be used.
    submitted: VecDeque<usize>,
    next: usize,
    submission: Submission,
}

/// How launches are submitted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Submission {
    Graph,
    /// One by one.
    Launches,
    /// One by one, each waited for.
    Synchronous,
}

/// The launches of a run, and the graph of them once there is one.
struct Replay {
    steps: Vec<Work>,
    copies: Copies,
    graph: Option<Graph>,
}

/// What one record does.
struct Work {
    /// Memory that holds nothing before: outputs and scratch.
    fresh: Vec<Range<u64>>,
    launches: Vec<Launch>,
}

/// A run with places of its own for inputs and outputs, in the host buffer and, beside other lanes, on the device.
struct Lane {
    program: Replay,
    /// Where variables lie in the host buffer.
    host: HashMap<Var, Range<usize>>,
}

impl CudaSession {
    /// Plans `tape`, which must keep its tensors as `number` says, and makes it ready to run.
    ///
    /// With `CKAAD_SYNC_LAUNCHES=1` in the environment every launch is waited for, so that an error names its op. With
    /// `CKAAD_GRAPHS=0` launches are submitted one by one instead of as a graph, so that profilers see each with its range.
    pub fn new(tape: Tape, driver: Box<dyn Driver>, number: Number) -> Result<Self> {
        Self::with_lanes(tape, driver, number, 1, Choices::Model)
    }

    /// As [`CudaSession::new`], with `lanes` runs at once through [`Session::submit`]. With one, a run is a single graph with
    /// its copies, for the shortest time from input to output. With more, copies run beside the kernels of other runs.
    /// Convolutions are launched as `choices` say.
    pub fn with_lanes(
        tape: Tape,
        mut driver: Box<dyn Driver>,
        number: Number,
        lanes: usize,
        choices: Choices,
    ) -> Result<Self> {
        if tape.dtype() != number.storage() {
            invalid!(
                "{} computes this program's {} as {number}; record it in {}",
                driver.name(),
                tape.dtype(),
                number.storage()
            );
        }
        let number = number.real();
        let target = Target { number, multiprocessors: driver.multiprocessors(), chip: driver.chip(), choices };
        let plan = plan(&tape, &target)?;
        let streamed: Vec<(Var, Range<usize>)> =
            streamed(&tape).map(|v| Ok((v, plan.range(v)?))).collect::<Result<_>>()?;
        let apart = if lanes > 1 { streamed.iter().map(|(_, r)| aligned(r.len())).sum() } else { 0 };
        let needed = plan.total + lanes * apart;
        let (free, total) = driver.memory()?;
        if needed > free {
            let mb = |b: usize| b as f64 / 1e6;
            return Err(Error::Device(format!(
                "out of memory: this program needs {:.1} MB in one piece, {} has {:.1} MB free of {:.1} MB; use a smaller \
                 batch or image size",
                mb(needed),
                driver.name(),
                mb(free),
                mb(total)
            )));
        }
        let base = driver.alloc(needed)?;
        let steps = record(&tape, &plan.steps, number, base)?;
        let entries: BTreeMap<&str, &'static Entry> =
            steps.iter().flat_map(|s| &s.launches).map(|l| (l.call.entry.name, l.call.entry)).collect();
        driver.load(&entries.into_values().collect::<Vec<_>>())?;
        // The gaps between parameters are read, too, and states start at 0.
        for range in &plan.kept {
            driver.zero(base + range.start as u64..base + range.end as u64)?;
        }
        let set_to = |name, value| std::env::var_os(name).is_some_and(|v| v == value);
        let submission = match () {
            () if set_to("CKAAD_SYNC_LAUNCHES", "1") => Submission::Synchronous,
            () if set_to("CKAAD_GRAPHS", "0") => Submission::Launches,
            () => Submission::Graph,
        };
        let program = Replay { steps, copies: Copies::default(), graph: None };
        let (submitted, wanted_lanes) = (VecDeque::new(), lanes.max(1));
        let lanes = Vec::new();
        Ok(CudaSession {
            tape,
            plan,
            driver,
            number,
            base,
            kept: None,
            program,
            lanes,
            wanted_lanes,
            submitted,
            next: 0,
            submission,
        })
    }

    /// What a run submits, record by record.
    pub fn launches(&self) -> impl Iterator<Item = (&Record, &Launch)> {
        let works = self.tape.records.iter().zip(&self.program.steps);
        works.flat_map(|(record, work)| work.launches.iter().map(move |launch| (record, launch)))
    }

    /// Makes the lanes: places for their inputs and outputs, and their launches.
    fn make_lanes(&mut self) -> Result<()> {
        let streamed: Vec<(Var, Range<usize>)> =
            streamed(&self.tape).map(|v| Ok((v, self.plan.range(v)?))).collect::<Result<_>>()?;
        let each: usize = streamed.iter().map(|(_, r)| aligned(r.len())).sum();
        self.driver.alloc_host(self.wanted_lanes * each)?;
        let beside = self.wanted_lanes > 1;
        for lane in 0..self.wanted_lanes {
            let mut start = lane * each;
            let (mut host, mut moved) = (HashMap::new(), HashMap::new());
            let mut copies = Copies { beside, ..Copies::default() };
            for (v, planned) in &streamed {
                let place = start..start + planned.len();
                start += aligned(planned.len());
                // The arena's own place may hold other things during another lane's run. An output may take an input's.
                let apart = self.plan.total + place.start;
                let apart = moved.entry(planned.clone()).or_insert(apart..apart + planned.len());
                let device = if beside { apart.start } else { planned.start };
                let copy = Copy { host: place.clone(), at: self.base + device as u64 };
                let is_input = self.tape.info(*v).storage == Storage::Input;
                if is_input { &mut copies.uploads } else { &mut copies.downloads }.push(copy);
                host.insert(*v, place);
            }
            let move_all = |ranges: &[Range<usize>]| -> Vec<Range<usize>> {
                ranges.iter().map(|r| moved.get(r).filter(|_| beside).unwrap_or(r).clone()).collect()
            };
            // Whatever shares exactly such a place at another time moves with it, which changes nothing for it.
            let moved_step =
                |s: &Step| Step { inputs: move_all(&s.inputs), outputs: move_all(&s.outputs), ..s.clone() };
            let steps: Vec<Step> = self.plan.steps.iter().map(moved_step).collect();
            let steps = record(&self.tape, &steps, self.number, self.base)?;
            self.lanes.push(Lane { program: Replay { steps, copies, graph: None }, host });
        }
        Ok(())
    }

    fn submit_launches(&mut self, lane: Option<usize>) -> Result<()> {
        let program = lane.map_or(&self.program, |i| &self.lanes[i].program);
        for (record, work) in self.tape.records.iter().zip(&program.steps) {
            let _range = nvtx::range(|| describe(record));
            for range in &work.fresh {
                self.driver.forget(range.clone())?;
            }
            for launch in &work.launches {
                let submitted = self.driver.launch(launch);
                let wait = self.submission == Submission::Synchronous;
                let done = if wait { submitted.and_then(|()| self.driver.synchronize()) } else { submitted };
                done.map_err(|e| e.within(describe(record)))?;
            }
        }
        Ok(())
    }

    /// Replays a program, as a graph that is captured when first needed.
    fn replay(&mut self, lane: Option<usize>) -> Result<Graph> {
        let program = lane.map_or(&self.program, |i| &self.lanes[i].program);
        let graph = match program.graph {
            Some(graph) => graph,
            None => {
                let copies = program.copies.clone();
                self.driver.begin_capture(copies)?;
                let submitted = self.submit_launches(lane);
                let ended = self.driver.end_capture();
                // A launch that failed may have spoilt the capture: its own error says more.
                submitted?;
                ended?
            }
        };
        match lane {
            Some(i) => self.lanes[i].program.graph = Some(graph),
            None => self.program.graph = Some(graph),
        }
        self.driver.replay(graph)?;
        Ok(graph)
    }

    fn at(&self, range: &Range<usize>) -> u64 {
        self.base + range.start as u64
    }
}

/// Variables that go in before a run and out after it.
fn streamed(tape: &Tape) -> impl Iterator<Item = Var> {
    let of_run = |v: &Var| tape.info(*v).storage == Storage::Input;
    let inputs = (0..tape.vars.len() as u32).map(Var).filter(of_run);
    inputs.chain(tape.outputs.iter().copied())
}

/// Buffers start on cache lines.
fn aligned(bytes: usize) -> usize {
    bytes.next_multiple_of(64)
}

/// The launches of every record.
fn record(tape: &Tape, steps: &[Step], number: Number, base: u64) -> Result<Vec<Work>> {
    let mut works = Vec::with_capacity(steps.len());
    for (record, step) in tape.records.iter().zip(steps) {
        let mut l = Launches::new(number, operands(record, tape, step, base));
        dispatch!(&record.op, o => CudaOperation::launch(o, &mut l)).map_err(|e| e.within(describe(record)))?;
        // An op in place reads its first output.
        let in_place = step.inputs.iter().any(Range::is_empty);
        let updates = dispatch!(&record.op, o => o.updates());
        let reads = |k: &usize| updates.contains(k) || in_place && *k == 0;
        let written = (0..step.outputs.len()).filter(|k| !reads(k)).map(|k| &step.outputs[k]);
        let fresh = written.chain([&step.scratch, &step.leaves]).filter(|r| !r.is_empty());
        let fresh = fresh.map(|r| base + r.start as u64..base + r.end as u64).collect();
        works.push(Work { fresh, launches: l.recorded() });
    }
    Ok(works)
}

/// The memory of a record.
fn operands(record: &Record, tape: &Tape, step: &Step, base: u64) -> Operands {
    let buffer =
        |range: &Range<usize>, dtype| Buffer { at: base + range.start as u64, bytes: range.len() as u64, dtype };
    let of_step = |ranges: &[Range<usize>], vars: &[Var]| -> Vec<Buffer> {
        ranges.iter().zip(vars).map(|(r, v)| buffer(r, tape.info(*v).dtype)).collect()
    };
    let beside = |what: Option<SideOutput>, range| what.map(|what| (what, buffer(range, DType::F32)));
    let in_place = |r: &Range<usize>| if r.is_empty() { step.outputs[0].clone() } else { r.clone() };
    let inputs: Vec<Range<usize>> = step.inputs.iter().map(in_place).collect();
    Operands {
        inputs: of_step(&inputs, &record.inputs),
        outputs: of_step(&step.outputs, &record.outputs),
        scratch: buffer(&step.scratch, DType::F32),
        cut: step.decision.cut,
        leaves: beside(step.decision.leaves, &step.leaves),
        takes: beside(step.decision.takes, &step.takes),
    }
}

/// A record, for messages: its op and its layer.
pub fn describe(record: &Record) -> String {
    if record.label.is_empty() { record.op.name().into() } else { format!("{} in {}", record.op.name(), record.label) }
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
        let whole = matches!(self.tape.info(v).storage, Storage::Whole { what: Whole::Params | Whole::Rounded, .. });
        if whole && self.tape.dtype() != self.tape.dtype().exact() {
            invalid!("variable %{}: write parameters one by one, with the rounded copies that the passes read", v.0);
        }
        let master = self.plan.master(v);
        let taken = master.as_ref().unwrap_or(&range);
        if taken.len() != bytes.len() {
            invalid!("variable %{} takes {} bytes, found {}", v.0, taken.len(), bytes.len());
        }
        if master.is_some() {
            let values = bytes.as_chunks().0.iter().map(|b| f32::from_ne_bytes(*b));
            let rounded = Tensor::rounded(self.tape.shape(v), self.tape.info(v).dtype, values);
            self.driver.write(self.at(&range), rounded.bytes())?;
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

    fn keep(&mut self, bytes: &[u8]) -> Result<bool> {
        if let Some(kept) = &self.kept {
            invalid!("{} keeps {} bytes of this session already", self.driver.name(), kept.end - kept.start);
        }
        let (free, total) = self.driver.memory()?;
        if bytes.len() > free.saturating_sub(total / SPARE) {
            return Ok(false);
        }
        // What is free need not be free in one piece. A device that fails for another reason says so when it is next used.
        let Ok(at) = self.driver.alloc(bytes.len()) else { return Ok(false) };
        self.driver.write(at, bytes)?;
        self.kept = Some(at..at + bytes.len() as u64);
        Ok(true)
    }

    fn write_kept(&mut self, v: Var, parts: &[Range<usize>]) -> Result<()> {
        let Some(kept) = self.kept.clone() else {
            invalid!("variable %{}: {} keeps no bytes that it could be filled from", v.0, self.driver.name())
        };
        if self.tape.info(v).storage != Storage::Input {
            invalid!("variable %{} is no input", v.0);
        }
        let place = self.plan.range(v)?;
        let len = (kept.end - kept.start) as usize;
        if let Some(part) = parts.iter().find(|p| p.start > p.end || p.end > len) {
            invalid!("variable %{} was to be filled from bytes {part:?} of the {len} that are kept", v.0);
        }
        let found: usize = parts.iter().map(Range::len).sum();
        if found != place.len() {
            invalid!("variable %{} takes {} bytes, found {found} in {} part(s)", v.0, place.len(), parts.len());
        }
        let mut to = self.at(&place);
        for part in parts {
            self.driver.copy(kept.start + part.start as u64..kept.start + part.end as u64, to)?;
            to += part.len() as u64;
        }
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        if self.submission != Submission::Graph {
            return self.submit_launches(None);
        }
        self.replay(None).map(drop)
    }

    fn synchronize(&self) -> Result<()> {
        self.driver.synchronize()
    }

    fn lanes(&self) -> usize {
        self.wanted_lanes
    }

    fn submit(&mut self, inputs: &[(Var, &[&[u8]])]) -> Result<()> {
        if self.lanes.is_empty() {
            self.make_lanes()?;
        }
        if self.submitted.len() == self.lanes.len() {
            invalid!("{} run(s) are on their way: collect one before the next", self.submitted.len());
        }
        let index = self.next;
        for (v, parts) in inputs {
            let Some(place) = self.lanes[index].host.get(v) else { invalid!("variable %{} is no input", v.0) };
            fill(*v, self.driver.host_mut(place.clone()), parts)?;
        }
        if self.submission == Submission::Graph {
            self.replay(Some(index))?;
        } else {
            for Copy { host, at } in self.lanes[index].program.copies.uploads.clone() {
                let bytes = self.driver.host(host).to_vec();
                self.driver.write(at, &bytes)?;
            }
            self.submit_launches(Some(index))?;
        }
        self.submitted.push_back(index);
        self.next = (index + 1) % self.lanes.len();
        Ok(())
    }

    fn collect(&mut self, outputs: &[Var]) -> Result<Vec<&[u8]>> {
        let Some(index) = self.submitted.pop_front() else { invalid!("no run is on its way") };
        let Replay { copies, graph, .. } = &self.lanes[index].program;
        match graph {
            Some(graph) => self.driver.wait(*graph)?,
            None => {
                for Copy { host, at } in copies.downloads.clone() {
                    let mut bytes = vec![0; host.len()];
                    self.driver.read(at, &mut bytes)?;
                    self.driver.host_mut(host).copy_from_slice(&bytes);
                }
            }
        }
        let lent = |v: &Var| match self.lanes[index].host.get(v) {
            Some(place) => Ok(self.driver.host(place.clone())),
            None => invalid!("variable %{} is no output", v.0),
        };
        outputs.iter().map(lent).collect()
    }

    fn profile(&mut self, repetitions: usize) -> Result<Vec<Profile>> {
        self.run()?;
        self.driver.synchronize()?;
        let mut all = Vec::new();
        for (record, work) in self.program.steps.iter().enumerate() {
            for launch in &work.launches {
                let cost = self.driver.measure(launch, repetitions);
                let cost = cost.map_err(|e| e.within(describe(&self.tape.records[record])))?;
                all.push(Profile { record, launch: Some(launch.clone()), cost });
            }
        }
        Ok(all)
    }
}
