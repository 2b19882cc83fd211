//! Tokens to declarations and instructions. Names of registers, variables and labels are resolved here (they are
//! scoped by braces); what an instruction means is decided in `lower`.

use std::collections::HashMap;

use crate::lex::{Kind, Token, lex};
use crate::ty::{Operand, Space, Ty};

/// (line, message)
pub type Error = (usize, String);
pub type Result<T> = std::result::Result<T, Error>;

/// A variable: module-level, function-level or a parameter.
#[derive(Clone, Debug)]
pub struct Var {
    pub name: String,
    pub space: Space,
    pub ty: Ty,
    pub align: u64,
    /// In bytes; 0 for `extern .shared x[]`.
    pub size: u64,
    pub init: Vec<u8>,
    /// Addresses to be filled in: (offset, symbol, constant to add).
    pub fixups: Vec<(u64, String, i64)>,
}

#[derive(Clone, Debug)]
pub struct Instr {
    pub line: usize,
    /// Register number and whether it is negated.
    pub guard: Option<(usize, bool)>,
    pub opcode: String,
    pub operands: Vec<Operand>,
}

#[derive(Clone, Debug)]
pub enum Stmt {
    Instr(Instr),
    Label(usize),
}

#[derive(Clone, Debug, Default)]
pub struct Function {
    pub name: String,
    pub line: usize,
    pub entry: bool,
    pub params: Vec<Var>,
    pub returns: Vec<Var>,
    pub vars: Vec<Var>,
    pub regs: Vec<Ty>,
    pub body: Vec<Stmt>,
    pub labels: usize,
    /// Branch tables by label name.
    pub tables: HashMap<String, Vec<Operand>>,
    pub max_threads: Option<[u32; 3]>,
    pub exact_threads: Option<[u32; 3]>,
}

#[derive(Clone, Debug, Default)]
pub struct Ast {
    pub vars: Vec<Var>,
    pub functions: Vec<Function>,
}

pub fn parse(text: &str) -> Result<Ast> {
    let tokens = lex(text)?;
    let last = text.lines().count().max(1);
    let mut parser = Parser { tokens, at: 0, last, scopes: vec![Scope::default()], open: vec![0], vars: 0 };
    parser.module()
}

#[derive(Default)]
struct Scope {
    parent: usize,
    regs: HashMap<String, usize>,
    ranges: Vec<(String, u64, Ty)>,
    vars: HashMap<String, String>,
    labels: HashMap<String, usize>,
}

pub struct Parser<'t> {
    tokens: Vec<Token<'t>>,
    /// The next token.
    pub at: usize,
    last: usize,
    /// All scopes of the function being read; 0 is the module's.
    scopes: Vec<Scope>,
    open: Vec<usize>,
    vars: usize,
}

impl<'t> Parser<'t> {
    fn line(&self) -> usize {
        self.tokens.get(self.at).map_or(self.last, |t| t.line)
    }

    pub fn fail<T>(&self, message: impl Into<String>) -> Result<T> {
        Err((self.line(), message.into()))
    }

