//! Turns `kernels/*.cu` and the committed `kernels/ptx/*.ptx` into a typed registry: one Rust function per kernel.
//!
//! No CUDA is needed: nothing is compiled here. A PTX file carries the hash of the source it was made from, and one
//! that does not fit stops the build with the command to run. Argument names and what is only read come from the `.cu`,
//! types and layout from the PTX.

#[path = "src/engine/toolkit/cuda/ptx_file.rs"]
mod ptx_file;

use ptx_file::{PtxEntry, made_from, source_hash};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

type Outcome<T> = Result<T, String>;

/// One argument of a kernel.
struct Argument {
    name: String,
    kind: Kind,
    /// Where it lies in the parameter block, and its size, in bytes.
    offset: usize,
    size: usize,
}

#[derive(Clone, PartialEq)]
enum Kind {
    /// A pointer: the element type as C names it, and whether the kernel writes through it.
    Pointer { element: String, written: bool },
    /// A number or a struct, by its Rust name.
    Value(String),
}

/// A kernel, as its source and its PTX declare it.
struct Declaration {
    name: String,
    arguments: Vec<Argument>,
    max_threads: u32,
    /// Where its text lies in the PTX.
    text: (usize, usize),
}

fn main() {
    println!("cargo::rerun-if-changed=kernels");
    println!("cargo::rerun-if-changed=src/engine/toolkit/cuda/ptx_file.rs");
    if let Err(message) = generate() {
        println!("cargo::error={message}");
        std::process::exit(1);
    }
}

/// The tiles of the matrix products: sizes as `conv_gemm.cuh` names them, registers as the table in `README.md` has them,
/// which `scripts/check-kernels` holds against ptxas.
fn tiles(kernels: &Path) -> Outcome<String> {
    let read = |name: &str| {
        let path = kernels.join(name);
        std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))
    };
    let (header, table) = (read("conv_gemm.cuh")?, read("README.md")?);
    let slice = header.lines().find_map(|l| l.strip_prefix("constexpr u32 SLICE_BYTES = ")?.strip_suffix(';'));
    let slice = slice.ok_or("conv_gemm.cuh: no SLICE_BYTES")?;
    let mut code = format!("/// Bytes of depth in a slice.\nconst SLICE: usize = {slice};\n");
    // What follows the pass in the names of a tile's kernels, and the passes that use it.
    const FORWARD: [&str; 3] = ["conv2d_fwd", "conv2d_bwd_input", "conv_transpose2d_fwd"];
    const WEIGHT: [&str; 1] = ["conv2d_bwd_weight"];
    const BYTES: [&str; 2] = ["conv2d_int8_fwd", "conv_transpose2d_int8_fwd"];
    let all = [&FORWARD[..], &WEIGHT].concat();
    let uses = [
        ("Small", "_small", &all[..]),
        ("Medium", "_medium", &all),
        ("Tall", "", &FORWARD),
        ("Wide", "", &WEIGHT),
        ("Large", "_large", &all),
    ];
    for (name, suffix, passes) in uses {
        let sizes = header.lines().find_map(|l| l.strip_prefix(&format!("using {name} = Tile<"))?.strip_suffix(">;"));
        let sizes = sizes.ok_or_else(|| format!("conv_gemm.cuh: no `using {name} = Tile<...>;`"))?;
        let sizes: Vec<usize> = sizes.split(", ").map_while(|n| n.parse().ok()).collect();
        let [rows, columns, down, across, stages] = sizes[..] else {
            return Err(format!("conv_gemm.cuh: {name} is no Tile of five sizes"));
        };
        let threads = 32 * down * across;
        // As `Fma` divides a tile among threads.
        let width = if columns == 32 { 4 } else { 8 };
        let of_number = |number: &str| registers(&table, passes, &format!("{suffix}_{number}"));
        let of_bytes = |number: &str| registers(&table, &BYTES, &format!("{suffix}_{number}"));
        let bytes = of_bytes("u8")?.max(of_bytes("s8")?);
        let registers = [of_number("f32")?, of_number("tf32")?, of_number("bf16")?, bytes];
        let _ = writeln!(
            code,
            "const {}: Tile = Tile {{ rows: {rows}, columns: {columns}, threads: {threads}, stages: {stages}, \
             warp: [{}, {}], thread: [{}, {width}], registers: {registers:?} }};",
            name.to_uppercase(),
            rows / down,
            columns / across,
            rows * columns / threads / width,
        );
    }
    Ok(code)
}

/// Most registers that a thread takes on sm_90, the last of the table's targets, in any of these passes; the largest tiles have
/// no f32 kernels.
fn registers(table: &str, passes: &[&str], rest: &str) -> Outcome<usize> {
    let mut most = 0;
    for pass in passes {
        let row = table.lines().find(|l| l.starts_with(&format!("| `{pass}{rest}` |")));
        let Some(row) = row else {
            if rest == "_large_f32" {
                continue;
            }
            return Err(format!("kernels/README.md: no row for {pass}{rest}"));
        };
        let cell = row.split('|').nth(3).and_then(|cell| cell.split('/').next_back());
        let count = cell.and_then(|n| n.trim().parse::<usize>().ok());
        most = most.max(count.ok_or_else(|| format!("kernels/README.md: {pass}{rest}: no registers on sm_90"))?);
    }
    // No kernel: as many as a thread can have.
    Ok(if most == 0 { 255 } else { most })
}

