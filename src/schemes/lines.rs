//! Text files with numbers for checkpoints: a line each in natural order, or in any order with names before the numbers.

use std::path::{Path, PathBuf};

use swa_base::text_file;

use crate::select::base_name;
use crate::{Error, Result};

/// The numbers of each checkpoint: one, or up to `most` where lines begin with names. `what`: the first number, in
/// messages.
pub(super) fn read(
    file: &Path,
    paths: &[PathBuf],
    what: &str,
    most: usize,
) -> Result<Vec<Vec<f64>>> {
    let text = text_file::read(file)?;
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let number = |text: &str| {
        text.parse::<f64>().map_err(|_| {
            Error::input(format!("`{text}` is not a number"))
                .at(file)
                .remedy("write one number a line, or a file name and a number")
        })
    };
    if let [line] = lines[..]
        && let Some(all) = in_a_line(line, paths)
    {
        return Ok(all.into_iter().map(|number| vec![number]).collect());
    }
    if !lines.iter().any(|line| line.contains(char::is_whitespace)) {
        return lines.iter().map(|line| Ok(vec![number(line)?])).collect();
    }
    let is_known = |name: &str| !called(name, paths).is_empty();
    let mut all: Vec<Option<Vec<f64>>> = vec![None; paths.len()];
    let mut unknown = None;
    for line in lines {
        let (name, numbers) = parse(line, most, &is_known, &number)?;
        let name = unquoted(name);
        match called(name, paths)[..] {
            [] => unknown = unknown.or(Some(name)),
            [place] => {
                if all[place].replace(numbers).is_some() {
                    return Err(Error::input(format!("names `{name}` twice")).at(file));
                }
            }
            [one, other, ..] => {
                let (one, other) = (paths[one].display(), paths[other].display());
                return Err(Error::input(format!("`{name}` may be `{one}` or `{other}`"))
                    .at(file)
                    .remedy("write the name with its folder"));
            }
        }
    }
    if let Some(place) = all.iter().position(Option::is_none) {
        // The shortest name that tells it from the others.
        let mut name = PathBuf::from(base_name(&paths[place]));
        for folder in paths[place].ancestors().skip(1).map(base_name) {
            if called(&name.to_string_lossy(), paths).len() > 1 {
                name = Path::new(&folder).join(name);
            }
        }
        let what = format!("has no {what} for `{}`", name.display());
        return Err(Error::input(what).at(file));
    }
    match unknown {
        Some(name) => Err(Error::input(format!("`{name}` is not one of the checkpoints")).at(file)),
        None => Ok(all.into_iter().flatten().collect()),
    }
}

/// The places of the checkpoints that a name may mean: theirs with as many folders as one likes, or that of the folder in
/// which one lies.
fn called(name: &str, paths: &[PathBuf]) -> Vec<usize> {
    let name = Path::new(unquoted(name));
    let places = |is: &dyn Fn(&Path) -> bool| -> Vec<usize> {
        (0..paths.len()).filter(|&place| is(&paths[place])).collect()
    };
    match &places(&|path| path.ends_with(name))[..] {
        [] => places(&|path| path.parent().is_some_and(|folder| folder.ends_with(name))),
        found => found.to_vec(),
    }
}

/// A name without the quotes around it.
fn unquoted(name: &str) -> &str {
    let inner = |quote: char| name.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(name)
}

/// The numbers of all checkpoints in one line, with commas or spaces between them; None if it may be a name and its numbers.
fn in_a_line(line: &str, paths: &[PathBuf]) -> Option<Vec<f64>> {
    let words = line.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
    let numbers: Vec<f64> = words.map(str::parse).collect::<std::result::Result<_, _>>().ok()?;
    let is_name = |path: &PathBuf| base_name(path).parse::<f64>().is_ok();
    let may_be_named = !line.contains(',') && paths.iter().any(is_name);
    (numbers.len() > 1 && numbers.len() == paths.len() && !may_be_named).then_some(numbers)
}

/// A name, which may hold spaces, and the numbers after it: one, or up to so many where what is left is a name that
/// `is_known`.
fn parse<'l>(
    line: &'l str,
    most: usize,
    is_known: &dyn Fn(&str) -> bool,
    number: &dyn Fn(&str) -> Result<f64>,
) -> Result<(&'l str, Vec<f64>)> {
    let split = |text: &'l str| text.rsplit_once(char::is_whitespace).unwrap_or(("", text));
    let (name, last) = split(line);
    let (mut name, mut numbers) = (name.trim_end(), vec![number(last)?]);
    while numbers.len() < most && !is_known(name) {
        let (before, part) = split(name);
        let Ok(more) = part.parse() else { break };
        numbers.insert(0, more);
        name = before.trim_end();
    }
    Ok((name, numbers))
}
