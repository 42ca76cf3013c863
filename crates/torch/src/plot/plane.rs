//! Surfaces over a plane as filled contours, with markers.

use std::fmt::Write;

use super::contour::Grid;
use super::curves::{placed, width};
use super::frame::{Frame, Labels, Stroke};
use super::levels::Levels;
use super::ramp::band;
use super::scale::significant;
use super::smooth;
use super::svg::{Px, begin, escaped, path, shortened};

/// Surfaces over one plane.
#[derive(Debug, Clone)]
pub(crate) struct Plane {
    /// Ascending; the distances on both axes have one unit.
    pub x: Vec<f64>,
    /// Ascending.
    pub y: Vec<f64>,
    /// The same on both axes.
    pub axis: String,
    pub surfaces: Vec<Surface>,
    pub marks: Vec<Mark>,
    /// Points joined by a thin line.
    pub path: Vec<[f64; 2]>,
    /// Lines below the legend.
    pub notes: Vec<String>,
}

/// A value at every point of the grid.
#[derive(Debug, Clone)]
pub(crate) struct Surface {
    pub title: String,
    /// Row by row, a row for each y.
    pub values: Vec<f64>,
    pub levels: Levels,
}

/// A point with a name.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    pub at: [f64; 2],
    /// Beside the marker; empty: none.
    pub name: String,
    /// In the legend; empty: none.
    pub about: String,
    pub shape: Shape,
}

/// What a marker looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Circle,
    Square,
    Triangle,
    Diamond,
    Star,
    Dot,
}

/// The whole picture's width, in pixels.
const WIDTH: f64 = 760.0;
/// Of a panel: its borders, and the room to the right of its frame.
const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;
const RIGHT: f64 = 74.0;
const BOTTOM: f64 = 54.0;
const LINE: f64 = 18.0;

/// Frames at most so high, or wider than high by so much that they stand one below the other.
const HIGHEST: f64 = 330.0;
const FLAT: f64 = 2.2;

/// Characters of a name beside a marker.
const NAME: usize = 18;

const THIN: Stroke = Stroke { colour: "#111111", width: 1.2, opacity: 0.75, dashes: "" };

