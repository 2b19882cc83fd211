//! Launches of kernels, and how many blocks fit.

use super::library::resolve;
use super::{In, Out};
use crate::driver::Driver;
use crate::status::{Result, Status};
use crate::work::{Kernel, Work};

/// In `extra`: the end, the block of parameters, where its size is.
const END: usize = 0;
const BLOCK: usize = 1;
const SIZE: usize = 2;

/// A kernel's block of parameters, out of pointers to each or out of a whole one.
fn parameters(kernel: &ptxsim::Kernel, each: &In<*const u8>, extra: &In<usize>) -> Result<Vec<u8>> {
    let mut block = vec![0; kernel.params_size];
    if !each.is_null() {
        for (i, param) in kernel.params.iter().enumerate() {
            let value = In(each.at(i)?);
            block[param.offset..param.offset + param.size].copy_from_slice(&value.all(param.size)?);
        }
        return Ok(block);
    }
    if extra.is_null() {
        return if block.is_empty() { Ok(block) } else { Err(Status::CUDA_ERROR_INVALID_VALUE) };
    }
    let (mut bytes, mut size) = (In(std::ptr::null::<u8>()), 0);
    for i in (0..).step_by(2) {
        match extra.at(i)? {
            END => break,
            BLOCK => bytes = In(extra.at(i + 1)? as *const u8),
            SIZE => size = In(extra.at(i + 1)? as *const usize).get()?,
            _ => return Err(Status::CUDA_ERROR_INVALID_VALUE),
        }
    }
    if size < block.len() {
        return Err(Status::CUDA_ERROR_INVALID_VALUE);
    }
    bytes.all(block.len())
}

/// A launch in the current context that a card would take, or its answer.
fn kernel(
    d: &Driver,
    function: u64,
    dims: [[u32; 3]; 2],
    shared: u32,
    each: &In<*const u8>,
    extra: &In<usize>,
) -> Result<Kernel> {
    let f = d.functions.get(function, d.name)?;
    if d.modules.get(f.module, d.name)?.context != d.current()? {
        let text = format!("{} is of another context than the current one", f.name);
        return Err(d.wrong(&text, Status::CUDA_ERROR_INVALID_HANDLE));
    }
    kernel_of(d, function, dims, shared, each, extra)
}

/// The same in the context of the function.
pub fn kernel_of(
    d: &Driver,
    function: u64,
    [grid, block]: [[u32; 3]; 2],
    shared: u32,
    each: &In<*const u8>,
    extra: &In<usize>,
) -> Result<Kernel> {
    let f = d.functions.get(function, d.name)?;
    let loaded = d.modules.get(f.module, d.name)?;
    let k = loaded.module.kernels().iter().find(|k| k.name == f.name).ok_or(Status::CUDA_ERROR_INVALID_HANDLE)?;
    let refuse = |text: String| d.wrong(&format!("{}: {text}", f.name), Status::CUDA_ERROR_INVALID_VALUE);
    let threads = block.iter().fold(1u64, |n, &b| n.saturating_mul(b.into()));
    if grid.contains(&0) || block.contains(&0) || grid[0] > i32::MAX as u32 || grid[1] > 65535 || grid[2] > 65535 {
        return Err(refuse(format!("grid {grid:?} of blocks {block:?}")));
    }
    if threads > 1024 || block[2] > 64 {
        return Err(refuse(format!("block {block:?}: at most 1024 threads, 64 in z")));
    }
    if k.max_threads.is_some_and(|most| threads > most.into()) || k.required_block.is_some_and(|b| b != block) {
        return Err(refuse(format!(
            "block {block:?}, where the kernel declares {:?} {:?}",
            k.max_threads, k.required_block
        )));
    }
    if shared as i32 > f.dynamic || (shared as i32) < 0 {
        let text = format!("{shared} bytes of dynamic shared memory, its attribute allows {}", f.dynamic);
        return Err(refuse(text));
    }
    let params = parameters(k, each, extra)?;
    Ok(Kernel {
        function,
        module: loaded.module.clone(),
        entry: f.name.clone(),
        grid,
        block,
        shared,
        params,
        cooperative: false,
    })
}

/// Blocks of a kernel that a multiprocessor holds at once, by threads and shared memory (registers are not known).
fn blocks(d: &mut Driver, function: u64, threads: i32, dynamic: usize) -> Result<i32> {
    let function = resolve(d, function)?;
    let f = d.functions.get(function, d.name)?;
    let loaded = d.modules.get(f.module, d.name)?;
    let k = loaded.module.kernels().iter().find(|k| k.name == f.name).ok_or(Status::CUDA_ERROR_INVALID_HANDLE)?;
    let card = d.cards[d.card()?].card;
    if threads <= 0 {
        return Err(d.wrong(&format!("blocks of {threads} threads"), Status::CUDA_ERROR_INVALID_VALUE));
    }
    let warps = (threads as u32).next_multiple_of(32) as i32;
    let shared = k.static_shared + dynamic + 1024;
    let by_shared = i32::try_from(card.shared as usize / shared).unwrap_or(i32::MAX);
    Ok((card.threads / warps).min(card.blocks).min(by_shared))
}

