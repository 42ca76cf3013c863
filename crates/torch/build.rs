//! Tells the linker where libtorch lies, so that the binaries start without `LD_LIBRARY_PATH`.

use std::path::Path;

/// What tch 0.24 binds.
const LIBTORCH: &str = "2.11.";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Set by torch-sys (`links = "tch"`), hence only with the feature `torch`.
    let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") else { return };
    let lib = Path::new(&lib);
    let header = lib.with_file_name("include/torch/headeronly/version.h");
    let text = std::fs::read_to_string(header).unwrap_or_default().replace("\\\n", "");
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix("#define TORCH_VERSION ")?.trim().strip_prefix('"'))
        .map(|version| version.trim_end_matches('"'));
    assert!(
        found.is_none_or(|version| version.starts_with(LIBTORCH)),
        "libtorch {} in {}: {LIBTORCH}x is needed (`make setup` provides it)",
        found.unwrap_or_default(),
        lib.display(),
    );
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
}
