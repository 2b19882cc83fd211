//! Warp-wide instructions, divergence and reconvergence, barriers.

mod common;

use common::{Setup, bytes, kernel, kernel_with};
use ptxsim::{Class, Counters};

/// Runs `body` in one block of `threads`; each thread stores `%ro` (and may use its input word `%r5`).
fn lanes(body: &str, threads: u32, input: impl Fn(u32) -> u32) -> (Vec<u32>, Counters) {
    let setup = Setup::new(threads as usize * 4, &bytes(&(0..threads).map(input).collect::<Vec<_>>()));
    let text = format!(
        "mul.wide.u32 %rd3, %r2, 4; add.u64 %rd4, %rd1, %rd3; add.u64 %rd5, %rd2, %rd3; ld.global.u32 %r5, [%rd5];\n\
         {body}\nst.global.u32 [%rd4], %ro;"
    );
    let counters = setup.run(&kernel(&text), 1, threads, 0).unwrap_or_else(|e| panic!("{e}"));
    (setup.words(), counters)
}

#[test]
fn shuffles() {
    // The ISA's pseudo code; c holds the clamp value and the segment mask.
    let wanted = |mode: &str, lane: i32, b: i32, c: i32| -> (i32, bool) {
        let (clamp, segment) = (c & 31, c >> 8 & 31);
        let max = (lane & segment) | (clamp & !segment);
        let min = lane & segment;
        let (j, p) = match mode {
            "up" => (lane - b, lane - b >= max),
            "down" => (lane + b, lane + b <= max),
            "bfly" => (lane ^ b, lane ^ b <= max),
            _ => (min | (b & !segment), min | (b & !segment) <= max),
        };
        if p { (j, true) } else { (lane, false) }
    };
    for mode in ["up", "down", "bfly", "idx"] {
        for b in [0, 1, 5, 16, 31] {
            // Whole warp, and segments of 8 lanes (segment mask 0x18).
            for c in if mode == "up" { [0, 0x1800] } else { [31, 0x181f] } {
                let body = format!(
                    "shfl.sync.{mode}.b32 %r6|%p1, %r5, {b}, {c}, -1; selp.u32 %r7, 1000, 0, %p1; add.u32 %ro, %r6, %r7;"
                );
                let (found, _) = lanes(&body, 32, |i| i * 3);
                for lane in 0..32 {
                    let (from, inside) = wanted(mode, lane, b, c);
                    assert_eq!(
                        found[lane as usize],
                        from as u32 * 3 + if inside { 1000 } else { 0 },
                        "{mode} {b} {c} {lane}"
                    );
                }
            }
        }
    }
    // Half a warp with a mask of its own.
    let body = "setp.lt.u32 %p1, %r1, 16; mov.u32 %ro, 7; @!%p1 bra done; \
                shfl.sync.bfly.b32 %ro, %r5, 3, 31, 0xffff;\ndone:";
    let (found, _) = lanes(body, 32, |i| i);
    assert!((0..32).all(|i| found[i] == if i < 16 { i as u32 ^ 3 } else { 7 }));
}

#[test]
fn votes_and_matches() {
    let is = |f: fn(u32) -> bool| move |i: u32| u32::from(f(i));
    let setp = "setp.ne.u32 %p1, %r5, 0;";
    for (f, all, any, uni) in
        [((|_| true) as fn(u32) -> bool, 1, 1, 1), (|_| false, 0, 0, 1), (|i| i == 9, 0, 1, 0), (|i| i != 9, 0, 1, 0)]
    {
        for (mode, wanted) in [("all", all), ("any", any), ("uni", uni)] {
            let body = format!("{setp} vote.sync.{mode}.pred %p2, %p1, -1; selp.u32 %ro, 1, 0, %p2;");
            assert_eq!(lanes(&body, 32, is(f)).0, [wanted; 32], "{mode}");
        }
        let ballot = (0..32).fold(0, |b, i| b | u32::from(f(i)) << i);
        let body = format!("{setp} vote.sync.ballot.b32 %ro, %p1, -1;");
        assert_eq!(lanes(&body, 32, is(f)).0, [ballot; 32]);
        let body = format!("{setp} vote.sync.ballot.b32 %ro, !%p1, -1;");
        assert_eq!(lanes(&body, 32, is(f)).0, [!ballot; 32]);
    }
    let (found, _) = lanes("match.any.sync.b32 %ro, %r5, -1;", 32, |i| i % 3);
    assert!((0..32).all(|i| found[i] == (0..32).filter(|j| j % 3 == i % 3).fold(0, |m, j| m | 1 << j)));
    let all = "match.all.sync.b32 %r6|%p1, %r5, -1; selp.u32 %ro, %r6, 5, %p1;";
    assert_eq!(lanes(all, 32, |_| 4).0, [!0; 32]);
    assert_eq!(lanes(all, 32, |i| i / 31).0, [5; 32]);
    for (op, wanted) in [
        ("add.u32", (0..32u32).map(|i| i * 77).sum()),
        ("min.s32", (-5i32) as u32),
        ("max.u32", -5i32 as u32),
        ("xor.b32", 0),
    ] {
        let input = move |i: u32| match op {
            "add.u32" => i * 77,
            "xor.b32" => i / 2,
            _ => {
                if i == 20 {
                    -5i32 as u32
                } else {
                    i
                }
            }
        };
        assert_eq!(lanes(&format!("redux.sync.{op} %ro, %r5, -1;"), 32, input).0, [wanted; 32], "{op}");
    }
    let (found, _) = lanes("setp.lt.u32 %p1, %r1, 5; mov.u32 %ro, 0; @%p1 activemask.b32 %ro;", 32, |_| 0);
    assert_eq!(found[..6], [31, 31, 31, 31, 31, 0]);
}

