//! One planted bug of every kind: each must be reported with its kind, line, thread and address, and the correct twin
//! of it must run.

mod common;

use common::{BODY, Setup, bytes, kernel, kernel_with};
use ptxsim::{Fault, FaultKind, Launch, Module, Options};

const SHARED: &str = ".shared .align 16 .b8 s[4096]; .extern .shared .align 16 .b8 dyn[];";

/// `%rd4`: this thread's word of `out`; `%rd5`: of `in`; `%r7`: of `s`; `%r6`: start of `s`.
const PRELUDE: &str = "mul.wide.u32 %rd3, %r2, 4; add.u64 %rd4, %rd1, %rd3; add.u64 %rd5, %rd2, %rd3; mov.u32 %r6, s; \
    shl.b32 %r4, %r1, 2; add.u32 %r7, %r6, %r4; setp.eq.u32 %p0, %r1, 0;";

struct Bug {
    block: u32,
    threads: u32,
}

fn launch(body: &str, bug: &Bug) -> (Setup, Result<ptxsim::Counters, Fault>) {
    let setup = Setup::new(4096, &[1; 4096]);
    let text = kernel_with(SHARED, "", &format!("{PRELUDE}\n{body}"));
    let grid = if bug.block > 0 { bug.block + 3 } else { 1 };
    let result = setup.run_with(&text, grid, bug.threads, 0, &Options { threads: 2, ..Options::default() });
    (setup, result)
}

/// Expects a fault on line `line` of the body (0: the first), by `thread`, at `address` relative to what `at` picks.
#[track_caller]
fn caught(body: &str, threads: u32, kind: FaultKind, line: usize, thread: u32, address: Option<i64>) -> Fault {
    caught_in(body, &Bug { block: 0, threads }, kind, line, thread, address)
}

#[track_caller]
fn caught_in(body: &str, bug: &Bug, kind: FaultKind, line: usize, thread: u32, address: Option<i64>) -> Fault {
    let (setup, result) = launch(body, bug);
    let fault = match result {
        Ok(_) => panic!("not caught: {body}"),
        Err(fault) => fault,
    };
    assert_eq!(fault.kind, kind, "{fault}");
    assert_eq!(fault.line, BODY + 1 + line, "{fault}");
    let text = body.lines().nth(line).unwrap().trim();
    assert_eq!(&*fault.text, text, "{fault}");
    assert_eq!((&*fault.kernel, fault.thread), ("k", [thread, 0, 0]), "{fault}");
    assert_eq!(fault.block[0], bug.block, "{fault}");
    if let Some(address) = address {
        // Addresses above a million are relative to `in`, others to `out` or shared memory.
        let bases = [setup.out as i64, setup.input as i64, 0];
        let found = fault.address.expect("an address") as i64;
        assert!(bases.iter().any(|b| found == b + address), "{fault}");
    }
    let shown = fault.to_string();
    assert!(shown.contains(&kind.to_string()) && shown.contains(&format!("line {}", fault.line)), "{shown}");
    fault
}

#[track_caller]
fn fine(body: &str, threads: u32) {
    let (_, result) = launch(body, &Bug { block: 0, threads });
    if let Err(fault) = result {
        panic!("{fault}\n{body}");
    }
}

