//! What happens when another process truncates a mapped input: the next access to a page that is gone raises
//! SIGBUS, which kills the process without a message by default.
//!
//! [`install`] answers it with one line that names the file, removes the temporary files and exits with the code
//! for "an input changed". Nothing is unwound: the interrupted read has no value to return. For binaries; a
//! library's user who does not call it gets the default, and the old output stays in place either way.
//!
//! A handler may only read memory that is always valid and make system calls, which [`List`] allows for.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::list::{List, Listed};
use super::temporary::{TEMPORARY, c_path};
use crate::Kind;
use crate::text::printable;

/// A mapped file, as the handler needs it.
struct Mapping {
    addresses: Range<usize>,
    path: CString,
    size: u64,
    /// "error: `file`: ".
    head: String,
    /// "shrank from N to ".
    shrank: String,
}

static MAPPINGS: List<Mapping> = List::new();

/// Has the handler name a file if reading its mapping fails.
#[derive(Debug)]
pub(crate) struct Watched {
    _listed: Listed<Mapping>,
}

/// Makes a mapping known to the handler. The value must be dropped before the mapping is.
pub(crate) fn watch(path: &Path, bytes: &[u8]) -> Option<Watched> {
    let shown = printable(&path.to_string_lossy());
    let size = bytes.len() as u64;
    let mapping = Mapping {
        addresses: addresses(bytes),
        path: c_path(path)?,
        size,
        head: format!("error: `{shown}`: "),
        shrank: format!("shrank from {size} to "),
    };
    Some(Watched { _listed: MAPPINGS.push(mapping) })
}

/// Where a fault concerns this mapping: its bytes and not one more, since the next page may be another file's.
/// Nothing reads past the last byte, and an address that a kernel rounds down is still in here.
fn addresses(bytes: &[u8]) -> Range<usize> {
    let start = bytes.as_ptr() as usize;
    start..start + bytes.len()
}

/// Installs the handler for this process.
///
/// # Errors
/// What sigaction(2) reports.
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
    // SAFETY: the kernel passes a valid siginfo_t, whose address is set for SIGBUS.
    let address = unsafe { (*info).si_addr() as usize };
    MAPPINGS.each(|mapping| {
        if mapping.addresses.contains(&address) {
            leave(mapping);
        }
    });
    // Not one of ours: the access repeats, and the default applies.
    // SAFETY: a plain system call.
    unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
}

/// Says what happened to a file and ends the process.
fn leave(mapping: &Mapping) -> ! {
    if LEAVING.swap(true, Ordering::AcqRel) {
        loop {
            // SAFETY: a plain system call.
            unsafe { libc::pause() }; // another thread is about to exit with the same message
        }
    }
    // SAFETY: system calls on memory that is valid: the list's values are borrowed, the rest lies on the stack.
    unsafe {
        TEMPORARY.each(|path| {
            libc::unlink(path.as_ptr());
        });
        TEMPORARY.each(|path| {
            libc::rmdir(path.as_ptr()); // folders, empty now
        });
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
    fn a_fault_in_the_next_page_is_not_blamed_on_this_file() {
        let memory = [0u8; 8192];
        let (file, next) = memory.split_at(4000);
        assert!(addresses(file).contains(&(&raw const file[3999] as usize)));
        assert!(!addresses(file).contains(&(next.as_ptr() as usize)));
    }
}
