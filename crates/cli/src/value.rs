//! Parsers of flags' values.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use swa_base::Choice;

/// A setting that is chosen by name. `--help` lists its values and what they mean.
pub fn choice<T: Choice + Send + Sync>() -> impl TypedValueParser<Value = T> {
    one_of(T::ALL)
}

/// One of some of them.
pub fn one_of<T: Choice + Send + Sync>(values: &[T]) -> impl TypedValueParser<Value = T> + use<T> {
    let values = values.iter().map(|value| PossibleValue::new(value.name()).help(value.about()));
    PossibleValuesParser::new(values)
        .map(|name| T::named(&name).expect("the parser accepts known names only"))
}

/// A whole number of at least 1, as a type that has no zero.
pub fn at_least_one<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "expected a whole number of at least 1".into())
}

/// A whole number of at least 1.
pub fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("expected a whole number of at least 1".into()),
    }
}

/// 5GB, 500MB, 1000: in powers of ten, as Hugging Face counts; GiB and MiB in powers of two.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits =
        text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (number, unit) = text.split_at(digits);
    let unit: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1048576.0,
        "gib" => 1073741824.0,
        other => return Err(format!("`{other}` is not a unit: KB, MB, GB, KiB, MiB, GiB")),
    };
    let size = number.parse::<f64>().map_err(|_| format!("`{number}` is not a number"))? * unit;
    if size >= 1.0 { Ok(size as u64) } else { Err("expected at least one byte".into()) }
}
