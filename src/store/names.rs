//! Names of files: their order, and what a name written in a file may be.

use std::cmp::Ordering;
use std::path::Path;

/// What follows the name of an output's folder until it is finished.
pub const UNFINISHED: &str = ".partial";

/// Numbers in names sort as numbers: `epoch_9` before `epoch_010`, and `step_500` before `step_1k`. A name
/// comes before longer ones that begin with it, whatever its ending: `last.ckpt` before `last-v1.ckpt`.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut x, mut y) = (a, b);
    loop {
        let (p, q) = (digits(x), digits(y));
        let order = if !p.is_empty() && !q.is_empty() {
            (x, y) = (&x[p.len()..], &y[q.len()..]);
            let number = |run: &str, rest: &str| {
                let digits = run.trim_start_matches('0').to_string();
                let zeros = if digits.is_empty() || !in_thousands(rest) { "" } else { "000" };
                digits + zeros
            };
            let (m, n) = (number(p, x), number(q, y));
            m.len().cmp(&n.len()).then_with(|| m.cmp(&n))
        } else {
            match (x.chars().next(), y.chars().next()) {
                (Some(c), Some(d)) => {
                    (x, y) = (&x[c.len_utf8()..], &y[d.len_utf8()..]);
                    // An ending is no part of what tells a name from a longer one.
                    (c != '.', c).cmp(&(d != '.', d))
                }
                (None, None) => return a.cmp(b),
                (c, d) => return c.cmp(&d),
            }
        };
        if order.is_ne() {
            return order;
        }
    }
}

fn digits(text: &str) -> &str {
    &text[..text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len()]
}

/// Whether what follows a number says that it counts thousands: a `k` that is no letter of a word.
pub(crate) fn in_thousands(rest: &str) -> bool {
    let rest = rest.strip_prefix(['k', 'K']);
    rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
}

/// The last component of a path, as metadata and tables name a file.
pub fn base_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Whether a name that stands in a file can be that of a file beside it: never a path.
pub(crate) fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_sort_as_numbers() {
        let mut names =
            ["epoch_010", "epoch_9", "step_100", "step_10", "a", "epoch_9b", "epoch_09"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(
            names,
            ["a", "epoch_09", "epoch_9", "epoch_9b", "epoch_010", "step_10", "step_100"]
        );
    }

    #[test]
    fn a_name_comes_before_longer_ones() {
        assert_eq!(natural("epoch=5-step=600.ckpt", "epoch=5-step=600-v1.ckpt"), Ordering::Less);
        assert_eq!(natural("m (1).pt", "m.pt"), Ordering::Greater);
    }

    #[test]
    fn a_k_counts_thousands_where_it_is_no_letter_of_a_word() {
        let sorted =
            ["0k", "1", "500", "1000", "1k", "1001", "9k.pt", "9k_ema.pt", "10000", "10K", "11k"];
        let mut names = sorted;
        names.reverse();
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, sorted);
        assert_eq!(natural("5kg", "6"), Ordering::Less);
        assert_eq!(natural("5kb", "4999"), Ordering::Less);
    }

    #[test]
    fn numbers_longer_than_any_integer_sort_too() {
        let (a, b) = ("x99999999999999999999999", "x100000000000000000000000");
        assert_eq!(natural(a, b), Ordering::Less);
    }

    #[test]
    fn a_path_is_no_file_name() {
        assert!(is_file_name("model-00001-of-00002.safetensors"));
        for name in ["", ".", "..", ".hidden", "a/b", "/a", "a\\b", "a\0"] {
            assert!(!is_file_name(name), "{name:?}");
        }
    }
}
