//! Colours. Bands go from dark to light in even steps of lightness, so that their order is seen in grey and by eyes
//! that tell few hues apart.

/// Light to dark blue over green: ends and middle in OKLab (Ottosson 2020), where equal steps look equal.
/// Lightness falls evenly from one to the other.
const ENDS: [[f64; 3]; 4] = [
    // lightness, green to red, blue to yellow
    [0.33, 0.020, -0.130],
    [0.545, -0.055, -0.085],
    [0.76, -0.105, 0.055],
    [0.975, -0.020, 0.085],
];

/// The colour at a place from 0, dark, to 1, light.
pub(super) fn band(place: f64) -> String {
    let steps = (ENDS.len() - 1) as f64;
    let place = place.clamp(0.0, 1.0) * steps;
    let first = (place.floor() as usize).min(ENDS.len() - 2);
    let t = place - first as f64;
    let mix = |i: usize| ENDS[first][i] * (1.0 - t) + ENDS[first + 1][i] * t;
    rgb([mix(0), mix(1), mix(2)])
}

/// From OKLab to sRGB, as `#rrggbb`.
fn rgb([l, a, b]: [f64; 3]) -> String {
    let cube = |x: f64| x * x * x;
    let long = cube(l + 0.3963377774 * a + 0.2158037573 * b);
    let middle = cube(l - 0.1055613458 * a - 0.0638541728 * b);
    let short = cube(l - 0.0894841775 * a - 1.2914855480 * b);
    let linear = [
        4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    ];
    let byte = |x: f64| {
        let x = x.clamp(0.0, 1.0);
        let encoded = if x <= 0.0031308 { 12.92 * x } else { 1.055 * x.powf(1.0 / 2.4) - 0.055 };
        (255.0 * encoded).round() as u8
    };
    let [r, g, b] = linear.map(byte);
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Colours of things that have no order, told apart by most eyes (Okabe & Ito 2008), the palest left out.
const SERIES: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#7f6a00"];

/// The colour of the thing of this number.
pub(crate) fn series(number: usize) -> &'static str {
    SERIES[number % SERIES.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_colours_come_out() {
        assert_eq!(rgb([1.0, 0.0, 0.0]), "#ffffff");
        assert_eq!(rgb([0.0, 0.0, 0.0]), "#000000");
        // Pure red, from the publication of OKLab.
        assert_eq!(rgb([0.62796, 0.22486, 0.12585]), "#ff0000");
    }

    #[test]
    fn every_band_is_lighter_than_the_one_before() {
        let grey = |colour: &str| {
            let part = |i: usize| u8::from_str_radix(&colour[i..i + 2], 16).unwrap() as f64;
            0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
        };
        let all: Vec<f64> = (0..=7).map(|k| grey(&band(k as f64 / 7.0))).collect();
        assert!(all.windows(2).all(|pair| pair[1] > pair[0] + 12.0), "{all:?}");
    }
}
