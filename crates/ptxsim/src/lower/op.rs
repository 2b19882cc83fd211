//! The decoded routine: compact operations on numbered registers. Immediates and special registers are registers too,
//! filled before a block starts, so that an operation only ever names registers.

use crate::lower::class::Class;
use crate::text::ty::{Bank, Space, Ty};

/// Always all ones: the guard of an instruction without a guard.
pub const P_TRUE: u16 = 0;
/// Written, never read; register 0 of the other two banks likewise.
pub const P_SINK: u16 = 1;
pub const SINK: u16 = 0;
/// No register where one is optional.
pub const NONE: u16 = u16::MAX;

/// 32 lanes of a 32-bit register. Narrower values are kept zero-extended.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub struct W(pub [u32; 32]);

/// 32 lanes of a 64-bit register.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub struct D(pub [u64; 32]);

/// The registers of one warp.
pub struct Regs {
    pub w: Vec<W>,
    pub d: Vec<D>,
    pub p: Vec<u32>,
}

/// The bit of each lane: tests against it become vector masks.
pub const BIT: [u32; 32] = {
    let mut bits = [0; 32];
    let mut i = 0;
    while i < 32 {
        bits[i] = 1 << i;
        i += 1;
    }
    bits
};

/// a where `take` is all ones, b where it is zero. A plain `if` between two loads would become a load from one of two
/// addresses, lane by lane.
#[inline(always)]
pub fn blend(take: u32, a: u32, b: u32) -> u32 {
    b ^ ((a ^ b) & take)
}

#[inline(always)]
pub fn blend64(take: u64, a: u64, b: u64) -> u64 {
    b ^ ((a ^ b) & take)
}

impl W {
    #[inline(always)]
    pub fn put(&mut self, mask: u32, values: &[u32; 32]) {
        if mask == !0 {
            self.0 = *values;
        } else {
            for i in 0..32 {
                let take = if mask & BIT[i] != 0 { !0 } else { 0 };
                self.0[i] = blend(take, values[i], self.0[i]);
            }
        }
    }
}

impl D {
    #[inline(always)]
    pub fn put(&mut self, mask: u32, values: &[u64; 32]) {
        if mask == !0 {
            self.0 = *values;
        } else {
            for i in 0..32 {
                let take = if mask & BIT[i] != 0 { !0 } else { 0 };
                self.0[i] = blend64(take, values[i], self.0[i]);
            }
        }
    }
}

/// Registers of an arithmetic operation: destination and up to four sources.
#[derive(Clone, Copy, Debug, Default)]
pub struct Args {
    pub d: u16,
    pub a: u16,
    pub b: u16,
    pub c: u16,
    pub e: u16,
}

pub type AluFn = fn(&mut Regs, u32, &Args);

/// An arithmetic operation before its registers are known: what computes it and the banks of destination and sources.
#[derive(Clone, Copy)]
pub struct Alu {
    pub f: AluFn,
    pub dst: Bank,
    pub src: [Option<Bank>; 4],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    Lane,
    Warp,
    Warps,
    /// 0: eq, 1: lt, 2: le, 3: gt, 4: ge.
    LaneMask(u8),
    DynamicShared,
    TotalShared,
    Zero,
    One,
}

#[derive(Clone, Debug)]
pub struct Address {
    /// `NONE`: the address is `offset`.
    pub base: u16,
    pub wide: bool,
    pub offset: i64,
}

