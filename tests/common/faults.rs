//! What tests need that make faults which only the system can.

use std::process::Command;

/// Whether sweeps leave nothing out.
pub fn long() -> bool {
    std::env::var_os("SWA_TESTS_LONG").is_some()
}

/// Whether a test has what it needs. If not, it says so, or fails where every test must run.
pub fn needs(found: bool, test: &str, what: &str) -> bool {
    if !found {
        let line = format!("skipped: {test} needs {what}");
        assert!(std::env::var_os("SWA_TESTS_MUST_RUN").is_none(), "{line}");
        eprintln!("{line}");
    }
    found
}

/// Not only installed: tracing can be forbidden, too.
pub fn needs_strace(test: &str) -> bool {
    let run = Command::new("strace").args(["-f", "-qq", "-o", "/dev/null", "true"]).output();
    needs(run.is_ok_and(|output| output.status.success()), test, "strace")
}
