//! docs/integrations.md: its loop in plain PyTorch, run as it stands. `make test-integrations` runs the other trainers.

use std::process::Command;

use swa_testing::{binary, root};

#[test]
fn the_pytorch_loop_of_the_page_gives_what_pytorch_averages() {
    let python = std::env::var("PYTHON").unwrap_or("python3".into());
    let found = Command::new(&python).args(["-c", "import torch, torchvision"]).output();
    if !found.is_ok_and(|output| output.status.success()) {
        // `make test-integrations` must run it; the bare machine of `make test` may have no torch in its Python.
        eprintln!("skipped: needs a python3 with torch and torchvision (or PYTHON)");
        return;
    }
    let tools = ["swa-avg", "swa-bn-update", "swa-eval"].map(binary);
    let output = Command::new(python)
        .arg("-B")
        .arg(root().join("tests/integrations/test_pytorch.py"))
        .env("SWA_TOOLS_BIN", tools[0].parent().unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
