//! One launch: refuses what no device would run, spreads blocks over threads, runs the warps of a block in turn.

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::error::{Fault, FaultKind};
use crate::lower::class::Class;
use crate::lower::op::{BarKind, NONE, Op, Routine, Special};
use crate::run::access::pattern::{GlobalPatterns, SharedPatterns};
use crate::run::counters::Counters;
use crate::run::exec::{Block, Outcome, Stop, Trap, trap};
use crate::run::memory::Memory;
use crate::run::module::{Kernel, Module};
use crate::run::shared::{Clock, Shared};
use crate::run::trace::Touched;
use crate::run::view::{Buffer, View};
use crate::run::warp::{State, Warp};

/// What to run, on how many threads, on which memory.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// Name of the kernel.
    pub entry: &'a str,
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub dynamic_shared: u32,
    /// Parameters as the `.entry` lays them out: each at the next multiple of its alignment ([`Kernel::params`]).
    pub params: &'a [u8],
    /// Ranges this launch may touch; `None`: every allocation, for reading and writing.
    pub buffers: Option<&'a [Buffer]>,
}

/// How to run it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads to spread blocks over. The results do not depend on it.
    pub threads: usize,
    /// Find unwritten reads, races and pending copies. (Bounds, alignment and barriers are always checked.)
    pub checks: bool,
    /// Most shared memory a block may use; sm_80 allows 163 KiB.
    pub max_shared: u32,
    /// Stop with [`FaultKind::Budget`] after about so many warp instructions.
    pub instructions: Option<u64>,
    /// What kernels print goes here, whole lines or not, as it comes; to the standard output if nothing is said.
    pub print: fn(&str),
}

impl Default for Options {
    /// All cores, checks on, 163 KiB, no budget.
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Options { threads, checks: true, max_shared: 163 << 10, instructions: None, print }
    }
}

fn print(text: &str) {
    print!("{text}");
    // What a line is waited for may never end, and the process may end without this library's knowing.
    let _ = std::io::stdout().flush();
}

/// A barrier of a block.
#[derive(Clone, Copy, Default)]
struct Barrier {
    /// Threads expected; 0: all of the block.
    threads: u32,
    /// Warps that have arrived, and those of them that wait.
    arrived: u32,
    waiting: u32,
    /// `bar.red`: how many threads' predicates held, and how many threads took part.
    count: u32,
    total: u32,
    /// What those who arrived had seen of each warp then.
    seen: [u32; 32],
}

fn volume(size: [u32; 3]) -> u64 {
    size.iter().fold(1, |v: u64, &n| v.saturating_mul(n.into()))
}

fn refuse(kernel: &str, message: String) -> Fault {
    Fault {
        kind: FaultKind::BadLaunch,
        kernel: kernel.into(),
        line: 0,
        text: "".into(),
        block: [0; 3],
        thread: [0; 3],
        address: None,
        message: message.into(),
    }
}

/// Why the launch cannot be, if so.
fn check(kernel: &Kernel, launch: &Launch, options: &Options) -> Result<(), String> {
    let ([gx, gy, gz], [bx, by, bz]) = (launch.grid, launch.block);
    let threads = volume(launch.block);
    if volume(launch.grid) == 0 || threads == 0 {
        return Err(format!("grid ({gx}, {gy}, {gz}) of blocks ({bx}, {by}, {bz}): every size must be at least 1"));
    }
    if gx > i32::MAX as u32 || gy > 65535 || gz > 65535 {
        return Err(format!("grid ({gx}, {gy}, {gz}): x is limited to 2147483647, y and z to 65535"));
    }
    if threads > 1024 || bx > 1024 || by > 1024 || bz > 64 {
        return Err(format!("block ({bx}, {by}, {bz}): at most 1024 threads, at most 64 in z"));
    }
    if let Some(limit) = kernel.max_threads
        && threads > u64::from(limit)
    {
        return Err(format!("block of {threads} threads, but the kernel declares at most {limit} (.maxntid)"));
    }
    if let Some(exact) = kernel.required_block
        && exact != launch.block
    {
        return Err(format!("block ({bx}, {by}, {bz}), but the kernel requires {exact:?} (.reqntid)"));
    }
    let shared = u64::from(kernel.dynamic_base) + u64::from(launch.dynamic_shared);
    if shared > options.max_shared.into() {
        let (fixed, dynamic, limit) = (kernel.static_shared, launch.dynamic_shared, options.max_shared);
        return Err(format!("{fixed} bytes of static and {dynamic} of dynamic shared memory, the limit is {limit}"));
    }
    if launch.params.len() != kernel.params_size {
        return Err(format!("{} bytes of parameters, the kernel takes {}", launch.params.len(), kernel.params_size));
    }
    Ok(())
}

