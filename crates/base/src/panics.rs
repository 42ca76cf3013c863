//! No panic reaches a user as a stack trace. An expected one (a decoder on a corrupt file) is caught silently;
//! any other is reported in one line.

use std::cell::Cell;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f`; None if it panicked. The hook of [`in_one_line`] does not report such a panic.
pub fn catch<T>(f: impl FnOnce() -> T) -> Option<T> {
    let before = CAUGHT.replace(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    CAUGHT.set(before);
    result.ok()
}

/// Prints a line on stderr. A failure is ignored (`eprintln!` would panic): nobody can read the line.
pub fn stderr_line(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Makes panics print one line on stderr. Binaries call it once, at the start.
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
