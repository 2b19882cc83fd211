//! Loads and stores in every space, atomics, asynchronous copies, counters of memory traffic, the host's view.

mod common;

use common::{HEAD, Setup, bytes, eval, kernel, kernel_with};
use ptxsim::{Access, Buffer, Class, Launch, Memory, Module, Options};

#[test]
fn widths_and_extension() {
    let row = [[0xf0e1_d2c3_b4a5_9687u64]];
    for (load, wanted) in [
        ("ld.global.u8 %ro, [%rd9+1]; cvt.u64.u32 %rdo, %ro;", 0x96),
        ("ld.global.s8 %ro, [%rd9+1]; cvt.u64.u32 %rdo, %ro;", 0xffff_ff96),
        ("ld.global.s8 %ho, [%rd9]; cvt.u64.u16 %rdo, %ho;", 0xff87),
        ("ld.global.u16 %ho, [%rd9+2]; cvt.u64.u16 %rdo, %ho;", 0xb4a5),
        ("ld.global.s16 %rdo, [%rd9+2];", 0xffff_ffff_ffff_b4a5),
        ("ld.global.s32 %rdo, [%rd9];", 0xffff_ffff_b4a5_9687),
        ("ld.global.u32 %rdo, [%rd9+4];", 0xf0e1_d2c3),
        ("ld.global.b64 %rdo, [%rd9];", 0xf0e1_d2c3_b4a5_9687),
        (
            "ld.global.v4.u8 {%h10,%h11,%h12,%h13}, [%rd9+4]; mov.b64 %rdo, {%h13,%h12,%h11,%h10};",
            0x00c3_00d2_00e1_00f0,
        ),
        ("ld.global.v2.s8 {%h10,%h11}, [%rd9]; mov.b32 %ro, {%h10,%h11}; cvt.u64.u32 %rdo, %ro;", 0xff96_ff87),
        ("ld.global.v2.u32 {%r10,%r11}, [%rd9]; mov.b64 %rdo, {%r11,%r10};", 0xb4a5_9687_f0e1_d2c3),
        (
            "ld.volatile.global.u32 %r10, [%rd9]; ld.global.nc.L1::no_allocate.u32 %r11, [%rd9]; xor.b32 %r10, %r10, %r11; \
          cvt.u64.u32 %rdo, %r10;",
            0,
        ),
        ("ld.global.cs.L2::128B.f32 %f10, [%rd9]; mov.b32 %r10, %f10; cvt.u64.u32 %rdo, %r10;", 0xb4a5_9687),
        ("ld.u32 %ro, [%rd9]; cvt.u64.u32 %rdo, %ro;", 0xb4a5_9687),
        ("cvta.to.global.u64 %rd11, %rd9; ld.global.u32 %ro, [%rd11+4]; cvt.u64.u32 %rdo, %ro;", 0xf0e1_d2c3),
    ] {
        assert_eq!(eval(load, "%rdo", &row), [wanted], "{load}");
    }
}

#[test]
fn stores() {
    let setup = Setup::new(32, &[0; 4]);
    setup.memory.write(setup.out, &[0x11; 32]).unwrap();
    let body = "mov.u32 %r5, 0xaabbccdd; mov.b32 {%h1, %h2}, %r5; mov.b64 %rd5, {%r5, %r5}; st.global.u8 [%rd1+1], %r5; \
        st.global.u16 [%rd1+6], %h2; st.global.u8 [%rd1+4], %rd5; st.global.v2.b16 [%rd1+8], {%h2, %h1}; \
        st.global.v4.u8 [%rd1+12], {%h1, %h1, %h2, %h2}; st.global.v2.u64 [%rd1+16], {%rd5, 7};";
    setup.run(&kernel(body), 1, 1, 0).unwrap();
    assert_eq!(setup.words(), [0x1111_dd11, 0xaabb_11dd, 0xccdd_aabb, 0xbbbb_dddd, 0xaabb_ccdd, 0xaabb_ccdd, 7, 0]);
}

