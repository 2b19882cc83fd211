//! Bad text: clear errors with the right line, never a panic; mutated modules, parsed and run.

mod common;

use common::{HEAD, kernel, kernel_with};
use ptxsim::{Launch, Memory, Module, Options};
use rand::{RngExt, SeedableRng};

const FIXTURE: &str = include_str!("fixtures/fixture.ptx");

/// Expects an error on a line with all these words in its message.
#[track_caller]
fn refused(text: &str, line: usize, words: &[&str]) {
    let error = Module::parse("bad.ptx", text).err().unwrap_or_else(|| panic!("must not parse: {text}"));
    assert_eq!(error.line, line, "{error}");
    assert!(words.iter().all(|w| error.message.contains(w)), "{error}");
    assert!(error.to_string().starts_with(&format!("bad.ptx:{line}: ")));
}

#[test]
fn unknown_instructions_are_named_with_their_line() {
    for (instruction, words) in [
        ("frobnicate.b32 %r1, %r2;", &["frobnicate.b32"][..]),
        ("wgmma.fence.sync.aligned;", &["wgmma"]),
        ("tex.2d.v4.f32.s32 {%f1,%f2,%f3,%f4}, [%rd1];", &["tex"]),
        ("add.rn.frob.f32 %f1, %f1, %f1;", &["add.rn.frob.f32", ".frob"]),
        ("add.s32.wide %r1, %r1, %r1;", &["add.s32.wide"]),
        ("add.b32 %r1, %r1, %r1;", &["add.b32"]),
        (
            "mma.sync.aligned.m16n8k16.row.col.s32.s8.f16.s32 {%r1,%r1,%r1,%r1},{%r1,%r1},{%r1},{%r1,%r1,%r1,%r1};",
            &["m16n8k16"],
        ),
        (
            "mma.sync.aligned.m16n8k8.row.col.s32.s8.s8.s32 {%r1,%r1,%r1,%r1},{%r1,%r1},{%r1},{%r1,%r1,%r1,%r1};",
            &["m16n8k8"],
        ),
        ("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%d1,%d2},{%d1},{%d1},{%d1,%d2};", &["mma"]),
        ("ld.global.v8.f32 {%f1}, [%rd1];", &["v8"]),
        ("ld.global.v4.f64 {%d1,%d1,%d1,%d1}, [%rd1];", &["ld.global.v4.f64"]),
        ("cvt.f32.s32 %f1, %r1;", &["cvt.f32.s32"]),
        ("cvt.s32.f32 %r1, %f1;", &["cvt.s32.f32"]),
        ("cvt.rn.f32.bf16x2 %f1, %r1;", &["cvt.rn.f32.bf16x2"]),
        ("fma.f32 %f1, %f1, %f1, %f1;", &["fma.f32"]),
        ("mul.s32 %r1, %r1, %r1;", &["mul.s32"]),
        ("cp.async.cg.shared.global [%r1], [%rd1], 8;", &["8 bytes"]),
        ("cp.async.bulk.commit_group;", &["bulk"]),
        ("atom.global.add.f16 %h1, [%rd1], %h1;", &["atom.global.add.f16"]),
        ("shfl.up.b32 %r1, %r1, 1, 0;", &["shfl.up.b32"]),
        ("bra nowhere;", &["nowhere"]),
        ("call nowhere;", &["nowhere"]),
        ("mov.u32 %r1, %tid.w;", &["%tid.w"]),
        ("mov.u32 %r1, %nosuch;", &["%nosuch"]),
        ("mov.u32 %r1, nosuch;", &["nosuch"]),
        ("mov.u32 %r64, 1;", &["%r64"]),
        ("mov.u32 %rd1, 1;", &["64 bits", "32"]),
        ("add.f32 %f1, %f1, 1;", &["integer 1"]),
        ("st.const.u32 [%rd1], 1;", &["const"]),
        ("@%r1 bra x; x:", &["predicate"]),
        ("ld.shared.u32 %r1, [in];", &["param"]),
        ("bar.sync;", &["bar.sync"]),
        ("ld.global.u32 %r1;", &["2 operands"]),
        ("@%p1 @%p2 ret;", &["@"]),
        (".reg .b128 %q;", &["b128"]),
        ("x: x:", &["twice"]),
        ("setp.lo.s32 %p1, %r1, %r2;", &["setp.lo.s32"]),
        ("setp.lt.and.s32 %p1, %r1, %r2;", &["boolean"]),
        ("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r1}, [%r2];", &["2 registers"]),
    ] {
        let text = kernel(&format!("mov.u32 %r0, 0;\n{instruction}\nmov.u32 %r0, 0;"));
        refused(&text, 9, words);
    }
}

