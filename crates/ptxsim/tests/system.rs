//! What kernels ask of the device: to print, to stop at a failed assertion, memory of the heap. And texts linked to one.

mod common;

use std::sync::Mutex;

use common::{HEAD, Setup, kernel_with};
use ptxsim::{FaultKind, Launch, Memory, Module, Options};

enum Arg {
    Int(i32),
    Long(i64),
    Real(f64),
}
use Arg::{Int, Long, Real};

/// Format, arguments, and what glibc's `snprintf` makes of them.
#[allow(clippy::approx_constant)]
const PRINTED: &[(&str, &[Arg], &str)] = &[
    ("%d|%5d|%-5d|%05d|%+d\n", &[Int(-42), Int(7), Int(7), Int(7), Int(7)], "-42|    7|7    |00007|+7\n"),
    ("%u %x %X %#x %o\n", &[Int(-1), Int(255), Int(255), Int(255), Int(8)], "4294967295 ff FF 0xff 10\n"),
    (
        "%ld %llu %hd %hhu\n",
        &[Long(-5000000000), Long(-1), Int(65537), Int(513)],
        "-5000000000 18446744073709551615 1 1\n",
    ),
    (
        "%f %.2f %10.3f %-10.1f| %+.0f\n",
        &[Real(3.14159), Real(2.5), Real(-1.5), Real(9.96), Real(2.5)],
        "3.141590 2.50     -1.500 10.0      | +2\n",
    ),
    (
        "%e %.3E %g %g %g %#g\n",
        &[Real(12345.678), Real(0.00012), Real(100000.0), Real(1000000.0), Real(0.0001), Real(1.5)],
        "1.234568e+04 1.200E-04 100000 1e+06 0.0001 1.50000\n",
    ),
    ("%a %a\n", &[Real(1.5), Real(0.1)], "0x1.8p+0 0x1.999999999999ap-4\n"),
    ("%*d|%-*d|%.*f\n", &[Int(6), Int(42), Int(6), Int(42), Int(3), Real(1.0)], "    42|42    |1.000\n"),
    ("%c%c 100%%\n", &[Int(72), Int(105)], "Hi 100%\n"),
    ("%.3d|%8.3d|%5.1f|%g\n", &[Int(5), Int(-5), Real(f64::INFINITY), Real(f64::NAN)], "005|    -005|  inf|nan\n"),
];

static TEXT: Mutex<String> = Mutex::new(String::new());

fn collect(text: &str) {
    TEXT.lock().unwrap().push_str(text);
}

fn options() -> Options {
    Options { print: collect, ..Options::default() }
}

/// `.b8 name[] = {...}` of a text with its zero.
fn text(name: &str, text: &str) -> String {
    let bytes: Vec<String> = text.bytes().chain([0]).map(|b| b.to_string()).collect();
    format!(".global .align 1 .b8 {name}[{}] = {{{}}}; ", bytes.len(), bytes.join(", "))
}

const EXTERNAL: &str = ".extern .func (.param .b32 r) vprintf(.param .b64 a, .param .b64 b); ";

/// Prints with the arguments side by side in local memory, as compilers put them.
fn printing(format: &str, args: &[Arg]) -> String {
    let (mut at, mut body) = (0usize, String::from(".local .align 8 .b8 args[64]; mov.u64 %rd10, args;\n"));
    for arg in args {
        let (size, bits) = match arg {
            Int(v) => (4, *v as u32 as u64),
            Long(v) => (8, *v as u64),
            Real(v) => (8, v.to_bits()),
        };
        at = at.next_multiple_of(size);
        body += &format!("mov.b64 %rd11, {bits:#x}; st.local.u{} [%rd10+{at}], %rd11;\n", 8 * size);
        at += size;
    }
    body += "cvta.local.u64 %rd12, %rd10; mov.u64 %rd13, format; cvta.global.u64 %rd13, %rd13;
        { .param .b64 a; .param .b64 b; .param .b32 r;
        st.param.b64 [a], %rd13; st.param.b64 [b], %rd12;
        call.uni (r), vprintf, (a, b);
        ld.param.b32 %r9, [r]; }
        st.global.u32 [%rd1], %r9;";
    kernel_with(&(text("format", format) + EXTERNAL), "", &body)
}