#[test]
fn out_of_bounds() {
    let fault =
        caught("mov.u32 %r9, 0;\nld.global.u32 %r8, [%rd5+4000];", 64, FaultKind::OutOfBounds, 1, 24, Some(4096));
    assert!(fault.message.contains("0 bytes after the end of the nearest range"), "{fault}");
    caught("ld.global.u32 %r8, [%rd2+-4];", 1, FaultKind::OutOfBounds, 0, 0, Some(-4));
    caught("mov.u64 %rd9, 0;\nld.global.u32 %r8, [%rd9];", 32, FaultKind::OutOfBounds, 1, 0, None);
    caught("st.global.v4.u32 [%rd1+4096], {1, 1, 1, 1};", 1, FaultKind::OutOfBounds, 0, 0, Some(4096));
    caught("@!%p0 st.global.u64 [%rd1+0x7fffffff8], %rd1;", 2, FaultKind::OutOfBounds, 0, 1, None);
    let block = Bug { block: 8, threads: 128 };
    caught_in("ld.global.u32 %r8, [%rd5];", &block, FaultKind::OutOfBounds, 0, 0, Some(4096));
    // Shared: one row too far. Only the thread that goes too far is named.
    caught("st.shared.u32 [%r7+3976], 1;", 32, FaultKind::OutOfBounds, 0, 30, Some(4096));
    caught("add.u32 %r8, %r7, -64;\nld.shared.u32 %r8, [%r8];", 32, FaultKind::OutOfBounds, 1, 0, None);
    caught("atom.shared.add.u32 %r8, [dyn], 1;", 32, FaultKind::OutOfBounds, 0, 0, Some(4096));
    caught("red.global.add.u32 [%rd4+4096], 1;", 32, FaultKind::OutOfBounds, 0, 0, Some(4096));
    caught("cp.async.cg.shared.global [%r6], [%rd2+4096], 16;", 1, FaultKind::OutOfBounds, 0, 0, Some(4096));
    caught("cp.async.cg.shared.global [%r6+4096], [%rd2], 16;", 1, FaultKind::OutOfBounds, 0, 0, Some(4096));
    fine("cp.async.cg.shared.global [%r6], [%rd2+4096], 16, 0;", 1);
    fine("mov.u64 %rd9, 0;\ncp.async.cg.shared.global [%r6], [%rd9], 16, 0;", 1);
    caught(".local .align 4 .b8 l[8];\nst.local.u32 [l+8], 1;", 1, FaultKind::OutOfBounds, 1, 0, Some(8));
    let text = kernel("ld.param.u64 %rd9, [in+8];");
    let setup = Setup::new(4, &[0; 4]);
    assert_eq!(setup.run(&text, 1, 1, 0).unwrap_err().kind, FaultKind::OutOfBounds);
}

#[test]
fn misaligned() {
    caught("ld.global.u32 %r8, [%rd2+2];", 1, FaultKind::Misaligned, 0, 0, Some(2));
    caught("ld.global.v2.f32 {%f8, %f9}, [%rd5+4];", 32, FaultKind::Misaligned, 0, 0, Some(4));
    caught("st.global.v4.f32 [%rd4], {%f8, %f8, %f8, %f8};", 32, FaultKind::Misaligned, 0, 1, Some(4));
    caught("st.shared.u64 [%r7], %rd1;", 32, FaultKind::Misaligned, 0, 1, Some(4));
    caught("ld.global.u16 %h1, [%rd2+1];", 1, FaultKind::Misaligned, 0, 0, Some(1));
    caught("atom.global.add.u64 %rd9, [%rd1+4], 1;", 1, FaultKind::Misaligned, 0, 0, Some(4));
    caught("cp.async.cg.shared.global [%r7], [%rd2], 16;", 32, FaultKind::Misaligned, 0, 1, Some(4));
    caught("cp.async.ca.shared.global [%r6], [%rd2+4], 8;", 1, FaultKind::Misaligned, 0, 0, Some(4));
    let fill = "st.shared.u32 [%r7], 0; bar.sync 0;\n";
    caught(
        &format!("{fill}ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%r9}}, [%r7+8];"),
        32,
        FaultKind::Misaligned,
        1,
        0,
        Some(8),
    );
}