#[test]
fn other_errors() {
    refused("", 1, &["no .entry"]);
    refused(HEAD, 3, &["no .entry"]);
    refused(".entry k() { ret; }", 1, &[".version"]);
    refused(".version 8.1\n.address_size 32\n", 2, &["64-bit"]);
    refused(&format!("{HEAD}.extern .global .u32 x;\n.entry k() {{ ret; }}"), 4, &["not linked"]);
    refused(&format!("{HEAD}.entry k() {{ ret; }}\n.entry k() {{ ret; }}"), 5, &["twice"]);
    refused(&format!("{HEAD}.entry k() {{ .reg .b32 %r; mov.u32 %r, 0x; ret; }}"), 4, &["0x"]);
    refused(&format!("{HEAD}.entry k() {{ ret; ? }}"), 4, &["unexpected character"]);
    refused(&format!("{HEAD}.entry k() {{ ret; /* }}"), 4, &["comment"]);
    refused(&kernel_with(".global .u32 x[4] = {1,2,3,4,5};", "", ""), 4, &["more initial values"]);
    refused(&kernel_with(".global .b8 x[99999999999];", "", ""), 4, &["out of range"]);
    refused(&kernel_with(".global .b8 x[4000000000];", "", ""), 4, &["x", "is over"]);
    refused(&kernel_with(".shared .align 3 .b8 x[4];", "", ""), 4, &["power of two"]);
    refused(&kernel(".local .b8 big[1000000];"), 5, &["local memory"]);
    let recursive = ".func f() { call g; ret; } .func g() { call f; ret; }";
    refused(&kernel_with(recursive, "", "call f;"), 4, &["recursive"]);
    refused(&kernel_with(".extern .func puts(.param .b64 a);", "", "call puts;"), 8, &["puts", "no body"]);
    refused(&kernel_with(".extern .func vprintf(.param .b64 a);", "", "call vprintf;"), 8, &["vprintf", "arguments"]);
}

/// Cut at any byte, the text is refused with a line of its own, or is whole (all that is missing is white space).
#[test]
fn text_cut_short_is_an_error() {
    let whole = FIXTURE.trim_end().len();
    for cut in 0..=FIXTURE.len() {
        match Module::parse("cut.ptx", &FIXTURE[..cut]) {
            Ok(_) => assert!(cut >= whole, "{cut} of {whole} bytes parsed"),
            Err(error) => {
                assert!(cut < whole, "{error}");
                assert!(error.line >= 1 && error.line <= FIXTURE[..cut].lines().count().max(1), "{error}");
            }
        }
    }
    let error = Module::parse("cut.ptx", &FIXTURE[..whole - 40]).unwrap_err();
    assert!(error.message.contains("cut short"), "{error}");
}

/// What the fixture computes, in Rust.
fn truth(input: &[f32], n: usize, scale: f32, blocks: usize) -> Vec<f32> {
    let table = [1.0f32, 0.5, 0.25, 0.125];
    let lane = |i: usize| {
        if i >= n {
            return 0.0;
        }
        let mut x = input[i] * scale;
        for k in 0..i & 7 {
            let power = if k & 1 == 1 { x } else { 1.0 };
            x = x.mul_add(table[k & 3], power);
        }
        x
    };
    let warp = |first: usize| {
        let mut v: Vec<f32> = (first..first + 32).map(lane).collect();
        for s in [16, 8, 4, 2, 1] {
            v = (0..32).map(|i| v[i] + v[i ^ s]).collect();
        }
        v[0]
    };
    (0..blocks).map(|b| warp(b * 64) + warp(b * 64 + 32) + 3.0).collect()
}