/// Coordinates of the n-th block or thread.
fn coordinates(n: u64, size: [u32; 3]) -> [u32; 3] {
    let [x, y, _] = size.map(u64::from);
    [(n % x) as u32, (n / x % y) as u32, (n / x / y) as u32]
}

impl Module {
    /// Runs one launch to its end. On a fault, memory holds what was written until then.
    ///
    /// Blocks run in any order; kernels whose result could depend on it (atomics that return a value or add floats in
    /// global memory) run them in ascending order on one thread, so results never depend on `threads`.
    pub fn launch(&self, memory: &Memory, launch: &Launch, options: &Options) -> Result<Counters, Fault> {
        Ok(self.launch_on(View::new(memory, self.globals(), launch.buffers), launch, options)?.0)
    }

    /// The same, and which bytes of global memory it touched and how: the longest ranges of each kind. Costs time in every access.
    pub fn launch_traced(
        &self,
        memory: &Memory,
        launch: &Launch,
        options: &Options,
    ) -> Result<(Counters, Touched), Fault> {
        let view = View::new(memory, self.globals(), launch.buffers).traced();
        let (counters, view) = self.launch_on(view, launch, options)?;
        Ok((counters, view.trace.map_or(vec![], |trace| trace.ranges())))
    }

    fn launch_on<'a>(
        &'a self,
        view: View<'a>,
        launch: &'a Launch,
        options: &'a Options,
    ) -> Result<(Counters, View<'a>), Fault> {
        let Some((kernel, routine)) = self.find(launch.entry) else {
            let names: Vec<&str> = self.kernels().iter().map(|k| k.name.as_str()).collect();
            return Err(refuse(
                launch.entry,
                format!("no such entry in {}; there are: {}", self.name(), names.join(", ")),
            ));
        };
        check(kernel, launch, options).map_err(|message| refuse(&kernel.name, message))?;
        let run = Run {
            module: self,
            routine,
            launch,
            options,
            view,
            params: words(launch.params),
            next: AtomicU64::new(0),
            failed: AtomicU64::new(u64::MAX),
            budget: options.instructions.map(AtomicU64::new),
            lock64: Mutex::new(()),
            result: Mutex::new((Counters::default(), None)),
        };
        let threads = if routine.ordered || routine.grid { 1 } else { options.threads.max(1) };
        let threads = threads.min(usize::try_from(volume(launch.grid)).unwrap_or(usize::MAX));
        if routine.grid {
            run.together();
        } else if threads == 1 {
            run.worker();
        } else {
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| run.worker());
                }
            });
        }
        match run.result.into_inner().unwrap_or_else(|e| e.into_inner()) {
            (_, Some((_, fault))) => Err(fault),
            (counters, None) => Ok((counters, run.view)),
        }
    }
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let word = |c: &[u8]| c.iter().rev().fold(0, |w, &b| w << 8 | u32::from(b));
    // One word more, so that a narrow access at the end finds a whole one.
    bytes.chunks(4).map(word).chain([0]).collect()
}

/// A launch under way, shared by its threads.
struct Run<'a> {
    module: &'a Module,
    routine: &'a Routine,
    launch: &'a Launch<'a>,
    options: &'a Options,
    view: View<'a>,
    params: Vec<u32>,
    next: AtomicU64,
    failed: AtomicU64,
    budget: Option<AtomicU64>,
    lock64: Mutex<()>,
    /// Counters, and the fault of the lowest block that failed.
    result: Mutex<(Counters, Option<(u64, Fault)>)>,
}