#[test]
fn special_registers() {
    let setup = Setup::new(4 * 12 * 4, &[0; 4]);
    let text = "mov.u32 %r4, %tid.y; mov.u32 %r5, %tid.x; mov.u32 %r6, %ntid.x; mad.lo.u32 %r4, %r4, %r6, %r5; \
        mov.u32 %r7, %laneid; shl.b32 %r7, %r7, 8; or.b32 %ro, %r4, %r7; mov.u32 %r7, %warpid; shl.b32 %r7, %r7, 16; \
        or.b32 %ro, %ro, %r7; mov.u32 %r7, %nctaid.x; shl.b32 %r7, %r7, 24; or.b32 %ro, %ro, %r7; \
        mov.u32 %r8, %lanemask_lt; popc.b32 %r8, %r8; mov.u32 %r9, %laneid; setp.ne.u32 %p1, %r8, %r9; @%p1 trap; \
        mov.u32 %r8, %lanemask_ge; popc.b32 %r8, %r8; add.u32 %r8, %r8, %r9; setp.ne.u32 %p1, %r8, 32; @%p1 trap; \
        mov.u32 %r10, %clock; mov.u64 %rd9, %clock64; \
        mul.wide.u32 %rd3, %r4, 4; add.u64 %rd4, %rd1, %rd3; st.global.u32 [%rd4], %ro;";
    let module = ptxsim::Module::parse("t", &kernel(text)).unwrap();
    let params: Vec<u8> = [setup.out, setup.input].iter().flat_map(|a| a.to_le_bytes()).collect();
    let launch = ptxsim::Launch {
        entry: "k",
        grid: [3, 1, 1],
        block: [12, 4, 1],
        dynamic_shared: 0,
        params: &params,
        buffers: None,
    };
    module.launch(&setup.memory, &launch, &ptxsim::Options::default()).unwrap();
    let words = setup.words();
    assert!((0..48u32).all(|t| words[t as usize] == t | (t % 32) << 8 | (t / 32) << 16 | 3 << 24));
}

/// A loop whose trip count differs by lane, with an early exit and an if inside: against the same in Rust.
#[test]
fn divergent_loops_reconverge() {
    let body = "mov.u32 %ro, 0; mov.u32 %r6, 0;\n\
        loop: setp.ge.u32 %p1, %r6, %r5; @%p1 bra after;\n\
        and.b32 %r7, %r6, 1; setp.eq.u32 %p2, %r7, 0; @%p2 bra even;\n\
        add.u32 %ro, %ro, 10; bra.uni next;\n\
        even: mul.lo.u32 %r8, %r6, %r1; add.u32 %ro, %ro, %r8; setp.gt.u32 %p3, %ro, 200; @%p3 bra after;\n\
        next: add.u32 %r6, %r6, 1; bra loop;\n\
        after: vote.sync.ballot.b32 %r9, %p1, -1; popc.b32 %r9, %r9; mad.lo.u32 %ro, %r9, 1000, %ro;";
    let input = |i: u32| i * 7 % 13;
    let (found, counters) = lanes(body, 32, input);
    let run = |lane: u32| {
        let (mut out, mut i) = (0u32, 0);
        while i < input(lane) {
            if i & 1 == 0 {
                out += i * lane;
                if out > 200 {
                    return (out, false);
                }
            } else {
                out += 10;
            }
            i += 1;
        }
        (out, true)
    };
    let finished = (0..32).filter(|&l| run(l).1).count() as u32;
    for lane in 0..32 {
        assert_eq!(found[lane as usize], run(lane).0 + finished * 1000, "lane {lane}");
    }
    assert!(counters.divergent_branches > 0);
    // After the loop the warp is one again: the final instructions are executed once each.
    assert_eq!(counters.of(Class::StoreGlobal), 1);
    assert_eq!(counters.of(Class::Warp), 1);
}