impl Plane {
    /// The picture, the same bytes for the same figures.
    pub fn svg(&self) -> String {
        let span = |axis: &[f64]| axis[axis.len() - 1] - axis[0];
        let aspect = span(&self.x) / span(&self.y);
        let across = if aspect > FLAT { 1 } else { self.surfaces.len().max(1) };
        let room = WIDTH / across as f64 - LEFT - RIGHT;
        let frame_width = room.min(HIGHEST * aspect);
        let frame_height = frame_width / aspect;
        let panel_height = TOP + frame_height + BOTTOM;
        let down = self.surfaces.len().div_ceil(across);
        let about = || self.marks.iter().filter(|mark| !mark.about.is_empty());
        let (entries, lines) = placed(about().map(|mark| 18.0 + width(&mark.about)), WIDTH);
        let legend = panel_height * down as f64 + 6.0;
        let mut svg =
            begin(WIDTH, (legend + (lines + self.notes.len()) as f64 * LINE + 4.0).round());
        for (i, surface) in self.surfaces.iter().enumerate() {
            let left = (i % across) as f64 * WIDTH / across as f64 + LEFT;
            let top = (i / across) as f64 * panel_height + TOP;
            let size = [frame_width, frame_height];
            let ends = |axis: &[f64]| [axis[0], axis[axis.len() - 1]];
            let frame = Frame::new([left, top], size, ends(&self.x), ends(&self.y));
            self.panel(&mut svg, &frame, surface);
        }
        for (mark, [x, line]) in about().zip(entries) {
            let y = legend + line * LINE;
            mark.shape.draw(&mut svg, [x + 5.0, y - 4.0]);
            let (x, y, text) = (Px(x + 18.0), Px(y), escaped(&mark.about));
            let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\">{text}</text>");
        }
        for (i, note) in self.notes.iter().enumerate() {
            let (y, note) = (Px(legend + (lines + i) as f64 * LINE), escaped(note));
            let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{y}\" fill=\"#555555\">{note}</text>");
        }
        svg + "</svg>\n"
    }

    fn panel(&self, svg: &mut String, frame: &Frame, surface: &Surface) {
        let Levels { bounds, clipped } = &surface.levels;
        let bands = bounds.len() - 1 + usize::from(*clipped);
        let colour = |k: usize| band(k as f64 / (bands.max(2) - 1) as f64);
        let [left, right] = frame.x.pixels;
        let [bottom, top] = frame.y.pixels;
        let (w, h) = (Px(right - left), Px(bottom - top));
        let (x, y, lowest) = (Px(left), Px(top), colour(0));
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" fill=\"{lowest}\"/>"
        );
        // Steps of the levels are about equal in this, so that between points nothing overshoots.
        let (least, step) = (bounds[0], bounds[1] - bounds[0]);
        let even = |value: f64| ((value - least).max(0.0) + step).ln();
        let values: Vec<f64> = surface.values.iter().map(|&value| even(value)).collect();
        let (x, y) = (smooth::finer(&self.x), smooth::finer(&self.y));
        let values = smooth::values(self.x.len(), &values);
        let grid = Grid { x: &x, y: &y, values: &values };
        // Each band lies over the ones below it.
        for (k, &bound) in bounds.iter().enumerate().take(bands).skip(1) {
            let lines = grid.above(even(bound));
            let d: String = lines
                .iter()
                .map(|line| {
                    let line: Vec<_> = line.iter().map(|&point| frame.at(point)).collect();
                    path(&line) + "Z"
                })
                .collect();
            if !d.is_empty() {
                let fill = colour(k);
                let _ = writeln!(
                    svg,
                    "<path d=\"{d}\" fill=\"{fill}\" fill-rule=\"evenodd\" stroke=\"#ffffff\" \
                     stroke-opacity=\"0.55\" stroke-width=\"0.8\"/>"
                );
            }
        }
        self.marked(svg, frame);
        frame.axes(svg, &Labels { title: &surface.title, x: &self.axis, y: "" });
        bar(svg, [right + 12.0, top], bottom - top, &surface.levels, bands, &colour);
    }

    /// Markers, their names and the line through the others.
    fn marked(&self, svg: &mut String, frame: &Frame) {
        frame.curve(svg, &self.path, &THIN);
        let places: Vec<[f64; 2]> = self.marks.iter().map(|mark| frame.at(mark.at)).collect();
        // The first ones lie above the others.
        for (mark, &place) in self.marks.iter().zip(&places).rev() {
            mark.shape.draw(svg, place);
        }
        let mut taken: Vec<[f64; 4]> =
            places.iter().map(|[x, y]| [x - 6.0, y - 6.0, x + 6.0, y + 6.0]).collect();
        for (mark, &place) in self.marks.iter().zip(&places).filter(|(m, _)| !m.name.is_empty()) {
            let name = shortened(&mark.name, NAME);
            let text = label(frame, &taken, place, width(&name));
            taken.push(text);
            let (x, y) = (Px(text[0]), Px(text[3] - 4.0));
            let _ = writeln!(
                svg,
                "<text x=\"{x}\" y=\"{y}\" stroke=\"#ffffff\" stroke-width=\"3\" \
                 stroke-linejoin=\"round\" paint-order=\"stroke\">{}</text>",
                escaped(&name)
            );
        }
    }
}

/// The rectangle of a name beside a marker: the place among those around it that covers least.
fn label(frame: &Frame, taken: &[[f64; 4]], [x, y]: [f64; 2], width: f64) -> [f64; 4] {
    let height = 15.0;
    let middle = x - width / 2.0;
    let places = [
        [x + 9.0, y - height / 2.0],
        [x - 9.0 - width, y - height / 2.0],
        [middle, y - 9.0 - height],
        [middle, y + 9.0],
        [x + 7.0, y - 7.0 - height],
        [x - 7.0 - width, y - 7.0 - height],
        [x + 7.0, y + 7.0],
        [x - 7.0 - width, y + 7.0],
    ];
    let rectangle = |[left, top]: [f64; 2]| [left, top, left + width, top + height];
    let overlap = |a: &[f64; 4], b: &[f64; 4]| {
        let side = |i: usize| (a[i + 2].min(b[i + 2]) - a[i].max(b[i])).max(0.0);
        side(0) * side(1)
    };
    let [left, right] = frame.x.pixels;
    let [bottom, top] = frame.y.pixels;
    let cost = |place: &[f64; 4]| {
        let outside = width * height - overlap(place, &[left, top, right, bottom]);
        let covered: f64 = taken.iter().map(|other| overlap(place, other)).sum();
        // Rounding alone does not decide.
        (10.0 * outside + covered).round()
    };
    let all = places.map(rectangle);
    *all.iter().min_by(|a, b| cost(a).total_cmp(&cost(b))).expect("there are eight")
}

