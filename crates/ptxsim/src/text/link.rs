//! Several texts in one, each with a `.version` of its own: what only one of them knows keeps to itself, what others may use is
//! there once.

use std::collections::HashMap;

use crate::text::ast::{Ast, Function, Linkage, Stmt, Var};
use crate::text::parse::{Parser, Result, Scope};
use crate::text::ty::{Operand, Space};

/// The text that is being read.
#[derive(Default)]
pub struct Part {
    pub number: usize,
    /// Its first function and variable.
    functions: usize,
    vars: usize,
}

/// Whether a definition takes the place of another one of its name, or is dropped; `None`: there may not be two.
fn prevails(old: Linkage, new: Linkage) -> Option<bool> {
    match (old, new) {
        (_, Linkage::Weak) => Some(false),
        (Linkage::Weak, _) => Some(true),
        _ => None,
    }
}

impl Parser<'_> {
    /// Gives what the text read so far keeps to itself names that no other text uses, and begins the next.
    pub fn next_part(&mut self, ast: &mut Ast) {
        let Part { number, functions, vars } = self.part;
        let own = |name: &str| format!("{name}@part{number}");
        let mut names = HashMap::new();
        for f in ast.functions[functions..].iter_mut().filter(|f| f.linkage == Linkage::Own && !f.entry) {
            let new = own(&f.name);
            names.insert(std::mem::replace(&mut f.name, new.clone()), new);
        }
        for v in ast.vars[vars..].iter_mut().filter(|v| v.linkage == Linkage::Own) {
            let new = own(&v.name);
            names.insert(std::mem::replace(&mut v.name, new.clone()), new);
        }
        for f in &mut ast.functions[functions..] {
            for stmt in &mut f.body {
                if let Stmt::Instr(instr) = stmt {
                    instr.operands.iter_mut().for_each(|o| rename(o, &names));
                }
            }
        }
        for (_, symbol, _) in ast.vars[vars..].iter_mut().flat_map(|v| &mut v.fixups) {
            if let Some(new) = names.get(symbol) {
                symbol.clone_from(new);
            }
        }
        self.part = Part { number: number + 1, functions: ast.functions.len(), vars: ast.vars.len() };
        self.scopes = vec![Scope::default()];
    }

    pub fn add_function(&self, ast: &mut Ast, new: Function) -> Result<()> {
        let first = self.part.functions;
        let seen = |i: usize, f: &Function| i >= first || new.linkage != Linkage::Own && f.linkage != Linkage::Own;
        let old = ast.functions.iter().enumerate().find(|(i, f)| f.name == new.name && seen(*i, f)).map(|(i, _)| i);
        match old.map(|i| (i, prevails(ast.functions[i].linkage, new.linkage))) {
            None => ast.functions.push(new),
            Some((i, Some(true))) => ast.functions[i] = new,
            Some((_, Some(false))) => {}
            Some((_, None)) => return self.fail(format!("`{}` is defined twice", new.name)),
        }
        Ok(())
    }

    pub fn add_variable(&self, ast: &mut Ast, new: Var) -> Result<()> {
        let first = self.part.vars;
        let seen = |i: usize, v: &Var| i >= first || new.linkage != Linkage::Own && v.linkage != Linkage::Own;
        let old = ast.vars.iter().enumerate().find(|(i, v)| v.name == new.name && seen(*i, v)).map(|(i, _)| i);
        match old.map(|i| (i, prevails(ast.vars[i].linkage, new.linkage))) {
            None => ast.vars.push(new),
            // The launch's shared memory may be declared in every text.
            Some((i, _)) if new.space == Space::Shared && new.size == 0 && ast.vars[i].size == 0 => {}
            Some((i, Some(true))) => ast.vars[i] = new,
            Some((_, Some(false))) => {}
            Some((_, None)) => return self.fail(format!("`{}` is declared twice", new.name)),
        }
        Ok(())
    }
}

fn rename(operand: &mut Operand, names: &HashMap<String, String>) {
    match operand {
        Operand::Symbol { name, .. } | Operand::Name { name, .. } => {
            if let Some(new) = names.get(name) {
                name.clone_from(new);
            }
        }
        Operand::Address { base, .. } => rename(base, names),
        Operand::Vector(list) | Operand::List(list) => list.iter_mut().for_each(|o| rename(o, names)),
        Operand::Pair(a, b) => {
            rename(a, names);
            rename(b, names);
        }
        _ => {}
    }
}
