use super::*;

/// Pixels without a pattern.
fn noise(width: usize, height: usize, channels: usize) -> Image {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 24) as u8
    };
    let pixels = (0..width * height * channels).map(|_| next()).collect();
    Image { width, height, channels, pixels }
}

fn whole(width: usize, height: usize) -> Window {
    Window { left: 0, top: 0, width, height }
}

/// The resized image and then the window cut out of it.
fn resized_then_cut(
    image: &Image,
    width: usize,
    height: usize,
    window: Window,
    by: Interpolation,
) -> Vec<u8> {
    let all = resize(image.clone(), width, height, whole(width, height), by);
    let rows = all.pixels.chunks_exact(width * all.channels).skip(window.top).take(window.height);
    let columns = window.left * all.channels..(window.left + window.width) * all.channels;
    rows.flat_map(|row| row[columns.clone()].to_vec()).collect()
}

const BOTH: [Interpolation; 2] = [Interpolation::Bilinear, Interpolation::Bicubic];

#[test]
fn a_window_holds_the_bytes_of_the_whole() {
    for channels in [1, 3] {
        let image = noise(83, 61, channels);
        for (width, height) in [(40, 29), (83, 61), (83, 30), (40, 61), (170, 125), (7, 5), (80, 9)]
        {
            for by in BOTH {
                for window in [
                    Window { left: 0, top: 0, width: 1, height: 1 },
                    Window { left: width - 3, top: height - 2, width: 3, height: 2 },
                    Window {
                        left: width / 4,
                        top: height / 4,
                        width: width / 2,
                        height: height / 2,
                    },
                ] {
                    let expected = resized_then_cut(&image, width, height, window, by);
                    let found = resize(image.clone(), width, height, window, by);
                    assert_eq!(found.pixels, expected, "{width}x{height} {window:?} {by:?}");
                }
            }
        }
    }
}

#[test]
fn wide_registers_compute_the_same_bytes() {
    for channels in [1, 3] {
        // Few taps and many, an even number of rows and an odd one, one row, few pixels a row.
        for ((width, height), to) in [((90, 70), 41), ((90, 71), 9), ((7, 1), 40), ((1, 3), 2)] {
            let image = noise(width, height, channels);
            for (by, vertical_first) in BOTH.into_iter().zip([false, true]) {
                let columns = Some(Weights::new(width, to, 0, to, by));
                let rows = Some(Weights::new(height, 133, 0, 133, by));
                let axes = Axes { columns, rows, vertical_first };
                let window = whole(to, 133);
                let plain = passes(&image, window, &axes, horizontal);
                assert_eq!(run(&image, window, &axes), plain, "{width}x{height} {by:?}");
            }
        }
    }
}

#[test]
fn a_height_that_loses_more_comes_first() {
    // What Pillow 13 was seen to do, on both sides of the limit: from, to.
    let first = [((100, 161), (40, 40)), ((200, 301), (100, 100)), ((64, 65), (128, 64))];
    let second = [((100, 160), (40, 40)), ((200, 300), (100, 100)), ((9, 40), (15, 41))];
    let starts_so = |((from_width, from_height), (width, height))| {
        vertical_first(&noise(from_width, from_height, 1), width, height)
    };
    assert!(first.into_iter().all(starts_so) && !second.into_iter().any(starts_so));
}

#[test]
fn weights_sum_to_one_within_their_rounding() {
    for by in BOTH {
        for (from, to) in [(500, 256), (3, 256), (256, 3), (1, 1000), (1000, 1), (7, 7)] {
            for (_, weights) in Weights::new(from, to, 0, to, by).iter() {
                let sum: i64 = weights.iter().map(|&weight| i64::from(weight)).sum();
                assert!((sum - (1 << PRECISION_BITS)).unsigned_abs() <= weights.len() as u64);
                // No sum of 8-bit values leaves 32 bits.
                let most: i64 = weights.iter().map(|&weight| i64::from(weight).abs() * 255).sum();
                assert!(most + i64::from(HALF) <= i64::from(i32::MAX));
            }
        }
    }
}

#[test]
fn a_constant_stays_constant() {
    let image = Image { width: 9, height: 4, channels: 3, pixels: vec![201; 9 * 4 * 3] };
    for by in BOTH {
        let resized = resize(image.clone(), 31, 17, whole(31, 17), by);
        assert!(resized.pixels.iter().all(|&value| value == 201));
    }
}

#[test]
fn overshoot_is_clipped() {
    let pixels = [[0; 8], [255; 8]].concat();
    let image = Image { width: 16, height: 1, channels: 1, pixels };
    let resized = resize(image, 64, 1, whole(64, 1), Interpolation::Bicubic);
    assert!(resized.pixels.contains(&0) && resized.pixels.contains(&255));
    assert!(resized.pixels.is_sorted_by_key(|&value| value > 127));
}