#[test]
fn printing_is_as_in_c() {
    for (format, args, expected) in PRINTED {
        TEXT.lock().unwrap().clear();
        let setup = Setup::new(4, &[0; 4]);
        setup.run_with(&printing(format, args), 1, 1, 0, &options()).unwrap();
        assert_eq!(TEXT.lock().unwrap().replace("-nan", "nan"), expected.replace("-nan", "nan"), "{format:?}");
        assert_eq!(setup.words(), [args.len() as u32], "{format:?}");
    }
}

#[test]
fn a_failed_assertion_names_what_did_not_hold() {
    let globals = text("message", "i < n") + &text("file", "a.cu") + &text("function", "void k()");
    let external =
        ".extern .func __assertfail(.param .b64 a, .param .b64 b, .param .b32 c, .param .b64 d, .param .b64 e); ";
    let body = "setp.lt.u32 %p1, %r1, 5; @%p1 bra $good;
        mov.u64 %rd10, message; mov.u64 %rd11, file; mov.u64 %rd12, function;
        { .param .b64 a; .param .b64 b; .param .b32 c; .param .b64 d; .param .b64 e;
        st.param.b64 [a], %rd10; st.param.b64 [b], %rd11; st.param.b32 [c], 12; st.param.b64 [d], %rd12; st.param.b64 [e], 1;
        call.uni __assertfail, (a, b, c, d, e); }
        $good:";
    let setup = Setup::new(4, &[0; 4]);
    let fault = setup.run(&kernel_with(&(globals + external), "", body), 1, 32, 0).unwrap_err();
    assert_eq!((fault.kind, fault.thread, fault.line), (FaultKind::Assert, [5, 0, 0], 0));
    assert_eq!(&*fault.message, "`i < n` does not hold in void k(), a.cu:12");
}

const HEAP: &str = ".extern .func (.param .b64 r) malloc(.param .b64 a); .extern .func free(.param .b64 a); ";

