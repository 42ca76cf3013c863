use super::*;
use swa_base::Kind;

#[test]
fn other_formats_are_refused_by_name() {
    let cases: [(&[u8], &str); 5] = [
        (b"II+\0\x08\0\0\0", "a BigTIFF image, which is not read; convert it to PNG or JPEG"),
        (b"\0\0\0\x0cjP  ", "a JPEG 2000 image, which is not read; convert it to PNG or JPEG"),
        (b"", "the file is empty"),
        (
            b"version https://git-lfs.github.com/spec/v1",
            "a Git LFS pointer, not an image; run `git lfs pull`",
        ),
        (
            b"<!DO",
            "not an image: neither JPEG, PNG, WebP, BMP, GIF, TIFF nor Netpbm (it starts with 3c 21 44 4f)",
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(decode(bytes).unwrap_err().to_string(), expected);
    }
}

/// A PNG with nothing but a header.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    let mut crc = flate2::Crc::new();
    crc.update(&header);
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    png.extend(header);
    png.extend(crc.sum().to_be_bytes());
    png.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e\0\0\0\0IEND\xae\x42\x60\x82");
    png
}

#[test]
fn a_bomb_is_refused_before_it_costs_memory() {
    let error = decode(&png_header(1 << 20, 1 << 20)).unwrap_err();
    assert_eq!(error.kind(), Kind::Limit);
    assert_eq!(error.to_string(), "an image of 1048576x1048576 pixels, above 178956970");
    // The smallest baseline JPEG header, 65,000 pixels square.
    let mut jpeg = b"\xff\xd8\xff\xc0\0\x0b\x08".to_vec();
    jpeg.extend([65000u16.to_be_bytes(), 65000u16.to_be_bytes()].concat());
    jpeg.extend(b"\x01\x01\x11\0\xff\xda\0\x08\x01\x01\0\0\x3f\0\0\xff\xd9");
    let error = decode(&jpeg).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().contains("65000x65000")),
        (Kind::Limit, true),
        "{error}"
    );
}

#[test]
fn netpbm_headers_are_checked() {
    let refused = |bytes: &[u8]| decode(bytes).unwrap_err();
    let sixteen = refused(b"P5 2 1 65535\n1234");
    assert_eq!(
        sixteen.to_string(),
        "a Netpbm image with the maximum 65535, expected 1 to 255; convert it to PNG of 8 bits"
    );
    assert!(refused(b"P3 1 1 255\n1 2 3").to_string().starts_with("a PPM image written as text"));
    for bytes in [
        &b"P6 2"[..],
        b"P6 # 2 2 255",
        b"P6 x",
        b"P6 99999999999 1 255\n",
        b"P5 0 3 255\n",
        b"P5 1 1 0\n1",
    ] {
        assert_eq!(refused(bytes).kind(), Kind::BadImage, "{bytes:?}");
    }
    assert_eq!(refused(b"P6 999999999 999999999 255\n").kind(), Kind::Limit);
}

