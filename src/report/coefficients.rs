//! What each checkpoint counts for, as people see it.

use crate::text::printable;

/// Characters of the longest bar.
const WIDTH: f64 = 30.0;

/// A line for each input: its share, a bar if wanted, and its name.
pub(super) fn bars(shares: &[f64], inputs: &[String], with_bars: bool) -> Vec<String> {
    let largest = shares.iter().fold(0.0, |largest: f64, share| largest.max(share.abs()));
    let any_negative = shares.iter().any(|share| *share < 0.0);
    let line = |(share, input): (&f64, &String)| {
        let input = printable(input);
        // The sign has a place where any has one.
        let number = match any_negative {
            true => format!("{share:<+9.6}"),
            false => format!("{share:<8.6}"),
        };
        match with_bars {
            true => format!("  {number} {:<30} {input}", bar(share / largest)),
            false => format!("  {number} {input}"),
        }
    };
    shares.iter().zip(inputs).map(line).collect()
}

/// Of a share of the largest: eighths of a character; what counts at all is seen, and what counts against the others is
/// hollow.
fn bar(share: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if share < 0.0 {
        return "░".repeat((-share * WIDTH).ceil() as usize);
    }
    let eighths = (share * WIDTH * 8.0).round() as usize;
    let eighths = if share > 0.0 { eighths.max(1) } else { 0 };
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        let names = ["a", "b", "c"].map(String::from);
        let full = "█".repeat(30);
        let half = format!("{:<30}", "█".repeat(15));
        assert_eq!(
            bars(&[0.5, 0.25, 1e-9], &names, true),
            [
                format!("  0.500000 {full} a"),
                format!("  0.250000 {half} b"),
                format!("  0.000000 {:<30} c", "▏"),
            ]
        );
        assert_eq!(
            bars(&[1.5, -0.5, 0.0], &names, true),
            [
                format!("  +1.500000 {full} a"),
                format!("  -0.500000 {:<30} b", "░".repeat(10)),
                format!("  +0.000000 {:<30} c", ""),
            ]
        );
        assert_eq!(bars(&[0.5, 0.5], &names, false), ["  0.500000 a", "  0.500000 b"]);
    }
}