/// The block size that fills a multiprocessor best, and the blocks that fill the card.
fn potential(
    d: &mut Driver,
    grid: &Out<i32>,
    block: &Out<i32>,
    function: u64,
    size: Option<extern "C" fn(i32) -> usize>,
    shared: usize,
    limit: i32,
) -> Result {
    let most = if limit > 0 { limit.min(1024) } else { 1024 };
    let card = d.cards[d.card()?].card;
    let mut best = (0, 0, 0);
    for threads in (32..=most.max(32)).step_by(32) {
        // The function may call the driver.
        let dynamic = size.map_or(shared, |f| d.unlocked(|| f(threads)));
        let count = blocks(d, function, threads, dynamic)?;
        if count * threads >= best.0 {
            best = (count * threads, count, threads);
        }
    }
    grid.put(best.1 * card.multiprocessors)?;
    block.put(best.2)
}

/// `CU_LAUNCH_ATTRIBUTE_IGNORE` and `_COOPERATIVE`.
const IGNORE: u32 = 0;
pub const COOPERATIVE: u32 = 2;

/// `CUlaunchAttribute`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Attribute {
    id: u32,
    value: [u64; 8],
}

/// Makes a launch one whose blocks are all there at once; refused if the card does not hold them.
pub fn together(d: &mut Driver, work: &mut Kernel) -> Result {
    let count = |size: [u32; 3]| size.iter().fold(1u64, |n, &m| n.saturating_mul(m.into()));
    let each = blocks(d, work.function, count(work.block) as i32, work.shared as usize)?;
    let most = i64::from(each) * i64::from(d.cards[d.card()?].card.multiprocessors);
    if count(work.grid) as i64 > most {
        let text = format!("{}: {} blocks at once, the card holds {most}", work.entry, count(work.grid));
        return Err(d.wrong(&text, Status::CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE));
    }
    work.cooperative = true;
    Ok(())
}

/// Of a `CUlaunchConfig`: grid, block, shared memory, stream, attributes, how many.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Config {
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    stream: u64,
    attributes: *const Attribute,
    count: u32,
}

calls! {
    cuLaunchKernel(
        function: u64,
        gx: u32, gy: u32, gz: u32,
        bx: u32, by: u32, bz: u32,
        shared: u32,
        stream: u64,
        each: In<*const u8>,
        extra: In<usize>
    ) Context |d| {
        let function = resolve(d, function)?;
        let work = kernel(d, function, [[gx, gy, gz], [bx, by, bz]], shared, &each, &extra)?;
        let stream = d.own_stream(stream)?;
        d.submit(stream, Work::Kernel(work)).map(drop)
    };
    cuLaunchKernelEx(config: In<Config>, function: u64, each: In<*const u8>, extra: In<usize>) Context |d| {
        let c = config.get()?;
        let mut cooperative = false;
        for attribute in In(c.attributes).all(c.count as usize)? {
            match attribute.id {
                IGNORE => {}
                COOPERATIVE => cooperative = attribute.value[0] as u32 != 0,
                other => {
                    let text = format!("the attribute {other} of a launch is not emulated");
                    return Err(d.wrong(&text, Status::CUDA_ERROR_NOT_SUPPORTED));
                }
            }
        }
        let function = resolve(d, function)?;
        let mut work = kernel(d, function, [c.grid, c.block], c.shared, &each, &extra)?;
        if cooperative {
            together(d, &mut work)?;
        }
        let stream = d.own_stream(c.stream)?;
        d.submit(stream, Work::Kernel(work)).map(drop)
    };
    cuLaunchCooperativeKernel(
        function: u64,
        gx: u32, gy: u32, gz: u32,
        bx: u32, by: u32, bz: u32,
        shared: u32,
        stream: u64,
        each: In<*const u8>
    ) Context |d| {
        let function = resolve(d, function)?;
        let mut work = kernel(d, function, [[gx, gy, gz], [bx, by, bz]], shared, &each, &In::NULL)?;
        together(d, &mut work)?;
        let stream = d.own_stream(stream)?;
        d.submit(stream, Work::Kernel(work)).map(drop)
    };
    cuOccupancyMaxActiveBlocksPerMultiprocessor(count: Out<i32>, function: u64, threads: i32, shared: usize) Context |d| {
        count.put(blocks(d, function, threads, shared)?)
    };
    cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        count: Out<i32>, function: u64, threads: i32, shared: usize, _flags: u32
    ) Context |d| count.put(blocks(d, function, threads, shared)?);
    cuOccupancyMaxPotentialBlockSize(
        grid: Out<i32>,
        block: Out<i32>,
        function: u64,
        size: Option<extern "C" fn(i32) -> usize>,
        shared: usize,
        limit: i32
    ) Context |d| potential(d, &grid, &block, function, size, shared, limit);
    cuOccupancyMaxPotentialBlockSizeWithFlags(
        grid: Out<i32>,
        block: Out<i32>,
        function: u64,
        size: Option<extern "C" fn(i32) -> usize>,
        shared: usize,
        limit: i32,
        _flags: u32
    ) Context |d| potential(d, &grid, &block, function, size, shared, limit);
    cuOccupancyAvailableDynamicSMemPerBlock(bytes: Out<usize>, function: u64, count: i32, _threads: i32) Context |d| {
        let function = resolve(d, function)?;
        let f = d.functions.get(function, d.name)?;
        let loaded = d.modules.get(f.module, d.name)?;
        let fixed = loaded.module.kernels().iter().find(|k| k.name == f.name).map_or(0, |k| k.static_shared);
        let card = d.cards[d.card()?].card;
        let each = card.shared as usize / count.max(1) as usize;
        bytes.put(each.saturating_sub(fixed + 1024).min(card.block_shared as usize - fixed))
    };
}
