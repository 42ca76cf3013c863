//! Label files, with a list of classes or without: any text, or none, beside six images. The first byte says how it is read.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use swa_base::Error;
use swa_data::{LabelForm, Options};
use swa_tools_fuzz::files::write;
use swa_tools_fuzz::folder;
use swa_tools_fuzz::measure::bounded;

static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = folder();
    std::fs::create_dir_all(dir.join("set/x")).unwrap();
    for name in ["a.png", "b.png", "1.jpg", "x/2.jpg", "x/d e.png", "n01440764.webp"] {
        write(&dir.join("set"), name, b"");
    }
    dir
});

fuzz_target!(|bytes: &[u8]| {
    let Some((&form, text)) = bytes.split_first() else { return };
    // After a record separator comes a list of classes.
    let list = text.iter().position(|&byte| byte == 0x1e).filter(|_| form & 32 != 0);
    let (text, classes) = list.map_or((text, None), |at| (&text[..at], Some(&text[at + 1..])));
    let classes = classes.map(|list| write(&DIR, "classes", list));
    let labels = write(&DIR, "labels", text);
    let column = |n: u8| (form & n != 0).then(|| (form >> 6).to_string());
    let label_form = LabelForm {
        label: column(1).into_iter().collect(),
        image: column(2),
        first: (form & 4 != 0).then_some(u32::from(form >> 7)),
    };
    let options = Options { labels: Some(labels), label_form, classes, ..Options::default() };
    match bounded(bytes.len(), || options.open(&DIR.join("set"))) {
        Ok(set) => {
            assert!(set.len() <= 6);
            assert!((0..set.len()).all(|i| set.label(i) <= u32::MAX as usize && !set.name(i).is_empty()));
            assert!(!set.describe().contains('\n'));
        }
        Err(error) => refused(&error),
    }
});

/// What is wrong with a file, or a limit; never an I/O error.
fn refused(error: &Error) {
    assert!(matches!(error.kind().exit_code(), 2 | 3 | 6), "{error}");
    assert!(error.to_string().len() < 1 << 16);
}