#[test]
fn variables_of_the_module() {
    let globals = ".const .align 4 .b8 t[8] = {1, 0, 0, 0, 2, 0, 0, 0}; .const .f32 f[2] = {0f3F800000, 1.5}; \
        .global .align 8 .u64 p[2] = {generic(t)+4, 9}; .global .u32 counter = 5; .global .align 4 .b8 zero[8]; \
        .const .u32 m[2][2] = {{1,2},{3,4}};";
    let body = "ld.const.u32 %r5, [t+4]; ld.const.f32 %f1, [f+4]; mov.u64 %rd5, t; ld.const.u32 %r6, [%rd5]; \
        ld.global.u64 %rd6, [p]; ld.u32 %r7, [%rd6]; ld.global.u64 %rd7, [p+8]; atom.global.add.u32 %r8, [counter], 1; \
        ld.global.u32 %r9, [zero+4]; ld.const.u32 %r10, [m+8]; \
        st.global.v4.u32 [%rd1], {%r5, %r6, %r7, %r8}; st.global.f32 [%rd1+16], %f1; st.global.u64 [%rd1+24], %rd7; \
        st.global.u32 [%rd1+20], %r9; st.global.u32 [%rd1+32], %r10;";
    let module = Module::parse("t", &kernel_with(globals, "", body)).unwrap();
    let setup = Setup::new(36, &[0; 4]);
    let params: Vec<u8> = [setup.out, setup.input].iter().flat_map(|a| a.to_le_bytes()).collect();
    let launch = Launch { entry: "k", grid: [1; 3], block: [1; 3], dynamic_shared: 0, params: &params, buffers: None };
    for count in [5, 6] {
        // Variables keep their values between launches.
        module.launch(&setup.memory, &launch, &Options::default()).unwrap();
        assert_eq!(setup.words(), [2, 1, 2, count, 1.5f32.to_bits(), 0, 9, 0, 3]);
    }
}

#[test]
fn shared_local_and_generic() {
    let globals = ".extern .shared .align 16 .b8 dyn[]; .shared .align 8 .b8 fixed[12];";
    let body = ".local .align 8 .b8 stack[16];\n\
        mov.u64 %rd5, stack; cvta.local.u64 %rd6, %rd5; shl.b32 %r5, %r1, 2; mov.u32 %r6, dyn; add.u32 %r7, %r6, %r5; \
        mul.lo.u32 %r8, %r1, 3; st.shared.u32 [%r7], %r8; st.local.u32 [stack+4], %r1; st.u32 [%rd6+8], %r8; bar.sync 0; \
        cvt.u64.u32 %rd7, %r7; cvta.shared.u64 %rd8, %rd7; ld.u32 %r9, [%rd8]; ld.u32 %r10, [%rd6+4]; \
        ld.local.u32 %r11, [%rd5+8]; cvta.to.shared.u64 %rd9, %rd8; cvt.u32.u64 %r12, %rd9; ld.shared.u32 %r13, [%r12]; \
        isspacep.shared %p1, %rd8; isspacep.local %p2, %rd8; selp.u32 %r14, 1, 0, %p1; @%p2 add.u32 %r14, %r14, 2; \
        mov.u64 %rd11, dyn; cvt.u32.u64 %r15, %rd11; \
        mul.wide.u32 %rd3, %r1, 32; add.u64 %rd4, %rd1, %rd3; \
        st.global.v4.u32 [%rd4], {%r9, %r10, %r11, %r13}; st.global.v2.u32 [%rd4+16], {%r14, %r15}; \
        setp.eq.u32 %p3, %r1, 0; @%p3 st.shared.u64 [fixed], %rd5; ld.param.u32 %r16, [out]; st.global.u64 [%rd4+24], %rd2;";
    let setup = Setup::new(64 * 32, &[0; 4]);
    setup.run(&kernel_with(globals, "", body), 1, 64, 64 * 4).unwrap_or_else(|e| panic!("{e}"));
    for (t, row) in setup.words().chunks_exact(8).enumerate() {
        let t = t as u32;
        // 12 bytes of static memory, then the dynamic part at the next multiple of 16.
        assert_eq!(row[..6], [3 * t, t, 3 * t, 3 * t, 1, 16], "{t}");
    }
    // A generic access whose lanes point into different spaces.
    let body = ".local .align 4 .b8 mine[4];\nmov.u64 %rd5, mine; cvta.local.u64 %rd6, %rd5; cvta.shared.u64 %rd7, 0; \
        st.local.u32 [%rd5], 100; st.shared.u32 [fixed], 200; bar.warp.sync -1; rem.u32 %r5, %r1, 3; \
        setp.eq.u32 %p1, %r5, 0; setp.eq.u32 %p2, %r5, 1; selp.u64 %rd8, %rd6, %rd7, %p1; selp.u64 %rd8, %rd2, %rd8, %p2; \
        ld.u32 %ro, [%rd8]; mul.wide.u32 %rd3, %r1, 4; add.u64 %rd4, %rd1, %rd3; st.global.u32 [%rd4], %ro;";
    let setup = Setup::new(128, &bytes(&[300]));
    setup.run(&kernel_with(globals, "", body), 1, 32, 16).unwrap_or_else(|e| panic!("{e}"));
    assert!(setup.words().iter().enumerate().all(|(i, &w)| w == [100, 300, 200][i % 3]));
}

