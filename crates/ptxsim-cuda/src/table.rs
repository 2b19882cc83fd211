//! Handles that programs hold: numbers that are never used twice, so that one of something destroyed is told from one that
//! never was.

use std::collections::BTreeMap;

use crate::report::{Call, found};
use crate::status::{Result, Status};

pub struct Table<T> {
    kind: u64,
    what: &'static str,
    next: u64,
    live: BTreeMap<u64, T>,
}

impl<T> Table<T> {
    /// `kind` is a small number of its own.
    pub fn new(kind: u64, what: &'static str) -> Table<T> {
        Table { kind, what, next: 1, live: BTreeMap::new() }
    }

    pub fn insert(&mut self, value: T) -> u64 {
        let handle = self.kind << 40 | self.next << 4;
        self.next += 1;
        self.live.insert(handle, value);
        handle
    }

    pub fn has(&self, handle: u64) -> bool {
        self.live.contains_key(&handle)
    }

    /// Whether a handle is one of these, or was.
    pub fn made(&self, handle: u64) -> bool {
        handle >> 40 == self.kind
    }

    /// What a handle stands for; where nothing does, that is reported.
    pub fn get(&self, handle: u64, name: &'static str) -> Result<&T> {
        self.live.get(&handle).ok_or_else(|| self.unknown(handle, name))
    }

    pub fn get_mut(&mut self, handle: u64, name: &'static str) -> Result<&mut T> {
        if self.has(handle) {
            return self.live.get_mut(&handle).ok_or(Status::CUDA_ERROR_INVALID_HANDLE);
        }
        Err(self.unknown(handle, name))
    }

    pub fn remove(&mut self, handle: u64, name: &'static str) -> Result<T> {
        match self.live.remove(&handle) {
            Some(value) => Ok(value),
            None => Err(self.unknown(handle, name)),
        }
    }

    fn unknown(&self, handle: u64, name: &'static str) -> Status {
        let what = self.what;
        let text = if handle == 0 {
            format!("{name}: a {what} is wanted and a null handle was given")
        } else if self.made(handle) && (handle >> 4) & 0xf_ffff_ffff < self.next {
            format!("{name}: the {what} {handle:#x} was destroyed before")
        } else {
            format!("{name}: {handle:#x} is no {what}")
        };
        found(&text, &[&Call::here(name)]);
        Status::CUDA_ERROR_INVALID_HANDLE
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.live.iter().map(|(handle, value)| (*handle, value))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut T)> {
        self.live.iter_mut().map(|(handle, value)| (*handle, value))
    }

    /// Takes out all that `gone` says.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.live.retain(|_, value| keep(value));
    }
}
