//! Class maps and lists of classes, for a data set of three classes.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use swa_base::Error;
use swa_data::{ClassMap, Options};
use swa_tools_fuzz::files::write;
use swa_tools_fuzz::folder;
use swa_tools_fuzz::measure::bounded;

static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = folder();
    for name in ["cat", "dog", "n01440764"] {
        std::fs::create_dir_all(dir.join("classes").join(name)).unwrap();
        write(&dir.join("classes").join(name), "1.png", b"");
    }
    std::fs::create_dir_all(dir.join("flat")).unwrap();
    write(&dir.join("flat"), "1.png", b"");
    write(&dir.join("flat"), "2.png", b"");
    write(&dir.join("flat"), "labels.csv", b"1.png,dog\n2.png,cat\n");
    dir
});

fuzz_target!(|bytes: &[u8]| {
    let path = write(&DIR, "map", bytes);
    let data = Options::default().open(&DIR.join("classes")).unwrap();
    match bounded(bytes.len(), || ClassMap::read(&path, data.as_ref())) {
        Ok(map) => {
            assert_eq!(map.outputs().len() + map.left_out(), 3);
            if let Err(error) = map.check(10, &path) {
                refused(&error);
            }
        }
        Err(error) => refused(&error),
    }
    let options = Options { classes: Some(path), ..Options::default() };
    match bounded(bytes.len(), || options.open(&DIR.join("flat"))) {
        Ok(set) => assert_eq!(set.len(), 2),
        Err(error) => refused(&error),
    }
});

/// What is wrong with a file, or a limit; never an I/O error.
fn refused(error: &Error) {
    assert!(matches!(error.kind().exit_code(), 2 | 3 | 6), "{error}");
    assert!(error.to_string().len() < 1 << 16);
}
