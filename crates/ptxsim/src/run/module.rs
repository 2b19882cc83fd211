//! A loaded module: its kernels ready to run, its variables in memory of their own.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::error::{MemoryError, ParseError};
use crate::lower::calls::address_of;
use crate::lower::entry::{Place, lower, param_offset};
use crate::lower::op::{Routine, SystemKind};
use crate::lower::windows::GLOBALS;
use crate::run::memory::{Allocation, Memory};
use crate::text::ast::{Ast, original};
use crate::text::parse::parse;
use crate::text::ty::{Space, Ty};

/// Bytes that kernels' `malloc` takes from, as on a device where nothing else is said.
const HEAP: u64 = 8 << 20;

/// A parsed PTX module. Module-level variables keep their values from launch to launch.
pub struct Module {
    image: Arc<Image>,
    /// Module-level variables, and whether they are constant.
    globals: Vec<(Allocation, bool)>,
}

/// What a text becomes: the same in every module that is made of it.
pub(crate) struct Image {
    name: String,
    lines: Vec<String>,
    kernels: Vec<Kernel>,
    routines: Vec<Routine>,
    variables: Vec<Variable>,
}

/// A module-level variable as it is before the first launch.
struct Variable {
    name: String,
    address: u64,
    bytes: Vec<u8>,
    constant: bool,
}

/// A kernel, as its `.entry` declares it.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Name after `.entry`.
    pub name: String,
    /// Parameters, in order.
    pub params: Vec<Param>,
    /// Bytes that [`Launch::params`](crate::Launch::params) must have.
    pub params_size: usize,
    /// Bytes of static shared memory.
    pub static_shared: usize,
    /// Where dynamic shared memory begins: `static_shared`, aligned.
    pub dynamic_base: u32,
    /// Threads per block at most (`.maxntid`, its sizes multiplied).
    pub max_threads: Option<u32>,
    /// The only block size allowed (`.reqntid`).
    pub required_block: Option<[u32; 3]>,
    /// Bytes of local memory per thread.
    pub local: u32,
    /// Line of the `.entry`.
    pub line: usize,
}

/// One parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Name in the text.
    pub name: String,
    /// Where it begins in [`Launch::params`](crate::Launch::params), in bytes.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
    /// Alignment in bytes.
    pub align: usize,
    /// `u64`, `f32`, …; `b8` with a size above 1 for a structure.
    pub kind: String,
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("name", &self.name()).field("kernels", &self.kernels()).finish_non_exhaustive()
    }
}

impl Image {
    pub(crate) fn parse(name: &str, text: &str) -> Result<Image, ParseError> {
        let mut at = GLOBALS;
        Image::placed(name, text, |align, size| {
            let address = at.next_multiple_of(align.max(256));
            at = address + size + 4096;
            if at - GLOBALS > 1 << 30 { Err("module variables of more than 1 GiB".into()) } else { Ok(address) }
        })
    }

    /// With variables where `place` puts each of them, by alignment and size.
    fn placed(name: &str, text: &str, place: impl FnMut(u64, u64) -> Result<u64, String>) -> Result<Image, ParseError> {
        let fail = |(line, message)| ParseError { name: name.into(), line, message };
        let ast = parse(text).map_err(fail)?;
        let (variables, places) = variables(&ast, place).map_err(fail)?;
        let (mut kernels, mut routines) = (vec![], vec![]);
        for f in ast.functions.iter().filter(|f| f.entry) {
            let routine = lower(&ast, f, &places).map_err(fail)?;
            let mut at = 0;
            let params: Vec<Param> = f
                .params
                .iter()
                .map(|p| Param {
                    name: original(&p.name).into(),
                    offset: param_offset(&mut at, p) as usize,
                    size: p.size as usize,
                    align: p.align as usize,
                    kind: kind(p.ty),
                })
                .collect();
            kernels.push(Kernel {
                name: f.name.clone(),
                params,
                params_size: at as usize,
                static_shared: routine.static_shared as usize,
                dynamic_base: routine.dynamic_base,
                max_threads: f.max_threads.map(|t| t.iter().fold(1, |n: u32, &t| n.saturating_mul(t))),
                required_block: f.exact_threads,
                local: routine.local,
                line: f.line,
            });
            routines.push(routine);
        }
        let lines = text.lines().map(|l| l.trim().to_string()).collect();
        Ok(Image { name: name.into(), lines, kernels, routines, variables })
    }
}

impl Module {
    /// Reads PTX text; `name` (a file name, say) appears in errors.
    ///
    /// Every instruction is checked here: one that this crate does not have, or a modifier of it, is an error with its
    /// line, never a guess at launch time.
    pub fn parse(name: &str, text: &str) -> Result<Module, ParseError> {
        Module::new(Arc::new(Image::parse(name, text)?))
    }

