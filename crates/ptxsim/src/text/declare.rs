//! Declarations of variables: space, alignment, type, size, initial values.

use crate::text::ast::{Linkage, Var};
use crate::text::lex::Kind;
use crate::text::parse::{Parser, Result};
use crate::text::ty::{Space, Ty};

/// Largest variable a module may declare.
const MAX_VARIABLE: u64 = 64 << 20;

impl Parser<'_> {
    /// `.space .align n .type name[n] = {...}, name2 ... ;` with the space next.
    pub fn variables(&mut self, external: bool) -> Result<Vec<Var>> {
        let mut vars = vec![self.variable(external)?];
        while self.eat(b',') {
            let first = &vars[0];
            let (space, ty, align) = (first.space, first.ty, first.align);
            let var = self.declarator(space, ty, 1, align, external)?;
            vars.push(var);
        }
        self.want(b';')?;
        Ok(vars)
    }

    pub fn variable(&mut self, external: bool) -> Result<Var> {
        let Some(&Kind::Dot(space)) = self.peek() else { return self.unexpected("a state space") };
        let space = match space {
            "global" => Space::Global,
            "const" => Space::Const,
            "shared" => Space::Shared,
            "local" => Space::Local,
            "param" => Space::Param,
            _ => return self.unexpected("a state space"),
        };
        self.at += 1;
        let (mut align, mut lanes, mut ty) = (0, 1, None);
        while let Some(&Kind::Dot(word)) = self.peek() {
            self.at += 1;
            match word {
                "align" => align = u64::from(self.count("an alignment")?),
                "v2" => lanes = 2,
                "v4" => lanes = 4,
                // `.param .u64 .ptr .global .align 16 name`: what the pointer points to.
                "ptr" => {
                    while let Some(&Kind::Dot(word)) = self.peek() {
                        self.at += 1;
                        match word {
                            "global" | "const" | "shared" | "local" => {}
                            "align" => drop(self.count("an alignment")?),
                            _ => return self.fail(format!("`.{word}` after .ptr")),
                        }
                    }
                }
                _ => match Ty::parse(word) {
                    Some(Ty::Pred) | None => return self.fail(format!("`.{word}` is not a type of a variable")),
                    found => ty = found,
                },
            }
        }
        let Some(ty) = ty else { return self.unexpected("a type") };
        let align = if align == 0 { u64::from(ty.bytes()) * lanes } else { align };
        if !align.is_power_of_two() || align > 1 << 16 {
            return self.fail(format!("alignment {align} is not a power of two up to 65536"));
        }
        self.declarator(space, ty, lanes, align, external)
    }

    fn declarator(&mut self, space: Space, ty: Ty, lanes: u64, align: u64, external: bool) -> Result<Var> {
        let name = self.word("a variable name")?.to_string();
        let mut elements = lanes;
        let mut unsized_array = false;
        while self.eat(b'[') {
            if self.eat(b']') {
                unsized_array = true;
                continue;
            }
            elements = elements.saturating_mul(u64::from(self.count("an array length")?));
            self.want(b']')?;
        }
        let size = elements.saturating_mul(u64::from(ty.bytes()));
        if size > MAX_VARIABLE {
            return self.fail(format!("variable `{name}` of {size} bytes is over {MAX_VARIABLE}"));
        }
        let linkage = Linkage::Own;
        let mut var = Var { name, linkage, space, ty, align, size, init: vec![], fixups: vec![] };
        if self.eat(b'=') {
            self.initialiser(&mut var, unsized_array)?;
            if unsized_array {
                var.size = var.init.len() as u64;
            }
        } else if unsized_array {
            if !external {
                return self.fail(format!("array `{}` has no length", var.name));
            }
            var.size = 0;
        }
        Ok(var)
    }

    fn initialiser(&mut self, var: &mut Var, grows: bool) -> Result<()> {
        if !matches!(var.space, Space::Global | Space::Const) {
            return self.fail("only .global and .const variables have initial values");
        }
        let width = u64::from(var.ty.bytes());
        let mut depth = 0;
        loop {
            if self.eat(b'{') {
                depth += 1;
                continue;
            }
            if !(depth > 0 && self.is(b'}')) {
                let value = match self.peek() {
                    Some(Kind::Word(_)) => {
                        let mut name = self.word("a symbol")?;
                        if name == "generic" {
                            self.want(b'(')?;
                            name = self.word("a symbol")?;
                            self.want(b')')?;
                        }
                        let plus = if self.eat(b'+') || self.is(b'-') { self.int("an offset")? } else { 0 };
                        if width != 8 {
                            return self.fail("an address as initial value needs a 64-bit variable");
                        }
                        var.fixups.push((var.init.len() as u64, name.to_string(), plus as i64));
                        0
                    }
                    Some(&Kind::F32(bits)) if var.ty == Ty::F32 => self.advance(bits.into()),
                    Some(&Kind::F64(bits)) if var.ty == Ty::F64 => self.advance(bits.into()),
                    Some(&Kind::F64(bits)) if var.ty == Ty::F32 => {
                        self.advance((f64::from_bits(bits) as f32).to_bits().into())
                    }
                    _ => self.int("an initial value")?,
                };
                var.init.extend_from_slice(&(value as u64).to_le_bytes()[..width as usize]);
                if !grows && var.init.len() as u64 > var.size {
                    return self.fail(format!("`{}` has more initial values than elements", var.name));
                }
            }
            while depth > 0 && self.eat(b'}') {
                depth -= 1;
            }
            if depth == 0 {
                return Ok(());
            }
            self.want(b',')?;
        }
    }

    pub fn advance(&mut self, value: i128) -> i128 {
        self.at += 1;
        value
    }
}
