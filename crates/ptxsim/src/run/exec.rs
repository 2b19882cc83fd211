//! The interpreter loop of one warp.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::error::FaultKind;
use crate::lower::op::{Args, Op, Routine};
use crate::run::access::pattern::{GlobalPatterns, SharedPatterns};
use crate::run::counters::Counters;
use crate::run::mma::mma;
use crate::run::shared::{Clock, Shared};
use crate::run::view::View;
use crate::run::warp::{Group, Warp};
use crate::text::ty::Bank;

/// Why a warp cannot go on; the caller adds kernel, line and block.
#[derive(Debug)]
pub struct Trap {
    pub kind: FaultKind,
    pub lane: u32,
    pub address: Option<u64>,
    pub message: String,
}

pub type Outcome<T> = Result<T, Box<Trap>>;

pub fn trap<T>(kind: FaultKind, lane: u32, address: Option<u64>, message: impl Into<String>) -> Outcome<T> {
    Err(Box::new(Trap { kind, lane, address, message: message.into() }))
}

/// Why a warp stopped running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// At a barrier (index of the operation, lanes); the warp's pc is still on it.
    Barrier(u32, u32),
    /// At the barrier of the grid; the warp's pc is still on it.
    Grid,
    Exit,
    /// Its turn is over.
    Turn,
}

/// Where a warp goes after an operation. Small, to come back in registers.
enum Flow {
    /// To the next one.
    Next,
    /// Its pc is set already.
    Elsewhere,
    /// It waits at this barrier.
    Barrier(u32),
    /// It waits for the grid.
    Grid,
    Exit,
}

/// Instructions a warp may run before another gets its turn (spinning on a flag must not hang the block).
const TURN: u64 = 1 << 16;

/// State of one block while it runs, and of the thread that runs it.
pub struct Block<'a> {
    pub routine: &'a Routine,
    pub view: &'a View<'a>,
    /// Where the kernel's text goes.
    pub print: fn(&str),
    pub lock64: &'a std::sync::Mutex<()>,
    pub params: &'a [u32],
    pub params_len: u32,
    pub checks: bool,
    pub shared: Shared,
    pub clocks: Vec<Clock>,
    /// Warps that touched shared memory since their last warp barrier.
    pub dirty: Vec<bool>,
    pub hits: Vec<u64>,
    pub counters: Counters,
    pub global_patterns: GlobalPatterns,
    pub shared_patterns: SharedPatterns,
    pub hints: Vec<u32>,
    /// Instructions left for the whole launch.
    pub budget: Option<&'a AtomicU64>,
    pub index: u64,
    /// Lowest block that has failed: blocks after it need not finish.
    pub failed: &'a AtomicU64,
}

