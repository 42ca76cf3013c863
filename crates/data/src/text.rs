//! Numbers as people read them.

/// 50000 becomes "50,000".
pub(crate) fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What to say of classes whose names are numbers, sorted as text: class 2 of `0`, `1`, `10`, `2` is not `2`. Empty for
/// other names.
pub(crate) fn numbered_otherwise(names: &[String]) -> String {
    let numbers: Option<Vec<f64>> =
        names.iter().map(|name| name.parse().ok().filter(|x: &f64| x.is_finite())).collect();
    let numbers = numbers.unwrap_or_default();
    match (1..numbers.len()).find(|&class| numbers[class] < numbers[class - 1]) {
        None => String::new(),
        Some(after) => {
            let odd = (0..after).find(|&class| numbers[class] > numbers[after]).unwrap_or(after);
            format!(" in the order of their names, not of numbers: class {odd} is `{}`", names[odd])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_that_are_numbers_in_another_order_are_said() {
        let said = |names: &[&str]| {
            numbered_otherwise(&names.iter().map(|name| name.to_string()).collect::<Vec<_>>())
        };
        let order = " in the order of their names, not of numbers: class 2 is";
        assert_eq!(said(&["0", "1", "10", "11", "2"]), format!("{order} `10`"));
        assert_eq!(said(&["0.0", "1.0", "10.0", "2.0"]), format!("{order} `10.0`"));
        for names in
            [&["0", "1", "2", "10"][..], &["00", "01", "10"], &["10", "2", "cat"], &["5"], &[]]
        {
            assert_eq!(said(names), "", "{names:?}");
        }
    }

    #[test]
    fn numbers_are_grouped() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (1281167, "1,281,167")];
        for (n, text) in cases {
            assert_eq!(grouped(n), text);
        }
    }
}
