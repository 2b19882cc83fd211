//! A reader for the pickles that `torch.save` writes. It executes nothing.
//!
//! A pickle is a program for a small stack machine. Of its instructions only those that build plain data and tensor
//! descriptions are carried out; whatever would import or call something else leaves an opaque value, which has a name and
//! nothing in it: only a tensor that is wanted and made of one is refused. Objects live in one arena and refer to each other
//! by index, so deep or cyclic data cannot exhaust the call stack, and memory is bounded by the length of the pickle: no
//! length field is used to allocate.
//! Opcodes: CPython's `Lib/pickletools.py` (protocols 2 to 5); what PyTorch emits: `torch/_weights_only_unpickler.py`.

use std::collections::HashMap;

use super::elem::Elem;
use crate::{Error, Result, invalid};

/// Longest pickle that is read. A state dict takes about 150 bytes a tensor; values cost up to 60 bytes a byte here.
const MAX_BYTES: usize = 4 << 20;
/// More axes than any weight has.
const MAX_AXES: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    Str(&'a str),
    /// A number that no tensor description needs: a float or an integer beyond 64 bits.
    Number,
    Tuple(usize),
    List(usize),
    Dict(usize),
    Storage(usize),
    Tensor(usize),
    Global(Global),
    /// What something that was not called would have made; its name is in `Pickle::opaque`.
    Opaque(usize),
}

impl Value<'_> {
    /// In a word or two, for errors.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::None => "None",
            Value::Bool(_) => "a bool",
            Value::Int(_) => "an integer",
            Value::Str(_) => "text",
            Value::Number => "a number",
            Value::Tuple(_) => "a tuple",
            Value::List(_) => "a list",
            Value::Dict(_) => "a dict",
            Value::Storage(_) => "a storage",
            Value::Tensor(_) => "a tensor",
            Value::Global(_) => "something to call",
            Value::Opaque(_) => "an object of an unknown class",
        }
    }
}

/// The names that a pickle of weights may import.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Size,
    /// Elements of a type that is not supported if none is known.
    Storage(Option<Elem>),
}

/// A reference to a storage that lies outside the pickle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage<'a> {
    pub elem: Option<Elem>,
    pub key: &'a str,
    /// Elements in the whole storage.
    pub count: usize,
    /// The part of it that this reference is a view of (stream format only): offset and length in elements.
    pub view: Option<(usize, usize)>,
}

#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub storage: usize,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// What a pickle holds: a root value and the arenas that values point into.
#[derive(Default)]
pub(super) struct Pickle<'a> {
    pub sequences: Vec<Vec<Value<'a>>>,
    pub dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
    pub storages: Vec<Storage<'a>>,
    pub tensors: Vec<Tensor>,
    /// What was not called: `module.name`, each as often as it is named.
    pub opaque: Vec<(&'a str, &'a str)>,
}