fn generate() -> Outcome<()> {
    let variable = |name| std::env::var(name).map_err(|e| format!("{name}: {e}"));
    let kernels = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("kernels");
    let mut sources: Vec<PathBuf> = std::fs::read_dir(&kernels)
        .map_err(|e| format!("{}: {e}", kernels.display()))?
        .filter_map(|f| f.ok().map(|f| f.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "cu"))
        .collect();
    sources.sort();
    const HEAD: &str = "// Generated by build.rs from kernels/.\n\n";
    let (mut registry, mut code, mut modules) = (String::from(HEAD), String::from(HEAD), String::new());
    for (index, source) in sources.iter().enumerate() {
        let stem = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let path = kernels.join("ptx").join(format!("{stem}.ptx"));
        let declarations = declarations(&kernels, source, &path).map_err(|m| format!("{}: {m}", source.display()))?;
        let names: Vec<String> = declarations.iter().map(|d| format!("&{}", constant(&d.name))).collect();
        // By way of `env!`: a folder of build results outlives the checkout that it was made from.
        let _ = writeln!(
            modules,
            "    Module {{ name: {stem:?}, ptx: include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/kernels/ptx/{stem}.ptx\")), entries: &[{}] }},",
            names.join(", ")
        );
        write_registry(&mut registry, &declarations, index);
        write_functions(&mut code, &declarations);
        write_families(&mut code, &declarations);
    }
    let _ = write!(registry, "/// Every PTX module.\npub static MODULES: &[Module] = &[\n{modules}];\n");
    let tiles = tiles(&kernels)?;
    for (name, text) in [("registry.rs", registry), ("kernels.rs", code), ("tiles.rs", tiles)] {
        let out = Path::new(&variable("OUT_DIR")?).join(name);
        std::fs::write(&out, text).map_err(|e| format!("{}: {e}", out.display()))?;
    }
    Ok(())
}

/// The kernels of one module, as both of its files declare them.
fn declarations(kernels: &Path, source: &Path, ptx: &Path) -> Outcome<Vec<Declaration>> {
    let text = std::fs::read_to_string(source).map_err(|e| e.to_string())?;
    let command = "run scripts/compile-kernels and commit kernels/ptx";
    let ptx = std::fs::read_to_string(ptx).map_err(|e| format!("{}: {e}; {command}", ptx.display()))?;
    if made_from(&ptx) != Some(source_hash(kernels, source)?.as_str()) {
        return Err(format!("its PTX was made from another version of it; {command}"));
    }
    let mut signatures = signatures(&text)?;
    let mut found = Vec::new();
    for PtxEntry { name, parameters: layout, max_threads, text } in ptx_file::entries(&ptx)? {
        let signature = signatures.remove(name).ok_or_else(|| {
            format!("{name} is not spelled out as extern \"C\" __global__ void __launch_bounds__(N) {name}(...)")
        })?;
        if layout.len() != signature.len() {
            return Err(format!("{name}: {} arguments in the source, {} in PTX", signature.len(), layout.len()));
        }
        let arguments = signature
            .into_iter()
            .zip(layout)
            .map(|((name, kind), (offset, size))| Argument { name, kind, offset, size })
            .collect();
        found.push(Declaration { name: name.into(), arguments, max_threads, text });
    }
    match signatures.keys().next() {
        Some(missing) => Err(format!("{missing} is not in its PTX; {command}")),
        None => Ok(found),
    }
}

/// Argument names and kinds of every `extern "C" __global__` function of a source.
fn signatures(text: &str) -> Outcome<BTreeMap<String, Vec<(String, Kind)>>> {
    let mut all = BTreeMap::new();
    for part in text.split("extern \"C\" __global__ void").skip(1) {
        let head = part.split('{').next().unwrap_or_default();
        let bounds =
            head.trim_start().strip_prefix("__launch_bounds__(").ok_or("a kernel without __launch_bounds__")?;
        let (_, rest) = bounds.split_once(')').ok_or("__launch_bounds__ without an end")?;
        let (name, list) = rest.split_once('(').ok_or("a kernel without arguments")?;
        let list = list.rsplit_once(')').ok_or("an argument list without an end")?.0;
        let arguments: Outcome<Vec<_>> =
            list.split(',').map(str::trim).filter(|a| !a.is_empty()).map(argument).collect();
        all.insert(name.trim().to_string(), arguments?);
    }
    Ok(all)
}