    /// The same with its variables in `memory`, where the host can get at them by their addresses ([`Module::variables`]). Kernels
    /// run on this memory alone. Errors: also no room for a variable.
    pub fn parse_in(name: &str, text: &str, memory: &mut Memory) -> Result<Module, ParseError> {
        let image = Image::placed(name, text, |_, size| memory.alloc(size).map_err(|e| e.to_string()))?;
        if image.routines.iter().any(|r| r.systems.iter().any(|s| s.kind == SystemKind::Malloc)) {
            let fail = |e: MemoryError| ParseError { name: name.into(), line: 0, message: e.to_string() };
            memory.reserve_heap(HEAP).map_err(fail)?;
        }
        for variable in &image.variables {
            let fail = |e: MemoryError| ParseError { name: name.into(), line: 0, message: e.to_string() };
            memory.write(variable.address, &variable.bytes).map_err(fail)?;
        }
        Ok(Module { image: Arc::new(image), globals: vec![] })
    }

    /// Module-level variables: name and addresses.
    pub fn variables(&self) -> impl Iterator<Item = (&str, Range<u64>)> {
        self.image.variables.iter().map(|v| (v.name.as_str(), v.address..v.address + v.bytes.len() as u64))
    }

    /// Bytes of all its constant variables.
    pub fn constants(&self) -> usize {
        self.image.variables.iter().filter(|v| v.constant).map(|v| v.bytes.len()).sum()
    }

    /// A module with variables of its own. Errors: no room for them.
    pub(crate) fn new(image: Arc<Image>) -> Result<Module, ParseError> {
        let place = |v: &Variable| {
            let allocation = Allocation::new(v.address, v.bytes.len() as u64)?;
            allocation.write(0, &v.bytes);
            Ok((allocation, v.constant))
        };
        let fail = |e: MemoryError| ParseError { name: image.name.clone(), line: 0, message: e.to_string() };
        let globals = image.variables.iter().map(place).collect::<Result<_, _>>().map_err(fail)?;
        Ok(Module { image, globals })
    }

    /// The name given to [`Module::parse`].
    pub fn name(&self) -> &str {
        &self.image.name
    }

    /// All kernels, in the order of the text.
    pub fn kernels(&self) -> &[Kernel] {
        &self.image.kernels
    }

    pub(crate) fn find(&self, entry: &str) -> Option<(&Kernel, &Routine)> {
        let Image { kernels, routines, .. } = &*self.image;
        let i = kernels.iter().position(|k| k.name == entry)?;
        Some((&kernels[i], &routines[i]))
    }

    pub(crate) fn globals(&self) -> &[(Allocation, bool)] {
        &self.globals
    }

    /// Text of a line, from one.
    pub(crate) fn line(&self, line: usize) -> &str {
        line.checked_sub(1).and_then(|i| self.image.lines.get(i)).map_or("", String::as_str)
    }
}

fn kind(ty: Ty) -> String {
    format!("{ty:?}").to_lowercase()
}

type Variables = (Vec<Variable>, HashMap<String, Place>);

/// Places `.global` and `.const` variables and gives them their initial values (zero where none is given).
fn variables(ast: &Ast, mut place: impl FnMut(u64, u64) -> Result<u64, String>) -> Result<Variables, (usize, String)> {
    let mut places = HashMap::new();
    let vars = || ast.vars.iter().filter(|v| v.space != Space::Shared);
    for var in vars() {
        let address = place(var.align, var.size).map_err(|message| (0, message))?;
        places.insert(var.name.clone(), Place { space: var.space, address });
    }
    let mut variables = vec![];
    for var in vars() {
        let mut bytes = var.init.clone();
        bytes.resize(var.size as usize, 0);
        for (offset, symbol, plus) in &var.fixups {
            let function = ast.function(symbol).map(|(number, _)| address_of(number));
            let Some(start) = places.get(symbol).map(|place| place.address).or(function) else {
                let name = &var.name;
                return Err((
                    0,
                    format!("initial value of `{name}` names `{symbol}`, which is no variable or function"),
                ));
            };
            let address = start.wrapping_add(*plus as u64).to_le_bytes();
            if let Some(target) = bytes.get_mut(*offset as usize..*offset as usize + 8) {
                target.copy_from_slice(&address);
            }
        }
        let name = original(&var.name).into();
        variables.push(Variable {
            name,
            address: places[&var.name].address,
            bytes,
            constant: var.space == Space::Const,
        });
    }
    Ok((variables, places))
}