/// Reads the pickle that starts at `bytes`; returns it, its root value and how many bytes it takes.
pub(super) fn read(bytes: &[u8]) -> Result<(Pickle<'_>, Value<'_>, usize)> {
    let mut machine = Machine {
        bytes: &bytes[..bytes.len().min(MAX_BYTES)],
        cut: bytes.len() > MAX_BYTES,
        at: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        out: Pickle::default(),
    };
    loop {
        if let Some(root) = machine.step()? {
            return Ok((machine.out, root, machine.at));
        }
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    /// Whether `bytes` was cut at `MAX_BYTES`.
    cut: bool,
    at: usize,
    stack: Vec<Value<'a>>,
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    out: Pickle<'a>,
}

impl<'a> Machine<'a> {
    /// Executes one instruction; the root value at STOP.
    fn step(&mut self) -> Result<Option<Value<'a>>> {
        let opcode = self.take(1)?[0];
        match opcode {
            // STOP
            b'.' => return self.pop().map(Some),
            // PROTO, FRAME: how much follows is seen anyway.
            0x80 => self.protocol()?,
            0x95 => drop(self.take(8)?),
            // MARK, POP, POP_MARK, DUP
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => self.pop_group()?,
            b'2' => self.duplicate()?,
            // NONE, NEWTRUE, NEWFALSE
            b'N' => self.stack.push(Value::None),
            0x88 | 0x89 => self.stack.push(Value::Bool(opcode == 0x88)),
            // BININT, BININT1, BININT2, LONG1, BINFLOAT
            b'J' | b'K' | b'M' | 0x8a | b'G' => self.number(opcode)?,
            // BINUNICODE, BINSTRING, SHORT_BINSTRING, SHORT_BINUNICODE, BINUNICODE8
            b'X' | b'T' | b'U' | 0x8c | 0x8d => self.string(opcode)?,
            // BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8
            b'B' | b'C' | 0x8e | 0x96 => self.bytes(opcode)?,
            // EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, TUPLE
            b')' | 0x85..=0x87 | b't' => self.tuple(opcode)?,
            // EMPTY_LIST, EMPTY_DICT, EMPTY_SET, FROZENSET
            b']' => self.list(),
            b'}' => self.dict(),
            0x8f => self.opaque("builtins", "set"),
            0x91 => {
                self.pop_group()?;
                self.opaque("builtins", "frozenset");
            }
            // APPEND, APPENDS, ADDITEMS, SETITEM, SETITEMS
            b'a' | b'e' | 0x90 => self.append(opcode)?,
            b's' | b'u' => self.set_items(opcode)?,
            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' | b'r' | 0x94 => self.remember(opcode)?,
            b'h' | b'j' => self.recall(opcode)?,
            // GLOBAL, STACK_GLOBAL, BINPERSID
            b'c' => self.global_of_lines()?,
            0x93 => self.global_of_stack()?,
            b'Q' => self.storage()?,
            // REDUCE, NEWOBJ, NEWOBJ_EX, BUILD
            b'R' => self.reduce()?,
            0x81 | 0x92 => self.new_object(opcode)?,
            b'b' => self.build(opcode)?,
            other => return Err(self.refuse(other)?),
        }
        Ok(None)
    }

    fn protocol(&mut self) -> Result<()> {
        let version = self.take(1)?[0];
        if !(2..=5).contains(&version) {
            invalid!("pickle protocol {version} is not supported; save with PyTorch's default, protocol 2");
        }
        Ok(())
    }

    fn number(&mut self, opcode: u8) -> Result<()> {
        let value = match opcode {
            b'J' => Value::Int(i64::from(self.u32()? as i32)),
            b'K' => Value::Int(i64::from(self.take(1)?[0])),
            b'M' => {
                let b = self.take(2)?;
                Value::Int(i64::from(u16::from_le_bytes([b[0], b[1]])))
            }
            0x8a => return self.long1(),
            _ => {
                self.take(8)?;
                Value::Number
            }
        };
        self.stack.push(value);
        Ok(())
    }

    /// Where the last `count` values on the stack begin.
    fn top(&self, count: usize) -> Result<usize> {
        self.stack.len().checked_sub(count).ok_or_else(|| self.underflow())
    }

    /// What lies above the last mark is dropped.
    fn pop_group(&mut self) -> Result<()> {
        let mark = self.pop_mark()?;
        self.stack.truncate(mark);
        Ok(())
    }

    fn duplicate(&mut self) -> Result<()> {
        let &value = self.stack.last().ok_or_else(|| self.underflow())?;
        self.stack.push(value);
        Ok(())
    }

    fn list(&mut self) {
        self.out.sequences.push(Vec::new());
        self.stack.push(Value::List(self.out.sequences.len() - 1));
    }

    fn global_of_lines(&mut self) -> Result<()> {
        let (module, name) = (self.line()?, self.line()?);
        self.global(module, name);
        Ok(())
    }

    fn global_of_stack(&mut self) -> Result<()> {
        let (name, module) = (self.pop()?, self.pop()?);
        let (Value::Str(module), Value::Str(name)) = (module, name) else {
            return Err(self.unexpected("the name of something to import", &[module, name]));
        };
        self.global(module, name);
        Ok(())
    }

    /// Something by its name.
    fn global(&mut self, module: &'a str, name: &'a str) {
        match known(module, name) {
            Some(global) => self.stack.push(Value::Global(global)),
            None => self.opaque(module, name),
        }
    }

    fn opaque(&mut self, module: &'a str, name: &'a str) {
        self.out.opaque.push((module, name));
        self.stack.push(Value::Opaque(self.out.opaque.len() - 1));
    }

    /// What calling `function` would have given, had it been called.
    fn made_by(&mut self, function: Value<'a>) -> Result<()> {
        match function {
            Value::Opaque(_) => self.stack.push(function),
            Value::Global(Global::OrderedDict) => self.opaque("collections", "OrderedDict"),
            Value::Global(Global::Size) => self.opaque("torch", "Size"),
            other => return Err(self.unexpected("something to call", &[other])),
        }
        Ok(())
    }

    /// An object of a class, none of which are known.
    fn new_object(&mut self, opcode: u8) -> Result<()> {
        let arguments = if opcode == 0x92 { 2 } else { 1 };
        for _ in 0..arguments {
            self.pop()?;
        }
        let class = self.pop()?;
        self.made_by(class)
    }

    /// A length of 1, 4 or 8 bytes.
    fn length(&mut self, short: bool, long: bool) -> Result<usize> {
        if short {
            return Ok(self.take(1)?[0] as usize);
        }
        if !long {
            return Ok(self.u32()? as usize);
        }
        let (low, high) = (self.u32()?, self.u32()?);
        if high != 0 {
            invalid!("truncated: the pickle names a value of {high} times 4 GiB before byte {}", self.at);
        }
        Ok(low as usize)
    }

    /// BUILD sets attributes; PyTorch uses it for the `_metadata` of a state dict, which holds no tensors.
    fn build(&mut self, opcode: u8) -> Result<()> {
        self.pop()?;
        match self.stack.last() {
            Some(Value::Dict(_) | Value::Opaque(_)) => Ok(()),
            _ => Err(self.refused("BUILD", opcode)),
        }
    }

    /// Why an opcode is refused. INST carries a name worth reporting.
    fn refuse(&mut self, opcode: u8) -> Result<Error> {
        if opcode == b'i' {
            let (module, name) = (self.line()?, self.line()?);
            return Ok(self.refused(&format!("INST of {}.{}", shown(module), shown(name)), opcode));
        }
        Ok(self.refused(opcode_name(opcode), opcode))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let found = self.bytes[self.at..].get(..count);
        let bytes = found.ok_or_else(|| {
            Error::Invalid(if self.cut {
                format!("the pickle is longer than {MAX_BYTES} bytes, more than any list of tensors needs")
            } else {
                format!("truncated: the pickle ends inside the instruction at byte {}", self.at)
            })
        })?;
        self.at += count;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        let b = self.take(4)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn line(&mut self) -> Result<&'a str> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
        let text = self.take(length)?;
        self.take(1)?;
        self.utf8(text)
    }

    fn utf8(&self, bytes: &'a [u8]) -> Result<&'a str> {
        std::str::from_utf8(bytes)
            .map_err(|_| Error::Invalid(format!("the pickle's text before byte {} is not UTF-8", self.at)))
    }

    fn string(&mut self, opcode: u8) -> Result<()> {
        let length = self.length(matches!(opcode, b'U' | 0x8c), opcode == 0x8d)?;
        let bytes = self.take(length)?;
        let text = self.utf8(bytes)?;
        self.stack.push(Value::Str(text));
        Ok(())
    }

    fn bytes(&mut self, opcode: u8) -> Result<()> {
        let length = self.length(opcode == b'C', matches!(opcode, 0x8e | 0x96))?;
        self.take(length)?;
        self.opaque("builtins", "bytes");
        Ok(())
    }

    /// A two's complement integer of any length.
    fn long1(&mut self) -> Result<()> {
        let length = self.take(1)?[0] as usize;
        let bytes = self.take(length)?;
        let value = if length > 8 {
            Value::Number
        } else {
            let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
            let mut raw = [if negative { 0xff } else { 0 }; 8];
            raw[..length].copy_from_slice(bytes);
            Value::Int(i64::from_le_bytes(raw))
        };
        self.stack.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Result<Value<'a>> {
        // Values under an open mark belong to the group that the mark opened.
        if self.marks.last().is_some_and(|&m| m >= self.stack.len()) {
            return Err(self.underflow());
        }
        self.stack.pop().ok_or_else(|| self.underflow())
    }

    fn pop_mark(&mut self) -> Result<usize> {
        let mark = self.marks.pop().ok_or_else(|| self.underflow())?;
        if mark > self.stack.len() { Err(self.underflow()) } else { Ok(mark) }
    }

    fn underflow(&self) -> Error {
        Error::Invalid(format!("corrupt pickle: the instruction before byte {} finds too few values", self.at))
    }

    fn unexpected(&self, what: &str, found: &[Value]) -> Error {
        let found = match found {
            [] => "nothing".to_string(),
            some => some.iter().map(|v| v.kind()).collect::<Vec<_>>().join(", "),
        };
        Error::Invalid(format!("corrupt pickle before byte {}: expected {what}, found {found}", self.at))
    }

    fn refused(&self, name: &str, opcode: u8) -> Error {
        Error::Invalid(format!(
            "refused: the pickle uses opcode {name} (0x{opcode:02x}) before byte {}, which plain weights do \
             not need; nothing was executed",
            self.at
        ))
    }

    fn tuple(&mut self, opcode: u8) -> Result<()> {
        let from = match opcode {
            b')' => self.stack.len(),
            b't' => self.pop_mark()?,
            _ => self.top(usize::from(opcode - 0x84))?,
        };
        let items = self.stack.drain(from..).collect();
        self.out.sequences.push(items);
        self.stack.push(Value::Tuple(self.out.sequences.len() - 1));
        Ok(())
    }

    fn dict(&mut self) {
        self.out.dicts.push(Vec::new());
        self.stack.push(Value::Dict(self.out.dicts.len() - 1));
    }

    fn append(&mut self, opcode: u8) -> Result<()> {
        let from = if opcode == b'a' { self.top(1)? } else { self.pop_mark()? };
        let items = self.stack.split_off(from);
        match self.stack.last() {
            Some(&Value::List(list)) => self.out.sequences[list].extend(items),
            // What would have been put into it is not kept either.
            Some(Value::Opaque(_)) => {}
            other => return Err(self.unexpected("a list to append to", other.map_or(&[], std::slice::from_ref))),
        }
        Ok(())
    }

    fn set_items(&mut self, opcode: u8) -> Result<()> {
        let from = if opcode == b's' { self.top(2)? } else { self.pop_mark()? };
        let items = self.stack.split_off(from);
        let (pairs, rest) = items.as_chunks::<2>();
        match self.stack.last() {
            Some(Value::Opaque(_)) => {}
            Some(&Value::Dict(dict)) if rest.is_empty() => {
                self.out.dicts[dict].extend(pairs.iter().map(|&[key, value]| (key, value)));
            }
            other => {
                return Err(self.unexpected("a dict and pairs to put into it", other.map_or(&[], std::slice::from_ref)));
            }
        }
        Ok(())
    }

    /// A memo slot, in 1 or 4 bytes.
    fn slot(&mut self, short: bool) -> Result<u32> {
        if short { Ok(u32::from(self.take(1)?[0])) } else { self.u32() }
    }

    fn remember(&mut self, opcode: u8) -> Result<()> {
        let slot = if opcode == 0x94 { self.memo.len() as u32 } else { self.slot(opcode == b'q')? };
        let &value = self.stack.last().ok_or_else(|| self.underflow())?;
        self.memo.insert(slot, value);
        Ok(())
    }

    fn recall(&mut self, opcode: u8) -> Result<()> {
        let slot = self.slot(opcode == b'h')?;
        let &value = self
            .memo
            .get(&slot)
            .ok_or_else(|| Error::Invalid(format!("corrupt pickle: memo slot {slot} was never filled")))?;
        self.stack.push(value);
        Ok(())
    }

    fn sequence(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        match value {
            Value::Tuple(i) | Value::List(i) => Some(&self.out.sequences[i]),
            _ => None,
        }
    }

    fn sizes(&self, value: Value<'a>) -> Option<Vec<usize>> {
        let items = self.sequence(value)?;
        if items.len() > MAX_AXES {
            return None;
        }
        items.iter().map(|&v| natural(v)).collect()
    }

    /// `("storage", class, key, location, count[, view])`, the view being None or `(key, offset, count)`.
    fn storage(&mut self) -> Result<()> {
        let id = self.pop()?;
        let parts = self.sequence(id).unwrap_or_default();
        let &[Value::Str("storage"), Value::Global(Global::Storage(elem)), Value::Str(key), _, count, ref rest @ ..] =
            parts
        else {
            return Err(self.unexpected("a storage reference", parts));
        };
        let view = match rest {
            [] | [Value::None] => None,
            &[view] => match self.sequence(view) {
                Some(&[_, offset, count]) => natural(offset).zip(natural(count)),
                _ => return Err(self.unexpected("a view of a storage", &[view])),
            },
            more => return Err(self.unexpected("a storage reference", more)),
        };
        let count = natural(count).ok_or_else(|| self.unexpected("the size of a storage", &[count]))?;
        self.out.storages.push(Storage { elem, key, count, view });
        self.stack.push(Value::Storage(self.out.storages.len() - 1));
        Ok(())
    }

    /// REDUCE would call `function(*arguments)`; only the calls that describe data are carried out.
    fn reduce(&mut self) -> Result<()> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        if let Value::Opaque(_) = function {
            return self.made_by(function);
        }
        let Value::Global(global) = function else { return Err(self.unexpected("something to call", &[function])) };
        let parts = self.sequence(arguments).unwrap_or_default();
        let result = match (global, parts) {
            (Global::OrderedDict, []) => {
                self.dict();
                return Ok(());
            }
            (Global::Size, &[sizes @ (Value::Tuple(_) | Value::List(_))]) => sizes,
            // data, requires_grad, hooks
            (Global::RebuildParameter, &[data @ (Value::Tensor(_) | Value::Opaque(_)), ..]) => data,
            // storage, offset, size, stride[, requires_grad, hooks, metadata]
            (Global::RebuildTensor, &[Value::Storage(storage), offset, shape, strides, ..]) => {
                let described = natural(offset).zip(self.sizes(shape)).zip(self.sizes(strides));
                let ((offset, shape), strides) =
                    described.ok_or_else(|| self.unexpected("offset, size and stride of a tensor", parts))?;
                self.out.tensors.push(Tensor { storage, offset, shape, strides });
                Value::Tensor(self.out.tensors.len() - 1)
            }
            _ => return Err(self.unexpected("the arguments of a known call", parts)),
        };
        self.stack.push(result);
        Ok(())
    }
}

