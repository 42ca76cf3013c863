//! `make setup` chooses a libtorch, names a wrong one, and can be run again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A checkout with nothing but the script, and a PATH with a python3 of our own.
struct Checkout(tempfile::TempDir);

impl Checkout {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("scripts")).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/setup-libtorch.sh");
        fs::copy(script, dir.path().join("scripts/setup-libtorch.sh")).unwrap();
        let checkout = Checkout(dir);
        checkout.python("exit 1");
        checkout
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn python(&self, script: &str) {
        let bin = self.path("bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("python3"), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(bin.join("python3"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A folder that looks like a libtorch of some version.
    fn libtorch(&self, name: &str, version: &str) -> PathBuf {
        let folder = self.path(name);
        let header = folder.join("include/torch/headeronly/version.h");
        fs::create_dir_all(header.parent().unwrap()).unwrap();
        fs::write(header, format!("#define TORCH_VERSION \\\n  \"{version}\"\n")).unwrap();
        fs::create_dir_all(folder.join("lib")).unwrap();
        fs::write(folder.join("lib/libtorch_cpu.so"), "").unwrap();
        folder
    }

    fn setup(&self, libtorch: Option<&Path>) -> Output {
        let mut command = Command::new("sh");
        command.arg(self.path("scripts/setup-libtorch.sh")).env_remove("LIBTORCH");
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.path("bin").display()));
        if let Some(folder) = libtorch {
            command.env("LIBTORCH", folder);
        }
        command.output().unwrap()
    }

    fn linked(&self) -> Option<PathBuf> {
        fs::read_link(self.path("target/libtorch/torch")).ok()
    }
}

fn refused(output: Output, parts: &[&str]) {
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
}

#[test]
fn the_user_s_libtorch_comes_first() {
    let checkout = Checkout::new();
    let own = checkout.libtorch("own", "2.11.0");
    for _ in 0..2 {
        let output = checkout.setup(Some(&own));
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains("libtorch 2.11.0 in"));
        assert_eq!(checkout.linked(), Some(own.canonicalize().unwrap()));
    }
    // Without the variable, what is in place stays.
    let output = checkout.setup(None);
    assert!(String::from_utf8(output.stdout).unwrap().contains("2.11.0 is in place"));
}

#[test]
fn a_wrong_libtorch_is_named_with_what_is_needed() {
    let checkout = Checkout::new();
    let old = checkout.libtorch("old", "2.10.1");
    refused(
        checkout.setup(Some(&old)),
        &["LIBTORCH is ", "/old", "libtorch 2.10.1", "2.11 is needed"],
    );
    fs::create_dir(checkout.path("empty")).unwrap();
    refused(checkout.setup(Some(&checkout.path("empty"))), &["/empty", "holds no libtorch"]);
    refused(checkout.setup(Some(&checkout.path("absent"))), &["/absent", "not a folder"]);
    assert_eq!(checkout.linked(), None);
}

#[test]
fn python_s_pytorch_comes_second() {
    let checkout = Checkout::new();
    let theirs = checkout.libtorch("theirs", "2.11.0");
    checkout.python(&format!("echo {}", theirs.display()));
    assert!(checkout.setup(None).status.success());
    assert_eq!(checkout.linked(), Some(theirs.canonicalize().unwrap()));
}

#[test]
fn without_a_network_there_is_a_clear_error_and_nothing_is_left() {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return; // nothing to fetch elsewhere
    }
    let checkout = Checkout::new();
    let theirs = checkout.libtorch("theirs", "2.12.0");
    // Has pip and another PyTorch; the download fails.
    checkout.python(&format!(
        "case \"$*\" in *download*) exit 1 ;; *find_spec*) echo {} ;; esac",
        theirs.display()
    ));
    let output = checkout.setup(None);
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(said.contains("python3 has PyTorch 2.12.0"), "{said}");
    refused(output, &["pip could not fetch torch 2.11.0", "set LIBTORCH"]);
    let left: Vec<_> = fs::read_dir(checkout.path("target/libtorch")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}