#[test]
fn parameters_by_value() {
    let text = format!(
        "{HEAD}.visible .entry k(.param .u8 a, .param .align 8 .b8 s[24], .param .f32 f, .param .u64 out) {{\n\
         .reg .b64 %rd<9>; .reg .b32 %r<9>; .reg .f32 %f<3>; .reg .b16 %h<3>;\n\
         ld.param.u64 %rd1, [out]; ld.param.u8 %h1, [a]; ld.param.u32 %r1, [s+4]; ld.param.u64 %rd2, [s+16]; \
         ld.param.f32 %f1, [f]; mov.b64 %rd3, s; add.u64 %rd3, %rd3, 8; ld.param.u32 %r2, [%rd3];\n\
         cvt.u32.u16 %r3, %h1; st.global.v4.u32 [%rd1], {{%r3, %r1, %r2, 0}}; st.global.u64 [%rd1+16], %rd2; \
         st.global.f32 [%rd1+24], %f1; ret; }}"
    );
    let module = Module::parse("t", &text).unwrap();
    let kernel = &module.kernels()[0];
    let layout: Vec<_> =
        kernel.params.iter().map(|p| (p.name.as_str(), p.offset, p.size, p.align, p.kind.as_str())).collect();
    assert_eq!(layout, [("a", 0, 1, 1, "u8"), ("s", 8, 24, 8, "b8"), ("f", 32, 4, 4, "f32"), ("out", 40, 8, 8, "u64")]);
    assert_eq!(kernel.params_size, 48);
    let mut memory = Memory::new(1 << 16);
    let out = memory.alloc(28).unwrap();
    let mut params = vec![0u8; 48];
    params[0] = 250;
    params[8..32].copy_from_slice(&bytes(&[1, 2, 3, 4, 5, 6]));
    params[32..36].copy_from_slice(&1.25f32.to_le_bytes());
    params[40..].copy_from_slice(&out.to_le_bytes());
    let launch = Launch { entry: "k", grid: [1; 3], block: [1; 3], dynamic_shared: 0, params: &params, buffers: None };
    module.launch(&memory, &launch, &Options::default()).unwrap();
    let mut found = [0; 28];
    memory.read(out, &mut found).unwrap();
    assert_eq!(found[..], bytes(&[250, 2, 3, 0, 5, 6, 1.25f32.to_bits()]));
}