#[test]
fn uninitialised() {
    caught("ld.global.u32 %r8, [%rd4];", 32, FaultKind::Uninitialised, 0, 0, Some(0));
    // One byte of four is missing, in one lane.
    let body = "setp.eq.u32 %p1, %r1, 9; @!%p1 st.global.u32 [%rd4], 1; @%p1 st.global.u16 [%rd4], 1; @%p1 st.global.u8 [%rd4+3], 1;\n\
        ld.global.u32 %r8, [%rd4];";
    caught(body, 32, FaultKind::Uninitialised, 1, 9, Some(38));
    caught("red.global.add.u32 [%rd4], 1;", 32, FaultKind::Uninitialised, 0, 0, Some(0));
    caught("cp.async.ca.shared.global [%r7], [%rd4], 4;", 32, FaultKind::Uninitialised, 0, 0, Some(0));
    caught("ld.shared.u32 %r8, [%r7];", 32, FaultKind::Uninitialised, 0, 0, Some(0));
    let half = "st.shared.u16 [%r7], %h1; bar.sync 0;\nld.shared.u32 %r8, [%r7];";
    caught(half, 32, FaultKind::Uninitialised, 1, 0, Some(2));
    caught("atom.shared.add.u32 %r8, [%r7], 1;", 32, FaultKind::Uninitialised, 0, 0, Some(0));
    caught("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r9}, [%r6];", 32, FaultKind::Uninitialised, 0, 0, Some(0));
    caught(
        ".local .align 8 .b8 l[8]; st.local.u32 [l], 1;\nld.local.u64 %rd9, [l];",
        32,
        FaultKind::Uninitialised,
        1,
        0,
        Some(0),
    );
    // Shared memory of one block is not there for the next.
    let body = "ld.global.u32 %r9, [%rd2]; mov.u32 %r10, %ctaid.x; setp.eq.u32 %p1, %r10, 0; @%p1 st.shared.u32 [%r7], 1; bar.sync 0;\n\
        ld.shared.u32 %r8, [%r7];";
    caught_in(body, &Bug { block: 1, threads: 32 }, FaultKind::Uninitialised, 1, 0, Some(0));
    // Without checks it reads the fill pattern.
    let setup = Setup::new(8, &[0; 4]);
    let options = Options { checks: false, ..Options::default() };
    setup.run_with(&kernel("ld.global.u32 %r8, [%rd1]; st.global.u32 [%rd1+4], %r8;"), 1, 1, 0, &options).unwrap();
    assert_eq!(setup.words()[1], 0xffff_ffff);
}

#[test]
fn read_only() {
    let fault = caught("st.global.u32 [%rd5], 1;", 32, FaultKind::ReadOnly, 0, 0, Some(0));
    assert!(fault.message.contains("only read"), "{fault}");
    caught("red.global.add.u32 [%rd5+4], 1;", 32, FaultKind::ReadOnly, 0, 0, Some(4));
    caught(
        "setp.eq.u32 %p1, %r1, 7; selp.u64 %rd9, %rd5, %rd4, %p1;\nst.global.u32 [%rd9], 1;",
        32,
        FaultKind::ReadOnly,
        1,
        7,
        Some(28),
    );
    // Constants too.
    let setup = Setup::new(4, &[0; 4]);
    let text = kernel_with(".const .u32 c = 1;", "", "mov.u64 %rd9, c; st.global.u32 [%rd9], 1;");
    assert_eq!(setup.run(&text, 1, 1, 0).unwrap_err().kind, FaultKind::ReadOnly);
}

#[test]
fn races_between_warps() {
    // Read after write without a barrier; the reader is in the second warp to run.
    let body = "setp.lt.u32 %p1, %r1, 32; @%p1 bra write;\nld.shared.u32 %r8, [%r7+-128]; bra.uni end;\nwrite: st.shared.u32 [%r7], 1;\nend:";
    let (_, result) = launch(body, &Bug { block: 0, threads: 64 });
    let fault = result.unwrap_err();
    assert_eq!((fault.kind, fault.address), (FaultKind::Race, Some(0)), "{fault}");
    assert_eq!((fault.line, fault.thread[0]), (BODY + 2, 32), "{fault}");
    assert!(fault.message.contains("warp 0, lane 0"), "{fault}");
    // Write after read.
    let body = "st.shared.u32 [%r7], 1; bar.sync 0; setp.ge.u32 %p1, %r1, 32; @%p1 bra write;\n\
        ld.shared.u32 %r8, [%r7+128]; bra.uni end;\nwrite: st.shared.u32 [%r7], 2;\nend:";
    let fault = caught(body, 64, FaultKind::Race, 2, 32, Some(128));
    assert!(fault.message.contains("after they were read"), "{fault}");
    // Write after write, also of the same value.
    caught("st.shared.u32 [%r6], %r1;", 64, FaultKind::Race, 0, 1, Some(0));
    caught(
        "setp.eq.u32 %p1, %r4, %r4; and.b32 %r8, %r1, 31; setp.eq.u32 %p1, %r8, 3;\n@%p1 st.shared.u32 [%r6], 1;",
        64,
        FaultKind::Race,
        1,
        35,
        Some(0),
    );
    // Several warps read, then one writes: a missing barrier at the end of a loop.
    let loop_body = |barrier: &str| {
        format!(
            "mov.u32 %r9, 0;\nagain: @%p0 st.shared.u32 [%r6], %r9;\nbar.sync 0;\nld.shared.u32 %r8, [%r6];\n{barrier}\n\
             add.u32 %r9, %r9, 1; setp.lt.u32 %p1, %r9, 3; @%p1 bra again;"
        )
    };
    caught(&loop_body(""), 128, FaultKind::Race, 1, 0, Some(0));
    fine(&loop_body("bar.sync 0;"), 128);
    // Neighbouring halves of a word are not the same bytes.
    fine("shl.b32 %r8, %r1, 1; add.u32 %r8, %r8, %r6; st.shared.u16 [%r8], %h1;", 128);
    // What one thread does in sequence is in order.
    fine(
        "st.shared.u32 [%r7], 1; ld.shared.u32 %r8, [%r7]; st.shared.u16 [%r7+2], %h1; ld.shared.u32 %r8, [%r7];",
        128,
    );
}