fn heap(body: &str) -> Result<Vec<u32>, ptxsim::Fault> {
    let mut memory = Memory::new(1 << 24);
    let out = memory.alloc(4 * 64).unwrap();
    let text = kernel_with(
        HEAP,
        "",
        &format!(
            "{{ .param .b64 a; .param .b64 r; st.param.b64 [a], 8; call.uni (r), malloc, (a); ld.param.b64 %rd5, [r]; }}
             mad.wide.u32 %rd6, %r2, 4, %rd1;
             {body}"
        ),
    );
    let module = Module::parse_in("test.ptx", &text, &mut memory).unwrap();
    let params: Vec<u8> = [out, 0].iter().flat_map(|a| a.to_le_bytes()).collect();
    let launch =
        Launch { entry: "k", grid: [2, 1, 1], block: [32, 1, 1], dynamic_shared: 0, params: &params, buffers: None };
    module.launch(&memory, &launch, &options())?;
    let mut bytes = [0; 256];
    memory.read(out, &mut bytes).unwrap();
    Ok(bytes.chunks_exact(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect())
}

const FREE: &str = "{ .param .b64 a; st.param.b64 [a], %rd5; call.uni free, (a); }\n";

#[test]
fn the_heap_gives_every_thread_memory_of_its_own() {
    let store = "st.u32 [%rd5], %r2; bar.sync 0; ld.u32 %r9, [%rd5]; st.global.u32 [%rd6], %r9;\n";
    assert_eq!(heap(&(store.to_string() + FREE)).unwrap(), (0..64).collect::<Vec<u32>>());
}

#[test]
fn the_heap_tells_what_is_wrong() {
    let kind = |body: &str| heap(body).unwrap_err().kind;
    assert_eq!(kind("ld.u32 %r9, [%rd5];"), FaultKind::Uninitialised, "nobody wrote it");
    assert_eq!(kind(&format!("st.u32 [%rd5], 1;\n{FREE}ld.u32 %r9, [%rd5];")), FaultKind::Uninitialised, "it is free");
    assert_eq!(kind(&format!("{FREE}{FREE}")), FaultKind::BadFree);
    assert_eq!(kind(&format!("add.u64 %rd5, %rd5, 4;\n{FREE}")), FaultKind::BadFree);
}

/// Two texts whose own functions and variables have the same names, and one variable that both know.
#[test]
fn linked_texts_share_what_is_visible_and_nothing_else() {
    let first = format!(
        "{HEAD}.visible .global .u32 shared = 5; .global .u32 own = 1;
        .extern .func (.param .b32 r) there(.param .b32 a);
        .func (.param .b32 r) helper(.param .b32 a) {{ .reg .b32 %r<3>;
            ld.param.b32 %r1, [a]; ld.global.u32 %r2, [own]; add.u32 %r1, %r1, %r2; st.param.b32 [r], %r1; ret; }}
        .visible .entry k(.param .u64 out, .param .u64 in) {{ .reg .b64 %rd; .reg .b32 %r;
            ld.param.u64 %rd, [out]; ld.global.u32 %r, [shared];
            {{ .param .b32 a; .param .b32 r; st.param.b32 [a], %r; call.uni (r), helper, (a); ld.param.b32 %r, [r]; }}
            {{ .param .b32 a; .param .b32 r; st.param.b32 [a], %r; call.uni (r), there, (a); ld.param.b32 %r, [r]; }}
            st.global.u32 [%rd], %r; ret; }}\n"
    );
    let second = format!(
        "{HEAD}.extern .global .u32 shared; .global .u32 own = 100; .weak .global .u32 loose = 7;
        .func (.param .b32 r) helper(.param .b32 a) {{ .reg .b32 %r<3>;
            ld.param.b32 %r1, [a]; ld.global.u32 %r2, [own]; mad.lo.u32 %r1, %r1, 10, %r2; st.param.b32 [r], %r1; ret; }}
        .visible .func (.param .b32 r) there(.param .b32 a) {{ .reg .b32 %r<3>;
            ld.param.b32 %r1, [a];
            {{ .param .b32 b; .param .b32 s; st.param.b32 [b], %r1; call.uni (s), helper, (b); ld.param.b32 %r1, [s]; }}
            ld.global.u32 %r2, [shared]; add.u32 %r1, %r1, %r2; ld.global.u32 %r2, [loose]; add.u32 %r1, %r1, %r2;
            st.param.b32 [r], %r1; ret; }}\n"
    );
    let third = format!("{HEAD}.weak .global .u32 loose = 7;\n");
    let run = |text: String| {
        let setup = Setup::new(4, &[0; 4]);
        setup.run(&text, 1, 1, 0).unwrap();
        setup.words()[0]
    };
    // (5 + 1) * 10 + 100 + 5 + 7
    assert_eq!(run(format!("{first}{second}{third}")), 172);
    assert_eq!(run(format!("{third}{second}{first}")), 172);
    let refused = |text: String, expected: &str| {
        let told = Module::parse("test.ptx", &text).unwrap_err().to_string();
        assert!(told.contains(expected), "{told}");
    };
    refused(first.clone(), "call of `there`, which has no body");
    refused(format!("{first}{second}{second}"), "`there` is defined twice");
    refused(second, "`shared` is defined in another module, which is not linked");
}

#[test]
fn memory_is_mapped_where_it_is_wanted_and_comes_back_as_the_kernel_left_it() {
    let mut memory = Memory::new(1 << 24);
    let at = 0x7f00_0000_0010;
    memory.map(at, &[1, 2, 3, 4, 5]).unwrap();
    assert!(memory.map(at + 4, &[0]).is_err(), "it is taken");
    assert_eq!(memory.used(), 0);
    memory.write(at + 4, &[9]).unwrap();
    assert_eq!(memory.unmap(at).unwrap(), [1, 2, 3, 4, 9]);
    assert!(memory.unmap(at).is_err());
}

/// Functions that are called by their addresses: from a table in memory, by lane, with arguments and results of their own.
#[test]
fn functions_are_called_by_address() {
    let globals =
        ".func (.param .b32 r) triple(.param .b32 a) { .reg .b32 %r; ld.param.b32 %r, [a]; mul.lo.u32 %r, %r, 3;
            st.param.b32 [r], %r; ret; }
        .func (.param .b32 r) square(.param .b32 a) { .reg .b32 %r; ld.param.b32 %r, [a]; mul.lo.u32 %r, %r, %r;
            st.param.b32 [r], %r; ret; }
        .func nothing(.param .b64 a) { ret; }
        .global .align 8 .u64 table[3] = {triple, square, nothing};"
            .replace('\n', " ");
    let body = |index: &str| {
        format!(
            "mov.u32 %r10, {index}; mul.wide.u32 %rd10, %r10, 8; mov.u64 %rd11, table; add.u64 %rd11, %rd11, %rd10;
            ld.global.u64 %rd12, [%rd11]; mov.u32 %r11, 99; setp.lt.u32 %p1, %r1, 8;
            {{ .param .b32 a; .param .b32 r; st.param.b32 [a], %r1;
            @%p1 call (r), %rd12, (a), prototype;
            @%p1 ld.param.b32 %r11, [r]; }}
            prototype: .callprototype (.param .b32 _) _ (.param .b32 _);
            mul.wide.u32 %rd13, %r1, 4; add.u64 %rd14, %rd1, %rd13; st.global.u32 [%rd14], %r11;"
        )
    };
    let setup = Setup::new(4 * 10, &[0; 4]);
    setup.run(&kernel_with(&globals, "", &format!("and.b32 %r9, %r1, 1;\n{}", body("%r9"))), 1, 10, 0).unwrap();
    assert_eq!(setup.words(), [0, 1, 6, 9, 12, 25, 18, 49, 99, 99]);
    let fault = setup.run(&kernel_with(&globals, "", &body("2")), 1, 10, 0).unwrap_err();
    assert_eq!(fault.kind, FaultKind::BadOperand);
}

