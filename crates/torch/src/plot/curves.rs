//! Panels of curves beside each other, with one legend.

use std::fmt::Write;

pub(crate) use super::frame::Stroke;
use super::frame::{Frame, Labels};
use super::scale::range;
use super::svg::{Px, begin, escaped, path};

/// A curve of a panel.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    /// In its order.
    pub points: Vec<[f64; 2]>,
    pub stroke: Stroke,
}

/// An upright line with a name above it.
#[derive(Debug, Clone)]
pub(crate) struct Guide {
    pub x: f64,
    pub name: String,
}

/// A panel.
#[derive(Debug, Clone, Default)]
pub(crate) struct Panel {
    pub title: String,
    pub x_label: String,
    /// Later ones lie above.
    pub curves: Vec<Curve>,
    pub guides: Vec<Guide>,
    /// The values shown; None: all.
    pub x: Option<[f64; 2]>,
    /// The values shown; None: all.
    pub y: Option<[f64; 2]>,
}

/// Panels, and what their curves stand for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Curves {
    pub panels: Vec<Panel>,
    pub legend: Vec<(String, Stroke)>,
    /// Lines below the legend.
    pub notes: Vec<String>,
}

/// Of a panel, in pixels: all of it, and the frame within it.
const WIDTH: f64 = 380.0;
const LEFT: f64 = 54.0;
const TOP: f64 = 40.0;
const FRAME: [f64; 2] = [308.0, 226.0];
/// Where the legend begins, and how high its lines are.
const LEGEND: f64 = TOP + FRAME[1] + 58.0;
const LINE: f64 = 18.0;

/// Room of a curve's sample in the legend.
const SAMPLE: f64 = 30.0;

/// A text's width in pixels, about.
pub(super) fn width(text: &str) -> f64 {
    text.chars().count() as f64 * 6.3
}

impl Curves {
    /// The picture, the same bytes for the same curves.
    pub fn svg(&self) -> String {
        let all = self.panels.len().max(1) as f64 * WIDTH;
        let (entries, lines) =
            placed(self.legend.iter().map(|(name, _)| SAMPLE + width(name)), all);
        let height = LEGEND + (lines + self.notes.len()) as f64 * LINE + 4.0;
        let mut svg = begin(all, height);
        for (i, panel) in self.panels.iter().enumerate() {
            panel.draw(&mut svg, i as f64 * WIDTH);
        }
        for ((name, stroke), [x, line]) in self.legend.iter().zip(entries) {
            let y = LEGEND + line * LINE;
            let sample = path(&[[x, y - 4.0], [x + SAMPLE - 6.0, y - 4.0]]);
            let _ = writeln!(svg, "<path d=\"{sample}\" {}/>", stroke.attributes());
            let (x, y, name) = (Px(x + SAMPLE), Px(y), escaped(name));
            let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\">{name}</text>");
        }
        for (i, note) in self.notes.iter().enumerate() {
            let (y, note) = (Px(LEGEND + (lines + i) as f64 * LINE), escaped(note));
            let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{y}\" fill=\"#555555\">{note}</text>");
        }
        svg + "</svg>\n"
    }
}

/// Where things of these widths go, in lines from left to right: position and line of each, and how many lines.
pub(super) fn placed(widths: impl Iterator<Item = f64>, all: f64) -> (Vec<[f64; 2]>, usize) {
    let (mut x, mut line) = (LEFT, 0usize);
    let mut places = vec![];
    for width in widths {
        if x > LEFT && x + width > all - 8.0 {
            (x, line) = (LEFT, line + 1);
        }
        places.push([x, line as f64]);
        x += width + 18.0;
    }
    let lines = if places.is_empty() { 0 } else { line + 1 };
    (places, lines)
}

impl Panel {
    fn draw(&self, svg: &mut String, left: f64) {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let x = self.x.unwrap_or_else(|| range(points().map(|point| point[0]), 0.0));
        let y = self.y.unwrap_or_else(|| range(points().map(|point| point[1]), 0.05));
        let frame = Frame::new([left + LEFT, TOP], FRAME, x, y);
        frame.grid(svg);
        for Guide { x: at, name } in &self.guides {
            let (px, bottom) = (frame.x.at(*at), TOP + FRAME[1]);
            let (line, fits) = (Px(px), px + 4.0 + width(name) < left + LEFT + FRAME[0]);
            let (text, anchor) = if fits { (px + 4.0, "start") } else { (px - 4.0, "end") };
            let _ = writeln!(
                svg,
                "<path d=\"M{line} {TOP}V{bottom}\" stroke=\"#888888\" stroke-dasharray=\"3 3\"/>"
            );
            let (x, y, name) = (Px(text), Px(TOP + 14.0), escaped(name));
            let _ = writeln!(
                svg,
                "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" fill=\"#555555\">{name}</text>"
            );
        }
        for Curve { points, stroke } in &self.curves {
            frame.curve(svg, points, stroke);
        }
        frame.axes(svg, &Labels { title: &self.title, x: &self.x_label, y: "" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_legend_goes_on_in_the_next_line() {
        let (places, lines) = placed([200.0, 300.0, 200.0].into_iter(), 600.0);
        assert_eq!((places, lines), (vec![[54.0, 0.0], [272.0, 0.0], [54.0, 1.0]], 2));
        assert_eq!(placed([900.0].into_iter(), 600.0).1, 1);
    }
}
