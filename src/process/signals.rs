//! What a command does when it is told to end: it leaves no temporary file behind.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, MutexGuard};

use super::temporary::TEMPORARY;

/// Held while a file gets its name, and by the thread that ends the process on a signal: so no file
/// appears after "interrupted".
static NAMING: Mutex<()> = Mutex::new(());

pub(crate) fn naming() -> MutexGuard<'static, ()> {
    NAMING.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

type Act = Box<dyn FnOnce() + Send>;

/// What is to be saved before the process ends.
static BEFORE: Mutex<Option<Act>> = Mutex::new(None);

/// Has `act` run, by the thread that ends the process on a signal, before anything is removed. A later call
/// replaces it.
pub fn before_dying(act: impl FnOnce() + Send + 'static) {
    *BEFORE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(Box::new(act));
}

/// What the first signal does in place of ending the process.
static FIRST: Mutex<Option<Act>> = Mutex::new(None);

/// Has the first signal run `act`, by the thread that waits for signals, and not end the process. The next one does.
pub fn at_first_signal(act: impl FnOnce() + Send + 'static) {
    *FIRST.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(Box::new(act));
}

/// On SIGINT, SIGTERM or SIGHUP: runs what [`before_dying`] was given, removes the temporary files, then dies by
/// the same signal. Signals that the parent chose to ignore, as nohup does, stay ignored. Exceeding the file size
/// limit becomes an error of the write instead of a signal. For binaries, once at start: a program that uses the
/// library has handlers of its own.
///
/// # Errors
/// What the system reports when it refuses a handler or the thread that waits for signals.
pub fn remove_temporary_files_on_signals() -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
    signal_hook::flag::register(SIGXFSZ, std::sync::Arc::new(false.into()))?;
    let ignored = ignored_signals();
    let watched = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|s| ignored >> (s - 1) & 1 == 0);
    let mut signals = signal_hook::iterator::Signals::new(watched)?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            let first = FIRST.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
            if let Some(act) = first {
                act();
                continue;
            }
            let act = BEFORE.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
            act.into_iter().for_each(|act| act());
            let _naming = naming();
            let name = |path: &CString| OsStr::from_bytes(path.to_bytes()).to_os_string();
            TEMPORARY.each(|path| drop(std::fs::remove_file(name(path))));
            TEMPORARY.each(|path| drop(std::fs::remove_dir(name(path)))); // folders, empty now
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    })?;
    Ok(())
}

/// The signals this process was started to ignore: bit n − 1 for signal n.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
