//! Tokens to declarations: directives of the module, headers of functions. Names of registers, variables and labels are
//! resolved here (they are scoped by braces); what an instruction means is decided in `lower`.

use std::collections::HashMap;

use crate::text::ast::{Ast, Function, Linkage, Var, original};
use crate::text::lex::{Kind, Token, lex};
use crate::text::link::Part;
use crate::text::provided::add_provided;
use crate::text::ty::{Space, Ty};

/// (line, message)
pub type Error = (usize, String);
pub type Result<T> = std::result::Result<T, Error>;

pub fn parse(text: &str) -> Result<Ast> {
    let mut parser = Parser::new(text)?;
    let mut ast = parser.module()?;
    if let Some((line, name)) = parser.external.iter().find(|(_, name)| !ast.vars.iter().any(|v| v.name == *name)) {
        return Err((*line, format!("`{name}` is defined in another module, which is not linked to this one")));
    }
    if !ast.functions.iter().any(|f| f.entry) {
        return parser.fail("no .entry in the text (empty or cut short?)");
    }
    add_provided(&mut ast)?;
    Ok(ast)
}

#[derive(Default)]
pub struct Scope {
    pub parent: usize,
    pub regs: HashMap<String, usize>,
    pub ranges: Vec<(String, u64, Ty)>,
    pub vars: HashMap<String, String>,
    pub labels: HashMap<String, usize>,
}

pub struct Parser<'t> {
    pub tokens: Vec<Token<'t>>,
    /// The next token.
    pub at: usize,
    pub last: usize,
    /// All scopes of the function being read; 0 is the module's.
    pub scopes: Vec<Scope>,
    pub open: Vec<usize>,
    pub vars: usize,
    pub part: Part,
    /// Variables that another text has to define: line, name.
    pub external: Vec<(usize, String)>,
}

impl<'t> Parser<'t> {
    pub fn new(text: &'t str) -> Result<Parser<'t>> {
        let tokens = lex(text)?;
        let last = text.lines().count().max(1);
        let scopes = vec![Scope::default()];
        Ok(Parser { tokens, at: 0, last, scopes, open: vec![0], vars: 0, part: Part::default(), external: vec![] })
    }

    pub fn line(&self) -> usize {
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

    pub fn module(&mut self) -> Result<Ast> {
        let mut ast = Ast::default();
        let mut versioned = false;
        while let Some(kind) = self.peek() {
            let Kind::Dot(word) = *kind else { return self.unexpected("a directive") };
            match word {
                "version" => {
                    // Another text, linked to the one before.
                    if versioned {
                        self.next_part(&mut ast);
                    }
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
        if self.part.number > 0 {
            self.next_part(&mut ast);
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

    pub fn skip_statement(&mut self) -> Result<()> {
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
        let (mut external, mut linkage) = (false, Linkage::Own);
        loop {
            let Some(&Kind::Dot(word)) = self.peek() else { return self.unexpected("a declaration") };
            match word {
                "visible" => linkage = Linkage::Visible,
                "weak" | "common" => linkage = Linkage::Weak,
                "extern" => external = true,
                "entry" | "func" => {
                    self.at += 1;
                    if let Some(mut function) = self.function(word == "entry")? {
                        if external {
                            return self.fail(format!("function `{}` is both external and defined", function.name));
                        }
                        function.linkage = linkage;
                        self.add_function(ast, function)?;
                    }
                    return Ok(());
                }
                "global" | "const" | "shared" => {
                    let line = self.line();
                    for mut var in self.variables(external)? {
                        self.scopes[0].vars.insert(var.name.clone(), var.name.clone());
                        // An array without a length is the launch's shared memory, which no text defines.
                        if external && (var.space != Space::Shared || var.size > 0) {
                            self.external.push((line, var.name));
                            continue;
                        }
                        var.linkage = if external { Linkage::Weak } else { linkage };
                        self.add_variable(ast, var)?;
                    }
                    return Ok(());
                }
                _ => return self.unexpected("a declaration that is supported"),
            }
            self.at += 1;
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
}
