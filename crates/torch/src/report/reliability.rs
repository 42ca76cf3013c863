//! Reliability diagrams (Guo et al. 2017, figure 1) as an SVG: one panel a model, 15 bins of confidence.
//! Each panel shows the accuracy of a bin's images (a bar that ends in a dark line), its gap to their mean
//! confidence, and below it how many images the bin holds. The figures of a bin are its tooltip.

use std::fmt::Write;

use crate::evaluate::{BINS, Bin, Tally};
use crate::plot::{begin, escaped, shortened};

/// Of a panel, in pixels.
const WIDTH: f64 = 288.0;
const HEIGHT: f64 = 360.0;
/// Of the plot within it: its left and upper edge, its side, and the upper and lower edge of the counts.
const LEFT: f64 = 56.0;
const TOP: f64 = 52.0;
const SIDE: f64 = 210.0;
const COUNTS: [f64; 2] = [TOP + SIDE + 10.0, TOP + SIDE + 54.0];

/// Panels beside each other.
const ACROSS: usize = 4;

/// Characters of a title that fit above a panel.
const TITLE: usize = 32;

/// The diagram, the same bytes for the same figures.
pub(super) fn reliability_svg(models: &[(String, Tally)]) -> String {
    let across = models.len().min(ACROSS);
    let width = across as f64 * WIDTH;
    let height = models.len().div_ceil(across.max(1)) as f64 * HEIGHT;
    let mut svg = begin(width, height);
    for (i, (title, tally)) in models.iter().enumerate() {
        let (x, y) = ((i % across) as f64 * WIDTH, (i / across) as f64 * HEIGHT);
        // Writing to a string cannot fail.
        let _ = panel(&mut svg, [x, y], title, tally);
    }
    svg + "</svg>\n"
}

fn panel(svg: &mut String, [x, y]: [f64; 2], title: &str, tally: &Tally) -> std::fmt::Result {
    writeln!(svg, "<g transform=\"translate({x} {y})\">")?;
    let (whole, cut) = (escaped(title), escaped(&shortened(title, TITLE)));
    writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"22\" font-weight=\"bold\">{cut}<title>{whole}</title></text>"
    )?;
    let (top1, ece, n) = (100.0 * tally.top1(), tally.ece(), tally.n());
    writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"38\" font-size=\"10\">ece {ece:.4}, top-1 {top1:.2} %, n = {n}</text>"
    )?;
    axes(svg)?;
    let most = tally.bins().iter().map(|bin| bin.n).max().unwrap_or(0).max(1);
    for (i, bin) in tally.bins().iter().enumerate().filter(|(_, bin)| bin.n > 0) {
        bars(svg, i, bin, most)?;
    }
    let (right, bottom) = (LEFT + SIDE, TOP + SIDE);
    writeln!(
        svg,
        "<path d=\"M{LEFT} {bottom}L{right} {TOP}\" stroke=\"#666666\" stroke-dasharray=\"4 3\"/>"
    )?;
    let y = COUNTS[0] + 8.0;
    writeln!(svg, "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\">{most}</text>", LEFT - 5.0)?;
    writeln!(svg, "</g>")
}

/// The frame, its ticks and labels.
fn axes(svg: &mut String) -> std::fmt::Result {
    let (right, bottom, end) = (LEFT + SIDE, TOP + SIDE, COUNTS[1]);
    for step in 0..=5 {
        let value = step as f64 / 5.0;
        let (x, y) = (LEFT + value * SIDE, bottom - value * SIDE);
        writeln!(svg, "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#e4e4e4\"/>")?;
        let (left, base) = (LEFT - 5.0, y + 4.0);
        writeln!(svg, "<text x=\"{left}\" y=\"{base:.1}\" text-anchor=\"end\">{value:.1}</text>")?;
        writeln!(svg, "<path d=\"M{x:.1} {end}v4\" stroke=\"#444444\"/>")?;
        let base = end + 16.0;
        writeln!(svg, "<text x=\"{x:.1}\" y=\"{base}\" text-anchor=\"middle\">{value:.1}</text>")?;
    }
    writeln!(svg, "<path d=\"M{LEFT} {end}H{right}\" stroke=\"#444444\"/>")?;
    let (middle, base) = (LEFT + SIDE / 2.0, end + 32.0);
    writeln!(svg, "<text x=\"{middle}\" y=\"{base}\" text-anchor=\"middle\">confidence</text>")?;
    for (text, y) in [("accuracy", TOP + SIDE / 2.0), ("images", (COUNTS[0] + COUNTS[1]) / 2.0)] {
        writeln!(
            svg,
            "<text transform=\"translate(14 {y}) rotate(-90)\" text-anchor=\"middle\">{text}</text>"
        )?;
    }
    Ok(())
}