/// A barrier of the whole block orders the reads of every warp before it, not only the last one noted; what the warps
/// synchronised among their own lanes in between must not hide that.
#[test]
fn reads_of_all_warps_before_a_full_barrier() {
    for writer in 0..4 {
        let body = |barrier: &str| {
            format!(
                "@%p0 st.shared.u32 [%r6], 1; bar.sync 0; ld.shared.u32 %r8, [%r6]; bar.warp.sync -1; \
                 shfl.sync.idx.b32 %r9, %r8, 0, 31, -1; bar.warp.sync -1; ld.shared.u32 %r8, [%r6];\n{barrier}\n\
                 setp.eq.u32 %p1, %r1, {};\n@%p1 st.shared.u32 [%r6], 2;",
                writer * 32
            )
        };
        fine(&body("bar.sync 0;"), 128);
        // Without it the writer races with reads of others, which come earlier or later in this order of warps.
        let (_, result) = launch(&body(""), &Bug { block: 0, threads: 128 });
        let fault = result.expect_err("not caught");
        assert_eq!((fault.kind, fault.address), (FaultKind::Race, Some(0)), "{fault}");
        // A barrier of two warps leaves the two others.
        let two = "setp.lt.u32 %p2, %r1, 64; @%p2 bar.sync 1, 64;";
        let (_, result) = launch(&body(two), &Bug { block: 0, threads: 128 });
        assert_eq!(result.expect_err("not caught").kind, FaultKind::Race);
    }
}

#[test]
fn races_inside_a_warp() {
    let exchange = |barrier: &str| {
        format!(
            "xor.b32 %r8, %r4, 4; add.u32 %r8, %r8, %r6; st.shared.u32 [%r7], %r1;\n{barrier}\nld.shared.u32 %r9, [%r8];"
        )
    };
    caught(&exchange(""), 32, FaultKind::Race, 2, 0, Some(4));
    for barrier in [
        "bar.warp.sync -1;",
        "bar.sync 0;",
        "vote.sync.ballot.b32 %r10, %p0, -1;",
        "shfl.sync.idx.b32 %r10, %r9, 0, 31, -1;",
    ] {
        fine(&exchange(barrier), 32);
        // Warp barriers do for several warps that keep to their own parts.
        fine(&exchange(barrier), 128);
    }
    // Reading rows with ldmatrix needs the barrier too.
    let matrix = |barrier: &str| {
        format!(
            "st.shared.u32 [%r7], %r1;\n{barrier}\nand.b32 %r9, %r1, 7; shl.b32 %r9, %r9, 4; add.u32 %r9, %r9, %r6;\nldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%r8}}, [%r9];"
        )
    };
    caught(&matrix(""), 32, FaultKind::Race, 3, 0, Some(4));
    fine(&matrix("bar.warp.sync -1;"), 32);
    // Two lanes write different values in one instruction; equal values do no harm.
    caught(
        "and.b32 %r8, %r4, 60; add.u32 %r8, %r8, %r6;\nst.shared.u32 [%r8], %r1;",
        32,
        FaultKind::Race,
        1,
        16,
        Some(0),
    );
    fine("st.shared.u32 [%r6], 5;", 32);
    // Lanes that read what others then overwrite.
    let body = "st.shared.u32 [%r7], %r1; bar.warp.sync -1; ld.shared.u32 %r9, [%r6];\n@%p0 st.shared.u32 [%r6], 3;";
    caught(body, 32, FaultKind::Race, 1, 0, Some(0));
}

