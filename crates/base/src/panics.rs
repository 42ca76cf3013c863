//! No panic reaches a user as a stack trace: one that is expected (a decoder on a corrupt file) is
//! caught in silence, any other is one line.

use std::cell::Cell;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f`; None if it panicked. The hook of [`in_one_line`] says nothing of it.
pub fn catch<T>(f: impl FnOnce() -> T) -> Option<T> {
    let before = CAUGHT.replace(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    CAUGHT.set(before);
    result.ok()
}

/// A line on stderr. Where it cannot be written (`eprintln!` would panic), nobody is there to read it.
pub fn stderr_line(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Makes panics print one line on stderr. For binaries, once at start.
pub fn in_one_line() {
    std::panic::set_hook(Box::new(|info| {
        if !CAUGHT.get() {
            let text = info.to_string().replace('\n', " ");
            stderr_line(&format!("error: internal: {text}; please report this"));
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_none_and_ends_with_its_call() {
        assert_eq!(catch(|| -> i32 { panic!("corrupt") }), None);
        assert_eq!(catch(|| 3), Some(3));
        assert!(!CAUGHT.get());
    }
}
