//! Tokens to the body of a function: labels, registers, instructions and their operands.

use crate::text::ast::{Function, Instr, Stmt};
use crate::text::lex::Kind;
use crate::text::parse::{Parser, Result, Scope};
use crate::text::ty::{Operand, Ty};

impl Parser<'_> {
    pub fn body(&mut self, f: &mut Function) -> Result<()> {
        let depth = self.open.len();
        loop {
            let line = self.line();
            match self.peek() {
                None => return self.fail(format!("the body of `{}` has no end (text cut short?)", f.name)),
                Some(Kind::Punct(b'{')) => {
                    self.at += 1;
                    let parent = *self.open.last().unwrap_or(&0);
                    self.open.push(self.scopes.len());
                    self.scopes.push(Scope { parent, ..Scope::default() });
                }
                Some(Kind::Punct(b'}')) => {
                    self.at += 1;
                    self.open.pop();
                    if self.open.len() == depth {
                        return Ok(());
                    }
                }
                Some(Kind::Punct(b';')) => self.at += 1,
                Some(Kind::Punct(b'@')) => {
                    self.at += 1;
                    let negated = self.eat(b'!');
                    let name = self.word("a predicate")?;
                    let reg = self.register(f, name);
                    let Some(reg) = reg else { return self.fail(format!("predicate `{name}` is not declared")) };
                    if f.regs[reg] != Ty::Pred {
                        return self.fail(format!("guard `{name}` is not a predicate"));
                    }
                    self.instruction(f, line, Some((reg, negated)))?;
                }
                Some(&Kind::Dot(word)) => match word {
                    "reg" => self.registers(f)?,
                    "pragma" => self.skip_statement()?,
                    "local" | "shared" | "param" => {
                        for mut var in self.variables(false)? {
                            self.vars += 1;
                            let unique = format!("{}@{}", var.name, self.vars);
                            let scope = *self.open.last().unwrap_or(&0);
                            self.scopes[scope].vars.insert(var.name, unique.clone());
                            var.name = unique;
                            f.vars.push(var);
                        }
                    }
                    _ => return self.fail(format!("directive `.{word}` is not supported here")),
                },
                Some(&Kind::Word(word)) => {
                    if self.tokens.get(self.at + 1).map(|t| &t.kind) == Some(&Kind::Punct(b':')) {
                        self.at += 2;
                        self.label(f, line, word)?;
                    } else {
                        self.instruction(f, line, None)?;
                    }
                }
                _ => return self.unexpected("an instruction"),
            }
        }
    }

    fn label(&mut self, f: &mut Function, line: usize, word: &str) -> Result<()> {
        match self.peek() {
            Some(Kind::Dot("branchtargets")) => {
                self.at += 1;
                let scope = *self.open.last().unwrap_or(&0);
                let mut targets = vec![];
                loop {
                    targets.push(Operand::Name { name: self.word("a label")?.into(), scope });
                    if !self.eat(b',') {
                        break;
                    }
                }
                self.want(b';')?;
                f.tables.insert(word.into(), targets);
                return Ok(());
            }
            // What a call by address may reach is told by its arguments, too.
            Some(Kind::Dot("callprototype" | "calltargets")) => return self.skip_statement(),
            _ => {}
        }
        let scope = *self.open.last().unwrap_or(&0);
        if self.scopes[scope].labels.insert(word.into(), f.labels).is_some() {
            return Err((line, format!("label `{word}` stands twice")));
        }
        f.body.push(Stmt::Label(f.labels));
        f.labels += 1;
        Ok(())
    }

    fn registers(&mut self, f: &mut Function) -> Result<()> {
        self.at += 1;
        let Some(&Kind::Dot(word)) = self.peek() else { return self.unexpected("a register type") };
        let Some(ty) = Ty::parse(word) else { return self.fail(format!("registers of type `.{word}`")) };
        self.at += 1;
        loop {
            let name = self.word("a register name")?;
            let scope = *self.open.last().unwrap_or(&0);
            if self.eat(b'<') {
                let count = self.count("a number of registers")?;
                self.want(b'>')?;
                self.scopes[scope].ranges.push((name.into(), count.into(), ty));
            } else {
                self.scopes[scope].regs.insert(name.into(), f.regs.len());
                f.regs.push(ty);
            }
            if !self.eat(b',') {
                break;
            }
        }
        self.want(b';')
    }

    /// The number of a declared register, innermost scope first.
    fn register(&mut self, f: &mut Function, name: &str) -> Option<usize> {
        let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
        let (prefix, number) = name.split_at(name.len() - digits);
        let canonical = digits == 1 || !number.starts_with('0');
        let number = if canonical { number.parse::<u64>().ok() } else { None };
        for &scope in self.open.iter().rev() {
            let scope = &mut self.scopes[scope];
            if let Some(&reg) = scope.regs.get(name) {
                return Some(reg);
            }
            let range = scope.ranges.iter().find(|(p, count, _)| p == prefix && number.is_some_and(|n| n < *count));
            if let Some(&(_, _, ty)) = range {
                scope.regs.insert(name.into(), f.regs.len());
                f.regs.push(ty);
                return Some(f.regs.len() - 1);
            }
        }
        None
    }

    fn instruction(&mut self, f: &mut Function, line: usize, guard: Option<(usize, bool)>) -> Result<()> {
        let opcode = self.word("an instruction")?.to_string();
        let mut operands = vec![];
        if !self.is(b';') {
            loop {
                operands.push(self.operand(f)?);
                if !self.eat(b',') {
                    break;
                }
            }
        }
        self.want(b';')?;
        f.body.push(Stmt::Instr(Instr { line, guard, opcode, operands }));
        Ok(())
    }

    fn operand(&mut self, f: &mut Function) -> Result<Operand> {
        if self.eat(b'[') {
            let base = self.simple(f)?;
            let base = match base {
                Operand::Reg(_) | Operand::Symbol { .. } | Operand::Int(_) => base,
                Operand::Name { name, .. } => return self.fail(format!("`{name}` is not declared")),
                _ => return self.fail("this cannot be an address"),
            };
            let offset = if self.eat(b'+') || self.is(b'-') { self.int("an offset")? } else { 0 };
            self.want(b']')?;
            let Ok(offset) = i64::try_from(offset) else { return self.fail("address offset out of range") };
            return Ok(Operand::Address { base: base.into(), offset });
        }
        for (open, close) in [(b'{', b'}'), (b'(', b')')] {
            if self.eat(open) {
                let mut parts = vec![];
                if !self.eat(close) {
                    loop {
                        parts.push(self.simple(f)?);
                        if !self.eat(b',') {
                            break;
                        }
                    }
                    self.want(close)?;
                }
                return Ok(if open == b'{' { Operand::Vector(parts) } else { Operand::List(parts) });
            }
        }
        let first = self.simple(f)?;
        if self.eat(b'|') {
            return Ok(Operand::Pair(first.into(), self.simple(f)?.into()));
        }
        if let Operand::Symbol { name, .. } = &first
            && (self.eat(b'+') || self.is(b'-'))
        {
            let Ok(offset) = i64::try_from(self.int("an offset")?) else { return self.fail("offset out of range") };
            return Ok(Operand::Symbol { name: name.clone(), offset });
        }
        Ok(first)
    }

    fn simple(&mut self, f: &mut Function) -> Result<Operand> {
        if self.eat(b'!') {
            let name = self.word("a predicate")?;
            return match self.register(f, name) {
                Some(reg) => Ok(Operand::NotReg(reg)),
                None => self.fail(format!("register `{name}` is not declared")),
            };
        }
        let minus = self.eat(b'-');
        let flip = |bits: u64, top: u64| if minus { bits ^ top } else { bits };
        match self.peek() {
            Some(&Kind::Int(value)) => Ok(Operand::Int(self.advance(if minus { -value } else { value }))),
            Some(&Kind::F32(bits)) => {
                self.at += 1;
                Ok(Operand::F32(flip(bits.into(), 1 << 31) as u32))
            }
            Some(&Kind::F64(bits)) => {
                self.at += 1;
                Ok(Operand::F64(flip(bits, 1 << 63)))
            }
            Some(&Kind::Word(word)) if !minus => {
                self.at += 1;
                self.name(f, word)
            }
            _ => self.unexpected("an operand"),
        }
    }

    fn name(&mut self, f: &mut Function, word: &str) -> Result<Operand> {
        if word == "_" {
            return Ok(Operand::Sink);
        }
        if word == "WARP_SZ" {
            return Ok(Operand::Int(32));
        }
        if let Some(reg) = self.register(f, word) {
            return Ok(Operand::Reg(reg));
        }
        for &scope in self.open.iter().rev() {
            if let Some(unique) = self.scopes[scope].vars.get(word) {
                let name = unique.clone();
                return Ok(Operand::Symbol { name, offset: 0 });
            }
        }
        if let Some(special) = word.strip_prefix('%') {
            return match is_special(special) {
                true => Ok(Operand::Special(special.into())),
                false => self.fail(format!("register `{word}` is not declared")),
            };
        }
        Ok(Operand::Name { name: word.into(), scope: *self.open.last().unwrap_or(&0) })
    }

    pub fn resolve_labels(&self, f: &mut Function) -> Result<()> {
        let find = |operand: &mut Operand| {
            if let Operand::Name { name, scope } = operand {
                let mut at = *scope;
                loop {
                    if let Some(&label) = self.scopes[at].labels.get(name.as_str()) {
                        *operand = Operand::Label(label);
                        return;
                    }
                    if at == 0 {
                        return;
                    }
                    at = self.scopes[at].parent;
                }
            }
        };
        for stmt in &mut f.body {
            if let Stmt::Instr(instr) = stmt {
                instr.operands.iter_mut().for_each(find);
            }
        }
        f.tables.values_mut().flatten().for_each(find);
        Ok(())
    }
}

/// Special registers that `lower` knows.
fn is_special(name: &str) -> bool {
    let (base, axis) = name.split_once('.').unwrap_or((name, ""));
    match base {
        "tid" | "ntid" | "ctaid" | "nctaid" => matches!(axis, "x" | "y" | "z"),
        "laneid" | "warpid" | "nwarpid" | "smid" | "nsmid" | "clock" | "clock_hi" | "clock64" | "globaltimer"
        | "lanemask_eq" | "lanemask_lt" | "lanemask_le" | "lanemask_gt" | "lanemask_ge" | "dynamic_smem_size"
        | "total_smem_size" | "gridid" => axis.is_empty(),
        _ => false,
    }
}