/// A bin's accuracy, its gap to the mean confidence, and its count as a share of the largest.
fn bars(svg: &mut String, i: usize, bin: &Bin, most: usize) -> std::fmt::Result {
    let width = SIDE / BINS as f64;
    let (x, inner) = (LEFT + i as f64 * width + 0.5, width - 1.0);
    let height = |share: f64| share * SIDE;
    let (accuracy, confidence) = (bin.accuracy(), bin.mean_confidence());
    let (low, high) = (accuracy.min(confidence), accuracy.max(confidence));
    let [from, to] = [i, i + 1].map(|edge| edge as f64 / BINS as f64);
    writeln!(
        svg,
        "<g><title>confidence {from:.3} to {to:.3}: {} images, accuracy {accuracy:.4}, \
         mean confidence {confidence:.4}, gap {:+.4}</title>",
        bin.n,
        accuracy - confidence
    )?;
    let mut bar = |y: f64, height: f64, colour: &str| {
        writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{inner:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
        )
    };
    let bottom = TOP + SIDE;
    bar(bottom - height(accuracy), height(accuracy), "#5b8db8")?;
    bar(bottom - height(high), height(high - low), "#d9744a")?;
    let top = bottom - height(accuracy);
    let count = bin.n as f64 / most as f64 * (COUNTS[1] - COUNTS[0]);
    bar(COUNTS[1] - count, count, "#999999")?;
    writeln!(
        svg,
        "<path d=\"M{x:.1} {top:.1}h{inner:.1}\" stroke=\"#1d3f5e\" stroke-width=\"2\"/>"
    )?;
    writeln!(svg, "</g>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Outcome;

    fn tally(confidences: &[(f64, bool)]) -> Tally {
        let outcome = |&(confidence, top1): &(f64, bool)| Outcome {
            predicted: 0,
            top1,
            top5: true,
            nll: 0.0,
            confidence,
        };
        Tally::of(&confidences.iter().map(outcome).collect::<Vec<_>>())
    }

    #[test]
    fn a_bin_shows_accuracy_gap_and_count() {
        let tally = tally(&[(0.95, true), (0.99, false), (0.97, true), (0.97, true), (0.5, false)]);
        let svg = reliability_svg(&[("a<b>&\u{1b}".into(), tally)]);
        assert!(svg.contains("confidence 0.933 to 1.000: 4 images, accuracy 0.7500"), "{svg}");
        assert!(svg.contains("mean confidence 0.9700, gap -0.2200"), "{svg}");
        // 210 pixels: 0.75 of them right, 0.22 of them the gap above.
        assert!(svg.contains("height=\"157.5\" fill=\"#5b8db8\""), "{svg}");
        assert!(
            svg.contains("y=\"58.3\" width=\"13.0\" height=\"46.2\" fill=\"#d9744a\""),
            "{svg}"
        );
        assert!(svg.contains("a&lt;b&gt;&amp;\\u{1b}"), "{svg}");
        assert_eq!(svg.matches("<g><title>").count(), 2);
    }

    #[test]
    fn panels_stand_in_rows_of_four() {
        let models: Vec<_> = (0..6).map(|i| (format!("{i}"), tally(&[(0.5, true)]))).collect();
        let svg = reliability_svg(&models);
        assert!(svg.contains("viewBox=\"0 0 1152 720\"") && svg.contains("translate(288 360)"));
        assert_eq!(svg, reliability_svg(&models));
    }
}
