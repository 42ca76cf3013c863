//! The document, and text in it.

use std::fmt;

use swa_base::text::printable;

/// The beginning of a document of this size in pixels, with a white background. It ends with `</svg>`.
pub(crate) fn begin(width: f64, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\" \
         fill=\"#222222\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    )
}

/// As the document's text.
pub(crate) fn escaped(text: &str) -> String {
    printable(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The end of a title, of so many characters at most: models of one run differ there.
pub(crate) fn shortened(title: &str, most: usize) -> String {
    let surplus = title.chars().count().saturating_sub(most);
    if surplus == 0 {
        return title.to_string();
    }
    format!("…{}", title.chars().skip(surplus + 1).collect::<String>())
}

/// A coordinate, to a tenth of a pixel.
#[derive(Clone, Copy)]
pub(super) struct Px(pub f64);

impl fmt::Display for Px {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 * 10.0).round();
        match tenths % 10.0 == 0.0 {
            // Without "-0".
            true => write!(f, "{}", (tenths / 10.0) as i64),
            false => write!(f, "{:.1}", tenths / 10.0),
        }
    }
}

/// A line through the points as the `d` of a path.
pub(super) fn path(points: &[[f64; 2]]) -> String {
    let mut d = String::new();
    for (i, [x, y]) in points.iter().enumerate() {
        d += &format!("{}{} {}", if i == 0 { "M" } else { "L" }, Px(*x), Px(*y));
    }
    d
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_short() {
        let text = |x| Px(x).to_string();
        assert_eq!(
            ["12", "12.3", "-0.5", "0", "0"],
            [text(12.04), text(12.26), text(-0.46), text(-0.01), text(0.0)]
        );
        assert_eq!(path(&[[0.0, 1.5], [2.0, 3.0]]), "M0 1.5L2 3");
    }

    #[test]
    fn long_titles_keep_their_end() {
        let long = format!("{}/the-end.safetensors", "x".repeat(100));
        assert_eq!(shortened(&long, 32).chars().count(), 32);
        assert!(shortened(&long, 32).ends_with("/the-end.safetensors"));
        assert_eq!(shortened("short", 32), "short");
    }
}
