//! Names that a driver's library lacks: when this library is loaded for a driver older than itself, functions newer than that driver get
//! other names, so that `dlsym` does not find them either.

use std::ffi::{c_int, c_void};

use crate::settings::asked_driver;
use crate::since::newer;

/// Run by the loader before anybody can look for a name.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = hide_newer;

extern "C" fn hide_newer() {
    let driver = asked_driver();
    // SAFETY: the callback has the type that is asked for, and is done when this returns.
    unsafe { libc::dl_iterate_phdr(Some(hide_in), (&raw const driver).cast_mut().cast()) };
}

/// One object of the process: where it is this library, its table of names is changed. Not 0 ends the walk.
unsafe extern "C" fn hide_in(info: *mut libc::dl_phdr_info, _: usize, driver: *mut c_void) -> c_int {
    // SAFETY: the loader's description of an object, and what `hide_newer` gave.
    let (info, driver) = unsafe { (&*info, *driver.cast::<i32>()) };
    let base = info.dlpi_addr as usize;
    // SAFETY: so many headers are there, as the loader says.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let here = hide_newer as *const () as usize;
    let holds = |h: &&libc::Elf64_Phdr| (0..h.p_memsz).contains(&(here.wrapping_sub(base + h.p_vaddr as usize) as u64));
    if !headers.iter().filter(|h| h.p_type == libc::PT_LOAD).any(|h| holds(&h)) {
        return 0;
    }
    let Some(dynamic) = headers.iter().find(|h| h.p_type == libc::PT_DYNAMIC) else { return 1 };
    // SAFETY: the loader mapped the section of entries that the header is of, and it is read only.
    if let Some(names) = unsafe { strings(base, dynamic) } {
        for name in newer(driver) {
            // SAFETY: the table is this library's own, in memory that only this process has.
            unsafe { rename(names, name) };
        }
    }
    1
}

/// An entry of the dynamic section: what it is, and its value.
type Entry = [u64; 2];
const END: u64 = 0;
const STRINGS: u64 = 5;
const STRINGS_SIZE: u64 = 10;

/// The table of names that a dynamic section tells of, as the loader left it: some turn its offsets into addresses.
unsafe fn strings(base: usize, dynamic: &libc::Elf64_Phdr) -> Option<*mut [u8]> {
    // SAFETY: as many entries as fit into it, which the caller says is mapped.
    let entries = unsafe {
        let first = (base + dynamic.p_vaddr as usize) as *const Entry;
        std::slice::from_raw_parts(first, dynamic.p_memsz as usize / size_of::<Entry>())
    };
    let entries = || entries.iter().take_while(|[tag, _]| *tag != END);
    let value = |what| entries().find(|[tag, _]| *tag == what).map(|[_, value]| *value as usize);
    let at = value(STRINGS)?;
    let at = if at < base { base + at } else { at };
    Some(std::ptr::slice_from_raw_parts_mut(at as *mut u8, value(STRINGS_SIZE)?))
}

/// Changes the first letter of a name in a table of strings that each end with a zero.
unsafe fn rename(names: *mut [u8], name: &str) {
    let whole = [b"\0", name.as_bytes(), b"\0"].concat();
    // SAFETY: the table is mapped and nobody else writes it.
    let Some(before) = unsafe { &*names }.windows(whole.len()).position(|w| w == whole) else { return };
    // SAFETY: the letter lies in the table; its page is private, and may be read alone again afterwards.
    unsafe {
        let letter = names.cast::<u8>().add(before + 1);
        let size = libc::sysconf(libc::_SC_PAGESIZE) as usize;
        let page = letter.map_addr(|at| at & !(size - 1)).cast();
        if libc::mprotect(page, size, libc::PROT_READ | libc::PROT_WRITE) == 0 {
            *letter = b'-';
            libc::mprotect(page, size, libc::PROT_READ);
        }
    }
}