    pub fn peek(&self) -> Option<&Kind<'t>> {
        self.tokens.get(self.at).map(|t| &t.kind)
    }

    pub fn is(&self, punct: u8) -> bool {
        self.peek() == Some(&Kind::Punct(punct))
    }

    pub fn eat(&mut self, punct: u8) -> bool {
        let found = self.is(punct);
        self.at += usize::from(found);
        found
    }

    pub fn unexpected<T>(&self, wanted: &str) -> Result<T> {
        match self.peek() {
            None => self.fail(format!("text ends where {wanted} is expected (cut short?)")),
            Some(Kind::Word(word)) => self.fail(format!("expected {wanted}, found `{word}`")),
            Some(Kind::Dot(word)) => self.fail(format!("expected {wanted}, found `.{word}`")),
            Some(Kind::Punct(c)) => self.fail(format!("expected {wanted}, found `{}`", *c as char)),
            Some(Kind::Text) => self.fail(format!("expected {wanted}, found a string")),
            Some(_) => self.fail(format!("expected {wanted}, found a number")),
        }
    }

    pub fn want(&mut self, punct: u8) -> Result<()> {
        if self.eat(punct) { Ok(()) } else { self.unexpected(&format!("`{}`", punct as char)) }
    }

    pub fn word(&mut self, what: &str) -> Result<&'t str> {
        match self.peek() {
            Some(&Kind::Word(word)) => {
                self.at += 1;
                Ok(word)
            }
            _ => self.unexpected(what),
        }
    }

    pub fn int(&mut self, what: &str) -> Result<i128> {
        let minus = self.eat(b'-');
        match self.peek() {
            Some(&Kind::Int(value)) => {
                self.at += 1;
                Ok(if minus { -value } else { value })
            }
            _ => self.unexpected(what),
        }
    }

    pub fn count(&mut self, what: &str) -> Result<u32> {
        let value = self.int(what)?;
        u32::try_from(value).or_else(|_| self.fail(format!("{what} is {value}, out of range")))
    }

    fn module(&mut self) -> Result<Ast> {
        let mut ast = Ast::default();
        let mut versioned = false;
        while let Some(kind) = self.peek() {
            let Kind::Dot(word) = *kind else { return self.unexpected("a directive") };
            match word {
                "version" => {
                    self.at += 1;
                    match self.peek() {
                        Some(Kind::F64(_) | Kind::Int(_)) => self.at += 1,
                        _ => return self.unexpected("a version number"),
                    }
                    versioned = true;
                }
                "target" => {
                    self.at += 1;
                    self.word("a target such as sm_80")?;
                    while self.eat(b',') {
                        self.word("a target option")?;
                    }
                }
                "address_size" => {
                    self.at += 1;
                    if self.int("an address size")? != 64 {
                        return self.fail("only 64-bit addresses are supported");
                    }
                }
                "section" => self.skip_section()?,
                "pragma" => self.skip_statement()?,
                _ if !versioned => return self.fail("PTX starts with .version"),
                _ => self.declaration(&mut ast)?,
            }
        }
        if !ast.functions.iter().any(|f| f.entry) {
            return self.fail("no .entry in the text (empty or cut short?)");
        }
        Ok(ast)
    }

    fn skip_section(&mut self) -> Result<()> {
        while !self.is(b'{') {
            if self.peek().is_none() {
                return self.unexpected("`{`");
            }
            self.at += 1;
        }
        let mut depth = 0;
        loop {
            match self.peek() {
                None => return self.unexpected("`}` of the section"),
                Some(Kind::Punct(b'{')) => depth += 1,
                Some(Kind::Punct(b'}')) => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn skip_statement(&mut self) -> Result<()> {
        while !self.is(b';') {
            if self.peek().is_none() {
                return self.unexpected("`;`");
            }
            self.at += 1;
        }
        self.at += 1;
        Ok(())
    }

    fn declaration(&mut self, ast: &mut Ast) -> Result<()> {
        let mut external = false;
        loop {
            let Some(&Kind::Dot(word)) = self.peek() else { return self.unexpected("a declaration") };
            match word {
                "visible" | "weak" | "common" => self.at += 1,
                "extern" => {
                    external = true;
                    self.at += 1;
                }
                "entry" | "func" => {
                    self.at += 1;
                    if let Some(function) = self.function(word == "entry")? {
                        if external {
                            return self.fail(format!("function `{}` is both external and defined", function.name));
                        }
                        if ast.functions.iter().any(|f| f.name == function.name) {
                            return self.fail(format!("`{}` is defined twice", function.name));
                        }
                        ast.functions.push(function);
                    }
                    return Ok(());
                }
                "global" | "const" | "shared" => {
                    for var in self.variables(external)? {
                        if ast.vars.iter().any(|v| v.name == var.name) {
                            return self.fail(format!("`{}` is declared twice", var.name));
                        }
                        self.scopes[0].vars.insert(var.name.clone(), var.name.clone());
                        ast.vars.push(var);
                    }
                    return Ok(());
                }
                _ => return self.unexpected("a declaration that is supported"),
            }
        }
    }

    fn parameters(&mut self) -> Result<Vec<Var>> {
        let mut params = vec![];
        if self.eat(b'(') && !self.eat(b')') {
            loop {
                if self.peek() != Some(&Kind::Dot("param")) {
                    return self.unexpected("`.param`");
                }
                params.push(self.variable(false)?);
                if !self.eat(b',') {
                    break;
                }
            }
            self.want(b')')?;
        }
        Ok(params)
    }

    /// After `.entry` or `.func`; `None` for a declaration without body.
    fn function(&mut self, entry: bool) -> Result<Option<Function>> {
        let mut f = Function { entry, line: self.line(), ..Function::default() };
        if !entry {
            f.returns = self.parameters()?;
        }
        f.name = self.word("a function name")?.to_string();
        f.params = self.parameters()?;
        loop {
            match self.peek() {
                Some(Kind::Punct(b';')) => {
                    self.at += 1;
                    return Ok(None);
                }
                Some(Kind::Punct(b'{')) => break,
                Some(&Kind::Dot(word)) => {
                    self.at += 1;
                    match word {
                        "maxntid" | "reqntid" => {
                            let mut size = [1; 3];
                            size[0] = self.count("a block size")?;
                            for size in size.iter_mut().skip(1) {
                                if self.eat(b',') {
                                    *size = self.count("a block size")?;
                                }
                            }
                            let target = if word == "maxntid" { &mut f.max_threads } else { &mut f.exact_threads };
                            *target = Some(size);
                        }
                        "minnctapersm" | "maxnreg" | "maxnctapersm" => drop(self.count("a number")?),
                        "noreturn" => {}
                        "pragma" => self.skip_statement()?,
                        _ => return self.fail(format!("directive `.{word}` is not supported here")),
                    }
                }
                _ => return self.unexpected("`{` of the function's body"),
            }
        }
        self.scopes.truncate(1);
        self.open.truncate(1);
        for var in f.params.iter_mut().chain(&mut f.returns) {
            self.vars += 1;
            let unique = format!("{}@{}", var.name, self.vars);
            self.scopes[0].vars.insert(var.name.clone(), unique.clone());
            var.name = unique;
        }
        self.body(&mut f)?;
        for var in f.params.iter().chain(&f.returns) {
            self.scopes[0].vars.remove(original(&var.name));
        }
        self.resolve_labels(&mut f)?;
        Ok(Some(f))
    }

    fn body(&mut self, f: &mut Function) -> Result<()> {
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
            Some(Kind::Dot("callprototype" | "calltargets")) => return self.fail("indirect calls are not supported"),
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

    fn resolve_labels(&self, f: &mut Function) -> Result<()> {
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

/// A function-level variable's name as written.
pub fn original(unique: &str) -> &str {
    unique.split('@').next().unwrap_or(unique)
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
