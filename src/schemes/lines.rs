//! Text files with numbers for checkpoints: a line each in natural order, or in any order with names before the numbers.

use std::collections::HashMap;
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
    let names = Names::of(paths);
    let is_known = |name: &str| !names.called(name).is_empty();
    let mut all: Vec<Option<Vec<f64>>> = vec![None; paths.len()];
    for line in lines {
        let (name, numbers) = parse(line, most, &is_known, &number)?;
        let name = unquoted(name);
        if name.is_empty() {
            let what = format!("`{line}` has no name, and other lines have");
            return Err(Error::input(what).at(file));
        }
        let found = names.called(name);
        // What is named twice has two lines.
        let free = found.iter().find(|place| all[**place].is_none());
        match (free.or(found.first()), &found[..]) {
            (Some(&place), [first, others @ ..])
                if others.iter().all(|other| paths[*other] == paths[*first]) =>
            {
                if all[place].replace(numbers).is_some() {
                    return Err(Error::input(format!("names `{name}` twice")).at(file));
                }
            }
            (_, [one, other, ..]) => {
                let (one, other) = (paths[*one].display(), paths[*other].display());
                return Err(Error::input(format!("`{name}` may be `{one}` or `{other}`"))
                    .at(file)
                    .remedy("write the name with its folder"));
            }
            _ => {
                let what = format!("`{name}` is not one of the checkpoints");
                return Err(Error::input(what).at(file));
            }
        }
    }
    if let Some(place) = all.iter().position(Option::is_none) {
        let what = format!("has no {what} for `{}`", names.shortest(place));
        return Err(Error::input(what).at(file));
    }
    Ok(all.into_iter().flatten().collect())
}

/// What checkpoints may be called: by their names with as many folders as one likes, or by those of the folders in which
/// they lie.
struct Names<'p> {
    paths: &'p [PathBuf],
    absolute: Vec<PathBuf>,
    /// The places by the last part of what they may be called.
    own: HashMap<String, Vec<usize>>,
    folders: HashMap<String, Vec<usize>>,
}

impl<'p> Names<'p> {
    fn of(paths: &'p [PathBuf]) -> Self {
        // It asks no file system.
        let whole = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let absolute: Vec<PathBuf> = paths.iter().map(whole).collect();
        let (mut own, mut folders) = (HashMap::new(), HashMap::new());
        for (place, path) in absolute.iter().enumerate() {
            let push = |names: &mut HashMap<String, Vec<usize>>, path: &Path| {
                names.entry(base_name(path)).or_default().push(place);
            };
            push(&mut own, path);
            path.parent().into_iter().for_each(|folder| push(&mut folders, folder));
        }
        Names { paths, absolute, own, folders }
    }

    /// The places that a name may mean.
    fn called(&self, name: &str) -> Vec<usize> {
        let name = Path::new(unquoted(name));
        let name = name.strip_prefix(".").unwrap_or(name);
        let is = |path: &Path| !name.as_os_str().is_empty() && path.ends_with(name);
        let among = |names: &HashMap<String, Vec<usize>>| {
            names.get(&base_name(name)).cloned().unwrap_or_default()
        };
        let mut found = among(&self.own);
        found.retain(|&place| is(&self.absolute[place]));
        if found.is_empty() {
            found = among(&self.folders);
            found.retain(|&place| self.absolute[place].parent().is_some_and(is));
        }
        found
    }

    /// The shortest name that tells one from the others.
    fn shortest(&self, place: usize) -> String {
        let mut name = PathBuf::from(base_name(&self.paths[place]));
        for folder in self.absolute[place].ancestors().skip(1).map(base_name) {
            if self.called(&name.to_string_lossy()).len() < 2 {
                break;
            }
            name = Path::new(&folder).join(name);
        }
        name.to_string_lossy().into_owned()
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
