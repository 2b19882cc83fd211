//! A kernel that adds 1 to every word, and memory for it.

use std::ffi::CString;

use cudarc::driver::{DriverError, result, sys};

/// Adds 1 to every word.
const PTX: &str = "
.version 8.1
.target sm_80
.address_size 64
.visible .entry add(.param .u64 data, .param .u32 count) {
    .reg .pred %p; .reg .b64 %rd<4>; .reg .b32 %r<8>;
    ld.param.u64 %rd1, [data];
    ld.param.u32 %r1, [count];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.u32 %r5, %r2, %r3, %r4;
    setp.ge.u32 %p, %r5, %r1;
    @%p ret;
    mul.wide.u32 %rd2, %r5, 4;
    add.u64 %rd3, %rd1, %rd2;
    ld.global.u32 %r6, [%rd3];
    add.u32 %r7, %r6, 1;
    st.global.u32 [%rd3], %r7;
    ret;
}";
pub const COUNT: usize = 1000;
pub const BYTES: usize = 4 * COUNT;

pub struct Card {
    pub context: sys::CUcontext,
    pub add: sys::CUfunction,
}

pub fn open() -> Result<Card, DriverError> {
    result::init()?;
    let device = result::device::get(0)?;
    let context = unsafe { result::primary_ctx::retain(device)? };
    unsafe { result::ctx::set_current(context)? };
    Ok(Card { context, add: load()? })
}

pub fn load() -> Result<sys::CUfunction, DriverError> {
    let ptx = CString::new(PTX).unwrap();
    let module = unsafe { result::module::load_data(ptx.as_ptr().cast())? };
    unsafe { result::module::get_function(module, CString::new("add").unwrap()) }
}

/// Page-locked memory of so many words.
pub fn locked(value: u32) -> Result<&'static mut [u32], DriverError> {
    let memory = unsafe { result::malloc_host(BYTES, 0)? };
    let words = unsafe { std::slice::from_raw_parts_mut(memory.cast::<u32>(), COUNT) };
    words.fill(value);
    Ok(words)
}