#[test]
fn atomics_race_only_with_plain_accesses() {
    let init = "@%p0 st.shared.u32 [%r6], 0; bar.sync 0;\n";
    fine(&format!("{init}red.shared.add.u32 [%r6], 1; bar.sync 0; ld.shared.u32 %r8, [%r6];"), 128);
    caught(
        &format!("{init}red.shared.add.u32 [%r6], 1;\nld.shared.u32 %r8, [%r6];"),
        64,
        FaultKind::Race,
        2,
        0,
        Some(0),
    );
    caught(
        &format!("{init}ld.shared.u32 %r8, [%r6];\nred.shared.add.u32 [%r6], 1;"),
        64,
        FaultKind::Race,
        2,
        0,
        Some(0),
    );
    caught("@%p0 st.shared.u32 [%r6], 0;\nred.shared.add.u32 [%r6], 1;", 32, FaultKind::Race, 1, 1, Some(0));
}

#[test]
fn named_barriers_order_only_who_meets() {
    // Warps 0 and 1 meet at barrier 1; warp 2 reads without having been there.
    let body = "mov.u32 %r9, %warpid; setp.eq.u32 %p1, %r9, 2; @%p1 bra other;\n\
        setp.eq.u32 %p2, %r9, 0; @%p2 st.shared.u32 [%r7], 1;\nbar.sync 1, 64; and.b32 %r8, %r4, 127; add.u32 %r8, %r8, %r6; ld.shared.u32 %r8, [%r8];\n\
        bra.uni end;\nother: ld.shared.u32 %r8, [%r7+-256];\nend:";
    caught(body, 96, FaultKind::Race, 4, 64, Some(0));
    fine(&body.replace("96", "64").replace("other: ld.shared.u32 %r8, [%r7+-256];", "other:"), 96);
}

/// A producer warp and two consumers with barriers of their own, two buffers: the producer may write again once both
/// consumers have arrived, although a fourth warp is never met.
#[test]
fn producers_and_consumers_with_named_barriers() {
    let body = |free: &str| {
        format!(
            "mov.u32 %r9, %warpid; mov.u32 %r10, 0; setp.eq.u32 %p1, %r9, 3; @%p1 bra end; setp.eq.u32 %p2, %r9, 0; \
             and.b32 %r11, %r1, 31; shl.b32 %r11, %r11, 2; add.u32 %r11, %r11, %r6;\n\
             again: @!%p2 bra consume;\nst.shared.u32 [%r11], %r10;\nbar.arrive 1, 96; {free} bra.uni next;\n\
             consume: bar.sync 1, 96; ld.shared.u32 %r8, [%r11]; setp.ne.u32 %p3, %r8, %r10; @%p3 trap; bar.arrive 2, 96;\n\
             next: add.u32 %r10, %r10, 1; setp.lt.u32 %p3, %r10, 4; @%p3 bra again;\nend:"
        )
    };
    fine(&body("bar.sync 2, 96;"), 128);
    // The producer that only arrives does not know when the buffer is free.
    let (_, result) = launch(&body("bar.arrive 2, 96;"), &Bug { block: 0, threads: 128 });
    let fault = result.unwrap_err();
    assert!(matches!(fault.kind, FaultKind::Race | FaultKind::BadBarrier), "{fault}");
}

