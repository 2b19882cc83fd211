//! From parsed functions to a runnable routine: places variables, numbers registers, lays out the code of an entry and
//! of the functions it calls. What single instructions become is in `instruction`.

use std::collections::{HashMap, HashSet};

use crate::lower::allocate::allocate;
use crate::lower::calls::{address_of, by_address, calls_by_address, is_call, taken};
use crate::lower::class::Class;
use crate::lower::op::{Address, Alu, Args, Ins, NONE, Op, P_SINK, P_TRUE, Routine, SINK, Special};
use crate::lower::windows::{LOCAL_WINDOW, SHARED_WINDOW};
use crate::text::ast::{Ast, Function, Instr, Stmt, Var, original};
use crate::text::parse::Error;
use crate::text::ty::{Bank, Operand, Space, Ty};

pub type Result<T> = std::result::Result<T, Error>;

/// Local memory of one thread on the hardware.
const MAX_LOCAL: u64 = 512 << 10;

/// Where a variable is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub space: Space,
    pub address: u64,
}

/// State while one entry is lowered.
pub struct Lower<'a> {
    pub ast: &'a Ast,
    pub routine: Routine,
    pub places: HashMap<String, Place>,
    /// Registers of the function being lowered: bank and number, once used.
    regs: Vec<Option<u16>>,
    /// Declared types of the same.
    pub types: &'a [Ty],
    words: HashMap<u32, u16>,
    longs: HashMap<u64, u16>,
    /// First instruction of each lowered function, and its register for the return address.
    functions: HashMap<String, (u32, u16)>,
    /// Functions whose address is taken anywhere.
    pub taken: Vec<&'a Function>,
    pub active: Vec<String>,
    labels: Vec<Option<u32>>,
    /// Branches to patch: index of the operation, label.
    pending: Vec<(usize, usize)>,
    pending_tables: Vec<(usize, Vec<usize>)>,
    pub line: usize,
    pub guard: u16,
    pub flip: u32,
    class: Option<Class>,
    /// Register with the return address; `None` in an entry.
    pub link: Option<u16>,
    local: u64,
    /// The carry flag of `.cc`.
    carry: Option<u16>,
}

/// Lowers one entry. `globals`: places of module-level variables.
pub fn lower(ast: &Ast, entry: &Function, globals: &HashMap<String, Place>) -> Result<Routine> {
    let mut lower = Lower {
        ast,
        routine: Routine { w: 1, p: 2, d: 1, granule: 2, ..Routine::default() },
        places: globals.clone(),
        regs: vec![],
        types: &[],
        words: HashMap::new(),
        longs: HashMap::new(),
        functions: HashMap::new(),
        taken: taken(ast),
        active: vec![],
        labels: vec![],
        pending: vec![],
        pending_tables: vec![],
        line: entry.line,
        guard: P_TRUE,
        flip: 0,
        class: None,
        link: None,
        local: 0,
        carry: None,
    };
    lower.place_shared(entry)?;
    let mut at = 0;
    for param in &entry.params {
        let start = param_offset(&mut at, param);
        lower.places.insert(param.name.clone(), Place { space: Space::Param, address: start });
    }
    lower.routine.start = lower.function(entry)?;
    lower.routine.local = u32::try_from(lower.local).unwrap_or(0);
    allocate(&mut lower.routine);
    Ok(lower.routine)
}

/// Offset of the next parameter.
pub fn param_offset(at: &mut u64, param: &Var) -> u64 {
    let start = at.next_multiple_of(param.align);
    *at = start + param.size;
    start
}

/// Functions that a function calls by name: line of the call, name.
fn callees(f: &Function) -> impl Iterator<Item = (usize, &str)> {
    f.body.iter().filter_map(|stmt| match stmt {
        Stmt::Instr(i) if is_call(i) && by_address(i).is_none() => {
            match i.operands.iter().find(|o| matches!(o, Operand::Name { .. })) {
                Some(Operand::Name { name, .. }) => Some((i.line, name.as_str())),
                _ => None,
            }
        }
        _ => None,
    })
}

impl<'a> Lower<'a> {
    pub fn fail<T>(&self, message: impl Into<String>) -> Result<T> {
        Err((self.line, message.into()))
    }

