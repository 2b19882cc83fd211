//! What a launch says that it touched, and variables that the host can reach.

use ptxsim::{Launch, Memory, Module, Options, Touch};

const TEXT: &str = "
.version 8.1
.target sm_80
.address_size 64
.global .align 4 .u32 step = 3;
.visible .entry every_other(.param .u64 from, .param .u64 to, .param .u64 count) {
    .reg .b64 %rd<9>; .reg .b32 %r<4>;
    ld.param.u64 %rd1, [from];
    ld.param.u64 %rd2, [to];
    ld.param.u64 %rd3, [count];
    mov.u32 %r1, %tid.x;
    mul.wide.u32 %rd4, %r1, 8;
    add.u64 %rd5, %rd1, %rd4;
    ld.global.u32 %r2, [%rd5];
    mul.wide.u32 %rd6, %r1, 4;
    add.u64 %rd7, %rd2, %rd6;
    st.global.u32 [%rd7], %r2;
    ld.global.u32 %r3, [step];
    red.global.add.u32 [%rd3], %r3;
    ret;
}";

#[test]
fn what_a_launch_touches() {
    let mut memory = Memory::starting_at(1 << 40, 1 << 20);
    let module = Module::parse_in("every_other.ptx", TEXT, &mut memory).unwrap();
    let [from, to, count] = [512, 256, 4].map(|bytes| memory.alloc(bytes).unwrap());
    memory.write(from, &[7; 512]).unwrap();
    memory.zero(count..count + 4).unwrap();
    let params: Vec<u8> = [from, to, count].iter().flat_map(|at| at.to_le_bytes()).collect();
    let launch = Launch {
        entry: "every_other",
        grid: [1; 3],
        block: [40, 1, 1],
        dynamic_shared: 0,
        params: &params,
        buffers: None,
    };
    let (_, touched) = module.launch_traced(&memory, &launch, &Options::default()).unwrap();
    let of = |touch| touched.iter().filter(|(_, t)| *t == touch).map(|(r, _)| r.clone()).collect::<Vec<_>>();
    let (name, step) = module.variables().next().unwrap();
    assert_eq!((name, step.end - step.start), ("step", 4));
    // Every second word, then none of what is behind the last thread's.
    let reads: Vec<_> = std::iter::once(step.clone()).chain((0..40).map(|i| from + 8 * i..from + 8 * i + 4)).collect();
    assert_eq!(of(Touch::Read), reads);
    assert_eq!(of(Touch::Write), vec![to..to + 160; 1]);
    assert_eq!(of(Touch::Atomic), vec![count..count + 4; 1]);

    // The variable is the host's to change.
    let sum = || {
        let mut bytes = [0; 4];
        memory.read(count, &mut bytes).unwrap();
        u32::from_le_bytes(bytes)
    };
    assert_eq!(sum(), 40 * 3);
    memory.write(step.start, &5u32.to_le_bytes()).unwrap();
    module.launch(&memory, &launch, &Options::default()).unwrap();
    assert_eq!(sum(), 40 * 3 + 40 * 5);
}