#[test]
fn atomics() {
    // Each of 64 threads applies the operation; old values are added up through a second word.
    let run = |op: &str, ty: &str, operand: &str, start: u64| -> u64 {
        let mut result = vec![];
        for space in ["global", "shared"] {
            let body = format!(
                "setp.ne.u32 %p1, %r1, 0; mov.u64 %rd6, s; ld.global.u64 %rd5, [%rd2]; @!%p1 st.shared.u64 [%rd6], %rd5; \
                 bar.sync 0; add.u32 %r5, %r1, 1; cvt.u64.u32 %rd7, %r5; cvt.rn.f32.u32 %f5, %r5; cvt.rn.f64.u32 %d5, %r5;\n\
                 red.{space}.{op}.{ty} [{}], {operand};\nbar.sync 0; @!%p1 ld.shared.u64 %rd8, [%rd6]; @%p1 ret;\n{}",
                if space == "global" { "%rd1" } else { "%rd6" },
                if space == "shared" { "st.global.u64 [%rd1], %rd8;" } else { "" },
            );
            let setup = Setup::new(8, &start.to_le_bytes());
            setup.memory.write(setup.out, &start.to_le_bytes()).unwrap();
            setup
                .run(&kernel_with(".shared .align 8 .b8 s[8];", "", &body), 1, 64, 0)
                .unwrap_or_else(|e| panic!("{e}"));
            let w = setup.words();
            result.push(u64::from(w[0]) | u64::from(w[1]) << 32);
        }
        assert_eq!(result[0], result[1], "{op}.{ty}");
        result[0]
    };
    assert_eq!(run("add", "u32", "%r5", 7), 7 + 64 * 65 / 2);
    assert_eq!(run("add", "u64", "%rd7", 0xffff_ffff), 0xffff_ffff + 64 * 65 / 2);
    assert_eq!(run("min", "s32", "%r5", 0xffff_fff0), 0xffff_fff0);
    assert_eq!(run("min", "u32", "%r5", 0xffff_fff0), 1);
    assert_eq!(run("max", "s32", "%r5", 0xffff_fff0), 64);
    assert_eq!(run("max", "u64", "%rd7", 5), 64);
    assert_eq!(run("and", "b32", "%r5", 0xff), 0);
    assert_eq!(run("or", "b32", "%r5", 0x100), 0x17f);
    assert_eq!(run("xor", "b32", "%r5", 0), (1..=64).fold(0, |a, b| a ^ b));
    assert_eq!(run("inc", "u32", "9", 5), (5 + 64) % 10);
    assert_eq!(run("dec", "u32", "9", 3), (3 + 10 * 64 - 64) % 10);
    assert_eq!(f32::from_bits(run("add", "f32", "%f5", 0.5f32.to_bits().into()) as u32), 0.5 + 2080.0);
    assert_eq!(f64::from_bits(run("add", "f64", "%d5", 0.5f64.to_bits())), 0.5 + 2080.0);
    // Old values: a counter hands out every ticket once; cas and exch.
    let body = "atom.global.add.u32 %r5, [%rd1], 1; mul.wide.u32 %rd3, %r5, 4; add.u64 %rd4, %rd1, %rd3; \
        st.global.u32 [%rd4+16], %r2; setp.ne.u32 %p1, %r2, 7; @%p1 ret; atom.global.cas.b32 %r6, [%rd1+4], 5, 6; \
        atom.global.cas.b32 %r7, [%rd1+4], 5, 9; atom.global.exch.b32 %r8, [%rd1+8], 11; atom.exch.b32 %r9, [%rd1+8], %r8; \
        mad.lo.u32 %r6, %r6, 10, %r7; st.global.u32 [%rd1+12], %r6;";
    let setup = Setup::new(16 + 96 * 4, &[0; 4]);
    setup.memory.write(setup.out, &bytes(&[0, 5, 3, 0])).unwrap();
    setup.run_with(&kernel(body), 3, 32, 0, &Options { threads: 2, ..Options::default() }).unwrap();
    let words = setup.words();
    assert_eq!(words[..4], [96, 6, 3, 56]);
    let mut tickets = words[4..].to_vec();
    tickets.sort_unstable();
    assert!(tickets.iter().zip(0..).all(|(&t, i)| t == i));
}

/// The same with 1 and 4 threads, also where the order of blocks decides.
#[test]
fn results_do_not_depend_on_threads() {
    let body = "cvt.rn.f32.u32 %f5, %r2; rcp.rn.f32 %f5, %f5; setp.eq.u32 %p1, %r2, 0; @%p1 mov.f32 %f5, 0f3F800000; \
        red.global.add.f32 [%rd1], %f5;";
    let run = |threads| {
        let setup = Setup::new(4, &[0; 4]);
        setup.memory.write(setup.out, &[0; 4]).unwrap();
        let counters = setup.run_with(&kernel(body), 50, 64, 0, &Options { threads, ..Options::default() }).unwrap();
        (setup.words(), counters)
    };
    assert_eq!(run(1), run(4));
}

