//! Class maps as text: a line an entry.

use super::parse::{Entry, Parsed, in_order, numbered};
use crate::conventions::flat::words::{first_word, is_class_heading, is_wnid, plain};

/// Where a heading says which column holds the outputs, those; else where every line ends with a number or a dash, classes
/// with outputs; where each begins with one, outputs with classes; else classes in order.
pub(super) fn lines(text: &str, is_class: &dyn Fn(&str) -> bool) -> Result<Parsed, String> {
    let lines = text.lines().map(str::trim);
    let lines: Vec<&str> = lines.filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    let (lines, said) = without_headings(&lines, is_class)?;
    let pairs: Option<Vec<Entry>> = lines.iter().map(|line| pair(line)).collect();
    let firsts: Option<Vec<(u32, &str)>> = lines.iter().map(|line| number_first(line)).collect();
    match (said, pairs, firsts) {
        (Some(Said { column: Column::Last, .. }), Some(pairs), _) => return Ok(numbered(pairs)),
        (Some(Said { column: Column::First, is_output }), _, Some(firsts)) => {
            return of_outputs(firsts, is_output);
        }
        (Some(Said { column, .. }), ..) => {
            let fits = |line: &&&str| match column {
                Column::First => number_first(line).is_none(),
                Column::Last => pair(line).is_none(),
            };
            let odd = lines.iter().find(fits).unwrap_or(&"");
            return Err(format!(
                "`{odd}`: no number of an output in the column that the heading says"
            ));
        }
        // Classes whose names end in numbers: `Audi S4 2012`.
        (None, Some(_), _) if lines.iter().all(|line| is_class(line)) => {
            return Ok(in_order(lines.iter().map(|line| line.to_string()).collect()));
        }
        (None, Some(pairs), firsts) => return Ok(either_way(pairs, firsts, is_class)),
        _ => {}
    }
    // A few lines of another form among many are a mistake.
    if lines.iter().filter(|line| pair(line).is_some()).count() * 2 > lines.len() {
        let odd = lines.iter().find(|line| pair(line).is_none()).unwrap_or(&"");
        return Err(format!("`{odd}`: expected a class and the number of its output"));
    }
    if lines.iter().any(|line| is_class(line)) {
        return Ok(in_order(lines.iter().map(|line| line.to_string()).collect()));
    }
    // `map_clsloc.txt`.
    if let Some(line) = lines.first().filter(|_| lines.iter().all(|line| has_kit_id(line))) {
        return Err(format!(
            "`{line}`: numbers of its own, those of ImageNet's development kit, which are not outputs"
        ));
    }
    match lines.iter().map(|line| number_first(line)).collect() {
        Some(outputs) => of_outputs(outputs, false),
        None => Ok(in_order(lines.iter().map(|line| class(line)).collect())),
    }
}

/// Lines that all end with a number: classes with outputs, unless each begins with one, too.
fn either_way(
    pairs: Vec<Entry>,
    firsts: Option<Vec<(u32, &str)>>,
    is_class: &dyn Fn(&str) -> bool,
) -> Parsed {
    let Some(firsts) = firsts else { return numbered(pairs) };
    let other: Vec<Entry> = firsts.into_iter().map(output_first).collect();
    // Names may end in numbers: `0 class 1`.
    let is_name = |(name, _): &Entry| is_class(name) && name.parse::<u64>().is_err();
    match !pairs.iter().any(|(name, _)| is_class(name)) && other.iter().any(is_name) {
        true => numbered(other),
        false => Parsed { other_way: Some(other), ..numbered(pairs) },
    }
}

/// Lines that begin with outputs. `is_output`: a heading calls them so.
fn of_outputs(mut lines: Vec<(u32, &str)>, is_output: bool) -> Result<Parsed, String> {
    lines.sort();
    if let Some(twice) = lines.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(format!("two lines begin with the number {}", twice[0].0));
    }
    // What counts from 1 may be numbers of another kind.
    if !is_output && lines.iter().map(|(output, _)| *output).eq(1..=lines.len() as u32) {
        return Err(
            "lines begin with every number from 1 on, not those of outputs, from 0 on; if they are outputs, \
             write `output,class` above them"
                .into(),
        );
    }
    Ok(numbered(lines.into_iter().map(output_first).collect()))
}