fn argument(text: &str) -> Outcome<(String, Kind)> {
    let text = text.replace("__restrict__", " ").replace('*', " * ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let kind = match words[..] {
        ["const", element, "*", _] => Kind::Pointer { element: element.into(), written: false },
        [element, "*", _] => Kind::Pointer { element: element.into(), written: true },
        ["float", _] => Kind::Value("f32".into()),
        [value, _] => Kind::Value(value.into()),
        _ => return Err(format!("argument {text:?}: expected [const] TYPE [*] NAME")),
    };
    Ok((words[words.len() - 1].into(), kind))
}

fn constant(name: &str) -> String {
    name.to_uppercase()
}

/// `name: Type, ...` of a constructor.
fn parameters(d: &Declaration) -> String {
    let of = |a: &Argument| match &a.kind {
        Kind::Pointer { written: true, .. } => format!("{}: Out", a.name),
        Kind::Pointer { written: false, .. } => format!("{}: In", a.name),
        Kind::Value(of) => format!("{}: {of}", a.name),
    };
    d.arguments.iter().map(of).collect::<Vec<_>>().join(", ")
}

/// The element type a buffer must have; none for scratch memory of integers.
fn dtype(element: &str) -> &'static str {
    match element {
        "float" => "Some(DType::F32)",
        "bf16" => "Some(DType::Bf16)",
        "f16" => "Some(DType::F16)",
        "u8" => "Some(DType::U8)",
        "i8" => "Some(DType::I8)",
        "i16" => "Some(DType::I16)",
        _ => "None",
    }
}

/// A constant per kernel.
fn write_registry(code: &mut String, declarations: &[Declaration], module: usize) {
    for d in declarations {
        let (name, all) = (&d.name, constant(&d.name));
        let end = d.arguments.iter().map(|a| a.offset + a.size).max().unwrap_or(0);
        let layout: Vec<String> = d.arguments.iter().map(|a| format!("({}, {})", a.offset, a.size)).collect();
        let _ = writeln!(
            code,
            "pub static {all}: Entry = Entry {{ name: {name:?}, module: {module}, max_threads: {}, parameters: &[{}], \
             bytes: {end}, text: {:?} }};",
            d.max_threads,
            layout.join(", "),
            d.text
        );
    }
}

/// A function per kernel.
fn write_functions(code: &mut String, declarations: &[Declaration]) {
    for d in declarations {
        let (name, all) = (&d.name, constant(&d.name));
        let _ = writeln!(code, "/// Arguments of `{name}`.");
        let _ = writeln!(code, "#[allow(dead_code, clippy::too_many_arguments)]");
        let _ = writeln!(code, "pub fn {name}({}) -> Result<Call> {{", parameters(d));
        let _ = writeln!(code, "    let mut call = Call::new(&{all});");
        for a in &d.arguments {
            let arg = &a.name;
            let _ = match &a.kind {
                Kind::Pointer { element, written: true } => {
                    writeln!(code, "    call.output({arg:?}, {}, {arg})?;", dtype(element))
                }
                Kind::Pointer { element, written: false } => {
                    writeln!(code, "    call.input({arg:?}, {}, {arg})?;", dtype(element))
                }
                Kind::Value(of) => writeln!(
                    code,
                    "    const {{ assert!(size_of::<{of}>() == {}, \"{of} differs from the kernel's\") }};\n    \
                     call.value(bytemuck::bytes_of(&{arg}));",
                    a.size
                ),
            };
        }
        let _ = writeln!(code, "    Ok(call)\n}}\n");
    }
}

/// Kernels that differ in their last word alone, a number type, also get one function that picks by it.
fn write_families(code: &mut String, declarations: &[Declaration]) {
    const NUMBERS: [(&str, &str); 4] = [("f32", "F32"), ("tf32", "Tf32"), ("bf16", "Bf16"), ("f16", "F16")];
    let mut families: BTreeMap<&str, Vec<(&Declaration, &str)>> = BTreeMap::new();
    for d in declarations {
        if let Some((stem, last)) = d.name.rsplit_once('_')
            && let Some((_, number)) = NUMBERS.iter().find(|n| n.0 == last)
        {
            families.entry(stem).or_default().push((d, number));
        }
    }
    for (stem, members) in families.into_iter().filter(|(_, m)| m.len() > 1) {
        let names: Vec<&str> = members[0].0.arguments.iter().map(|a| a.name.as_str()).collect();
        let _ = writeln!(code, "/// The kernel `{stem}` for numbers of this kind.");
        let _ = writeln!(code, "#[allow(dead_code, clippy::too_many_arguments)]");
        let _ = writeln!(code, "pub fn {stem}(number: Number, {}) -> Result<Call> {{", parameters(members[0].0));
        let _ = writeln!(code, "    match number {{");
        for (d, number) in &members {
            let _ = writeln!(code, "        Number::{number} => {}({}),", d.name, names.join(", "));
        }
        let _ = writeln!(code, "        other => Err(no_variant({stem:?}, other)),");
        let _ = writeln!(code, "    }}\n}}\n");
    }
}