#[test]
fn asynchronous_copies() {
    // Groups: three copies, waiting for all but the latest, then for all. Sizes 4, 8, 16; zero fill; ignored source.
    let body = "shl.b32 %r5, %r1, 4; mov.u32 %r6, s; add.u32 %r7, %r6, %r5; cvt.u64.u32 %rd5, %r5; add.u64 %rd6, %rd2, %rd5; \
        cp.async.cg.shared.global [%r7], [%rd6], 16; cp.async.commit_group; \
        cp.async.ca.shared.global [%r7+512], [%rd6], 8, 4; cp.async.ca.shared.global [%r7+520], [%rd6], 8, 0; cp.async.commit_group; \
        setp.lt.u32 %p1, %r1, 16; cp.async.ca.shared.global [%r7+1024], [%rd6], 4, %p1; \
        cp.async.ca.shared.global.L2::128B [%r7+1028], [%rd6+4], 4; cp.async.commit_group; \
        mul.wide.u32 %rd3, %r1, 40; add.u64 %rd4, %rd1, %rd3; \
        cp.async.wait_group 2; ld.shared.v4.u32 {%r10,%r11,%r12,%r13}, [%r7]; \
        cp.async.wait_group 1; ld.shared.v4.u32 {%r14,%r15,%r16,%r17}, [%r7+512]; \
        cp.async.wait_all; ld.shared.v2.u32 {%r18,%r19}, [%r7+1024]; \
        st.global.v2.u32 [%rd4], {%r10,%r11}; st.global.v2.u32 [%rd4+8], {%r12,%r13}; st.global.v2.u32 [%rd4+16], {%r14,%r15}; \
        st.global.v2.u32 [%rd4+24], {%r16,%r17}; st.global.v2.u32 [%rd4+32], {%r18,%r19};";
    let input: Vec<u32> = (1..=128).collect();
    let setup = Setup::new(32 * 40, &bytes(&input));
    let counters =
        setup.run(&kernel_with(".shared .align 16 .b8 s[1536];", "", body), 1, 32, 0).unwrap_or_else(|e| panic!("{e}"));
    for (t, row) in setup.words().chunks_exact(10).enumerate() {
        let v = |i: usize| (4 * t + i + 1) as u32;
        let ignored = if t < 16 { 0 } else { v(0) };
        assert_eq!(row, [v(0), v(1), v(2), v(3), v(0), 0, 0, 0, ignored, v(1)], "{t}");
    }
    assert_eq!(counters.of(Class::AsyncCopy), 5 + 3 + 3);
}

#[test]
fn traffic_is_counted() {
    let run = |body: &str| {
        let setup = Setup::new(4096, &[0; 4096]);
        setup.run(&kernel_with(".shared .align 16 .b8 s[4096];", "", body), 1, 32, 0).unwrap_or_else(|e| panic!("{e}"))
    };
    // (stride in bytes, sectors, ideal) for 4-byte loads.
    for (stride, sectors, ideal) in [(4, 4, 4), (8, 8, 4), (32, 32, 4), (0, 1, 1), (64, 32, 4)] {
        let c = run(&format!("mul.wide.u32 %rd3, %r1, {stride}; add.u64 %rd4, %rd2, %rd3; ld.global.u32 %r5, [%rd4];"));
        assert_eq!((c.sectors, c.ideal_sectors), (sectors, ideal), "stride {stride}");
    }
    // An unaligned row touches one sector more.
    let c = run("mul.wide.u32 %rd3, %r1, 4; add.u64 %rd4, %rd2, %rd3; ld.global.u32 %r5, [%rd4+16];");
    assert_eq!((c.sectors, c.ideal_sectors), (5, 4));
    let c = run("mul.wide.u32 %rd3, %r1, 16; add.u64 %rd4, %rd1, %rd3; st.global.v4.u32 [%rd4], {1, 2, 3, 4};");
    assert_eq!((c.sectors, c.ideal_sectors), (16, 16));
    // (stride in bytes, vector, wavefronts, conflicts) for shared stores.
    for (stride, vector, wavefronts, conflicts) in [
        (4, "u32", 1, 0),
        (8, "u32", 2, 1),
        (128, "u32", 32, 31),
        (36, "u32", 1, 0),
        (8, "v2.u32", 2, 0),
        (16, "v2.u32", 4, 2),
        (16, "v4.u32", 4, 0),
        (128, "v4.u32", 32, 28),
        // 144 = 128 + 16: rows padded by one vector are free of conflicts.
        (80, "v4.u32", 4, 0),
    ] {
        let values = match vector {
            "u32" => "%r1",
            "v2.u32" => "{%r1, %r1}",
            _ => "{%r1, %r1, %r1, %r1}",
        };
        let c = run(&format!(
            "mul.lo.u32 %r5, %r1, {stride}; mov.u32 %r6, s; add.u32 %r5, %r5, %r6; st.shared.{vector} [%r5], {values};"
        ));
        assert_eq!((c.wavefronts, c.conflicts), (wavefronts, conflicts), "stride {stride} {vector}");
    }
    // The same word for all lanes is a broadcast.
    let c = run("st.shared.u32 [s], 1; bar.warp.sync -1; ld.shared.u32 %r5, [s];");
    assert_eq!((c.wavefronts, c.conflicts), (2, 0));
}