/// Bytes of fixtures, changed: Pillow 13 refuses each, as `fuzz/images.py` found.
#[test]
fn what_pillow_refuses_is_refused() {
    let pixels = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/pixels");
    let cases: [(&str, usize, &[u8]); 19] = [
        // A part that is longer than the file, a file that says to hold nothing, a frame that is not shown or too short.
        ("webp/lossy-5.webp", 18, &[0x9d]),
        ("webp/1x1.webp", 4, &[1]),
        ("webp/1x1.webp", 4, &[0]),
        ("webp/photo.webp", 19, &[0x10]),
        ("webp/1x1.webp", 20, &[0x80]),
        ("webp/lossy-5.webp", 20, &[0x5e]),
        // A marker that no JPEG has; lengths of headers; a symbol no difference has; a bad number of components.
        ("jpeg/rgb.jpg", 3, &[0x6e]),
        ("jpeg/422.jpg", 3, &[0xfb]),
        ("jpeg/restart-rows.jpg", 3, &[0xd8]),
        ("jpeg/sampled-440-5x3.jpg", 174, &[0xcc]),
        ("jpeg/3x200.jpg", 23, &[8]),
        ("jpeg/2x3.jpg", 213, &[0, 0]),
        ("jpeg/420.jpg", 199, &[0x40]),
        ("jpeg/1x1.jpg", 415, &[0xff]),
        ("jpeg/rgb.jpg", 90, &[0xc8]),
        // Sums behind data, and a table of codes that does not begin empty.
        ("tiff/grey-16-little-deflate.tif", 163, &[0x80]),
        ("tiff/grey-16-big-deflate.tif", 54, &[0]),
        ("tiff/palette-4-lzw.tif", 8, &[0x58]),
        ("tiff/rgb-lzw-tiles.tif", 8, &[1]),
    ];
    for (name, at, change) in cases {
        let mut bytes = std::fs::read(pixels.join(name)).unwrap();
        decode(&bytes).unwrap();
        bytes[at..at + change.len()].copy_from_slice(change);
        let error = decode(&bytes).err().unwrap_or_else(|| panic!("{name}: {at} {change:x?}"));
        assert_eq!(error.kind(), Kind::BadImage, "{name}: {at} {change:x?}: {error}");
    }
}

#[test]
fn an_image_of_no_pixels_is_refused() {
    assert_eq!(decode(&png_header(0, 4)).unwrap_err().kind(), Kind::BadImage);
    assert_eq!(decode(&png_header(4, 4)).unwrap_err().kind(), Kind::BadImage);
}

#[test]
fn a_panic_in_a_decoder_is_an_input_error() {
    let error = guarded(|| panic!("a bug in a decoder")).unwrap_err();
    assert_eq!(error.kind(), Kind::BadImage);
}

#[test]
fn grey_is_repeated_and_luma_is_pillows() {
    let grey = Image { width: 2, height: 1, channels: 1, pixels: vec![3, 250] };
    assert_eq!(to_channels(grey.clone(), 1), grey);
    let rgb = to_channels(grey.clone(), 3);
    assert_eq!(rgb.pixels, [3, 3, 3, 250, 250, 250]);
    assert_eq!(to_channels(rgb, 1), grey);
    // Pillow: Image.new("RGB", (1, 1), colour).convert("L")
    for (colour, expected) in
        [([255, 0, 0], 76), ([0, 255, 0], 150), ([0, 0, 255], 29), ([1, 2, 3], 2)]
    {
        assert_eq!(luma(&colour), expected);
    }
}

#[test]
fn a_png_whose_pixels_have_a_wrong_sum_is_refused() {
    let samples = [0, 10, 20, 30, 0, 40, 50, 60];
    let png = |wrong: bool| {
        let mut encoder = flate2::write::ZlibEncoder::new(vec![], flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &samples).unwrap();
        let mut data = encoder.finish().unwrap();
        if wrong {
            *data.last_mut().unwrap() ^= 1;
        }
        let mut header = 1u32.to_be_bytes().to_vec();
        header.extend(2u32.to_be_bytes());
        header.extend([8, 2, 0, 0, 0]);
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        for (kind, data) in [(b"IHDR", &header), (b"IDAT", &data), (b"IEND", &vec![])] {
            png.extend((data.len() as u32).to_be_bytes());
            let chunk = [&kind[..], data].concat();
            let mut crc = flate2::Crc::new();
            crc.update(&chunk);
            png.extend(&chunk);
            png.extend(crc.sum().to_be_bytes());
        }
        png
    };
    assert_eq!(decode(&png(false)).unwrap().pixels, [10, 20, 30, 40, 50, 60]);
    let error = decode(&png(true)).unwrap_err();
    assert_eq!(error.kind(), Kind::BadImage);
    assert!(error.to_string().starts_with("corrupt PNG: "), "{error}");
}
