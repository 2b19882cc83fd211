//! User objects: what a program keeps as long as graphs use it.

use std::ffi::c_void;
use std::sync::Arc;

use super::Out;
use crate::driver::{Driver, Owned};
use crate::status::{Result, Status};
use crate::work::{Callback, Function, Object};

/// `CU_USER_OBJECT_NO_DESTRUCTOR_SYNC`, which has to be given, and `CU_GRAPH_USER_OBJECT_MOVE`.
const NO_DESTRUCTOR_SYNC: u32 = 1;
const MOVE: u32 = 1;

/// That the program has so many references of its own to give up.
fn may_release(d: &Driver, object: u64, count: u32) -> Result {
    let has = d.objects.get(object, d.name)?.count;
    if count == 0 || count > has {
        let text = format!("{count} references are given up and the program has {has}");
        return Err(d.wrong(&text, Status::CUDA_ERROR_INVALID_VALUE));
    }
    Ok(())
}

/// Gives up so many of the program's own references.
fn release(d: &mut Driver, object: u64, count: u32) -> Result {
    may_release(d, object, count)?;
    let owned = d.objects.get_mut(object, d.name)?;
    owned.count -= count;
    if owned.count == 0 {
        d.objects.remove(object, d.name)?;
    }
    Ok(())
}

calls! {
    cuUserObjectCreate(
        out: Out<u64>,
        data: *mut c_void,
        destroy: Option<unsafe extern "C" fn(*mut c_void)>,
        count: u32,
        flags: u32
    ) Driver |d| {
        let Some(function) = destroy.filter(|_| flags == NO_DESTRUCTOR_SYNC && count > 0) else {
            let text = format!("{count} references, flags {flags:#x}: 1 and a function to destroy are expected");
            return Err(d.wrong(&text, Status::CUDA_ERROR_INVALID_VALUE));
        };
        let (object, call) = (Arc::new(Object(Callback { function: Function::Plain(function), data })), d.here());
        out.put(d.objects.insert(Owned { object, count, call }))
    };
    cuUserObjectRetain(object: u64, count: u32) Driver |d| {
        d.objects.get_mut(object, d.name)?.count += count;
        Ok(())
    };
    cuUserObjectRelease(object: u64, count: u32) Driver |d| release(d, object, count);
    cuGraphRetainUserObject(graph: u64, object: u64, count: u32, flags: u32) Driver |d| {
        let kept = d.objects.get(object, d.name)?.object.clone();
        if flags & MOVE != 0 {
            may_release(d, object, count)?;
        }
        let objects = &mut d.graphs.get_mut(graph, d.name)?.graph.objects;
        objects.extend((0..count).map(|_| (object, kept.clone())));
        if flags & MOVE != 0 { release(d, object, count) } else { Ok(()) }
    };
    cuGraphReleaseUserObject(graph: u64, object: u64, count: u32) Driver |d| {
        let objects = &mut d.graphs.get_mut(graph, d.name)?.graph.objects;
        for _ in 0..count {
            let Some(at) = objects.iter().position(|(handle, _)| *handle == object) else {
                let text = format!("the graph does not refer to the user object {object:#x} so often");
                return Err(d.wrong(&text, Status::CUDA_ERROR_INVALID_VALUE));
            };
            objects.remove(at);
        }
        Ok(())
    };
}
