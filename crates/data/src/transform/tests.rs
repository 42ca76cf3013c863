use super::*;
use crate::Preset;
use swa_base::Kind;

fn transform(resize: Option<usize>, crop: Option<usize>) -> Transform {
    Transform { resize, crop, ..Preset::named("none").unwrap().transform(1).unwrap() }
}

/// Each pixel tells its column.
fn ramp(width: usize, height: usize) -> Image {
    let pixels = (0..height).flat_map(|_| (1..=width).map(|x| x as u8)).collect();
    Image { width, height, channels: 1, pixels }
}

#[test]
fn the_short_side_is_resized_and_the_long_side_truncated() {
    let sizes = |short, width, height| transform(Some(short), None).resized(width, height).unwrap();
    assert_eq!(sizes(256, 500, 375), (341, 256));
    assert_eq!(sizes(256, 375, 500), (256, 341));
    assert_eq!(sizes(256, 256, 300), (256, 300));
    assert_eq!(sizes(256, 1, 1), (256, 256));
    assert_eq!(sizes(1, 2, 7), (1, 3));
}

#[test]
fn the_crop_is_rounded_half_to_even() {
    // Excess 1, 3, 5, 7 of a crop of 2: offsets 0.5, 1.5, 2.5, 3.5.
    for (width, first) in [(3, 1), (5, 3), (7, 3), (9, 5), (4, 2), (2, 1)] {
        let cut = transform(None, Some(2)).apply(ramp(width, 2), 0).unwrap();
        assert_eq!(cut.pixels[0], first, "{width}");
    }
}

#[test]
fn a_small_image_is_padded_the_odd_zero_after_it() {
    let cut = transform(None, Some(4)).apply(ramp(1, 7), 0).unwrap();
    assert_eq!((cut.width, cut.height), (4, 4));
    assert_eq!(cut.pixels, [0, 1, 0, 0].repeat(4));
    let cut = transform(None, Some(3)).apply(ramp(1, 1), 0).unwrap();
    assert_eq!(cut.pixels, [0, 0, 0, 0, 1, 0, 0, 0, 0]);
}

#[test]
fn a_resize_bomb_is_refused() {
    let error = transform(Some(256), Some(224)).apply(ramp(1, 3_000_000), 0).unwrap_err();
    assert_eq!(error.kind(), Kind::Limit);
    let text = "1x3000000 pixels resized to a short side of 256 are above 178956970 pixels";
    assert_eq!(error.to_string(), text);
}

#[test]
fn settings_are_written_in_a_fixed_order() {
    let preset = Preset::named("imagenet").unwrap().transform(3).unwrap();
    let text = serde_json::to_string(&preset).unwrap();
    assert_eq!(
        text,
        r#"{"resize":256,"crop":224,"interpolation":"bilinear","mean":[0.485,0.456,0.406],"std":[0.229,0.224,0.225],"channels":3}"#
    );
    assert_eq!(serde_json::from_str::<Transform>(&text).unwrap(), preset);
    let none = serde_json::to_string(&transform(None, None)).unwrap();
    assert!(none.starts_with(r#"{"resize":null,"crop":null,"#), "{none}");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let good = Preset::named("imagenet").unwrap().transform(3).unwrap();
    let refused = |change: &dyn Fn(&mut Transform)| {
        let mut bad = good.clone();
        change(&mut bad);
        let error = bad.validate().unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        error.to_string()
    };
    assert_eq!(refused(&|t| t.channels = 4), "expected 1 or 3 channels, found 4");
    assert_eq!(refused(&|t| t.mean.truncate(1)), "`mean`: expected 3 values, found 1");
    assert_eq!(refused(&|t| t.std[1] = f32::NAN), "`std`: expected finite values, found NaN");
    let bytes = refused(&|t| t.mean = vec![123.675, 116.28, 103.53]);
    assert!(bytes.starts_with("`mean`: 123.675 is for pixels from 0 to 255"), "{bytes}");
    assert!(refused(&|t| t.std = vec![58.395, 57.12, 57.375]).starts_with("`std`: 58.395 is for"));
    let zero = refused(&|t| t.std[1] = 0.0);
    assert_eq!(zero, "`std`: expected values above 0, found [0.229, 0.0, 0.225]");
    assert_eq!(refused(&|t| t.crop = Some(0)), "`crop`: expected at least 1 pixel, found 0");
    assert!(refused(&|t| t.resize = Some(1 << 40)).contains("is above 178956970 pixels"));
}
