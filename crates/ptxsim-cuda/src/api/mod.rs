//! The exported functions, a file for each chapter of the driver API's reference. What a pointer is for is said by its type.

use std::ffi::{CStr, c_char, c_void};

use crate::absent;
use crate::status::{Result, Status};

/// Where the program wants one value.
#[repr(transparent)]
pub struct Out<T>(*mut T);

impl<T> Out<T> {
    pub fn put(&self, value: T) -> Result {
        if self.0.is_null() {
            return Err(Status::CUDA_ERROR_INVALID_VALUE);
        }
        // SAFETY: the program gave room for one value here; it may be unaligned where it was made in another language.
        unsafe { self.0.write_unaligned(value) };
        Ok(())
    }

    /// The same where the program may not want it.
    pub fn put_if(&self, value: T) {
        if !self.0.is_null() {
            let _ = self.put(value);
        }
    }
}

impl<T> Out<T> {
    pub const NULL: Out<T> = Out(std::ptr::null_mut());
}

impl<T: Copy + Default> Out<T> {
    /// What is there before it is answered: a room, a mode.
    pub fn now(&self) -> T {
        // SAFETY: the program put a value here.
        if self.0.is_null() { T::default() } else { unsafe { self.0.read_unaligned() } }
    }
}

/// Where the program has values.
#[repr(transparent)]
pub struct In<T>(*const T);

impl<T: Copy> In<T> {
    pub fn get(&self) -> Result<T> {
        self.at(0)
    }

    /// One of several.
    pub fn at(&self, i: usize) -> Result<T> {
        if self.0.is_null() {
            return Err(Status::CUDA_ERROR_INVALID_VALUE);
        }
        // SAFETY: the program says that there are more than `i`.
        Ok(unsafe { self.0.add(i).read_unaligned() })
    }

    pub fn all(&self, count: usize) -> Result<Vec<T>> {
        (0..count).map(|i| self.at(i)).collect()
    }

    pub fn is_null(&self) -> bool {
        self.0.is_null()
    }
}

impl<T> In<T> {
    pub const NULL: In<T> = In(std::ptr::null());
}

/// Where the program wants several values.
#[repr(transparent)]
pub struct Outs<T>(*mut T);

impl<T> Outs<T> {
    pub fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// One of them; the program says how many there is room for.
    pub fn put(&self, i: usize, value: T) -> Result {
        if self.0.is_null() {
            return Err(Status::CUDA_ERROR_INVALID_VALUE);
        }
        // SAFETY: the program gave room for more than `i`.
        Out(unsafe { self.0.add(i) }).put(value)
    }
}

/// A name or a text that ends with a zero.
#[repr(transparent)]
pub struct Text(*const c_char);

impl Text {
    pub fn get(&self) -> Result<&CStr> {
        if self.0.is_null() {
            return Err(Status::CUDA_ERROR_INVALID_VALUE);
        }
        // SAFETY: the program's, and it ends with a zero.
        Ok(unsafe { CStr::from_ptr(self.0) })
    }

    pub fn text(&self) -> Result<String> {
        Ok(self.get()?.to_string_lossy().into_owned())
    }
}

/// Where the program wants a text.
#[repr(transparent)]
pub struct Room(*mut c_char);

impl Room {
    pub fn at(address: usize) -> Room {
        Room(address as *mut c_char)
    }

    /// As much of it as there is room for, and a zero.
    pub fn put(&self, text: &str, room: i32) -> Result {
        if self.0.is_null() || room < 1 {
            return Err(Status::CUDA_ERROR_INVALID_VALUE);
        }
        let len = text.len().min(room as usize - 1);
        // SAFETY: the program gave so much room.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr().cast(), self.0, len);
            self.0.add(len).write(0);
        }
        Ok(())
    }
}

/// Defines exported functions: what each needs, and its body, which is given the driver.
macro_rules! calls {
    ($($name:ident($($arg:ident: $kind:ty),*) $needs:ident |$driver:pat_param| $body:expr;)*) => {
        $(
            #[unsafe(no_mangle)]
            pub extern "C" fn $name($($arg: $kind),*) -> crate::status::Status {
                crate::driver::enter(stringify!($name), crate::driver::Needs::$needs, |$driver| $body)
            }
        )*

        /// The functions of this file by name.
        pub fn all() -> Vec<(&'static str, *mut std::ffi::c_void)> {
            vec![$((stringify!($name), $name as *mut std::ffi::c_void)),*]
        }
    };
}

mod context;
mod device;
mod event;
mod graph;
mod launch;
mod library;
mod link;
mod memory;
mod module;
mod node;
mod object;
mod pointer;
mod pool;
mod rows;
mod start;
mod stream;

/// All functions that are real, by name.
pub fn all() -> Vec<(&'static str, *mut c_void)> {
    let files = [
        start::all(),
        device::all(),
        context::all(),
        module::all(),
        library::all(),
        link::all(),
        memory::all(),
        pointer::all(),
        pool::all(),
        stream::all(),
        event::all(),
        launch::all(),
        graph::all(),
        node::all(),
        object::all(),
    ];
    files.concat()
}

/// Where a function is, by its full name: a real one, or one that names itself when it is called.
pub fn find(name: &str) -> Option<*mut c_void> {
    all().into_iter().chain(absent::all()).find(|(known, _)| *known == name).map(|(_, at)| at)
}

#[cfg(test)]
mod tests {
    /// The README says how many functions there are, and how many of them are real.
    #[test]
    fn the_readme_counts_what_is_real() {
        let real = super::all().len();
        let readme = include_str!("../../README.md");
        let expected = format!("Of the {} functions", real + super::absent::all().len());
        assert!(readme.contains(&expected), "{expected}");
        assert!(readme.contains(&format!("{real} are.")), "{real} are.");
    }

    /// The README's table has a function on the side where it is, whatever its name begins there.
    #[test]
    fn the_readmes_table_is_right() {
        let names = |all: Vec<(&'static str, _)>| all.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        let (real, absent) = (names(super::all()), names(super::absent::all()));
        let rows = include_str!("../../README.md").lines().filter(|line| line.starts_with("| "));
        let mut checked = 0;
        for cells in rows.map(|row| row.split('|').collect::<Vec<_>>()).filter(|cells| cells.len() == 5) {
            for (cell, names) in [(cells[2], &real[..]), (cells[3], &absent[..])] {
                for named in cell.split('`').filter(|word| word.starts_with("cu")) {
                    let begins = named.trim_end_matches('*').split('*').next().unwrap_or(named);
                    assert!(names.iter().any(|name| name.starts_with(begins)), "{named} is not in: {}", cells[1]);
                    checked += 1;
                }
            }
        }
        assert!(checked > 20, "{checked}");
    }
}
