//! What the parser hands on: variables, functions, instructions with their operands resolved.

use std::collections::HashMap;

use crate::text::ty::{Operand, Space, Ty};

/// Who sees a name where several texts are linked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Linkage {
    /// Its own text alone.
    #[default]
    Own,
    /// All of them: defined once.
    Visible,
    /// All of them: one of several definitions counts.
    Weak,
}

/// A variable: module-level, function-level or a parameter.
#[derive(Clone, Debug)]
pub struct Var {
    pub name: String,
    pub linkage: Linkage,
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
    pub linkage: Linkage,
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

impl Ast {
    /// Which function has a name; entries have no address.
    pub fn function(&self, name: &str) -> Option<(usize, &Function)> {
        self.functions.iter().enumerate().find(|(_, f)| f.name == name && !f.entry)
    }
}

/// A function-level variable's name as written.
pub fn original(unique: &str) -> &str {
    unique.split('@').next().unwrap_or(unique)
}