    pub fn find(&self, name: &str) -> Result<&'a Function> {
        match self.ast.function(name) {
            Some((_, f)) => Ok(f),
            None => self.fail(format!("call of `{name}`, which has no body in this module")),
        }
    }

    /// Static shared variables of the entry, of what it calls, and of the module if they name them; then the dynamic
    /// part.
    fn place_shared(&mut self, entry: &'a Function) -> Result<()> {
        let (mut todo, mut seen) = (vec![entry], HashSet::new());
        let (mut named, mut vars) = (HashSet::new(), vec![]);
        while let Some(f) = todo.pop() {
            vars.extend(f.vars.iter().filter(|v| v.space == Space::Shared));
            for stmt in &f.body {
                if let Stmt::Instr(i) = stmt {
                    self.line = i.line;
                    i.operands.iter().for_each(|o| symbols(o, &mut named));
                }
            }
            for (line, callee) in callees(f) {
                self.line = line;
                if seen.insert(callee) {
                    todo.push(self.find(callee)?);
                }
            }
            if calls_by_address(f) {
                todo.extend(self.taken.iter().filter(|t| seen.insert(t.name.as_str())));
            }
        }
        self.line = entry.line;
        let module = self.ast.vars.iter().filter(|v| v.space == Space::Shared && named.contains(v.name.as_str()));
        let (dynamic, module): (Vec<&Var>, Vec<&Var>) = module.partition(|v| v.size == 0);
        let mut at = 0;
        for var in module.into_iter().chain(vars) {
            let start = param_offset(&mut at, var);
            self.places.insert(var.name.clone(), Place { space: Space::Shared, address: start });
        }
        let align = dynamic.iter().map(|v| v.align).max().unwrap_or(1).max(16);
        let base = if at == 0 { 0 } else { at.next_multiple_of(align) };
        for var in dynamic {
            self.places.insert(var.name.clone(), Place { space: Space::Shared, address: base });
        }
        match (u32::try_from(at), u32::try_from(base)) {
            (Ok(at), Ok(base)) => (self.routine.static_shared, self.routine.dynamic_base) = (at, base),
            _ => return self.fail("static shared memory over 4 GiB"),
        }
        Ok(())
    }

    fn place_local(&mut self, var: &Var) -> Result<()> {
        let start = param_offset(&mut self.local, var);
        if self.local > MAX_LOCAL {
            return self.fail(format!("local memory of {} bytes is over {MAX_LOCAL} a thread", self.local));
        }
        self.places.insert(var.name.clone(), Place { space: Space::Local, address: start });
        Ok(())
    }

    /// Lowers a function that is called, once.
    fn callee(&mut self, f: &'a Function) -> Result<()> {
        if self.functions.contains_key(&f.name) {
            return Ok(());
        }
        for var in f.params.iter().chain(&f.returns) {
            self.place_local(var)?;
        }
        let link = self.new_word()?;
        let outer = self.link.replace(link);
        let start = self.function(f)?;
        self.link = outer;
        self.functions.insert(f.name.clone(), (start, link));
        Ok(())
    }

    /// Lowers what a function calls, then the function; its first instruction.
    fn function(&mut self, f: &'a Function) -> Result<u32> {
        if self.active.len() > 64 {
            return self.fail("calls nest deeper than 64 functions");
        }
        self.active.push(f.name.clone());
        for (line, callee) in callees(f) {
            self.line = line;
            if self.active.iter().any(|a| a == callee) {
                return self.fail(format!("`{callee}` is recursive, which is not supported"));
            }
            self.callee(self.find(callee)?)?;
        }
        if calls_by_address(f) {
            // What is being lowered would call itself, and is not reached so.
            for target in self.taken.clone().into_iter().filter(|t| !self.active.contains(&t.name)).collect::<Vec<_>>()
            {
                self.callee(target)?;
            }
        }
        for var in f.vars.iter().filter(|v| v.space != Space::Shared) {
            self.place_local(var)?;
        }
        self.alias_arguments(f)?;
        self.types = &f.regs;
        self.regs = vec![None; f.regs.len()];
        self.labels = vec![None; f.labels];
        let start = self.here()?;
        for stmt in &f.body {
            match stmt {
                Stmt::Label(label) => self.labels[*label] = Some(self.here()?),
                Stmt::Instr(instr) => self.instruction(f, instr)?,
            }
        }
        // Falling off the end of a body is leaving it.
        (self.guard, self.flip, self.class) = (P_TRUE, 0, Some(Class::Control));
        self.leave();
        for (at, label) in std::mem::take(&mut self.pending) {
            let target = self.labels[label].unwrap_or(0);
            if let Op::Bra(to) = &mut self.routine.code[at].op {
                *to = target;
            }
        }
        for (table, labels) in std::mem::take(&mut self.pending_tables) {
            self.routine.tables[table] = labels.iter().map(|&l| self.labels[l].unwrap_or(0)).collect();
        }
        self.active.pop();
        Ok(start)
    }

    pub fn here(&self) -> Result<u32> {
        u32::try_from(self.routine.code.len()).or_else(|_| self.fail("too many instructions"))
    }

    fn instruction(&mut self, f: &'a Function, instr: &'a Instr) -> Result<()> {
        self.line = instr.line;
        (self.guard, self.flip) = (P_TRUE, 0);
        if let Some((reg, negated)) = instr.guard {
            self.guard = self.reg(reg)?;
            self.flip = if negated { !0 } else { 0 };
        }
        self.class = Some(Class::Move);
        self.lower_instr(f, instr)
    }

    /// Adds an operation of the current instruction; the first one carries its class.
    pub fn push(&mut self, op: Op, class: Class) {
        let class = self.class.take().map(|_| class);
        let line = self.line as u32;
        self.routine.code.push(Ins { op, guard: self.guard, flip: self.flip, line, class });
    }

    pub fn leave(&mut self) {
        let op = match self.link {
            Some(link) => Op::Ret { link },
            None => Op::Exit,
        };
        self.push(op, Class::Control);
    }

    pub fn branch(&mut self, label: usize) {
        self.pending.push((self.routine.code.len(), label));
        self.push(Op::Bra(0), Class::Control);
    }

    pub fn jump_table(&mut self, index: u16, labels: Vec<usize>) {
        let table = self.routine.tables.len();
        self.routine.tables.push(vec![]);
        self.pending_tables.push((table, labels));
        self.push(Op::BrxIdx { index, table: table as u32 }, Class::Control);
    }

    pub fn call(&mut self, name: &str) -> Result<()> {
        let Some(&(target, link)) = self.functions.get(name) else {
            return self.fail(format!("call of unknown function `{name}`"));
        };
        self.push(Op::Call { target, link }, Class::Control);
        Ok(())
    }

    fn number(&self, count: &mut usize) -> Result<u16> {
        let n = *count;
        *count += 1;
        if n >= usize::from(NONE) { self.fail("more than 65535 registers in one bank") } else { Ok(n as u16) }
    }

    pub fn new_reg(&mut self, bank: Bank) -> Result<u16> {
        let mut count = match bank {
            Bank::W => self.routine.w,
            Bank::D => self.routine.d,
            Bank::P => self.routine.p,
        };
        let n = self.number(&mut count)?;
        match bank {
            Bank::W => self.routine.w = count,
            Bank::D => self.routine.d = count,
            Bank::P => self.routine.p = count,
        }
        Ok(n)
    }

    fn new_word(&mut self) -> Result<u16> {
        self.new_reg(Bank::W)
    }

    pub fn carry_register(&mut self) -> Result<u16> {
        if let Some(reg) = self.carry {
            return Ok(reg);
        }
        let reg = self.new_reg(Bank::P)?;
        self.carry = Some(reg);
        Ok(reg)
    }

    /// The number of a declared register.
    pub fn reg(&mut self, declared: usize) -> Result<u16> {
        if let Some(n) = self.regs[declared] {
            return Ok(n);
        }
        let n = self.new_reg(self.types[declared].bank())?;
        self.regs[declared] = Some(n);
        Ok(n)
    }

    pub fn word(&mut self, value: u32) -> Result<u16> {
        if let Some(&reg) = self.words.get(&value) {
            return Ok(reg);
        }
        let reg = self.new_reg(Bank::W)?;
        self.routine.const_w.push((reg, value));
        self.words.insert(value, reg);
        Ok(reg)
    }

    pub fn long(&mut self, value: u64) -> Result<u16> {
        if let Some(&reg) = self.longs.get(&value) {
            return Ok(reg);
        }
        let reg = self.new_reg(Bank::D)?;
        self.routine.const_d.push((reg, value));
        self.longs.insert(value, reg);
        Ok(reg)
    }

    fn special(&mut self, special: Special) -> Result<u16> {
        if let Some((reg, _)) = self.routine.specials.iter().find(|(_, s)| *s == special) {
            return Ok(*reg);
        }
        let reg = self.new_word()?;
        self.routine.specials.push((reg, special));
        Ok(reg)
    }

    /// A special register that has one value for a whole block.
    pub fn special_named(&mut self, name: &str) -> Result<u16> {
        let axis = match name.rsplit_once('.') {
            Some((_, "y")) => 1,
            Some((_, "z")) => 2,
            _ => 0,
        };
        let special = match name.split('.').next().unwrap_or(name) {
            "tid" => Special::Tid(axis),
            "ntid" => Special::Ntid(axis),
            "ctaid" => Special::Ctaid(axis),
            "nctaid" => Special::Nctaid(axis),
            "laneid" => Special::Lane,
            "warpid" => Special::Warp,
            "nwarpid" => Special::Warps,
            "lanemask_eq" => Special::LaneMask(0),
            "lanemask_lt" => Special::LaneMask(1),
            "lanemask_le" => Special::LaneMask(2),
            "lanemask_gt" => Special::LaneMask(3),
            "lanemask_ge" => Special::LaneMask(4),
            "dynamic_smem_size" => Special::DynamicShared,
            "total_smem_size" => Special::TotalShared,
            "smid" | "gridid" => Special::Zero,
            "nsmid" => Special::One,
            _ => return self.fail(format!("`%{name}` can only be read by a mov of its own width")),
        };
        self.special(special)
    }

    /// A value as raw bits in the bank of `ty`.
    pub fn constant(&mut self, bits: u64, ty: Ty) -> Result<u16> {
        match ty.bank() {
            Bank::D => self.long(bits),
            Bank::W if ty.bits() == 32 => self.word(bits as u32),
            Bank::W => self.word(bits as u32 & ((1 << ty.bits()) - 1)),
            Bank::P => self.fail("a predicate cannot be a number"),
        }
    }

    /// A source operand as a register of `ty`'s bank.
    pub fn src(&mut self, operand: &Operand, ty: Ty) -> Result<u16> {
        match operand {
            Operand::Reg(declared) => {
                let have = self.types[*declared];
                if have.bank() != ty.bank() {
                    return self.fail(format!("a register of {} bits where {} are needed", have.bits(), ty.bits()));
                }
                self.reg(*declared)
            }
            Operand::Int(value) => {
                if ty.is_float() {
                    return self.fail(format!("integer {value} where a {ty:?} is needed"));
                }
                self.constant(*value as u64, ty)
            }
            Operand::F32(bits) if ty.bits() == 32 => self.word(*bits),
            Operand::F64(bits) if ty.bits() == 64 => self.long(*bits),
            Operand::F64(bits) if ty == Ty::F32 => self.word((f64::from_bits(*bits) as f32).to_bits()),
            Operand::Special(name) if ty.bank() == Bank::W => self.special_named(name),
            Operand::Symbol { name, offset } => {
                let place = self.place(name)?;
                let address = place.address.wrapping_add(*offset as u64);
                match ty.bank() {
                    Bank::D => self.long(address),
                    Bank::W if matches!(place.space, Space::Shared | Space::Local | Space::Param) => {
                        self.word(address as u32)
                    }
                    _ => self.fail(format!("the address of `{}` needs a 64-bit register", original(name))),
                }
            }
            Operand::Name { name, .. } => match (self.ast.function(name), ty.bank()) {
                (Some((number, _)), Bank::D) => self.long(address_of(number)),
                _ => self.fail(format!("`{name}` is not declared")),
            },
            _ => self.fail(format!("operand {operand:?} cannot be a {ty:?} source")),
        }
    }

    pub fn place(&self, name: &str) -> Result<Place> {
        match self.places.get(name) {
            Some(&place) => Ok(place),
            None => self.fail(format!("`{}` cannot be used here", original(name))),
        }
    }

    /// A destination register of `ty`'s bank.
    pub fn dst(&mut self, operand: &Operand, ty: Ty) -> Result<u16> {
        match operand {
            Operand::Reg(declared) if self.types[*declared].bank() == ty.bank() => self.reg(*declared),
            Operand::Reg(declared) => {
                let have = self.types[*declared].bits();
                self.fail(format!("a destination of {have} bits for a result of {} bits", ty.bits()))
            }
            Operand::Sink => Ok(if ty.bank() == Bank::P { P_SINK } else { SINK }),
            _ => self.fail("the destination must be a register"),
        }
    }

    /// Declared width of a register operand; otherwise that of `ty`.
    pub fn declared_bits(&self, operand: &Operand, ty: Ty) -> u32 {
        match operand {
            Operand::Reg(declared) => self.types[*declared].bits(),
            _ => ty.bits(),
        }
    }

    /// Adds an arithmetic operation whose registers are known.
    pub fn push_alu(&mut self, alu: Alu, d: u16, sources: &[u16], class: Class) {
        let mut args = Args { d, ..Args::default() };
        for (slot, &reg) in [&mut args.a, &mut args.b, &mut args.c, &mut args.e].into_iter().zip(sources) {
            *slot = reg;
        }
        self.push(Op::Alu { f: alu.f, dst: alu.dst, src: alu.src, args }, class);
    }

    /// Adds an arithmetic operation: destination, then sources with their types.
    pub fn alu(&mut self, alu: Alu, class: Class, d: (&Operand, Ty), sources: &[(&Operand, Ty)]) -> Result<()> {
        let mut regs = vec![];
        for (bank, (operand, ty)) in alu.src.iter().flatten().zip(sources) {
            if *bank != ty.bank() {
                return self.fail(format!("a {ty:?} source is not supported here"));
            }
            regs.push(self.src(operand, *ty)?);
        }
        if regs.len() != sources.len() || alu.src.iter().flatten().count() != sources.len() {
            return self.fail("wrong number of operands");
        }
        let dst = self.dst(d.0, d.1)?;
        self.push_alu(alu, dst, &regs, class);
        Ok(())
    }

    /// The address operand of an access in `space`, and the space it is really in.
    pub fn address(&mut self, operand: &Operand, space: Space) -> Result<(Address, Space)> {
        let Operand::Address { base, offset } = operand else { return self.fail("expected an address in brackets") };
        match &**base {
            Operand::Reg(declared) => {
                let wide = match self.types[*declared].bits() {
                    64 => true,
                    32 => false,
                    bits => return self.fail(format!("a {bits}-bit register as address")),
                };
                if space == Space::Param && self.link.is_some() {
                    return self.fail("parameters of a function addressed by register are not supported");
                }
                Ok((Address { base: self.reg(*declared)?, wide, offset: *offset }, space))
            }
            Operand::Int(value) => {
                let offset = (*value as i64).wrapping_add(*offset);
                Ok((Address { base: NONE, wide: true, offset }, space))
            }
            Operand::Symbol { name, offset: inner } => {
                let place = self.place(name)?;
                let mut at = (place.address as i64).wrapping_add(*inner).wrapping_add(*offset);
                let real = match (space, place.space) {
                    (a, b) if a == b => a,
                    // Parameters of functions and calls are kept in local memory.
                    (Space::Param, Space::Local) => Space::Local,
                    (Space::Generic, Space::Global | Space::Const) => Space::Global,
                    (Space::Generic, Space::Shared) => {
                        at = at.wrapping_add(SHARED_WINDOW as i64);
                        Space::Generic
                    }
                    (Space::Generic, Space::Local) => {
                        at = at.wrapping_add(LOCAL_WINDOW as i64);
                        Space::Generic
                    }
                    (a, b) => return self.fail(format!("`{}` is in {b} memory, not {a}", original(name))),
                };
                Ok((Address { base: NONE, wide: true, offset: at }, real))
            }
            _ => self.fail("this cannot be an address"),
        }
    }
}

fn symbols<'t>(operand: &'t Operand, out: &mut HashSet<&'t str>) {
    match operand {
        Operand::Symbol { name, .. } => {
            out.insert(name);
        }
        Operand::Address { base, .. } => symbols(base, out),
        Operand::Vector(list) | Operand::List(list) => list.iter().for_each(|o| symbols(o, out)),
        Operand::Pair(a, b) => {
            symbols(a, out);
            symbols(b, out);
        }
        _ => {}
    }
}