#[test]
fn asynchronous_copies() {
    let copy = "shl.b32 %r8, %r1, 4; add.u32 %r8, %r8, %r6; mul.wide.u32 %rd9, %r1, 16; add.u64 %rd9, %rd2, %rd9; \
        cp.async.cg.shared.global [%r8], [%rd9], 16; cp.async.commit_group;";
    let fault = caught(&format!("{copy}\nld.shared.u32 %r9, [%r8];"), 32, FaultKind::AsyncPending, 1, 0, Some(0));
    assert!(fault.message.contains("cp.async"), "{fault}");
    fine(&format!("{copy} cp.async.wait_group 0; ld.shared.u32 %r9, [%r8];"), 32);
    // A group too many is left pending.
    caught(
        &format!("{copy} cp.async.wait_group 1;\nld.shared.u32 %r9, [%r8];"),
        32,
        FaultKind::AsyncPending,
        1,
        0,
        Some(0),
    );
    // Waiting before committing waits for nothing.
    let uncommitted = copy.replace("cp.async.commit_group;", "");
    caught(
        &format!("{uncommitted} cp.async.wait_group 0;\nld.shared.u32 %r9, [%r8];"),
        32,
        FaultKind::AsyncPending,
        1,
        0,
        Some(0),
    );
    fine(&format!("{uncommitted} cp.async.wait_all; ld.shared.u32 %r9, [%r8];"), 32);
    // A barrier does not wait for copies.
    caught(&format!("{copy} bar.sync 0;\nld.shared.u32 %r9, [%r8];"), 64, FaultKind::AsyncPending, 1, 0, Some(0));
    // After its wait a thread sees its own copies; the others need a barrier.
    let neighbour = "xor.b32 %r10, %r8, 16;";
    caught(
        &format!("{copy} {neighbour} cp.async.wait_group 0;\nld.shared.u32 %r9, [%r10];"),
        32,
        FaultKind::Race,
        1,
        0,
        Some(16),
    );
    fine(&format!("{copy} {neighbour} cp.async.wait_group 0; bar.sync 0; ld.shared.u32 %r9, [%r10];"), 128);
    // Overwriting what others still read, and what is still under way.
    let reused = format!(
        "{copy} cp.async.wait_group 0; bar.sync 0; {neighbour} ld.shared.u32 %r9, [%r10];\ncp.async.cg.shared.global [%r8], [%rd9], 16;"
    );
    caught(&reused, 64, FaultKind::Race, 1, 0, Some(0));
    caught(&format!("{copy}\nst.shared.u32 [%r8], 1;"), 32, FaultKind::AsyncPending, 1, 0, Some(0));
    caught(
        &format!("{copy}\ncp.async.cg.shared.global [%r8], [%rd9], 16;"),
        32,
        FaultKind::AsyncPending,
        1,
        0,
        Some(0),
    );
    caught("cp.async.cg.shared.global [%r6], [%rd2], 16, 17;", 1, FaultKind::BadOperand, 0, 0, None);
}

#[test]
fn barriers_under_divergence() {
    // Half a warp at one barrier, half at another.
    let body = "setp.lt.u32 %p1, %r1, 16; @%p1 bra low;\nbar.sync 0; bra.uni end;\nlow:\nbar.sync 0;\nend:";
    let fault = caught(body, 32, FaultKind::Divergence, 3, 0, None);
    assert!(fault.message.contains("0xffff0000"), "{fault}");
    // A barrier that some lanes of a warp jump over, with another one later.
    let body = "setp.lt.u32 %p1, %r1, 40;\n@%p1 bar.sync 0;\nbar.sync 0;";
    caught(body, 64, FaultKind::Divergence, 2, 40, None);
    // A shuffle of all lanes inside an if.
    let body = "setp.lt.u32 %p1, %r1, 16; @%p1 bra low; bar.warp.sync -1; bra.uni end;\nlow:\nshfl.sync.idx.b32 %r8, %r1, 0, 31, -1;\nend:";
    caught(body, 32, FaultKind::Divergence, 2, 0, None);
    fine("setp.lt.u32 %p1, %r1, 16; @%p1 bra low; mov.u32 %r8, 1;\nlow: bar.sync 0;", 64);
}

#[test]
fn member_masks() {
    caught("shfl.sync.idx.b32 %r8, %r1, 0, 31, -1;", 16, FaultKind::BadMask, 0, 0, None);
    caught("@%p0 ret;\nbar.warp.sync -1;", 32, FaultKind::BadMask, 1, 1, None);
    caught("vote.sync.any.pred %p1, %p0, 0xffff;", 32, FaultKind::BadMask, 0, 16, None);
    caught("shfl.sync.down.b32 %r8, %r1, 16, 31, 0xffff;", 16, FaultKind::BadMask, 0, 0, None);
    caught(
        "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%f0,%f1,%f2,%f3}, {%r1,%r1}, {%r1}, {%f0,%f1,%f2,%f3};",
        48,
        FaultKind::BadMask,
        0,
        32,
        None,
    );
    fine("bar.warp.sync 0xffff; redux.sync.add.u32 %r8, %r1, 0xffff;", 16);
}