fn natural(value: Value) -> Option<usize> {
    match value {
        Value::Int(x) => usize::try_from(x).ok(),
        _ => None,
    }
}

/// What `module.name` may stand for in a pickle of weights, if anything.
fn known(module: &str, name: &str) -> Option<Global> {
    match (module, name) {
        ("collections", "OrderedDict") => Some(Global::OrderedDict),
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3") => {
            Some(Global::RebuildTensor)
        }
        ("torch._utils", "_rebuild_parameter") => Some(Global::RebuildParameter),
        ("torch", "Size") => Some(Global::Size),
        ("torch", class) if class.len() > "Storage".len() && class.ends_with("Storage") => {
            Some(Global::Storage(Elem::of_storage(class)))
        }
        ("torch.storage", "UntypedStorage") => Some(Global::Storage(None)),
        _ => None,
    }
}

/// A name from a file, fit to be printed.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(80).collect::<String>().escape_debug().to_string()
}

fn opcode_name(opcode: u8) -> &'static str {
    match opcode {
        b'o' => "OBJ",
        0x82..=0x84 => "EXT",
        b'P' => "PERSID",
        b'I' => "INT",
        b'L' => "LONG",
        b'F' => "FLOAT",
        b'S' => "STRING",
        b'V' => "UNICODE",
        b'd' => "DICT",
        b'l' => "LIST",
        b'g' => "GET",
        b'p' => "PUT",
        0x8b => "LONG4",
        _ => "unknown",
    }
}