/// Load, store, atomic.
#[derive(Clone, Debug)]
pub struct MemOp {
    pub space: Space,
    /// Bytes of one element: 1, 2, 4, 8.
    pub width: u32,
    /// Elements per lane: 1, 2, 4.
    pub n: u32,
    /// Sign-extend the element into its register.
    pub signed: bool,
    /// Width of the registers as declared.
    pub reg_bits: u32,
    /// The registers are 64 bits wide.
    pub bank: Bank,
    pub regs: [u16; 4],
    pub addr: Address,
    /// `.relaxed`, `.acquire`, `.release`: ordered like an atomic, so no race with atomics.
    pub strong: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtomKind {
    Add,
    Min,
    Max,
    Inc,
    Dec,
    Exch,
    Cas,
    And,
    Or,
    Xor,
}

#[derive(Clone, Debug)]
pub struct AtomOp {
    pub kind: AtomKind,
    pub ty: Ty,
    pub space: Space,
    pub bank: Bank,
    /// `NONE` for `red`.
    pub dst: u16,
    pub addr: Address,
    pub b: u16,
    pub c: u16,
}

#[derive(Clone, Debug)]
pub struct CpAsync {
    pub shared: Address,
    pub global: Address,
    pub bytes: u32,
    /// Register with the number of bytes to read, the rest being zero.
    pub src_size: u16,
    /// Predicate: read nothing, write zeros.
    pub ignore: u16,
    pub ignore_negated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    Sync,
    Arrive,
    RedAnd,
    RedOr,
    RedPopc,
}

#[derive(Clone, Debug)]
pub struct BarOp {
    pub kind: BarKind,
    pub id: u16,
    pub count: u16,
    /// Predicate for and/or, word for popc.
    pub dst: u16,
    pub src: u16,
    pub negated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarpKind {
    Sync,
    ShflUp,
    ShflDown,
    ShflBfly,
    ShflIdx,
    VoteAll,
    VoteAny,
    VoteUni,
    VoteBallot,
    MatchAny32,
    MatchAll32,
    MatchAny64,
    MatchAll64,
    ReduxAddU,
    ReduxMinU,
    ReduxMaxU,
    ReduxMinS,
    ReduxMaxS,
    ReduxAnd,
    ReduxOr,
    ReduxXor,
}

/// Warp-synchronous operation with a member mask.
#[derive(Clone, Debug)]
pub struct WarpOp {
    pub kind: WarpKind,
    pub dst: u16,
    /// Second destination, a predicate.
    pub pred: u16,
    pub a: u16,
    pub b: u16,
    pub c: u16,
    pub mask: u16,
    pub negated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MmaKind {
    Tf32,
    Bf16,
    F16,
    /// Bytes, summed in 32 bits; which operands are signed.
    Bytes {
        a: bool,
        b: bool,
    },
}

#[derive(Clone, Debug)]
pub struct MmaOp {
    pub kind: MmaKind,
    /// 4, 8, 16 or 32; m is 16 and n is 8.
    pub k: u32,
    pub d: [u16; 4],
    pub a: [u16; 4],
    pub b: [u16; 2],
    pub c: [u16; 4],
}

#[derive(Clone, Debug)]
pub struct LdMatrix {
    /// Number of 8x8 matrices.
    pub n: u32,
    pub trans: bool,
    pub dst: [u16; 4],
    pub addr: Address,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemKind {
    /// Format and arguments, as addresses; how many there were.
    Print,
    /// Message, file, line, function.
    Assert,
    Malloc,
    Free,
}

/// What a kernel asks of the device beside computing. All registers are of 64 bits.
#[derive(Clone, Debug)]
pub struct SystemOp {
    pub kind: SystemKind,
    pub dst: u16,
    pub args: [u16; 4],
}

#[derive(Clone)]
pub enum Op {
    Alu {
        f: AluFn,
        dst: Bank,
        src: [Option<Bank>; 4],
        args: Args,
    },
    Nop,
    Bra(u32),
    BrxIdx {
        index: u16,
        table: u32,
    },
    Call {
        target: u32,
        link: u16,
    },
    /// To the place that a table has for the address in a register.
    CallAt {
        address: u16,
        table: u32,
    },
    /// Copies so many bytes of local memory, written or not.
    CopyLocal {
        from: u32,
        to: u32,
        bytes: u32,
    },
    Ret {
        link: u16,
    },
    Exit,
    Trap,
    Ld(u32),
    St(u32),
    Atom(u32),
    CpAsync(u32),
    CpCommit,
    /// All but the latest n groups; `u32::MAX`: everything, committed or not.
    CpWait(u32),
    Bar(u32),
    Warp(u32),
    ActiveMask {
        dst: u16,
    },
    Clock {
        dst: u16,
        bank: Bank,
        high: bool,
    },
    LdMatrix(u32),
    Mma(u32),
    System(u32),
    /// Waits for all threads of the grid.
    SyncGrid,
}

#[derive(Clone)]
pub struct Ins {
    pub op: Op,
    pub guard: u16,
    /// All ones if the guard is negated.
    pub flip: u32,
    pub line: u32,
    /// `None` for the second and further operations of one PTX instruction.
    pub class: Option<Class>,
}

/// One entry, ready to run.
#[derive(Clone, Default)]
pub struct Routine {
    pub code: Vec<Ins>,
    pub start: u32,
    pub mem: Vec<MemOp>,
    pub atoms: Vec<AtomOp>,
    pub copies: Vec<CpAsync>,
    pub bars: Vec<BarOp>,
    pub warps: Vec<WarpOp>,
    pub mmas: Vec<MmaOp>,
    pub matrices: Vec<LdMatrix>,
    pub systems: Vec<SystemOp>,
    pub tables: Vec<Vec<u32>>,
    /// Of calls by address: addresses, and where they lead.
    pub calls: Vec<Vec<(u64, u32)>>,
    /// Registers per bank.
    pub w: usize,
    pub d: usize,
    pub p: usize,
    pub const_w: Vec<(u16, u32)>,
    pub const_d: Vec<(u16, u64)>,
    pub specials: Vec<(u16, Special)>,
    /// Registers that some path reads before writing: zero when a block starts.
    pub unset: Vec<(Bank, u16)>,
    /// Bytes of local memory per thread.
    pub local: u32,
    pub static_shared: u32,
    /// Where dynamic shared memory begins.
    pub dynamic_base: u32,
    /// log2 of the smallest shared access in bytes, at most 2.
    pub granule: u32,
    /// Blocks must run in order: the result could depend on it.
    pub ordered: bool,
    /// Blocks wait for each other: all of them are under way at once.
    pub grid: bool,
}

/// What an operation does to a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Use,
    Def,
}

impl Routine {
    /// Calls `see` for every register that the operation at `at` names.
    pub fn visit(&mut self, at: usize, see: &mut dyn FnMut(Bank, &mut u16, Role)) {
        use Role::{Def, Use};
        fn address(addr: &mut Address, see: &mut dyn FnMut(Bank, &mut u16, Role)) {
            if addr.base != NONE {
                see(if addr.wide { Bank::D } else { Bank::W }, &mut addr.base, Use);
            }
        }
        fn optional(bank: Bank, reg: &mut u16, role: Role, see: &mut dyn FnMut(Bank, &mut u16, Role)) {
            if *reg != NONE {
                see(bank, reg, role);
            }
        }
        fn access(op: &mut MemOp, role: Role, see: &mut dyn FnMut(Bank, &mut u16, Role)) {
            address(&mut op.addr, see);
            for reg in &mut op.regs[..op.n as usize] {
                see(op.bank, reg, role);
            }
        }
        let ins = &mut self.code[at];
        see(Bank::P, &mut ins.guard, Use);
        match &mut ins.op {
            Op::Alu { dst, src, args, .. } => {
                for (bank, reg) in src.iter().zip([&mut args.a, &mut args.b, &mut args.c, &mut args.e]) {
                    if let Some(bank) = bank {
                        see(*bank, reg, Use);
                    }
                }
                see(*dst, &mut args.d, Def);
            }
            Op::BrxIdx { index, .. } => see(Bank::W, index, Use),
            Op::CallAt { address, .. } => see(Bank::D, address, Use),
            Op::Call { link, .. } => see(Bank::W, link, Def),
            Op::Ret { link } => see(Bank::W, link, Use),
            Op::Ld(i) => access(&mut self.mem[*i as usize], Def, see),
            Op::St(i) => access(&mut self.mem[*i as usize], Use, see),
            Op::Atom(i) => {
                let op = &mut self.atoms[*i as usize];
                address(&mut op.addr, see);
                optional(op.bank, &mut op.b, Use, see);
                optional(op.bank, &mut op.c, Use, see);
                optional(op.bank, &mut op.dst, Def, see);
            }
            Op::CpAsync(i) => {
                let op = &mut self.copies[*i as usize];
                address(&mut op.shared, see);
                address(&mut op.global, see);
                optional(Bank::W, &mut op.src_size, Use, see);
                optional(Bank::P, &mut op.ignore, Use, see);
            }
            Op::Bar(i) => {
                let op = &mut self.bars[*i as usize];
                see(Bank::W, &mut op.id, Use);
                optional(Bank::W, &mut op.count, Use, see);
                optional(Bank::P, &mut op.src, Use, see);
                let bank = if op.kind == BarKind::RedPopc { Bank::W } else { Bank::P };
                optional(bank, &mut op.dst, Def, see);
            }
            Op::Warp(i) => {
                let op = &mut self.warps[*i as usize];
                let (dst, a) = op.kind.banks();
                optional(a, &mut op.a, Use, see);
                optional(Bank::W, &mut op.b, Use, see);
                optional(Bank::W, &mut op.c, Use, see);
                see(Bank::W, &mut op.mask, Use);
                optional(dst, &mut op.dst, Def, see);
                optional(Bank::P, &mut op.pred, Def, see);
            }
            Op::ActiveMask { dst } => see(Bank::W, dst, Def),
            Op::Clock { dst, bank, .. } => see(*bank, dst, Def),
            Op::LdMatrix(i) => {
                let op = &mut self.matrices[*i as usize];
                address(&mut op.addr, see);
                for reg in &mut op.dst[..op.n as usize] {
                    see(Bank::W, reg, Def);
                }
            }
            Op::Mma(i) => {
                let op = &mut self.mmas[*i as usize];
                for reg in op.a.iter_mut().chain(&mut op.b).chain(&mut op.c) {
                    optional(Bank::W, reg, Use, see);
                }
                for reg in &mut op.d {
                    see(Bank::W, reg, Def);
                }
            }
            Op::System(i) => {
                let op = &mut self.systems[*i as usize];
                for reg in &mut op.args {
                    optional(Bank::D, reg, Use, see);
                }
                optional(Bank::D, &mut op.dst, Def, see);
            }
            Op::Nop
            | Op::SyncGrid
            | Op::Bra(_)
            | Op::CopyLocal { .. }
            | Op::Exit
            | Op::Trap
            | Op::CpCommit
            | Op::CpWait(_) => {}
        }
    }
}

impl WarpKind {
    /// Banks of destination and first source.
    pub fn banks(self) -> (Bank, Bank) {
        match self {
            WarpKind::VoteAll | WarpKind::VoteAny | WarpKind::VoteUni => (Bank::P, Bank::P),
            WarpKind::VoteBallot => (Bank::W, Bank::P),
            WarpKind::MatchAny64 | WarpKind::MatchAll64 => (Bank::W, Bank::D),
            _ => (Bank::W, Bank::W),
        }
    }
}
