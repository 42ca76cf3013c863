//! What happens when another process truncates a mapped input: the next touch of a page that is gone
//! raises SIGBUS, whose default is to die without a word.
//!
//! [`install`] answers it with one line that names the file, removes the temporary files and leaves
//! with the exit code for "an input changed". Nothing is unwound: there is no value to go on with. For
//! binaries; a library's user who does not call it gets the default, and the old output stays in place
//! either way.
//!
//! A handler may only read memory that is always valid and make system calls. It finds the mappings
//! and the temporary files in lists that only grow, whose entries are never freed.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Kind;
use crate::text::printable;

/// A list that a signal handler may read while a thread adds to it.
pub struct List<T: 'static> {
    first: OnceLock<&'static Entry<T>>,
}

/// Part of the list until [`Entry::remove`].
#[derive(Debug)]
pub struct Entry<T: 'static> {
    value: T,
    alive: AtomicBool,
    next: OnceLock<&'static Entry<T>>,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> List<T> {
    pub const fn new() -> Self {
        List { first: OnceLock::new() }
    }

    /// Appends. The entry is never freed.
    pub fn push(&self, value: T) -> &'static Entry<T> {
        let entry = Entry { value, alive: AtomicBool::new(true), next: OnceLock::new() };
        let entry: &'static Entry<T> = Box::leak(Box::new(entry));
        let mut end = &self.first;
        while end.set(entry).is_err() {
            end = &end.get().expect("it is set").next;
        }
        entry
    }

    pub fn iter(&self) -> impl Iterator<Item = &'static T> {
        let next = |entry: &&'static Entry<T>| entry.next.get().copied();
        std::iter::successors(self.first.get().copied(), next)
            .filter(|entry| entry.alive.load(Ordering::Acquire))
            .map(|entry| &entry.value)
    }
}

impl<T> Entry<T> {
    pub fn remove(&self) {
        self.alive.store(false, Ordering::Release);
    }

    pub fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }
}

/// A mapped file, as the handler needs it.
#[derive(Debug)]
pub struct Mapping {
    addresses: std::ops::Range<usize>,
    path: CString,
    size: u64,
    /// "error: `file`: ".
    head: String,
    /// "shrank from N to ".
    shrank: String,
}

static MAPPINGS: List<Mapping> = List::new();

/// Paths of the temporary files to remove.
pub static TEMPORARY: List<CString> = List::new();

/// A path for system calls; None if it holds a zero byte, which no open path does.
pub fn c_path(path: &Path) -> Option<CString> {
    CString::new(path.as_os_str().as_bytes()).ok()
}

/// Makes a mapping known to the handler, until the entry is removed.
pub fn watch(path: &Path, bytes: &[u8]) -> Option<&'static Entry<Mapping>> {
    let start = bytes.as_ptr() as usize;
    let shown = printable(&path.to_string_lossy());
    let size = bytes.len() as u64;
    Some(MAPPINGS.push(Mapping {
        addresses: start..start + bytes.len().next_multiple_of(1 << 16),
        path: c_path(path)?,
        size,
        head: format!("error: `{shown}`: "),
        shrank: format!("shrank from {size} to "),
    }))
}

/// Installs the handler for this process.
pub fn install() -> io::Result<()> {
    // SAFETY: the structure is plain data for which zeroes are valid; the handler has the signature
    // that SA_SIGINFO asks for and does only what a handler may.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        if libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

static LEAVING: AtomicBool = AtomicBool::new(false);

extern "C" fn handle(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo_t, whose address is set for SIGBUS; everything else
    // is system calls on memory that is never freed.
    unsafe {
        let address = (*info).si_addr() as usize;
        let Some(mapping) = MAPPINGS.iter().find(|m| m.addresses.contains(&address)) else {
            // Not ours: the access repeats, and the default applies.
            libc::signal(libc::SIGBUS, libc::SIG_DFL);
            return;
        };
        if LEAVING.swap(true, Ordering::AcqRel) {
            loop {
                libc::pause(); // another thread is on its way out with the same message
            }
        }
        for path in TEMPORARY.iter() {
            libc::unlink(path.as_ptr());
        }
        for path in TEMPORARY.iter() {
            libc::rmdir(path.as_ptr()); // folders, empty now
        }
        let mut stat: libc::stat = std::mem::zeroed();
        let size = match libc::stat(mapping.path.as_ptr(), &mut stat) {
            0 => stat.st_size as u64,
            _ => 0,
        };
        let say = |part: &[u8]| libc::write(2, part.as_ptr().cast(), part.len());
        say(mapping.head.as_bytes());
        if size < mapping.size {
            say(mapping.shrank.as_bytes());
            say(decimal(size, &mut [0; 20]));
            say(b" bytes while it was read; run again when nothing writes to it\n");
            libc::_exit(Kind::Changed.exit_code().into());
        }
        say(b"cannot read it: the device reports an error\n");
        libc::_exit(Kind::Io.exit_code().into());
    }
}

/// Digits without an allocation.
fn decimal(mut n: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return &buffer[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_decimal() {
        for n in [0, 7, 10, 4096, u64::MAX] {
            assert_eq!(decimal(n, &mut [0; 20]), n.to_string().as_bytes());
        }
    }

    #[test]
    fn a_list_shows_what_was_added_and_not_removed() {
        let list: &'static List<i32> = Box::leak(Box::new(List::new()));
        let entries = [1, 2, 3].map(|n| list.push(n));
        entries[1].remove();
        assert_eq!(list.iter().copied().collect::<Vec<_>>(), [1, 3]);
        assert!(entries[0].is_alive() && !entries[1].is_alive());
    }
}