impl Block<'_> {
    /// Takes a turn's worth of instructions out of the budget.
    fn fuel(&self) -> Option<u64> {
        let Some(budget) = self.budget else { return Some(TURN) };
        let take = |left: u64| Some(left - left.min(TURN));
        let before = budget.fetch_update(Relaxed, Relaxed, take).unwrap_or(0);
        (before > 0).then(|| before.min(TURN))
    }

    /// Runs until the warp waits, ends, fails or has had its turn.
    pub fn run(&mut self, warp: &mut Warp) -> Outcome<Stop> {
        if self.failed.load(Relaxed) < self.index {
            return Ok(Stop::Exit);
        }
        let lane = warp.active.trailing_zeros() & 31;
        let Some(given) = self.fuel() else {
            return trap(FaultKind::Budget, lane, None, "the launch executed all the instructions it was given");
        };
        let mut fuel = given;
        let result = self.steps(warp, given, &mut fuel);
        warp.clock += given - fuel;
        if let Some(budget) = self.budget {
            budget.fetch_add(fuel, Relaxed);
        }
        result
    }

    /// The interpreter: one operation after another, until the warp has to stop.
    fn steps(&mut self, warp: &mut Warp, given: u64, fuel: &mut u64) -> Outcome<Stop> {
        let routine = self.routine;
        loop {
            if !warp.others.is_empty() {
                warp.merge();
            }
            if *fuel == 0 {
                return Ok(Stop::Turn);
            }
            *fuel -= 1;
            let pc = warp.pc as usize;
            let ins = &routine.code[pc];
            self.hits[pc] += 1;
            let m = warp.active & (warp.regs.p[ins.guard as usize] ^ ins.flip);
            // Most of what runs, so first, and even where no lane takes part.
            if let Op::Alu { f, args, .. } = &ins.op {
                f(&mut warp.regs, m, args);
                warp.pc += 1;
                continue;
            }
            if let Op::Bra(target) = ins.op {
                self.branch(warp, m, target);
                continue;
            }
            if m == 0 {
                warp.pc += 1;
                continue;
            }
            match self.execute(warp, &ins.op, m, given - *fuel)? {
                Flow::Next => warp.pc += 1,
                Flow::Elsewhere => {}
                Flow::Barrier(i) => return Ok(Stop::Barrier(i, warp.active)),
                Flow::Grid => return Ok(Stop::Grid),
                Flow::Exit => return Ok(Stop::Exit),
            }
        }
    }

    /// One operation for at least one lane; `ran`: instructions of this turn, itself included. A call of its
    /// own, so that the loop around arithmetic stays short: inlined, it makes that a tenth slower.
    #[inline(never)]
    fn execute(&mut self, warp: &mut Warp, op: &Op, m: u32, ran: u64) -> Outcome<Flow> {
        let routine = self.routine;
        match op {
            Op::Ld(i) => self.load(warp, *i, m)?,
            Op::St(i) => self.store(warp, *i, m)?,
            Op::Atom(i) => self.atomic(warp, *i, m)?,
            Op::CpAsync(i) => self.copy_async(warp, *i, m)?,
            Op::CpCommit => commit_copies(warp, m),
            Op::CpWait(n) => self.wait_copies(warp, *n, m),
            Op::Mma(i) => match self.converge(warp, m, "mma")? {
                true => mma(&mut warp.regs, &routine.mmas[*i as usize]),
                false => return Ok(Flow::Elsewhere),
            },
            Op::LdMatrix(i) => match self.converge(warp, m, "ldmatrix")? {
                true => self.load_matrix(warp, *i)?,
                false => return Ok(Flow::Elsewhere),
            },
            Op::Bar(i) => match self.meet(warp, m)? {
                true => return Ok(Flow::Barrier(*i)),
                false => return Ok(Flow::Elsewhere),
            },
            Op::SyncGrid => match self.meet(warp, m)? {
                true => return Ok(Flow::Grid),
                false => return Ok(Flow::Elsewhere),
            },
            Op::Warp(i) => match self.warp_op(warp, *i, m)? {
                true => {}
                false => return Ok(Flow::Elsewhere),
            },
            Op::ActiveMask { dst } => warp.regs.w[*dst as usize].put(m, &[m; 32]),
            Op::Clock { dst, bank, high } => read_clock(warp, (*dst, *bank, *high), m, ran),
            Op::BrxIdx { index, table } => return self.jump_table(warp, *index, &routine.tables[*table as usize], m),
            Op::CallAt { address, table } => return self.call_at(warp, *address, &routine.calls[*table as usize], m),
            Op::CopyLocal { from, to, bytes } => copy_local(warp, (*from, *to, *bytes), m),
            Op::Call { target, link } => {
                let back = warp.pc + 1;
                warp.regs.w[*link as usize].put(m, &[back; 32]);
                split(warp, m, *target);
                return Ok(Flow::Elsewhere);
            }
            Op::Ret { link } => return Ok(self.jump_back(warp, *link, m)),
            Op::Exit => return Ok(exit(warp, m)),
            Op::System(i) => self.system(warp, *i, m)?,
            Op::Trap => return trap(FaultKind::Trap, m.trailing_zeros(), None, "the kernel executed trap"),
            // The loop has done the last two.
            Op::Nop | Op::Alu { .. } | Op::Bra(_) => {}
        }
        Ok(Flow::Next)
    }

    #[inline]
    fn branch(&mut self, warp: &mut Warp, m: u32, target: u32) {
        self.counters.branches += 1;
        if m != 0 {
            self.counters.divergent_branches += u64::from(m != warp.active);
            split(warp, m, target);
        } else {
            warp.pc += 1;
            if !warp.others.is_empty() {
                warp.switch(false);
            }
        }
    }

    fn jump_table(&mut self, warp: &mut Warp, index: u16, table: &[u32], m: u32) -> Outcome<Flow> {
        let index = warp.regs.w[index as usize].0;
        for lane in (0..32).filter(|l| m >> l & 1 != 0) {
            let Some(&pc) = table.get(index[lane] as usize) else {
                let message = format!("jump table index {} of {}", index[lane], table.len());
                return trap(FaultKind::BadOperand, lane as u32, None, message);
            };
            warp.others.push(Group { pc, mask: 1 << lane, parked: false });
        }
        warp.active &= !m;
        warp.pc += 1;
        warp.switch(false);
        Ok(Flow::Elsewhere)
    }

    fn call_at(&mut self, warp: &mut Warp, address: u16, table: &[(u64, u32)], m: u32) -> Outcome<Flow> {
        let addresses = warp.regs.d[address as usize].0;
        for lane in (0..32).filter(|l| m >> l & 1 != 0) {
            let Some(&(_, pc)) = table.iter().find(|(at, _)| *at == addresses[lane]) else {
                let message = "no function that takes these arguments is there, or it would call itself";
                return trap(FaultKind::BadOperand, lane as u32, Some(addresses[lane]), message);
            };
            warp.others.push(Group { pc, mask: 1 << lane, parked: false });
        }
        warp.active &= !m;
        warp.pc += 1;
        warp.switch(false);
        Ok(Flow::Elsewhere)
    }

    fn jump_back(&mut self, warp: &mut Warp, link: u16, m: u32) -> Flow {
        let link = warp.regs.w[link as usize].0;
        for lane in (0..32).filter(|l| m >> l & 1 != 0) {
            warp.others.push(Group { pc: link[lane], mask: 1 << lane, parked: false });
        }
        warp.active &= !m;
        warp.pc += 1;
        warp.switch(false);
        Flow::Elsewhere
    }

    /// Before an instruction that all live lanes of the warp must execute together: true if they are here. Otherwise
    /// the lanes that are here wait, and others run.
    pub fn meet(&mut self, warp: &mut Warp, m: u32) -> Outcome<bool> {
        if m == warp.live {
            return Ok(true);
        }
        self.wait_for(warp, m, warp.live)
    }

    /// Lanes `m` wait here for lanes `wanted`; the others go on.
    pub fn wait_for(&mut self, warp: &mut Warp, m: u32, wanted: u32) -> Outcome<bool> {
        let skipping = warp.active & !m;
        if skipping != 0 {
            warp.others.push(Group { pc: warp.pc + 1, mask: skipping, parked: false });
            warp.active = m;
        }
        if warp.switch(true) {
            return Ok(false);
        }
        let here = warp.others.iter().find(|g| g.mask & m != 0).map_or(0, |g| g.pc);
        let elsewhere: Vec<String> = warp
            .others
            .iter()
            .filter(|g| g.pc != here)
            .map(|g| format!("lanes {:#010x} at line {}", g.mask, self.routine.code[g.pc as usize].line))
            .collect();
        warp.pc = here;
        trap(
            FaultKind::Divergence,
            m.trailing_zeros(),
            None,
            format!("lanes {m:#010x} wait here for lanes {:#010x}; {}", wanted & !m, elsewhere.join(", ")),
        )
    }

    /// As `meet`, for instructions that need all 32 lanes.
    fn converge(&mut self, warp: &mut Warp, m: u32, what: &str) -> Outcome<bool> {
        if m == !0 {
            return Ok(true);
        }
        if warp.live != !0 {
            let message = format!("{what} needs all 32 lanes of the warp, only {:#010x} are there", warp.live);
            return trap(FaultKind::BadMask, m.trailing_zeros(), None, message);
        }
        self.wait_for(warp, m, !0)
    }

    /// The warp's earlier shared accesses are ordered before its later ones.
    pub fn warp_barrier(&mut self, warp: &Warp) {
        let id = warp.id as usize;
        if self.checks && std::mem::take(&mut self.dirty[id]) {
            let now = self.shared.now;
            self.advance();
            if self.shared.now != 1 {
                self.clocks[id].seen[id] = now;
            }
            let warps = self.clocks.len();
            self.clocks[id].update(warps);
        }
    }

    /// Advances the block's time.
    pub fn advance(&mut self) {
        if self.shared.tick() {
            let warps = self.clocks.len();
            for clock in &mut self.clocks {
                clock.seen = [0; 32];
                clock.update(warps);
            }
        }
    }
}