fn output_first((output, name): (u32, &str)) -> Entry {
    (class(name), Some(output))
}

/// The class of a line without its output: a wnid, which more names of it may follow, or all of the line.
fn class(line: &str) -> String {
    let first = first_word(line).trim_end_matches(',');
    let first = first.split(',').next().unwrap_or_default();
    if is_wnid(first) { first.into() } else { unquoted(line) }
}

fn is_separator(c: char) -> bool {
    c == ',' || c.is_whitespace()
}

/// A class, then its output.
fn pair(line: &str) -> Option<Entry> {
    let (name, last) = line.rsplit_once(is_separator)?;
    let output = if last == "-" { None } else { Some(bare(last).parse().ok()?) };
    Some((unquoted(name.trim_end_matches(is_separator)), output))
}

/// An output, then its class.
fn number_first(line: &str) -> Option<(u32, &str)> {
    let (number, name) = line.split_once(|c| c == ':' || is_separator(c))?;
    Some((bare(number).parse().ok()?, name.trim_start_matches(is_separator)))
}

/// A wnid, a number, and more.
fn has_kit_id(line: &str) -> bool {
    let mut words = line.split(is_separator).filter(|word| !word.is_empty());
    let [wnid, number] = [words.next(), words.next()].map(Option::unwrap_or_default);
    is_wnid(wnid) && number.parse::<u32>().is_ok() && words.next().is_some()
}

/// A cell without the quotation marks of CSV around it.
fn bare(cell: &str) -> &str {
    cell.strip_prefix('"').and_then(|cell| cell.strip_suffix('"')).unwrap_or(cell)
}

/// Without the quotation marks of CSV around it.
fn unquoted(name: &str) -> String {
    let inner = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
    inner.map_or_else(|| name.to_string(), |inner| inner.replace("\"\"", "\""))
}

/// The column of the outputs.
#[derive(Clone, Copy)]
enum Column {
    First,
    Last,
}

/// What a line of headings says.
struct Said {
    column: Column,
    /// Whether the column is called that of outputs; else that of indices or ids.
    is_output: bool,
}

impl Said {
    /// None where the headings do not tell the outputs from the classes.
    fn of(headings: &[&str]) -> Option<Self> {
        let rank = |heading: &&str| match &plain(heading)[..] {
            "output" | "outputs" | "outputid" | "outputindex" | "outputnumber" => 2,
            "index" | "idx" | "id" | "number" => 1,
            heading
                if ["id", "index", "idx", "number"].iter().any(|end| heading.ends_with(end)) =>
            {
                usize::from(!["wnid", "wordnetid", "synsetid"].contains(&heading))
            }
            _ => 0,
        };
        let (first, last) = match headings {
            [first, .., last] => (rank(first), rank(last)),
            _ => return None,
        };
        let most = headings.iter().map(rank).max()?;
        if headings.iter().filter(|heading| rank(heading) == most).count() > 1 {
            return None;
        }
        match () {
            () if first == most => Some(Said { column: Column::First, is_output: most == 2 }),
            () if last == most => Some(Said { column: Column::Last, is_output: most == 2 }),
            () => None,
        }
    }
}

/// The lines without one of headings above classes and outputs, and what it says. Above a list in order it may be a class
/// that the data lack.
fn without_headings<'l>(
    lines: &'l [&'l str],
    is_class: &dyn Fn(&str) -> bool,
) -> Result<(&'l [&'l str], Option<Said>), String> {
    let [first, rest @ ..] = lines else { return Ok((lines, None)) };
    let cells: Vec<&str> =
        first.split(is_separator).filter(|cell| !cell.is_empty()).map(bare).collect();
    let are_headings = cells.iter().all(|cell| is_class_heading(cell));
    if !are_headings || is_class(first) || rest.is_empty() {
        return Ok((lines, None));
    }
    let pairs = rest.iter().all(|line| pair(line).is_some());
    let firsts = rest.iter().all(|line| number_first(line).is_some());
    match (pairs, firsts, Said::of(&cells)) {
        (false, false, _) => Err(format!("`{first}` is a heading, no class; remove the line")),
        // An id may be a class's: `id,label` above `n01440764,0`.
        _ if pairs != firsts && cells.iter().any(|cell| plain(cell) == "id") => Ok((rest, None)),
        (_, _, said) => Ok((rest, said)),
    }
}
