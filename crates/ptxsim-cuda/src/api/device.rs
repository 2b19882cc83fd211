//! Devices and their primary contexts.

use super::{Out, Room};
use crate::card::pci_bus;
use crate::driver::{CURRENT, Driver};
use crate::status::{Result, Status};

fn card(d: &Driver, device: i32) -> Result<usize> {
    let count = d.cards.len();
    if device < 0 || device as usize >= count {
        let text = format!("device {device} of {count}, counted from 0");
        return Err(d.wrong(&text, Status::CUDA_ERROR_INVALID_DEVICE));
    }
    Ok(device as usize)
}

/// Names a card for good: programs tell two alike ones by it.
fn uuid(d: &Driver, device: usize) -> [u8; 16] {
    let mut bytes = *b"ptxsim-card-\0\0\0\0";
    bytes[12..16].copy_from_slice(&(device as u32).to_be_bytes());
    bytes[11] = d.cards[device].card.key.as_bytes()[0];
    bytes
}

calls! {
    cuDeviceGetCount(count: Out<i32>) Driver |d| count.put(d.cards.len() as i32);
    cuDeviceGet(device: Out<i32>, ordinal: i32) Driver |d| device.put(card(d, ordinal)? as i32);
    cuDeviceGetName(name: Room, room: i32, device: i32) Driver |d| {
        let at = card(d, device)?;
        name.put(d.cards[at].card.name, room)
    };
    cuDeviceGetUuid(uuid_: Out<[u8; 16]>, device: i32) Driver |d| uuid_.put(uuid(d, card(d, device)?));
    cuDeviceGetUuid_v2(uuid_: Out<[u8; 16]>, device: i32) Driver |d| uuid_.put(uuid(d, card(d, device)?));
    cuDeviceTotalMem_v2(bytes: Out<usize>, device: i32) Driver |d| {
        let at = card(d, device)?;
        bytes.put(d.cards[at].memory.capacity() as usize)
    };
    cuDeviceGetAttribute(value: Out<i32>, attribute: u32, device: i32) Driver |d| {
        let at = card(d, device)?;
        match d.cards[at].card.attribute(attribute, at) {
            Some(found) => value.put(found),
            // No fault: newer drivers have more of them, and a program that is made for those asks.
            None => Err(Status::CUDA_ERROR_INVALID_VALUE),
        }
    };
    cuDeviceComputeCapability(major: Out<i32>, minor: Out<i32>, device: i32) Driver |d| {
        let at = card(d, device)?;
        let (a, b) = d.cards[at].card.capability;
        major.put(a)?;
        minor.put(b)
    };
    cuDeviceGetPCIBusId(text: Room, room: i32, device: i32) Driver |d| {
        let at = card(d, device)?;
        text.put(&format!("0000:{:02X}:00.0", pci_bus(at)), room)
    };
    cuDeviceCanAccessPeer(can: Out<i32>, device: i32, peer: i32) Driver |d| {
        card(d, device)?;
        card(d, peer)?;
        // A kernel sees the memory of its own card. (Copies go anywhere, as on cards without that access.)
        can.put(0)
    };
    cuDevicePrimaryCtxRetain(context: Out<u64>, device: i32) Driver |d| {
        let at = card(d, device)?;
        let (handle, holders) = match d.cards[at].primary {
            Some(held) => held,
            None => (d.add_context(at, true), 0),
        };
        d.cards[at].primary = Some((handle, holders + 1));
        context.put(handle)
    };
    cuDevicePrimaryCtxRelease_v2(device: i32) Driver |d| {
        let at = card(d, device)?;
        match d.cards[at].primary {
            None => Err(d.wrong("nobody holds the primary context", Status::CUDA_ERROR_INVALID_CONTEXT)),
            Some((handle, 1)) => {
                d.cards[at].primary = None;
                d.released(handle)
            }
            Some((handle, holders)) => {
                d.cards[at].primary = Some((handle, holders - 1));
                Ok(())
            }
        }
    };
    cuDevicePrimaryCtxReset_v2(device: i32) Driver |d| {
        let at = card(d, device)?;
        let Some((handle, holders)) = d.cards[at].primary else { return Ok(()) };
        d.end_context(handle)?;
        let again = d.add_context(at, true);
        d.cards[at].primary = Some((again, holders));
        CURRENT.with_borrow_mut(|stack| stack.iter_mut().filter(|c| **c == handle).for_each(|c| *c = again));
        Ok(())
    };
    cuDevicePrimaryCtxSetFlags_v2(device: i32, flags: u32) Driver |d| {
        let at = card(d, device)?;
        d.cards[at].primary_flags = flags;
        Ok(())
    };
    cuDevicePrimaryCtxGetState(device: i32, flags: Out<u32>, active: Out<i32>) Driver |d| {
        let at = card(d, device)?;
        flags.put_if(d.cards[at].primary_flags);
        active.put(i32::from(d.cards[at].primary.is_some()))
    };
}
