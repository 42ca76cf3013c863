//! The number of a class: its place among the sorted names, as in torchvision's `ImageFolder`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::words::{self, is_wnid};
use crate::listing::Listing;
use crate::text::grouped;
use swa_base::text::printable;
use swa_base::{Error, Kind, Result, look, setting, text_file};
use swa_tools::json;

/// All classes of a dataset.
pub(super) struct ClassList {
    /// Sorted.
    pub names: Vec<String>,
    /// The development kit's numbers, where the list has them.
    pub ids: BTreeMap<u32, String>,
    /// Whether it was found, not given.
    pub is_beside: bool,
}

impl ClassList {
    /// Reads a list of classes: a folder with a sub-folder for each; lines that begin with a name
    /// (`LOC_synset_mapping.txt`), a name and a number (`map_clsloc.txt`), or a number and a name; or
    /// JSON as `imagenet_class_index.json`.
    pub fn read(path: &Path) -> Result<Self> {
        if look::is_folder(path)? {
            let names = Listing::read(path)?.folders;
            let names = names.iter().map(|name| name.to_string_lossy().into_owned()).collect();
            return Self::new(names, BTreeMap::new()).map_err(|error| error.at(path));
        }
        let text = text_file::read(path)?;
        let list = match text.trim_start().starts_with(['{', '[']) {
            true => Self::from_json(&text),
            false => Self::from_lines(&text),
        };
        list.map_err(|error| error.at(path))
    }

    /// The classes that occur.
    pub fn of_words(words: &[String]) -> Self {
        let mut names = words.to_vec();
        names.sort();
        names.dedup();
        ClassList { names, ids: BTreeMap::new(), is_beside: false }
    }

    fn new(mut names: Vec<String>, ids: BTreeMap<u32, String>) -> Result<Self> {
        if names.is_empty() {
            return Err(Error::input("it names no classes"));
        }
        names.sort();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => {
                Err(Error::new(Kind::Damaged, format!("it names the class `{}` twice", pair[0])))
            }
            None => Ok(ClassList { names, ids, is_beside: false }),
        }
    }

    fn from_lines(text: &str) -> Result<Self> {
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        let is_separator = |c: char| c.is_whitespace() || c == ',';
        let mut cells = lines.first().map_or("", |line| line).split(is_separator);
        if lines.len() > 1 && cells.all(|cell| cell.is_empty() || words::is_class_heading(cell)) {
            let what = format!("line 1: `{}` is a heading, no class", printable(lines[0]));
            return Err(Error::input(what).remedy("remove the line"));
        }
        let number = |word: &str| word.parse::<u32>().ok();
        // A number and a name, or a name and a number: of all lines or of none, as in `n02123045 1 tabby` among
        // `n02123394 Persian`.
        let before = |line: &&str| {
            let (first, rest) = line.split_once(is_separator)?;
            let rest = rest.trim_start_matches(is_separator);
            let name = rest.split(is_separator).next().filter(|word| is_wnid(word));
            Some((number(first)?, name.unwrap_or(rest).to_string()))
        };
        let second = |line: &&str| {
            let mut words = line.split(is_separator).filter(|word| !word.is_empty());
            let (name, second) = (words.next()?, words.next()?);
            Some((number(second)?, name.to_string()))
        };
        let last = |line: &&str| {
            let (name, last) = line.rsplit_once(is_separator)?;
            Some((number(last)?, name.trim_end_matches(is_separator).to_string()))
        };
        let all = |entry: &dyn Fn(&&str) -> Option<(u32, String)>| {
            lines.iter().map(entry).collect::<Option<Vec<_>>>()
        };
        // Names may end in numbers themselves: `Audi S4 2012`.
        let numbered = |entries: &Vec<(u32, String)>| {
            let mut numbers: Vec<u32> = entries.iter().map(|(number, _)| *number).collect();
            numbers.sort();
            let from = |first: u32| numbers.iter().copied().eq(first..first + entries.len() as u32);
            entries.iter().all(|(_, name)| is_wnid(name)) || from(0) || from(1)
        };
        let forms = [all(&before), all(&second), all(&last)].into_iter().flatten();
        if let Some(mut entries) = forms.into_iter().find(numbered) {
            entries.sort();
            let is_kit = entries.iter().all(|(number, name)| *number > 0 && is_wnid(name));
            if !is_kit && !entries.iter().map(|(_, name)| name).is_sorted() {
                return Err(unsorted());
            }
            let names = entries.iter().map(|(_, name)| name.clone()).collect();
            let ids: BTreeMap<u32, String> = entries.into_iter().collect();
            // Two classes of one number have none.
            let ids = if ids.len() == lines.len() { ids } else { BTreeMap::new() };
            return Self::new(names, ids);
        }
        let first = |line: &&str| line.split(is_separator).next().unwrap_or_default().to_string();
        let wnids: Vec<String> = lines.iter().map(first).collect();
        if wnids.iter().all(|name| is_wnid(name)) {
            return Self::new(wnids, BTreeMap::new());
        }
        if !lines.is_sorted() {
            return Err(unsorted());
        }
        Self::new(lines.into_iter().map(String::from).collect(), BTreeMap::new())
    }

    /// `{"0": ["n01440764", "tench"], …}`, or a list of names.
    fn from_json(text: &str) -> Result<Self> {
        let bad = || Error::input("expected a list of names, or `{\"0\": [\"n01440764\", …], …}`");
        let value = json::parse(text).map_err(|_| bad())?;
        let name = |value: &Value| match value {
            Value::String(name) => Some(name.clone()),
            Value::Array(names) => Some(names.first()?.as_str()?.to_string()),
            _ => None,
        };
        let names: Option<Vec<String>> = match &value {
            Value::Array(values) => values.iter().map(name).collect(),
            Value::Object(values) => {
                (0..values.len()).map(|i| name(values.get(&i.to_string())?)).collect()
            }
            _ => None,
        };
        let names = names.ok_or_else(bad)?;
        if !names.is_sorted() {
            return Err(unsorted());
        }
        Self::new(names, BTreeMap::new())
    }

    pub fn position(&self, name: &str) -> Result<usize> {
        self.names.binary_search_by(|known| known.as_str().cmp(name)).map_err(|_| {
            let n = grouped(self.names.len());
            Error::new(Kind::Mismatch, format!("the label `{name}` is none of the {n} classes"))
        })
    }

    /// The position of the class that the development kit numbers `id`.
    pub fn position_of_id(&self, id: u32) -> Result<usize> {
        match self.ids.get(&id) {
            Some(name) => self.position(name),
            None => Err(Error::new(
                Kind::Mismatch,
                format!("the id {id} is not in the list of classes"),
            )),
        }
    }
}

/// A class's number is its place among the sorted names; another order has to be said.
fn unsorted() -> Error {
    Error::input("its classes are not in the order of their names, by which they are numbered")
        .remedy(concat!(
            "give a list sorted by name; which output is which class, ",
            setting!("class_map"),
            " says"
        ))
}
