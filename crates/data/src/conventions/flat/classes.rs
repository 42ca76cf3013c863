//! The number of a class: its place among the sorted names, as in torchvision's `ImageFolder`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::listing::Listing;
use crate::text::{self, grouped};
use swa_base::{Error, Kind, Result};

/// All classes of a dataset.
pub(super) struct ClassList {
    /// Sorted.
    pub names: Vec<String>,
    /// The development kit's numbers, where the list has them.
    pub ids: BTreeMap<u32, String>,
}

impl ClassList {
    /// Reads a list of classes: a folder with a sub-folder for each; lines that begin with a name
    /// (`LOC_synset_mapping.txt`), a name and a number (`map_clsloc.txt`), or a number and a name; or
    /// JSON as `imagenet_class_index.json`.
    pub fn read(path: &Path) -> Result<Self> {
        if path.is_dir() {
            let names = Listing::read(path)?.folders;
            let names = names.iter().map(|name| name.to_string_lossy().into_owned()).collect();
            return Self::new(names, BTreeMap::new()).map_err(|error| error.at(path));
        }
        let text = text::read(path)?;
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
        ClassList { names, ids: BTreeMap::new() }
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
            None => Ok(ClassList { names, ids }),
        }
    }

    fn from_lines(text: &str) -> Result<Self> {
        let (mut names, mut ids) = (vec![], BTreeMap::new());
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut words = line.split(|c: char| c.is_whitespace() || c == ',');
            let (first, second) =
                (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let (name, id) = match (first.parse::<u32>(), second.parse::<u32>()) {
                (Ok(id), _) if !second.is_empty() => (second, Some(id)),
                (_, id) => (first, id.ok()),
            };
            names.push(name.to_string());
            ids.extend(id.map(|id| (id, name.to_string())));
        }
        // Numbers that only some have are no ids: `n02123045 1 tabby` among `n02123394 Persian`.
        if ids.len() != names.len() {
            ids.clear();
        }
        Self::new(names, ids)
    }

    /// `{"0": ["n01440764", "tench"], …}`, or a list of names.
    fn from_json(text: &str) -> Result<Self> {
        let bad = || Error::input("expected a list of names, or `{\"0\": [\"n01440764\", …], …}`");
        let value: Value = serde_json::from_str(text).map_err(|_| bad())?;
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
            return Err(Error::input("its classes are not numbered in the order of their names")
                .remedy("give a list sorted by name"));
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