#[test]
fn deadlocks() {
    // One warp waits at a barrier for 64 threads that only it comes to.
    let body = "setp.ge.u32 %p1, %r1, 32; @%p1 ret;\nbar.sync 2, 64;";
    let fault = caught(body, 64, FaultKind::Deadlock, 1, 0, None);
    assert!(fault.message.contains("barrier 2 needs 64 threads, 1 warps arrived"), "{fault}");
    let body = "setp.ge.u32 %p1, %r1, 32; @%p1 bra b;\nbar.sync 1;\nb: bar.sync 2;";
    caught(body, 64, FaultKind::Deadlock, 1, 0, None);
    // Misused barriers.
    caught("bar.sync 1, 33;", 64, FaultKind::BadBarrier, 0, 0, None);
    caught("bar.sync 16;", 64, FaultKind::BadBarrier, 0, 0, None);
    caught(
        "setp.ge.u32 %p1, %r1, 32; @%p1 bra b;\nbar.sync 1, 128; bra.uni e;\nb: bar.sync 1, 96;\ne:",
        128,
        FaultKind::BadBarrier,
        2,
        32,
        None,
    );
}

#[test]
fn traps_and_budgets() {
    caught("setp.eq.u32 %p1, %r1, 37;\n@%p1 trap;", 64, FaultKind::Trap, 1, 37, None);
    caught_in(
        "mov.u32 %r9, %ctaid.x; setp.eq.u32 %p1, %r9, 5;\n@%p1 trap;",
        &Bug { block: 5, threads: 32 },
        FaultKind::Trap,
        1,
        0,
        None,
    );
    caught("ts: .branchtargets a, b;\nbrx.idx %r1, ts;\na:\nb:", 32, FaultKind::BadOperand, 1, 2, None);
    let setup = Setup::new(4, &[0; 4]);
    for threads in [1, 2] {
        let options = Options { instructions: Some(100_000), threads, ..Options::default() };
        let fault = setup.run_with(&kernel("again: bra again;"), 4, 64, 0, &options).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Budget, "{fault}");
        // With two threads a block may also find nothing left when it starts.
        assert!(fault.line == BODY || threads == 2 && fault.line < BODY, "{fault}");
    }
}

#[test]
fn refused_launches() {
    let text = kernel_with(".shared .align 4 .b8 s[40000];", ".maxntid 128, 2, 1", "st.shared.u8 [s], 1;");
    let module = Module::parse("t", &text).unwrap();
    let setup = Setup::new(4, &bytes(&[1]));
    let params: Vec<u8> = [setup.out, setup.input].iter().flat_map(|a| a.to_le_bytes()).collect();
    let good =
        Launch { entry: "k", grid: [1, 1, 1], block: [32, 1, 1], dynamic_shared: 0, params: &params, buffers: None };
    let run = |launch: Launch| module.launch(&setup.memory, &launch, &Options::default());
    run(good).unwrap();
    let refused = |launch: Launch, words: &[&str]| {
        let fault = run(launch).unwrap_err();
        assert_eq!(fault.kind, FaultKind::BadLaunch);
        let shown = fault.to_string();
        assert!(words.iter().all(|w| shown.contains(w)), "{shown}");
    };
    refused(Launch { entry: "missing", ..good }, &["no such entry", "k"]);
    refused(Launch { grid: [0, 1, 1], ..good }, &["at least 1"]);
    refused(Launch { block: [32, 0, 1], ..good }, &["at least 1"]);
    refused(Launch { grid: [1, 65536, 1], ..good }, &["65535"]);
    refused(Launch { grid: [1, 1, 65536], ..good }, &["65535"]);
    refused(Launch { block: [1025, 1, 1], ..good }, &["1024"]);
    refused(Launch { block: [257, 1, 1], ..good }, &["257", "256", ".maxntid"]);
    refused(Launch { dynamic_shared: 163 * 1024 - 40000 + 1, ..good }, &["40000", "166912"]);
    run(Launch { dynamic_shared: 163 * 1024 - 40000, ..good }).unwrap();
    refused(Launch { params: &params[..15], ..good }, &["15", "16"]);
    refused(Launch { block: [u32::MAX, u32::MAX, u32::MAX], ..good }, &["1024"]);
}