/// Lanes `m`, at least one, go to `target`, the rest of the running lanes one further.
#[inline]
fn split(warp: &mut Warp, m: u32, target: u32) {
    if m == warp.active {
        warp.pc = target;
    } else {
        warp.others.push(Group { pc: target, mask: m, parked: false });
        warp.active &= !m;
        warp.pc += 1;
    }
    if !warp.others.is_empty() {
        warp.switch(false);
    }
}

/// The lanes' copies since their last commit become a group.
fn commit_copies(warp: &mut Warp, m: u32) {
    for lane in 0..32 {
        warp.commits[lane] += m >> lane & 1;
    }
}

/// Instructions this warp has executed: deterministic, and it always advances.
fn read_clock(warp: &mut Warp, (dst, bank, high): (u16, Bank, bool), m: u32, ran: u64) {
    let now = warp.clock + ran;
    match bank {
        Bank::D => warp.regs.d[dst as usize].put(m, &[now; 32]),
        _ => warp.regs.w[dst as usize].put(m, &[(now >> if high { 32 } else { 0 }) as u32; 32]),
    }
}

fn copy_local(warp: &mut Warp, (from, to, bytes): (u32, u32, u32), m: u32) {
    for lane in (0..32).filter(|l| m >> l & 1 != 0) {
        for i in 0..bytes {
            let [(a, i), (b, j)] = [from + i, to + i].map(|at| ((at / 4 * 32) as usize + lane, at % 4));
            let byte = warp.local[a] >> (8 * i) & 0xff;
            warp.local[b] = warp.local[b] & !(0xff << (8 * j)) | byte << (8 * j);
            let written = warp.local_written[a] >> i & 1;
            warp.local_written[b] = warp.local_written[b] & !(1 << j) | written << j;
        }
    }
}

/// Lanes `m` end.
fn exit(warp: &mut Warp, m: u32) -> Flow {
    warp.live &= !m;
    warp.active &= !m;
    warp.pc += 1;
    warp.unpark();
    if warp.live == 0 {
        return Flow::Exit;
    }
    if warp.active == 0 || !warp.others.is_empty() {
        warp.switch(false);
    }
    Flow::Elsewhere
}

/// Kept small: it is copied into every arithmetic instruction.
const _: () = assert!(size_of::<Args>() == 10);
