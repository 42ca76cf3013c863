//! Tells the linker where libtorch lies, so that the binaries start without `LD_LIBRARY_PATH`, and compiles what calls
//! libtorch's dispatcher.

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
    shim(lib);
}

/// As torch-sys compiles its own: the same headers, standard and ABI.
fn shim(lib: &Path) {
    const SOURCE: &str = "src/nn/program/shim.cpp";
    println!("cargo:rerun-if-changed={SOURCE}");
    let variable = |name: &str| {
        println!("cargo:rerun-if-env-changed={name}");
        std::env::var(name).ok()
    };
    let root = variable("LIBTORCH_INCLUDE").map_or(lib.join(".."), Into::into);
    let abi = variable("LIBTORCH_CXX11_ABI").unwrap_or("1".into());
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .include(root.join("include"))
        .include(root.join("include/torch/csrc/api/include"))
        .define("_GLIBCXX_USE_CXX11_ABI", &*abi)
        .file(SOURCE)
        .compile("swa_shim");
}