impl Run<'_> {
    /// A block that is to be started, and its warps.
    fn block(&self) -> (Block<'_>, Vec<Warp>) {
        let (routine, launch) = (self.routine, self.launch);
        let warps = (volume(launch.block) as u32).div_ceil(32);
        let shared_size = routine.dynamic_base.max(routine.static_shared) + launch.dynamic_shared;
        let slots = routine.mem.len() + routine.copies.len() + routine.atoms.len();
        let partial = routine.bars.iter().any(|b| b.count != NONE);
        let block = Block {
            routine,
            view: &self.view,
            print: self.options.print,
            lock64: &self.lock64,
            params: &self.params,
            params_len: launch.params.len() as u32,
            checks: self.options.checks,
            shared: Shared::new(shared_size, routine.granule, self.options.checks, partial),
            clocks: vec![],
            dirty: vec![false; warps as usize],
            hits: vec![0; routine.code.len()],
            counters: Counters::default(),
            global_patterns: GlobalPatterns::new(),
            shared_patterns: SharedPatterns::new(),
            hints: vec![0; slots],
            budget: self.budget.as_ref(),
            index: 0,
            failed: &self.failed,
        };
        let mut pool: Vec<Warp> = (0..warps).map(|id| Warp::new(id, routine)).collect();
        for warp in &mut pool {
            self.fixed_specials(warp, shared_size);
        }
        (block, pool)
    }

    /// Blocks one after the other, as long as there are some.
    fn worker(&self) {
        let (mut block, mut pool) = self.block();
        let blocks = volume(self.launch.grid);
        loop {
            let index = self.next.fetch_add(1, Relaxed);
            if index >= blocks || self.failed.load(Relaxed) < index {
                break;
            }
            self.start(&mut block, &mut pool, index);
            if let Err((warp, trap)) = run_block(&mut block, &mut pool) {
                self.fail(index, &pool[warp], *trap);
                break;
            }
        }
        self.count(&mut block);
    }

    /// All blocks at once, each from one barrier of the grid to the next.
    fn together(&self) {
        let mut waiting: Vec<(Block, Vec<Warp>)> = vec![];
        for index in 0..volume(self.launch.grid) {
            let (mut block, mut pool) = self.block();
            self.start(&mut block, &mut pool, index);
            waiting.push((block, pool));
        }
        while !waiting.is_empty() {
            for (mut block, mut pool) in std::mem::take(&mut waiting) {
                match run_block(&mut block, &mut pool) {
                    Ok(true) => waiting.push((block, pool)),
                    Ok(false) => self.count(&mut block),
                    Err((warp, trap)) => return self.fail(block.index, &pool[warp], *trap),
                }
            }
            // Whoever has ended is not waited for.
            for (block, pool) in &mut waiting {
                leave_grid_barrier(block, pool);
            }
        }
    }

    fn fail(&self, index: u64, warp: &Warp, trap: Trap) {
        self.failed.fetch_min(index, Relaxed);
        let fault = self.fault(index, warp, trap);
        let mut result = self.result.lock().unwrap_or_else(|e| e.into_inner());
        if result.1.as_ref().is_none_or(|(at, _)| *at > index) {
            result.1 = Some((index, fault));
        }
    }

    /// Adds what a block counted.
    fn count(&self, block: &mut Block) {
        let routine = self.routine;
        let mut counters = std::mem::take(&mut block.counters);
        for (ins, hits) in routine.code.iter().zip(&block.hits) {
            if let Some(class) = ins.class {
                counters.instructions[class as usize] += hits;
                if class == Class::Mma
                    && let Op::Mma(i) = ins.op
                {
                    counters.mma_flops += hits * 2 * 16 * 8 * u64::from(routine.mmas[i as usize].k);
                }
            }
        }
        self.result.lock().unwrap_or_else(|e| e.into_inner()).0.add(&counters);
    }

    fn start(&self, block: &mut Block, pool: &mut [Warp], index: u64) {
        let threads = volume(self.launch.block) as u32;
        let ctaid = coordinates(index, self.launch.grid);
        block.index = index;
        block.shared.reset();
        block.clocks = (0..pool.len() as u32).map(Clock::new).collect();
        block.dirty.fill(false);
        for warp in pool {
            let lanes = (threads - warp.id * 32).min(32);
            warp.restart(self.routine, if lanes == 32 { !0 } else { (1 << lanes) - 1 });
            for &(reg, special) in &self.routine.specials {
                if let Special::Ctaid(axis) = special {
                    warp.regs.w[reg as usize].0 = [ctaid[axis as usize]; 32];
                }
            }
        }
    }

    /// Special registers that are the same in all blocks.
    fn fixed_specials(&self, warp: &mut Warp, shared_size: u32) {
        let launch = self.launch;
        let warps = (volume(launch.block) as u32).div_ceil(32);
        for &(reg, special) in &self.routine.specials {
            warp.regs.w[reg as usize].0 = std::array::from_fn(|lane| {
                let (lane, bit) = (lane as u32, 1u32 << lane);
                match special {
                    Special::Tid(axis) => coordinates((warp.id * 32 + lane).into(), launch.block)[axis as usize],
                    Special::Ntid(axis) => launch.block[axis as usize],
                    Special::Nctaid(axis) => launch.grid[axis as usize],
                    Special::Ctaid(_) | Special::Zero => 0,
                    Special::Lane => lane,
                    Special::Warp => warp.id,
                    Special::Warps => warps,
                    Special::LaneMask(0) => bit,
                    Special::LaneMask(1) => bit - 1,
                    Special::LaneMask(2) => bit | (bit - 1),
                    Special::LaneMask(3) => !(bit | (bit - 1)),
                    Special::LaneMask(_) => !(bit - 1),
                    Special::DynamicShared => launch.dynamic_shared,
                    Special::TotalShared => shared_size,
                    Special::One => 1,
                }
            });
        }
    }

    fn fault(&self, index: u64, warp: &Warp, trap: Trap) -> Fault {
        let line = self.routine.code.get(warp.pc as usize).map_or(0, |ins| ins.line as usize);
        Fault {
            kind: trap.kind,
            kernel: self.launch.entry.into(),
            line,
            text: self.module.line(line).into(),
            block: coordinates(index, self.launch.grid),
            thread: coordinates((warp.id * 32 + trap.lane).into(), self.launch.block),
            address: trap.address,
            message: trap.message.into(),
        }
    }
}