fn launch_fixture(module: &Module, threads: usize) -> Option<(Vec<f32>, u32)> {
    let mut memory = Memory::new(1 << 20);
    let n = 150usize;
    let input: Vec<f32> = (0..n).map(|i| i as f32 / 8.0 - 5.0).collect();
    let (out, at, count) = (memory.alloc(12).ok()?, memory.alloc(4 * n as u64).ok()?, memory.alloc(4).ok()?);
    memory.write(at, &input.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>()).ok()?;
    memory.write(count, &[0; 4]).ok()?;
    let mut params: Vec<u8> = [out, at, count].iter().flat_map(|a| a.to_le_bytes()).collect();
    params.extend((n as u32).to_le_bytes());
    params.extend(20.0f32.to_le_bytes());
    let entry = &module.kernels().first()?.name;
    let launch =
        Launch { entry, grid: [3, 1, 1], block: [64, 1, 1], dynamic_shared: 0, params: &params, buffers: None };
    let options = Options { instructions: Some(20_000), threads, ..Options::default() };
    // A fault is fine for a mutated module; the message must not panic either.
    if let Err(fault) = module.launch(&memory, &launch, &options) {
        assert!(!fault.to_string().is_empty());
        return None;
    }
    let (mut bytes, mut counted) = ([0; 12], [0; 4]);
    memory.read(out, &mut bytes).ok()?;
    memory.read(count, &mut counted).ok()?;
    let out = bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect();
    Some((out, u32::from_le_bytes(counted)))
}

#[test]
fn the_fixture_computes_what_its_source_says() {
    let module = Module::parse("fixture.ptx", FIXTURE).unwrap();
    let kernel = &module.kernels()[0];
    assert_eq!((kernel.name.as_str(), kernel.max_threads, kernel.static_shared), ("fixture", Some(64), 8));
    let input: Vec<f32> = (0..150).map(|i| i as f32 / 8.0 - 5.0).collect();
    let (out, count) = launch_fixture(&module, 2).unwrap();
    assert_eq!(out, truth(&input, 150, 20.0, 3));
    // Warps with a value over 100.
    assert!(count > 0 && count <= 6, "{count}");
    assert_eq!(launch_fixture(&module, 1).unwrap(), (out, count));
}

/// A few thousand seeded mutations: bytes changed, removed, doubled, lines swapped, tokens exchanged.
#[test]
fn mutated_modules_parse_and_run_or_fail_cleanly() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let words: Vec<&str> = FIXTURE.split_whitespace().collect();
    let (mut parsed, mut ran) = (0, 0);
    for _ in 0..4000 {
        let mut text = FIXTURE.as_bytes().to_vec();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..text.len());
            match rng.random_range(0..6) {
                0 => text[at] = rng.random_range(32..127),
                1 => drop(text.remove(at)),
                2 => text.insert(at, b"0123456789.%{}[](),;:@!-_"[rng.random_range(0..25)]),
                3 => {
                    let end = (at + rng.random_range(1..40)).min(text.len());
                    let piece = text[at..end].to_vec();
                    text.splice(at..at, piece);
                }
                4 => {
                    let mut lines: Vec<Vec<u8>> = text.split(|&c| c == b'\n').map(<[u8]>::to_vec).collect();
                    let (a, b) = (rng.random_range(0..lines.len()), rng.random_range(0..lines.len()));
                    lines.swap(a, b);
                    text = lines.join(&b'\n');
                }
                _ => {
                    let string = String::from_utf8_lossy(&text).into_owned();
                    let (from, to) = (words[rng.random_range(0..words.len())], words[rng.random_range(0..words.len())]);
                    text = string.replacen(from, to, 1).into_bytes();
                }
            }
            if text.is_empty() {
                break;
            }
        }
        let Ok(module) = Module::parse("mutated", &String::from_utf8_lossy(&text)) else { continue };
        parsed += 1;
        ran += usize::from(launch_fixture(&module, 1).is_some());
    }
    assert!(parsed > 400 && ran > 200, "{parsed} parsed, {ran} ran: the mutations are too harsh to test anything");
}