/// The legend of the bands.
fn bar(
    svg: &mut String,
    [x, top]: [f64; 2],
    height: f64,
    levels: &Levels,
    bands: usize,
    colour: &dyn Fn(usize) -> String,
) {
    let step = height / bands as f64;
    for k in 0..bands {
        let (x, y, h) = (Px(x), Px(top + height - (k + 1) as f64 * step), Px(step + 0.4));
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"12\" height=\"{h}\" fill=\"{}\"/>",
            colour(k)
        );
    }
    let (left, y, h) = (Px(x), Px(top), Px(height));
    let _ = writeln!(
        svg,
        "<rect x=\"{left}\" y=\"{y}\" width=\"12\" height=\"{h}\" fill=\"none\" stroke=\"#444444\"/>"
    );
    let texts = texts(&levels.bounds);
    // Every other one where they would touch.
    let every = if step < 13.0 { 2 } else { 1 };
    for (k, text) in texts.iter().enumerate().step_by(every) {
        let y = top + height - k as f64 * step;
        let (x, tick, y) = (Px(x + 18.0), Px(x + 12.0), Px(y));
        let _ = writeln!(svg, "<path d=\"M{tick} {y}h3\" stroke=\"#444444\"/>");
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" dy=\"4\">{text}</text>");
    }
    if levels.clipped {
        let (x, y) = (Px(x + 18.0), Px(top));
        let most = &texts[texts.len() - 1];
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" dy=\"4\">&gt; {most}</text>");
    }
}

/// The bounds with as few digits as tell them apart, three at least.
fn texts(bounds: &[f64]) -> Vec<String> {
    for digits in 3..8 {
        let texts: Vec<String> = bounds.iter().map(|&b| significant(b, digits)).collect();
        if texts.windows(2).all(|pair| pair[0] != pair[1]) {
            return texts;
        }
    }
    bounds.iter().map(|b| b.to_string()).collect()
}

impl Shape {
    /// The shape of the defining point of this number.
    pub fn numbered(number: usize) -> Self {
        [Shape::Circle, Shape::Square, Shape::Triangle, Shape::Diamond, Shape::Star][number % 5]
    }

    fn draw(self, svg: &mut String, [x, y]: [f64; 2]) {
        let style = "fill=\"#ffffff\" stroke=\"#111111\" stroke-width=\"1.6\"";
        let round = |radius: f64, style: &str| {
            format!("<circle cx=\"{}\" cy=\"{}\" r=\"{radius}\" {style}/>", Px(x), Px(y))
        };
        let corners = |corners: &[[f64; 2]]| {
            let points: Vec<[f64; 2]> = corners.iter().map(|[a, b]| [x + a, y + b]).collect();
            format!("<path d=\"{}Z\" {style} stroke-linejoin=\"round\"/>", path(&points))
        };
        let text = match self {
            Shape::Circle => round(4.6, style),
            Shape::Dot => round(2.4, "fill=\"#111111\""),
            Shape::Square => corners(&[[-4.2, -4.2], [4.2, -4.2], [4.2, 4.2], [-4.2, 4.2]]),
            Shape::Triangle => corners(&[[0.0, -5.6], [5.2, 4.0], [-5.2, 4.0]]),
            Shape::Diamond => corners(&[[0.0, -6.0], [5.0, 0.0], [0.0, 6.0], [-5.0, 0.0]]),
            Shape::Star => {
                let corner = |i: usize| {
                    let radius = if i.is_multiple_of(2) { 7.0 } else { 3.0 };
                    let angle = i as f64 * std::f64::consts::PI / 5.0;
                    [radius * angle.sin(), -radius * angle.cos()]
                };
                corners(&(0..10).map(corner).collect::<Vec<_>>())
            }
        };
        let _ = writeln!(svg, "{text}");
    }
}