#[test]
fn nested_ifs_take_each_side_once() {
    let body = "setp.lt.u32 %p1, %r1, 8; @%p1 bra low;\n\
        setp.lt.u32 %p2, %r1, 20; @%p2 bra mid; mov.u32 %ro, 3; bra.uni end;\n\
        mid: mov.u32 %ro, 2; bra.uni end;\n\
        low: and.b32 %r6, %r1, 1; setp.eq.u32 %p3, %r6, 0; mov.u32 %ro, 1; @%p3 mov.u32 %ro, 0;\n\
        end: add.u32 %ro, %ro, 5;";
    let (found, counters) = lanes(body, 32, |_| 0);
    let wanted = |i: u32| {
        5 + if i < 8 {
            i & 1
        } else if i < 20 {
            2
        } else {
            3
        }
    };
    assert!((0..32).all(|i| found[i as usize] == wanted(i)));
    assert_eq!((counters.divergent_branches, counters.branches), (2, 4));
    assert_eq!(counters.of(Class::StoreGlobal), 1);
}

#[test]
fn jump_tables() {
    let body = "mov.u32 %ro, 99;\nts: .branchtargets a, b, c;\nand.b32 %r6, %r1, 3; setp.eq.u32 %p1, %r6, 3; @%p1 bra e;\n\
        brx.idx %r6, ts;\na: mov.u32 %ro, 1; bra e;\nb: mov.u32 %ro, 2; bra e;\nc: mov.u32 %ro, 3;\ne:";
    let (found, counters) = lanes(body, 32, |_| 0);
    assert!((0..32).all(|i| found[i] == [1, 2, 3, 99][i & 3]));
    assert_eq!(counters.of(Class::StoreGlobal), 1);
}

/// Functions with parameters in local memory, called by some lanes, one from the other, from two places.
#[test]
fn calls() {
    let functions = ".func (.param .b32 r) twice(.param .b32 a) { .reg .b32 %x; ld.param.u32 %x, [a]; add.u32 %x, %x, %x; \
        st.param.b32 [r], %x; ret; } \
        .func (.param .b32 r) odd(.param .b32 a) { .reg .b32 %x<3>; ld.param.u32 %x0, [a]; \
        { .param .b32 p; .param .b32 q; st.param.b32 [p], %x0; call.uni (q), twice, (p); ld.param.b32 %x1, [q]; } \
        add.u32 %x1, %x1, 1; st.param.b32 [r], %x1; ret; }";
    let call = |f: &str, from: &str, to: &str| {
        format!(
            "{{ .param .b32 param0; st.param.b32 [param0+0], {from}; .param .b32 retval0; call.uni (retval0), {f}, (param0); \
             ld.param.b32 {to}, [retval0+0]; }}"
        )
    };
    let text = format!(
        "mul.wide.u32 %rd3, %r2, 4; add.u64 %rd4, %rd1, %rd3; setp.lt.u32 %p1, %r1, 10; mov.u32 %ro, %r1; @%p1 bra small;\n\
         {}\nbra.uni end;\nsmall: {}\nend: st.global.u32 [%rd4], %ro;",
        call("odd", "%r1", "%ro"),
        call("twice", "%r1", "%ro"),
    );
    let setup = Setup::new(128, &[0; 4]);
    setup.run(&kernel_with(functions, "", &text), 1, 32, 0).unwrap();
    assert!(setup.words().iter().zip(0..).all(|(&w, i)| w == if i < 10 { 2 * i } else { 2 * i + 1 }));
}

