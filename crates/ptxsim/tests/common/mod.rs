//! What the tests share: kernels around a few instructions, launches with byte buffers.
#![allow(dead_code)]

use ptxsim::{Access, Buffer, Counters, Fault, Launch, Memory, Module, Options};

pub const HEAD: &str = ".version 8.1\n.target sm_80\n.address_size 64\n";

/// Declarations that every test kernel has.
pub const REGS: &str = ".reg .b64 %rd<64>; .reg .b64 %rdo; .reg .b32 %r<64>; .reg .b32 %ro; .reg .b16 %h<32>; \
    .reg .b16 %ho; .reg .f32 %f<64>; .reg .f64 %d<32>; .reg .pred %p<32>; .reg .pred %po;";

/// A module with one entry `k(u64 out, u64 in)`: `%rd1` is `out`, `%rd2` is `in`, `%r1` is `%tid.x`, `%r2` is the
/// global thread number. The body starts on line 8.
pub fn kernel(body: &str) -> String {
    kernel_with("", "", body)
}

/// The same with module-level declarations (one line) and directives of the entry.
pub fn kernel_with(globals: &str, directives: &str, body: &str) -> String {
    format!(
        "{HEAD}{globals}\n.visible .entry k(.param .u64 out, .param .u64 in) {directives} {{\n{REGS}\n\
         ld.param.u64 %rd1, [out]; ld.param.u64 %rd2, [in]; mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; \
         mov.u32 %r3, %ntid.x; mad.lo.u32 %r2, %r2, %r3, %r1;\n{body}\nret;\n}}\n"
    )
}

/// Line of the body's first line.
pub const BODY: usize = 8;

pub struct Setup {
    pub memory: Memory,
    pub out: u64,
    pub input: u64,
    pub out_len: u64,
    pub in_len: u64,
}

impl Setup {
    /// `out` is unwritten, `input` holds the bytes.
    pub fn new(out_len: usize, input: &[u8]) -> Setup {
        let mut memory = Memory::new(1 << 24);
        let out = memory.alloc(out_len as u64).unwrap();
        let at = memory.alloc(input.len() as u64).unwrap();
        memory.write(at, input).unwrap();
        Setup { memory, out, input: at, out_len: out_len as u64, in_len: input.len() as u64 }
    }

    pub fn run(&self, text: &str, grid: u32, block: u32, dynamic: u32) -> Result<Counters, Fault> {
        self.run_with(text, grid, block, dynamic, &Options { threads: 1, ..Options::default() })
    }

    pub fn run_with(
        &self,
        text: &str,
        grid: u32,
        block: u32,
        dynamic: u32,
        options: &Options,
    ) -> Result<Counters, Fault> {
        let module = Module::parse("test.ptx", text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let params: Vec<u8> = [self.out, self.input].iter().flat_map(|a| a.to_le_bytes()).collect();
        let buffers = [
            Buffer { range: self.out..self.out + self.out_len, access: Access::ReadWrite },
            Buffer { range: self.input..self.input + self.in_len, access: Access::Read },
        ];
        let launch = Launch {
            entry: "k",
            grid: [grid, 1, 1],
            block: [block, 1, 1],
            dynamic_shared: dynamic,
            params: &params,
            buffers: Some(&buffers),
        };
        module.launch(&self.memory, &launch, options)
    }

    pub fn words(&self) -> Vec<u32> {
        let mut bytes = vec![0; self.out_len as usize];
        self.memory.read(self.out, &mut bytes).unwrap();
        bytes.chunks_exact(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect()
    }
}

pub fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// Runs `body` once per row of up to four values. They are in `%rd3..6`, their low halves in `%r3..6` and `%f3..6`,
/// their low 16 bits in `%h3..6`, as doubles in `%d3..6`, non-zero in `%p3..6`. The result is what the body leaves in
/// `result`: `%rdo`, `%ro`, `%ho`, `%po`, `%f0` or `%d0`.
pub fn eval<const N: usize>(body: &str, result: &str, rows: &[[u64; N]]) -> Vec<u64> {
    let mut text = String::from(
        "mul.lo.u32 %r4, %r2, 32; cvt.u64.u32 %rd8, %r4; add.u64 %rd9, %rd2, %rd8; \
         mul.lo.u32 %r4, %r2, 8; cvt.u64.u32 %rd8, %r4; add.u64 %rd10, %rd1, %rd8; ",
    );
    for i in 0..4 {
        let r = 3 + i;
        text += &format!(
            "ld.global.u64 %rd{r}, [%rd9+{}]; cvt.u32.u64 %r{r}, %rd{r}; mov.b32 %f{r}, %r{r}; \
             cvt.u16.u64 %h{r}, %rd{r}; mov.b64 %d{r}, %rd{r}; setp.ne.u64 %p{r}, %rd{r}, 0; ",
            8 * i
        );
    }
    text += "\n";
    text += body;
    text += "\n";
    text += match result {
        "%ro" => "cvt.u64.u32 %rdo, %ro;",
        "%ho" => "cvt.u64.u16 %rdo, %ho;",
        "%po" => "selp.u64 %rdo, 1, 0, %po;",
        "%f0" => "mov.b32 %r0, %f0; cvt.u64.u32 %rdo, %r0;",
        "%d0" => "mov.b64 %rdo, %d0;",
        _ => "",
    };
    text += " st.global.u64 [%rd10], %rdo;";
    let blocks = rows.len().div_ceil(32).max(1);
    let mut input = vec![0u8; blocks * 32 * 32];
    for (row, bytes) in rows.iter().zip(input.chunks_exact_mut(32)) {
        for (value, bytes) in row.iter().zip(bytes.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
    }
    let setup = Setup::new(blocks * 32 * 8, &input);
    setup.run(&kernel(&text), blocks as u32, 32, 0).unwrap_or_else(|e| panic!("{e}"));
    let words = setup.words();
    words.chunks_exact(2).take(rows.len()).map(|w| u64::from(w[0]) | u64::from(w[1]) << 32).collect()
}

/// Checks `body` on all pairs of values against `truth`.
#[track_caller]
pub fn pairs(body: &str, result: &str, values: &[u64], truth: impl Fn(u64, u64) -> u64) {
    let rows: Vec<[u64; 2]> = values.iter().flat_map(|&a| values.iter().map(move |&b| [a, b])).collect();
    for (row, found) in rows.iter().zip(eval(body, result, &rows)) {
        let wanted = truth(row[0], row[1]);
        assert_eq!(found, wanted, "{body} of {:#x}, {:#x}: {found:#x} instead of {wanted:#x}", row[0], row[1]);
    }
}

/// Checks `body` on single values.
#[track_caller]
pub fn singles(body: &str, result: &str, values: &[u64], truth: impl Fn(u64) -> u64) {
    let rows: Vec<[u64; 1]> = values.iter().map(|&a| [a]).collect();
    for (row, found) in rows.iter().zip(eval(body, result, &rows)) {
        let wanted = truth(row[0]);
        assert_eq!(found, wanted, "{body} of {:#x}: {found:#x} instead of {wanted:#x}", row[0]);
    }
}
