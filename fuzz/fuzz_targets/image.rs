//! Images of any format. Whether the pixels are Pillow's, images.py finds out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use swa_data::decode;

fuzz_target!(|bytes: &[u8]| {
    match decode::decode(bytes) {
        Ok(image) => {
            let pixels = image.width * image.height;
            assert_eq!((image.channels, image.pixels.len()), (3, pixels * 3));
        }
        Err(error) => assert!(matches!(error.kind().exit_code(), 3 | 6), "{error}"),
    }
});