#[test]
fn barriers_order_warps() {
    // Four rounds: every thread adds its neighbour's value from another warp.
    let body = "mul.wide.u32 %rd3, %r1, 4; add.u64 %rd4, %rd1, %rd3; shl.b32 %r6, %r1, 2; mov.u32 %r7, s; add.u32 %r8, %r7, %r6; \
        add.u32 %r9, %r1, 33; rem.u32 %r9, %r9, 128; shl.b32 %r9, %r9, 2; add.u32 %r9, %r7, %r9; mov.u32 %ro, %r1; mov.u32 %r10, 0;\n\
        again: st.shared.u32 [%r8], %ro; bar.sync 0; ld.shared.u32 %r11, [%r9]; add.u32 %ro, %ro, %r11; bar.sync 0;\n\
        add.u32 %r10, %r10, 1; setp.lt.u32 %p1, %r10, 4; @%p1 bra again; st.global.u32 [%rd4], %ro;";
    let setup = Setup::new(512, &[0; 4]);
    let counters = setup.run(&kernel_with(".shared .align 4 .b32 s[128];", "", body), 1, 128, 0).unwrap();
    let mut v: Vec<u32> = (0..128).collect();
    for _ in 0..4 {
        v = (0..128).map(|i| v[i] + v[(i + 33) % 128]).collect();
    }
    assert_eq!(setup.words(), v);
    assert_eq!(counters.of(Class::Barrier), 4 * 4 * 2);
}

#[test]
fn named_barriers_and_reductions() {
    // Warps 0 and 1 meet at barrier 1, warps 2 and 3 at barrier 2; producers arrive without waiting at barrier 3.
    let body = "mov.u32 %r6, %warpid; shr.u32 %r7, %r6, 1; add.u32 %r7, %r7, 1; shl.b32 %r8, %r1, 2; mov.u32 %r9, s; \
        add.u32 %r9, %r9, %r8; st.shared.u32 [%r9], %r1; bar.sync %r7, 64; xor.b32 %r8, %r8, 128; mov.u32 %r9, s; \
        add.u32 %r9, %r9, %r8; ld.shared.u32 %ro, [%r9];\n\
        setp.lt.u32 %p1, %r1, 64; @%p1 bra produce; bar.sync 3, 128; bra.uni join;\n\
        produce: bar.arrive 3, 128;\njoin:\n\
        and.b32 %r10, %r1, 3; setp.eq.u32 %p2, %r10, 0; bar.red.popc.u32 %r11, 0, %p2; mad.lo.u32 %ro, %r11, 1000, %ro;\n\
        bar.red.and.pred %p3, 0, %p2; @%p3 trap; bar.red.or.pred %p3, 0, !%p2; @!%p3 trap; barrier.sync.aligned 5;\n\
        mul.wide.u32 %rd3, %r1, 4; add.u64 %rd4, %rd1, %rd3; st.global.u32 [%rd4], %ro;";
    let setup = Setup::new(512, &[0; 4]);
    setup.run(&kernel_with(".shared .align 4 .b32 s[128];", "", body), 1, 128, 0).unwrap_or_else(|e| panic!("{e}"));
    assert!(setup.words().iter().zip(0..).all(|(&w, i)| w == (i ^ 32) + 32 * 1000));
}

/// Threads that leave before a barrier do not hold it up.
#[test]
fn exited_threads_do_not_block() {
    let body = "mul.wide.u32 %rd3, %r1, 4; add.u64 %rd4, %rd1, %rd3; st.global.u32 [%rd4], 1; \
        setp.ge.u32 %p1, %r1, 70; @%p1 ret; bar.sync 0; st.global.u32 [%rd4], 2; bar.sync 0;";
    let setup = Setup::new(512, &[0; 4]);
    setup.run(&kernel(body), 1, 128, 0).unwrap();
    assert!(setup.words().iter().zip(0..).all(|(&w, i)| w == if i < 70 { 2 } else { 1 }));
}

/// A warp spins on a flag that another sets.
#[test]
fn spinning_on_a_flag_ends() {
    let body = "setp.ge.u32 %p1, %r1, 32; @%p1 bra set;\n\
        wait: ld.relaxed.gpu.global.u32 %r6, [%rd1]; setp.ne.u32 %p2, %r6, 5; @%p2 bra wait; bra.uni end;\n\
        set: st.relaxed.gpu.global.u32 [%rd1], 5;\nend:";
    let setup = Setup::new(4, &[0; 4]);
    setup.memory.write(setup.out, &[0; 4]).unwrap();
    setup.run(&kernel(body), 1, 64, 0).unwrap();
    assert_eq!(setup.words(), [5]);
}
