//! A register-tiled f32 matrix product under the emulator: checks the result and prints the time per warp instruction.
//!
//! `cargo run --release --example matmul -- [size] [threads] [nocheck]`

use std::time::Instant;

use ptxsim::{Class, Launch, Memory, Module, Options};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let size: usize = args.first().map_or(Ok(512), |a| a.parse())?;
    let threads = args.get(1).map_or(Ok(1), |a| a.parse())?;
    let checks = args.get(2).is_none_or(|a| a != "nocheck");
    let size = size.next_multiple_of(128);

    let module = Module::parse("matmul.ptx", include_str!("matmul.ptx"))?;
    let mut memory = Memory::new(1 << 30);
    let bytes = (size * size * 4) as u64;
    let (c, a, b) = (memory.alloc(bytes)?, memory.alloc(bytes)?, memory.alloc(bytes)?);
    let value = |i: usize| (i * 7919 % 1013) as f32 / 1013.0 - 0.5;
    let at: Vec<f32> = (0..size * size).map(value).collect();
    let bm: Vec<f32> = (0..size * size).map(|i| value(i + 3)).collect();
    let bytes_of = |v: &[f32]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    memory.write(a, &bytes_of(&at))?;
    memory.write(b, &bytes_of(&bm))?;

    let mut params = vec![];
    for address in [c, a, b] {
        params.extend(address.to_le_bytes());
    }
    for n in [size as u32; 3] {
        params.extend(n.to_le_bytes());
    }
    let tiles = (size / 128) as u32;
    let launch = Launch {
        entry: "matmul",
        grid: [tiles, tiles, 1],
        block: [256, 1, 1],
        dynamic_shared: 0,
        params: &params,
        buffers: None,
    };
    let start = Instant::now();
    let counters = module.launch(&memory, &launch, &Options { threads, checks, ..Options::default() })?;
    let seconds = start.elapsed().as_secs_f64();

    let mut out = vec![0; size * size * 4];
    memory.read(c, &mut out)?;
    for (row, column) in [(0, 0), (1, 5), (size / 2, size - 1), (size - 1, size / 3)] {
        let found = f32::from_le_bytes(out[(row * size + column) * 4..][..4].try_into()?);
        let wanted: f64 = (0..size).map(|k| f64::from(at[k * size + row]) * f64::from(bm[k * size + column])).sum();
        assert!((f64::from(found) - wanted).abs() < 1e-3, "({row}, {column}): {found} instead of {wanted}");
    }
    println!("{counters}");
    let total = counters.total() as f64;
    let ns = seconds * 1e9 / total * threads as f64;
    println!("{size}x{size}x{size}: {seconds:.3} s, {ns:.1} ns per warp instruction and thread");
    println!("{:.0} % of the instructions are FFMA", 100.0 * counters.of(Class::Ffma) as f64 / total);
    Ok(())
}