/// Whether the block waits for the grid; else it has ended.
type BlockResult = Result<bool, (usize, Box<Trap>)>;

/// Runs a block's warps in turn until all have ended or wait for the grid.
fn run_block(block: &mut Block, warps: &mut [Warp]) -> BlockResult {
    let mut bars = [Barrier::default(); 16];
    loop {
        let mut ran = false;
        for id in 0..warps.len() {
            while warps[id].state == State::Ready {
                ran = true;
                match block.run(&mut warps[id]).map_err(|t| (id, t))? {
                    Stop::Turn => break,
                    Stop::Exit => {
                        warps[id].state = State::Done;
                        for bar in 0..bars.len() {
                            if bars[bar].arrived != 0 && bars[bar].threads == 0 {
                                try_release(block, warps, &mut bars[bar]).map_err(|t| (id, t))?;
                            }
                        }
                    }
                    Stop::Grid => {
                        warps[id].state = State::AtGrid;
                        warps[id].pc += 1;
                        break;
                    }
                    Stop::Barrier(op, lanes) => {
                        arrive(block, warps, &mut bars, id, op, lanes).map_err(|t| (id, t))?;
                        // After a barrier the warps go on in ascending order.
                        break;
                    }
                }
            }
        }
        if !ran {
            break;
        }
    }
    let waiting: Vec<usize> = (0..warps.len()).filter(|&id| warps[id].state != State::Done).collect();
    let stuck = waiting.iter().find_map(|&id| match warps[id].state {
        State::Waiting { pc } => Some((id, pc)),
        _ => None,
    });
    let Some((first, pc)) = stuck else { return Ok(!waiting.is_empty()) };
    warps[first].pc = pc;
    let message =
        format!("{} of {} warps wait for ever: {}", waiting.len(), warps.len(), describe(block, warps, &bars));
    let lane = warps[first].live.trailing_zeros() & 31;
    Err((first, Box::new(Trap { kind: FaultKind::Deadlock, lane, address: None, message })))
}

/// Lets a block go on behind a barrier of the grid: all that it did comes before all that it does from here on.
fn leave_grid_barrier(block: &mut Block, warps: &mut [Warp]) {
    let mut bar = Barrier { seen: [block.shared.now; 32], ..Barrier::default() };
    for (id, warp) in warps.iter_mut().enumerate().filter(|(_, warp)| warp.state == State::AtGrid) {
        warp.state = State::Ready;
        block.dirty[id] = false;
        bar.waiting |= 1 << id;
    }
    order(block, &bar);
}

/// Barriers that somebody waits for.
fn describe(block: &Block, warps: &[Warp], bars: &[Barrier; 16]) -> String {
    let mut parts = vec![];
    for (id, bar) in bars.iter().enumerate().filter(|(_, b)| b.waiting != 0) {
        let need = if bar.threads == 0 { "all threads".into() } else { format!("{} threads", bar.threads) };
        let lines: Vec<String> = (0..warps.len())
            .filter(|w| bar.waiting >> w & 1 != 0)
            .filter_map(|w| match warps[w].state {
                State::Waiting { pc } => Some(format!("warp {w} at line {}", block.routine.code[pc as usize].line)),
                _ => None,
            })
            .collect();
        let arrived = bar.arrived.count_ones();
        parts.push(format!("barrier {id} needs {need}, {arrived} warps arrived ({})", lines.join(", ")));
    }
    parts.join("; ")
}

