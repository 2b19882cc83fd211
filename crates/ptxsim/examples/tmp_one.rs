//! Time per warp instruction, by instruction: loops of one instruction each, one block of 256 threads, one thread of
//! the host. `cargo run --release --example classes -- [nocheck]`

use std::time::Instant;

use ptxsim::{Launch, Memory, Module, Options};

/// Name, instruction; `$` counts from 0 to 7 for independent results.
const CASES: [(&str, &str); 26] = [
    ("fma.f32", "fma.rn.f32 %f$, %f10, %f11, %f$;"),
    ("fma.f32, half the lanes", "@%p1 fma.rn.f32 %f$, %f10, %f11, %f$;"),
    ("add.f32", "add.f32 %f$, %f10, %f$;"),
    ("add.s32", "add.s32 %r1$, %r1$, %r4;"),
    ("mad.lo.s32", "mad.lo.s32 %r1$, %r1$, %r4, %r5;"),
    ("add.s64", "add.s64 %rd1$, %rd1$, %rd3;"),
    ("mul.wide.s32", "mul.wide.s32 %rd1$, %r4, %r5;"),
    ("setp.lt.s32", "setp.lt.s32 %p2, %r4, %r5;"),
    ("selp.b32", "selp.b32 %r1$, %r4, %r5, %p1;"),
    ("cvt.rn.bf16x2.f32", "cvt.rn.bf16x2.f32 %r1$, %f10, %f11;"),
    ("cvt.rn.f16.f32", "cvt.rn.f16.f32 %h$, %f10;"),
    ("ex2.approx.f32", "ex2.approx.f32 %f$, %f10;"),
    ("div.rn.f32", "div.rn.f32 %f$, %f10, %f11;"),
    ("ld.global 4 bytes", "ld.global.f32 %f$, [%rd4];"),
    ("ld.global 16 bytes", "ld.global.v4.f32 {%f20,%f21,%f22,%f23}, [%rd5];"),
    ("ld.global 4 bytes, stride 64", "ld.global.f32 %f$, [%rd6];"),
    ("st.global 4 bytes", "st.global.f32 [%rd7], %f10;"),
    ("ld.shared 4 bytes", "ld.shared.f32 %f$, [%r6];"),
    ("ld.shared 16 bytes", "ld.shared.v4.f32 {%f20,%f21,%f22,%f23}, [%r7];"),
    ("ld.shared 16 bytes, broadcast", "ld.shared.v4.f32 {%f20,%f21,%f22,%f23}, [%r8];"),
    ("st.shared 16 bytes", "st.shared.v4.f32 [%r9], {%f10,%f11,%f10,%f11};"),
    ("shfl.sync.bfly", "shfl.sync.bfly.b32 %r1$, %r4, 16, 31, -1;"),
    ("bar.sync", "bar.sync 0;"),
    ("ldmatrix.x4", "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r10,%r11,%r12,%r13}, [%r7];"),
    (
        "mma m16n8k16 bf16",
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f20,%f21,%f22,%f23}, \
      {%r20,%r21,%r22,%r23}, {%r20,%r21}, {%f20,%f21,%f22,%f23};",
    ),
    (
        "mma m16n8k8 tf32",
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f20,%f21,%f22,%f23}, \
      {%r20,%r21,%r22,%r23}, {%r20,%r21}, {%f20,%f21,%f22,%f23};",
    ),
];

/// The instruction 64 times in a loop of `rounds`.
fn kernel(instruction: &str, rounds: u32) -> String {
    let body: String = (0..64).map(|i| instruction.replace('$', &(i % 8).to_string()) + "\n").collect();
    format!(
        ".version 8.1\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 a) {{\n\
         .reg .b64 %rd<32>; .reg .b32 %r<64>; .reg .b16 %h<16>; .reg .f32 %f<32>; .reg .pred %p<8>;\n\
         .shared .align 16 .b8 s[16384];\n\
         ld.param.u64 %rd1, [a]; mov.u32 %r1, %tid.x; mov.u32 %r2, 0; mov.u32 %r4, %r1; mov.u32 %r5, 3; mov.f32 %f10, 0f3F800001;\n\
         mov.f32 %f11, 0f3F7FFFFF; and.b32 %r3, %r1, 1; setp.eq.u32 %p1, %r3, 0; cvt.u64.u32 %rd3, %r1;\n\
         mul.wide.u32 %rd4, %r1, 4; add.u64 %rd4, %rd1, %rd4; mul.wide.u32 %rd5, %r1, 16; add.u64 %rd5, %rd1, %rd5;\n\
         mul.wide.u32 %rd6, %r1, 64; add.u64 %rd6, %rd1, %rd6; add.u64 %rd7, %rd4, 65536; mov.u32 %r30, s; shl.b32 %r31, %r1, 2;\n\
         add.u32 %r6, %r30, %r31; shl.b32 %r31, %r1, 4; add.u32 %r7, %r30, %r31; and.b32 %r31, %r31, 16; add.u32 %r8, %r30, %r31;\n\
         add.u32 %r9, %r7, 8192; st.shared.v4.f32 [%r7], {{%f10, %f10, %f11, %f11}}; bar.sync 0;\n\
         again:\n{body}\n\
         add.u32 %r2, %r2, 1; setp.lt.u32 %p3, %r2, {rounds}; @%p3 bra again; ret; }}"
    )
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let checks = std::env::args().nth(1).is_none_or(|a| a != "nocheck");
    let options = Options { threads: 1, checks, ..Options::default() };
    let mut memory = Memory::new(1 << 20);
    let a = memory.alloc(1 << 17)?;
    memory.write(a, &vec![0; 1 << 17])?;
    for (name, instruction) in CASES.into_iter().filter(|c| c.0 == "ld.shared 16 bytes") {
        let time = |rounds: u32| -> Result<f64, Box<dyn std::error::Error>> {
            let module = Module::parse(name, &kernel(instruction, rounds))?;
            let params = a.to_le_bytes();
            let launch = Launch {
                entry: "k",
                grid: [1; 3],
                block: [256, 1, 1],
                dynamic_shared: 0,
                params: &params,
                buffers: None,
            };
            let start = Instant::now();
            module.launch(&memory, &launch, &options)?;
            Ok(start.elapsed().as_secs_f64())
        };
        // The difference of two lengths leaves out what a launch costs; the least of three, what else runs here.
        let (few, many) = (50, 5550);
        let mut best = f64::MAX;
        for _ in 0..3 {
            best = best.min(time(many)? - time(few)?);
        }
        let ns = best * 1e9 / (f64::from(many - few) * 64.0 * 8.0);
        println!("{ns:8.1} ns  {name}");
    }
    Ok(())
}