/// Without checks, lanes that are not there are not waited for, as on hardware.
#[test]
fn masks_may_name_lanes_that_are_not_there_where_nothing_is_checked() {
    let text = kernel_with(
        "",
        "",
        "bar.warp.sync -1; mul.wide.u32 %rd3, %r1, 4; add.u64 %rd3, %rd1, %rd3;
        shfl.sync.bfly.b32 %r4, %r1, 1, 31, -1; st.global.u32 [%rd3], %r4;",
    );
    let run = |checks: bool| {
        let setup = Setup::new(4 * 4, &[0; 4]);
        setup.run_with(&text, 1, 4, 0, &Options { checks, ..Options::default() }).map(|_| setup.words())
    };
    assert_eq!(run(true).unwrap_err().kind, FaultKind::BadMask);
    assert_eq!(run(false).unwrap(), [1, 0, 3, 2]);
}

/// Every block adds to a sum, and reads what all of them have added; twice, with one block ending before the others.
#[test]
fn blocks_wait_for_each_other() {
    let external = ".extern .func (.param .b64 h) cudaCGGetIntrinsicHandle(.param .b32 s);
        .extern .func (.param .b32 r) cudaCGSynchronize(.param .b64 h, .param .b32 f);"
        .replace('\n', " ");
    let wait = "{ .param .b64 h; .param .b32 f; .param .b32 r; st.param.b64 [h], %rd9; st.param.b32 [f], 0;
        call.uni (r), cudaCGSynchronize, (h, f); ld.param.b32 %r9, [r]; }";
    let body = format!(
        "{{ .param .b32 s; .param .b64 h; st.param.b32 [s], 2; call.uni (h), cudaCGGetIntrinsicHandle, (s);
        ld.param.b64 %rd9, [h]; }}
        mov.u32 %r5, %ctaid.x; red.global.add.u32 [%rd1], 1; {wait}
        ld.global.u32 %r6, [%rd1]; {wait}
        setp.eq.u32 %p1, %r5, 0; @%p1 bra $end;
        red.global.add.u32 [%rd1], %r6; {wait}
        ld.global.u32 %r7, [%rd1]; add.u32 %r6, %r6, %r7;
        $end: mul.wide.u32 %rd5, %r2, 4; add.u64 %rd6, %rd1, %rd5; st.global.u32 [%rd6+4], %r6;"
    );
    let setup = Setup::new(4 * (1 + 3 * 40), &[0; 4]);
    setup.memory.write(setup.out, &[0; 4]).unwrap();
    setup.run(&kernel_with(&external, "", &body), 3, 40, 0).unwrap();
    let words = setup.words();
    // 3 * 40 once, then 2 * 40 times as much more.
    let all = 120 + 80 * 120;
    assert_eq!(words[0], all);
    assert!(words[1..41].iter().all(|w| *w == 120) && words[41..].iter().all(|w| *w == 120 + all), "{words:?}");
}