#[test]
fn host_memory() {
    let mut memory = Memory::new(1000);
    let (a, b) = (memory.alloc(10).unwrap(), memory.alloc(500).unwrap());
    assert!(a != 0 && a % 256 == 0 && b % 256 == 0 && b >= a + 10 + 256, "guard gaps");
    let full = memory.alloc(491).unwrap_err().to_string();
    assert!(full.contains("491") && full.contains("490"), "{full}");
    assert!(
        memory.write(a + 8, &[0; 3]).is_err() && memory.read(a - 1, &mut [0]).is_err() && memory.free(a + 1).is_err()
    );
    memory.write(a + 3, &[1, 2, 3]).unwrap();
    assert_eq!(
        (memory.unwritten(a..a + 10), memory.unwritten(a + 3..a + 6), memory.unwritten(a + 3..a + 7)),
        (Some(a), None, Some(a + 6))
    );
    memory.copy(a, b + 40, 10).unwrap();
    let mut out = [0; 10];
    memory.read(b + 40, &mut out).unwrap();
    assert_eq!(out[3..6], [1, 2, 3]);
    assert_eq!((memory.unwritten(b + 43..b + 46), memory.unwritten(b + 43..b + 47)), (None, Some(b + 46)));
    memory.write(b, &[5; 500]).unwrap();
    memory.poison(b + 31..b + 70).unwrap();
    assert_eq!(
        (memory.unwritten(b..b + 31), memory.unwritten(b..b + 500), memory.unwritten(b + 70..b + 500)),
        (None, Some(b + 31), None)
    );
    memory.free(a).unwrap();
    assert_eq!(memory.used(), 500);
    assert!(memory.read(a, &mut out).is_err());
    assert!(memory.ranges().eq([(b, b + 500)].map(|(start, end)| start..end)));
    let c = memory.alloc(0).unwrap();
    assert!(c != 0 && c != a, "addresses are not used again");
}

/// Overlapping buffers allow what any of them allows, over their joint range.
#[test]
fn buffers_take_the_union() {
    let text = kernel("ld.global.v2.u32 {%r5, %r6}, [%rd2+8]; st.global.u32 [%rd2+16], %r5;");
    let module = Module::parse("t", &text).unwrap();
    let setup = Setup::new(4, &[0; 64]);
    let at = setup.input;
    let params: Vec<u8> = [setup.out, at].iter().flat_map(|a| a.to_le_bytes()).collect();
    let run = |buffers: &[Buffer]| {
        let launch = Launch {
            entry: "k",
            grid: [1; 3],
            block: [1; 3],
            dynamic_shared: 0,
            params: &params,
            buffers: Some(buffers),
        };
        module.launch(&setup.memory, &launch, &Options::default())
    };
    let (read, write) = (Access::Read, Access::Write);
    run(&[Buffer { range: at..at + 12, access: read }, Buffer { range: at + 12..at + 20, access: write }]).unwrap();
    let fault = run(&[Buffer { range: at..at + 20, access: read }]).unwrap_err();
    assert_eq!(fault.kind, ptxsim::FaultKind::ReadOnly);
    let fault = run(&[Buffer { range: at..at + 12, access: read }]).unwrap_err();
    assert_eq!(fault.kind, ptxsim::FaultKind::OutOfBounds);
}