/// A warp (lanes `lanes`, all its live ones) is at a barrier instruction.
fn arrive(
    block: &mut Block,
    warps: &mut [Warp],
    bars: &mut [Barrier; 16],
    id: usize,
    op: u32,
    lanes: u32,
) -> Outcome<()> {
    let routine = block.routine;
    let op = &routine.bars[op as usize];
    let warp = &mut warps[id];
    let lane = lanes.trailing_zeros() & 31;
    let uniform = |reg: u16| {
        let values = warp.regs.w[reg as usize].0;
        let same = (0..32).all(|l| lanes >> l & 1 == 0 || values[l] == values[lane as usize]);
        same.then_some(values[lane as usize])
    };
    let bad = |message: String| trap(FaultKind::BadBarrier, lane, None, message);
    let Some(number) = uniform(op.id) else { return bad("lanes of the warp name different barriers".into()) };
    let Some(bar) = bars.get_mut(number as usize) else { return bad(format!("barrier {number} of 16")) };
    let threads = if op.count == NONE { Some(0) } else { uniform(op.count) };
    let threads = match threads {
        Some(n) if op.count == NONE || n > 0 && n.is_multiple_of(32) => n,
        Some(n) => return bad(format!("barrier {number} for {n} threads: not a positive multiple of 32")),
        None => return bad("lanes of the warp give different thread counts".into()),
    };
    if bar.arrived != 0 && bar.threads != threads {
        let message =
            format!("barrier {number} for {threads} threads, but others wait at it for {} (0: all)", bar.threads);
        return bad(message);
    }
    if bar.arrived >> id & 1 != 0 {
        return bad(format!("warp {id} arrives twice at barrier {number}"));
    }
    bar.threads = threads;
    bar.arrived |= 1 << id;
    for (joined, &seen) in bar.seen.iter_mut().zip(&block.clocks[id].seen) {
        *joined = seen.max(*joined);
    }
    bar.seen[id] = block.shared.now;
    bar.total += lanes.count_ones();
    if op.src != NONE {
        let flip = if op.negated { !0 } else { 0 };
        bar.count += ((warp.regs.p[op.src as usize] ^ flip) & lanes).count_ones();
    }
    let pc = warp.pc;
    warp.pc += 1;
    if op.kind != BarKind::Arrive {
        bar.waiting |= 1 << id;
        warp.state = State::Waiting { pc };
    } else {
        // What it does from here on is not part of what the others see at the barrier.
        block.advance();
    }
    try_release(block, warps, bar)
}

/// Lets everybody go if the barrier is complete.
fn try_release(block: &mut Block, warps: &mut [Warp], bar: &mut Barrier) -> Outcome<()> {
    let live = (0..warps.len()).filter(|&w| warps[w].state != State::Done).fold(0u32, |m, w| m | 1 << w);
    let complete = match bar.threads {
        0 => live & !bar.arrived == 0,
        n => bar.arrived.count_ones() * 32 >= n,
    };
    if !complete {
        return Ok(());
    }
    // What has exited before counts as having come to a barrier of the whole block.
    if bar.threads == 0 {
        for (id, warp) in warps.iter().enumerate() {
            if warp.state == State::Done {
                bar.seen[id] = block.shared.now;
            }
        }
    }
    // Those who waited did nothing since they came. Their own time of coming is not enough: of several readers of one
    // granule only the time of the last is kept.
    for id in (0..warps.len()).filter(|id| bar.waiting >> id & 1 != 0) {
        bar.seen[id] = block.shared.now;
    }
    order(block, bar);
    for (id, warp) in warps.iter_mut().enumerate().filter(|(id, _)| bar.waiting >> id & 1 != 0) {
        let State::Waiting { pc } = warp.state else { continue };
        warp.state = State::Ready;
        block.dirty[id] = false;
        if let Op::Bar(op) = block.routine.code[pc as usize].op {
            let op = &block.routine.bars[op as usize];
            let holds = match op.kind {
                BarKind::RedAnd => bar.count == bar.total,
                BarKind::RedOr => bar.count > 0,
                BarKind::RedPopc => {
                    warp.regs.w[op.dst as usize].put(warp.active, &[bar.count; 32]);
                    continue;
                }
                _ => continue,
            };
            let p = &mut warp.regs.p[op.dst as usize];
            *p = if holds { *p | warp.active } else { *p & !warp.active };
        }
    }
    *bar = Barrier::default();
    Ok(())
}

/// All that those who arrived did before happens before all that those who waited do from here on.
fn order(block: &mut Block, bar: &Barrier) {
    block.advance();
    if block.shared.now == 1 {
        return;
    }
    let warps = block.clocks.len();
    for clock in block.clocks.iter_mut().filter(|c| bar.waiting >> c.warp & 1 != 0) {
        clock.seen = bar.seen;
        clock.update(warps);
    }
}
