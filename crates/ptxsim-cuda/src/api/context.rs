//! Contexts: made, made current, waited for.

use super::Out;
use crate::driver::{CURRENT, Driver};
use crate::status::{Result, Status};

/// What `CU_LIMIT_STACK_SIZE` and those after it are where nobody has set them.
const LIMITS: [usize; 7] = [1024, 1 << 20, 8 << 20, 2, 2048, 64, 0];

/// `CU_SHARED_MEM_CONFIG_FOUR_BYTE_BANK_SIZE`.
const FOUR_BYTES: u32 = 1;

fn known(d: &Driver, context: u64) -> Result {
    if context == 0 || d.contexts.has(context) {
        return Ok(());
    }
    Err(d.wrong(&format!("{context:#x} is no context that lives"), Status::CUDA_ERROR_INVALID_CONTEXT))
}

fn create(d: &mut Driver, context: &Out<u64>, flags: u32, device: i32) -> Result {
    if device < 0 || device as usize >= d.cards.len() {
        return Err(d.wrong(&format!("device {device} of {}", d.cards.len()), Status::CUDA_ERROR_INVALID_DEVICE));
    }
    let handle = d.add_context(device as usize, false);
    d.contexts.get_mut(handle, d.name)?.flags = flags;
    CURRENT.with_borrow_mut(|stack| stack.push(handle));
    context.put(handle)
}

/// Flags of the current context.
fn flags(d: &mut Driver) -> Result<&mut u32> {
    let current = d.current()?;
    let context = d.contexts.get_mut(current, d.name)?;
    Ok(if context.primary { &mut d.cards[context.card].primary_flags } else { &mut context.flags })
}

/// Waits for all that the current context has queued.
pub fn drain(d: &mut Driver) -> Result {
    let context = d.current()?;
    let end = d.all_of(context)?;
    d.wait(&end)
}

calls! {
    cuCtxCreate_v2(context: Out<u64>, flags: u32, device: i32) Driver |d| create(d, &context, flags, device);
    cuCtxCreate_v3(context: Out<u64>, _affinity: usize, _count: i32, flags: u32, device: i32) Driver |d| {
        create(d, &context, flags, device)
    };
    cuCtxCreate_v4(context: Out<u64>, _parameters: usize, flags: u32, device: i32) Driver |d| {
        create(d, &context, flags, device)
    };
    cuCtxDestroy_v2(context: u64) Driver |d| {
        if d.contexts.get(context, d.name)?.primary {
            return Err(d.wrong("a primary context is released, not destroyed", Status::CUDA_ERROR_INVALID_CONTEXT));
        }
        d.end_context(context)?;
        CURRENT.with_borrow_mut(|stack| {
            if stack.last() == Some(&context) {
                stack.pop();
            }
        });
        Ok(())
    };
    cuCtxPushCurrent_v2(context: u64) Driver |d| {
        known(d, context)?;
        CURRENT.with_borrow_mut(|stack| stack.push(context));
        Ok(())
    };
    cuCtxPopCurrent_v2(context: Out<u64>) Driver |d| match CURRENT.with_borrow_mut(|stack| stack.pop()) {
        Some(top) => {
            context.put_if(top);
            Ok(())
        }
        None => Err(d.wrong("no context is current in this thread", Status::CUDA_ERROR_INVALID_CONTEXT)),
    };
    cuCtxSetCurrent(context: u64) Driver |d| {
        known(d, context)?;
        CURRENT.with_borrow_mut(|stack| {
            stack.pop();
            if context != 0 {
                stack.push(context);
            }
        });
        Ok(())
    };
    cuCtxGetCurrent(context: Out<u64>) Driver |_| {
        context.put(CURRENT.with_borrow(|stack| stack.last().copied().unwrap_or(0)))
    };
    cuCtxGetDevice(device: Out<i32>) Context |d| device.put(d.card()? as i32);
    cuCtxGetApiVersion(_context: u64, version: Out<u32>) Driver |_| version.put(3020);
    cuCtxGetFlags(out: Out<u32>) Context |d| out.put(*flags(d)?);
    cuCtxSetFlags(new: u32) Context |d| {
        *flags(d)? = new;
        Ok(())
    };
    cuCtxGetId(_context: u64, id: Out<u64>) Context |d| id.put(d.current()?);
    cuCtxSynchronize() NoCapture |d| {
        d.none_captured()?;
        drain(d)
    };
    cuCtxGetLimit(value: Out<usize>, limit: u32) Context |d| {
        let Some(usual) = LIMITS.get(limit as usize) else { return Err(Status::CUDA_ERROR_INVALID_VALUE) };
        let context = d.contexts.get(d.current()?, d.name)?;
        value.put(context.limits.get(&limit).copied().unwrap_or(*usual))
    };
    cuCtxSetLimit(limit: u32, value: usize) Context |d| {
        if limit as usize >= LIMITS.len() {
            return Err(Status::CUDA_ERROR_INVALID_VALUE);
        }
        let context = d.current()?;
        d.contexts.get_mut(context, d.name)?.limits.insert(limit, value);
        Ok(())
    };
    cuCtxGetCacheConfig(config: Out<u32>) Context |d| config.put(d.contexts.get(d.current()?, d.name)?.cache);
    cuCtxSetCacheConfig(config: u32) Context |d| {
        let context = d.current()?;
        d.contexts.get_mut(context, d.name)?.cache = config;
        Ok(())
    };
    // The banks of these cards are 4 bytes wide, whatever is asked for.
    cuCtxGetSharedMemConfig(config: Out<u32>) Context |_| config.put(FOUR_BYTES);
    cuCtxSetSharedMemConfig(_config: u32) Context |_| Ok(());
    cuCtxGetStreamPriorityRange(least: Out<i32>, greatest: Out<i32>) Context |_| {
        least.put_if(0);
        greatest.put_if(-5);
        Ok(())
    };
    cuCtxEnablePeerAccess(peer: u64, _flags: u32) Context |d| {
        known(d, peer)?;
        Err(Status::CUDA_ERROR_PEER_ACCESS_UNSUPPORTED)
    };
    cuCtxDisablePeerAccess(peer: u64) Context |d| {
        known(d, peer)?;
        Err(Status::CUDA_ERROR_PEER_ACCESS_NOT_ENABLED)
    };
    cuProfilerStart() Context |_| Ok(());
    cuProfilerStop() Context |_| Ok(());
}
