//! A panel's axes, and curves in it.

use std::fmt::Write;

use super::scale::{Scale, ticks};
use super::svg::{Px, escaped, path};

/// The area of a panel that values lie in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub x: Scale,
    /// Its pixels go up.
    pub y: Scale,
}

/// What stands around it.
pub(super) struct Labels<'a> {
    pub title: &'a str,
    pub x: &'a str,
    pub y: &'a str,
}

/// How a curve is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stroke {
    pub colour: &'static str,
    /// In pixels.
    pub width: f64,
    /// From 0 to 1.
    pub opacity: f64,
    /// Lengths of dashes and of gaps; empty: none.
    pub dashes: &'static str,
}

impl Stroke {
    pub(super) fn attributes(&self) -> String {
        let Stroke { colour, width, opacity, dashes } = self;
        let mut text = format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"");
        if *opacity < 1.0 {
            text += &format!(" stroke-opacity=\"{opacity}\"");
        }
        if !dashes.is_empty() {
            text += &format!(" stroke-dasharray=\"{dashes}\"");
        }
        text + " stroke-linejoin=\"round\""
    }
}

/// Pixels between the names of an axis, at least.
const APART: [f64; 2] = [46.0, 32.0];

impl Frame {
    /// With its left upper corner here, of this size in pixels, for these ranges of values.
    pub fn new([left, top]: [f64; 2], [width, height]: [f64; 2], x: [f64; 2], y: [f64; 2]) -> Self {
        Frame {
            x: Scale { values: x, pixels: [left, left + width] },
            y: Scale { values: y, pixels: [top + height, top] },
        }
    }

    pub fn at(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        [self.x.at(x), self.y.at(y)]
    }

    fn left(&self) -> f64 {
        self.x.pixels[0]
    }

    fn right(&self) -> f64 {
        self.x.pixels[1]
    }

    fn top(&self) -> f64 {
        self.y.pixels[1]
    }

    fn bottom(&self) -> f64 {
        self.y.pixels[0]
    }

    /// Light lines at the values that the upright axis names.
    pub fn grid(&self, svg: &mut String) {
        for (y, _) in self.named_y() {
            let (y, left, right) = (Px(self.y.at(y)), Px(self.left()), Px(self.right()));
            let _ = writeln!(svg, "<path d=\"M{left} {y}H{right}\" stroke=\"#e6e6e6\"/>");
        }
    }

    fn named_x(&self) -> Vec<(f64, String)> {
        ticks(self.x.values, ((self.right() - self.left()) / APART[0]) as usize + 1)
    }

    fn named_y(&self) -> Vec<(f64, String)> {
        ticks(self.y.values, ((self.bottom() - self.top()) / APART[1]) as usize + 1)
    }

    /// The border and what stands around it.
    pub fn axes(&self, svg: &mut String, labels: &Labels) {
        let [left, right, top, bottom] = [self.left(), self.right(), self.top(), self.bottom()];
        for (value, text) in self.named_x() {
            let x = Px(self.x.at(value));
            let (b, base) = (Px(bottom), Px(bottom + 17.0));
            let _ = writeln!(svg, "<path d=\"M{x} {b}v4\" stroke=\"#444444\"/>");
            let _ =
                writeln!(svg, "<text x=\"{x}\" y=\"{base}\" text-anchor=\"middle\">{text}</text>");
        }
        for (value, text) in self.named_y() {
            let y = self.y.at(value);
            let (l, end, at, base) = (Px(left), Px(left - 7.0), Px(y), Px(y + 4.0));
            let _ = writeln!(svg, "<path d=\"M{l} {at}h-4\" stroke=\"#444444\"/>");
            let _ =
                writeln!(svg, "<text x=\"{end}\" y=\"{base}\" text-anchor=\"end\">{text}</text>");
        }
        let _ = writeln!(
            svg,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#444444\"/>",
            Px(left),
            Px(top),
            Px(right - left),
            Px(bottom - top)
        );
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" font-weight=\"bold\">{}</text>",
            Px(left),
            Px(top - 10.0),
            escaped(labels.title)
        );
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            Px((left + right) / 2.0),
            Px(bottom + 35.0),
            escaped(labels.x)
        );
        if !labels.y.is_empty() {
            let _ = writeln!(
                svg,
                "<text transform=\"translate({} {}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
                Px(left - 42.0),
                Px((top + bottom) / 2.0),
                escaped(labels.y)
            );
        }
    }

    /// A curve, as far as it lies within the frame. Where a value is not finite it is interrupted.
    pub fn curve(&self, svg: &mut String, points: &[[f64; 2]], stroke: &Stroke) {
        let attributes = stroke.attributes();
        for piece in pieces(points, self.x.values, self.y.values) {
            let pixels: Vec<[f64; 2]> = piece.into_iter().map(|point| self.at(point)).collect();
            let _ = writeln!(svg, "<path d=\"{}\" {attributes}/>", path(&pixels));
        }
    }
}

/// The parts of a line that lie in the rectangle.
fn pieces(points: &[[f64; 2]], x: [f64; 2], y: [f64; 2]) -> Vec<Vec<[f64; 2]>> {
    let mut pieces: Vec<Vec<[f64; 2]>> = vec![];
    for pair in points.windows(2) {
        let Some([from, to]) = clipped([pair[0], pair[1]], x, y) else { continue };
        match pieces.last_mut() {
            Some(piece) if piece.last() == Some(&from) => piece.push(to),
            _ => pieces.push(vec![from, to]),
        }
    }
    pieces
}

/// The part of a straight line within the rectangle (Liang & Barsky 1984).
fn clipped([from, to]: [[f64; 2]; 2], x: [f64; 2], y: [f64; 2]) -> Option<[[f64; 2]; 2]> {
    if ![from, to].concat().iter().all(|value| value.is_finite()) {
        return None;
    }
    let (mut start, mut end) = (0.0f64, 1.0f64);
    for (axis, [low, high]) in [x, y].into_iter().enumerate() {
        let step = to[axis] - from[axis];
        for (along, room) in [(-step, from[axis] - low), (step, high - from[axis])] {
            match along {
                _ if along > 0.0 => end = end.min(room / along),
                _ if along < 0.0 => start = start.max(room / along),
                _ if room < 0.0 => return None,
                _ => {}
            }
        }
    }
    let at = |t: f64| match t {
        0.0 => from,
        1.0 => to,
        _ => [from[0] + t * (to[0] - from[0]), from[1] + t * (to[1] - from[1])],
    };
    (start < end).then(|| [at(start), at(end)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_end_at_the_frame() {
        let unit = [0.0, 1.0];
        let found = pieces(&[[0.0, 0.5], [0.5, 0.5], [1.0, 1.5], [1.0, 0.5]], unit, unit);
        assert_eq!(
            found,
            [vec![[0.0, 0.5], [0.5, 0.5], [0.75, 1.0]], vec![[1.0, 1.0], [1.0, 0.5]]]
        );
        let broken = pieces(&[[0.0, 0.1], [0.2, f64::NAN], [0.4, 0.2], [0.6, 0.3]], unit, unit);
        assert_eq!(broken, [vec![[0.4, 0.2], [0.6, 0.3]]]);
        assert!(pieces(&[[0.0, 2.0], [1.0, 3.0]], unit, unit).is_empty());
    }
}
