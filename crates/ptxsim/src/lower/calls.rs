//! Calls. By name: the caller's variables are the function's own. By address: which functions there are to reach, and the code that
//! leads to each; arguments and results are copied between the caller's variables and those of the function that it is.

use std::collections::HashSet;

use crate::lower::class::Class;
use crate::lower::entry::{Lower, Result};
use crate::lower::op::{Op, P_TRUE};
use crate::lower::windows::{FUNCTION_SIZE, FUNCTIONS};
use crate::text::ast::{Ast, Function, Instr, Stmt, Var, original};
use crate::text::ty::{Operand, Space, Ty};

/// Address of a function, by its number.
pub fn address_of(number: usize) -> u64 {
    FUNCTIONS + number as u64 * FUNCTION_SIZE
}

pub fn is_call(instr: &Instr) -> bool {
    instr.opcode.split('.').next() == Some("call")
}

/// The register that a call takes its address from.
pub fn by_address(instr: &Instr) -> Option<&Operand> {
    instr.operands.iter().find(|o| matches!(o, Operand::Reg(_)))
}

pub fn calls_by_address(f: &Function) -> bool {
    f.body.iter().any(|stmt| matches!(stmt, Stmt::Instr(i) if is_call(i) && by_address(i).is_some()))
}

/// Functions that an instruction or an initial value names other than to call them.
pub fn taken(ast: &Ast) -> Vec<&Function> {
    let mut names: HashSet<&str> = ast.vars.iter().flat_map(|v| &v.fixups).map(|(_, name, _)| name.as_str()).collect();
    for stmt in ast.functions.iter().flat_map(|f| &f.body) {
        if let Stmt::Instr(i) = stmt
            && !is_call(i)
        {
            names.extend(i.operands.iter().filter_map(|o| match o {
                Operand::Name { name, .. } => Some(name.as_str()),
                _ => None,
            }));
        }
    }
    ast.functions.iter().filter(|f| !f.entry && names.contains(f.name.as_str())).collect()
}

impl<'a> Lower<'a> {
    /// A caller's parameter variables are the callee's own: nobody else uses them at that time.
    pub fn alias_arguments(&mut self, f: &Function) -> Result<()> {
        for stmt in &f.body {
            let Stmt::Instr(instr) = stmt else { continue };
            if !is_call(instr) || by_address(instr).is_some() {
                continue;
            }
            self.line = instr.line;
            let (mut callee, mut returns, mut arguments) = (None, &[][..], &[][..]);
            for operand in &instr.operands {
                match operand {
                    Operand::Name { name, .. } => callee = Some(self.find(name)?),
                    Operand::List(list) if callee.is_none() => returns = list,
                    Operand::List(list) => arguments = list,
                    _ => return self.fail("this form of call is not supported"),
                }
            }
            let Some(callee) = callee else { return self.fail("call names no function") };
            // A caller may ask for a result where the other text gives none; nobody has written it then.
            if !callee.returns.is_empty() && returns.len() != callee.returns.len()
                || arguments.len() != callee.params.len()
            {
                return self.fail(format!("call of `{}` with a wrong number of arguments", callee.name));
            }
            let pairs = returns.iter().zip(&callee.returns).chain(arguments.iter().zip(&callee.params));
            for (given, own) in pairs {
                let Operand::Symbol { name, offset: 0 } = given else {
                    return self.fail("call arguments must be .param variables");
                };
                let Some(var) = f.vars.iter().find(|v| &v.name == name && v.space == Space::Param) else {
                    return self.fail(format!("`{}` is no .param variable of the caller", original(name)));
                };
                if var.size != own.size {
                    return self.fail(format!(
                        "argument `{}` has {} bytes, not {}",
                        original(name),
                        var.size,
                        own.size
                    ));
                }
                if let Some(&place) = self.places.get(&own.name) {
                    self.places.insert(name.clone(), place);
                }
            }
        }
        Ok(())
    }

    /// A call by address, in a function whose variables are placed.
    pub fn call_at(&mut self, f: &Function, instr: &Instr, address: &Operand) -> Result<()> {
        let address = self.src(address, Ty::U64)?;
        let lists: Vec<&[Operand]> = instr
            .operands
            .iter()
            .filter_map(|o| match o {
                Operand::List(list) => Some(list.as_slice()),
                _ => None,
            })
            .collect();
        let first_is_result = matches!(instr.operands.first(), Some(Operand::List(_)));
        let (returns, arguments) = match lists[..] {
            [returns, arguments] => (returns, arguments),
            [list] if first_is_result => (list, &[][..]),
            [list] => (&[][..], list),
            _ => (&[][..], &[][..]),
        };
        let (returns, arguments) = (self.variables(f, returns)?, self.variables(f, arguments)?);
        let fits = |given: &[&Var], own: &[Var]| given.iter().map(|v| v.size).eq(own.iter().map(|v| v.size));
        let targets: Vec<&Function> = self
            .taken
            .iter()
            .copied()
            .filter(|t| fits(&returns, &t.returns) && fits(&arguments, &t.params) && !self.active.contains(&t.name))
            .collect();
        let table = self.routine.calls.len();
        self.routine.calls.push(vec![]);
        self.push(Op::CallAt { address, table: table as u32 }, Class::Control);
        (self.guard, self.flip) = (P_TRUE, 0);
        // Lanes that do not take part go by.
        let mut leaving = vec![self.routine.code.len()];
        self.push(Op::Bra(0), Class::Control);
        for target in targets {
            let Some((number, _)) = self.ast.function(&target.name) else { continue };
            let here = self.here()?;
            self.routine.calls[table].push((address_of(number), here));
            for (given, own) in arguments.iter().zip(&target.params) {
                self.copy_local(given, own)?;
            }
            self.call(&target.name)?;
            for (given, own) in returns.iter().zip(&target.returns) {
                self.copy_local(own, given)?;
            }
            leaving.push(self.routine.code.len());
            self.push(Op::Bra(0), Class::Control);
        }
        let end = self.here()?;
        for at in leaving {
            self.routine.code[at].op = Op::Bra(end);
        }
        Ok(())
    }

    /// The caller's variables that a list of a call names.
    fn variables<'f>(&self, f: &'f Function, list: &[Operand]) -> Result<Vec<&'f Var>> {
        let find = |operand: &Operand| match operand {
            Operand::Symbol { name, offset: 0 } => f.vars.iter().find(|v| v.name == *name && v.space == Space::Param),
            _ => None,
        };
        let found: Option<Vec<&Var>> = list.iter().map(find).collect();
        match found {
            Some(found) => Ok(found),
            None => self.fail("call arguments must be .param variables"),
        }
    }

    fn copy_local(&mut self, from: &Var, to: &Var) -> Result<()> {
        let (from, to, bytes) = (self.place(&from.name)?.address, self.place(&to.name)?.address, from.size);
        self.push(Op::CopyLocal { from: from as u32, to: to as u32, bytes: bytes as u32 }, Class::Local);
        Ok(())
    }
}
