//! Memory pools: they are told apart by what is allocated of them, and take memory as every allocation does.

use std::collections::HashMap;
use std::ffi::c_void;

use cudarc::driver::sys::CUmemPool_attribute_enum as A;

use super::{In, Out, Outs};
use crate::driver::{Driver, Pool};
use crate::status::{Result, Status};

/// What is asked of a pool that is to be made, as far as it is looked at: kind of allocation, handles, where.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Properties {
    _kind: u32,
    _handles: u32,
    location: [i32; 2],
}

/// `CU_MEM_LOCATION_TYPE_DEVICE`, and `CU_MEM_ACCESS_FLAGS_PROT_READWRITE`, which a card has to its own memory alone.
const DEVICE: i32 = 1;
const READ_WRITE: u32 = 3;

/// Who may use a pool's memory, and how: `CUmemAccessDesc`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Access {
    location: [i32; 2],
    flags: u32,
}

fn create(d: &mut Driver, card: usize, hidden: bool) -> u64 {
    let call = d.here();
    d.pools.insert(Pool { card, attributes: HashMap::new(), hidden, high: 0, call })
}

fn card(d: &Driver, device: i32) -> Result<usize> {
    let known = usize::try_from(device).ok().filter(|&card| card < d.cards.len());
    known.ok_or_else(|| d.wrong(&format!("device {device} of {}", d.cards.len()), Status::CUDA_ERROR_INVALID_DEVICE))
}

/// The pool that a card has from the start.
fn own(d: &mut Driver, card: usize) -> u64 {
    if d.cards[card].own_pool == 0 {
        d.cards[card].own_pool = create(d, card, true);
    }
    d.cards[card].own_pool
}

/// The pool that a card takes memory from where none is named.
pub fn current(d: &mut Driver, card: usize) -> u64 {
    let chosen = d.cards[card].pool;
    if chosen != 0 && d.pools.has(chosen) { chosen } else { own(d, card) }
}

/// Bytes of a pool that are in use.
pub fn used(d: &Driver, pool: u64) -> u64 {
    d.given.values().filter(|given| given.pool == pool).map(|given| given.bytes).sum()
}

/// The most bytes that were in use: a pool reserves no more than that here.
const HIGH: [u32; 2] = [A::CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH as u32, A::CU_MEMPOOL_ATTR_USED_MEM_HIGH as u32];
const NOW: [u32; 2] = [A::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT as u32, A::CU_MEMPOOL_ATTR_USED_MEM_CURRENT as u32];

/// Whether an attribute is a number of 64 bits; the others have 32. One that is not known is no fault: newer drivers have more, and
/// programs ask.
fn wide(attribute: u32) -> Result<bool> {
    match attribute {
        1..=3 => Ok(false),
        _ if attribute == A::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD as u32 => Ok(true),
        _ if HIGH.contains(&attribute) || NOW.contains(&attribute) => Ok(true),
        _ => Err(Status::CUDA_ERROR_INVALID_VALUE),
    }
}

calls! {
    cuDeviceGetDefaultMemPool(pool: Out<u64>, device: i32) Driver |d| {
        let card = card(d, device)?;
        pool.put(own(d, card))
    };
    cuDeviceGetMemPool(pool: Out<u64>, device: i32) Driver |d| {
        let card = card(d, device)?;
        pool.put(current(d, card))
    };
    cuDeviceSetMemPool(device: i32, pool: u64) Driver |d| {
        let (of, card) = (d.pools.get(pool, d.name)?.card, card(d, device)?);
        if of != card {
            return Err(d.wrong("a pool of another card", Status::CUDA_ERROR_INVALID_VALUE));
        }
        d.cards[card].pool = pool;
        Ok(())
    };
    cuMemPoolCreate(pool: Out<u64>, properties: In<Properties>) Driver |d| {
        let card = card(d, properties.get()?.location[1])?;
        pool.put(create(d, card, false))
    };
    cuMemPoolDestroy(pool: u64) Driver |d| {
        if d.pools.get(pool, d.name)?.hidden {
            return Err(d.wrong("a pool that a card has from the start", Status::CUDA_ERROR_INVALID_VALUE));
        }
        d.pools.remove(pool, d.name).map(drop)
    };
    cuMemPoolTrimTo(pool: u64, _bytes: usize) Driver |d| d.pools.get(pool, d.name).map(drop);
    cuMemPoolSetAttribute(pool: u64, attribute: u32, value: *const c_void) Driver |d| {
        let number = match wide(attribute)? {
            true => In(value.cast::<u64>()).get()?,
            false => In(value.cast::<u32>()).get()?.into(),
        };
        let now = used(d, pool);
        let pool = d.pools.get_mut(pool, d.name)?;
        match attribute {
            // From here on it is counted anew; nothing but 0 is taken.
            _ if HIGH.contains(&attribute) && number == 0 => pool.high = now,
            _ if HIGH.contains(&attribute) || NOW.contains(&attribute) => {
                return Err(d.wrong("how much is used cannot be set", Status::CUDA_ERROR_INVALID_VALUE));
            }
            _ => drop(pool.attributes.insert(attribute, number)),
        }
        Ok(())
    };
    cuMemPoolGetAttribute(pool: u64, attribute: u32, value: *mut c_void) Driver |d| {
        let Pool { attributes, high, .. } = d.pools.get(pool, d.name)?;
        let wide = wide(attribute)?;
        let number = match attribute {
            _ if NOW.contains(&attribute) => used(d, pool),
            _ if HIGH.contains(&attribute) => *high,
            // What a pool may take again without a wait is all allowed where nobody says otherwise, and it keeps nothing.
            _ => attributes.get(&attribute).copied().unwrap_or(u64::from(!wide)),
        };
        if wide { Out(value.cast::<u64>()).put(number) } else { Out(value.cast::<u32>()).put(number as u32) }
    };
    cuMemPoolSetAccess(pool: u64, access: In<Access>, count: usize) Driver |d| {
        let own = d.pools.get(pool, d.name)?.card;
        match access.all(count)?.iter().any(|a| a.flags != 0 && a.location != [DEVICE, own as i32]) {
            true => Err(Status::CUDA_ERROR_PEER_ACCESS_UNSUPPORTED),
            false => Ok(()),
        }
    };
    cuMemPoolGetAccess(flags: Outs<u32>, pool: u64, location: In<[i32; 2]>) Driver |d| {
        let own = d.pools.get(pool, d.name)?.card;
        flags.put(0, if location.get()? == [DEVICE, own as i32] { READ_WRITE } else { 0 })
    };
}
