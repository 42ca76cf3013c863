//! Which output of a network stands for which class of the data, where the data have only some of the network's
//! classes, or have them in another order.
//!
//! The file is JSON or text, in one of these forms:
//!
//! | form | an entry |
//! |---|---|
//! | JSON object, class → output (Hugging Face's `label2id`) | `"n01440764": 0`; `null` leaves the class's images out |
//! | JSON object, output → class (`id2label`, Keras's `imagenet_class_index.json`) | `"0": "n01440764"`, `"0": ["n01440764", "tench"]` |
//! | JSON array of classes in the order of the outputs | `"n01440764"` |
//! | text, a class and its output a line | `n01440764 0`, also with a comma or a tab between; `-` leaves the class's images out |
//! | text, an output and its class a line | `0 n01440764`, `0: tench`, `0,tench` |
//! | text, a class a line in the order of the outputs (timm, `LOC_synset_mapping.txt`) | `n01440764`, `n01440764 tench, Tinca tinca` |
//!
//! A line of headings (`wnid,index`) may stand above classes with numbers, and says which are which; two columns of numbers
//! that may be read either way need one. Quotation marks may stand around a class. Empty lines and lines that begin with `#` are skipped. Entries name classes; if no entry is the name of a class
//! of the data, they are taken as class numbers. Every class of the data needs an entry; entries of other classes
//! do no harm, so that one file serves every subset.

mod lines;
mod parse;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::dataset::{Classes, Dataset};
use crate::image::Image;
use crate::text::grouped;
use parse::{Entry, Parsed, parse};
use swa_base::text::printable;
use swa_base::{Error, Kind, Result, text_file};

/// The output of each class of a dataset.
#[derive(Debug, Clone)]
pub struct ClassMap {
    path: PathBuf,
    /// One a class; None: its images are left out.
    outputs: Vec<Option<u32>>,
    names: Option<Vec<String>>,
    /// Of a list in the order of the outputs, how many it has.
    listed: Option<usize>,
}

impl ClassMap {
    /// Reads the map for a dataset.
    ///
    /// # Errors
    /// `Usage` where there is no such file; `Mismatch` where it lacks a class or names one that the data do not
    /// have; `Input` where it has none of the forms, names a class twice or gives two the same output.
    pub fn read(path: &Path, dataset: &dyn Dataset) -> Result<Self> {
        let text = text_file::read(path)?;
        let names = dataset.class_names().map(<[String]>::to_vec);
        let known: HashSet<&str> = names.iter().flatten().map(|name| name.as_str()).collect();
        let Parsed { entries, is_list, other_way } = parse(&text, &|name| known.contains(name))
            .map_err(|what| {
                Error::input(what)
                    .at(path)
                    .remedy("give JSON such as {\"CLASS\": OUTPUT, …}, or text")
            })?;
        let count = match dataset.classes() {
            Classes::Exactly(n) | Classes::AtLeast(n) => n,
        };
        let outputs = resolve(&entries, count, names.as_deref()).map_err(|e| e.at(path))?;
        if let Some(other) = other_way
            && let Ok(other) = resolve(&other, count, names.as_deref())
        {
            check_one_way(&outputs, &other, names.as_deref()).map_err(|e| e.at(path))?;
        }
        let listed = is_list.then_some(entries.len());
        Ok(ClassMap { path: path.to_path_buf(), outputs, names, listed })
    }

    /// Checks that every output is below `heads`, the number of outputs of the model in the file `model`, and that a list
    /// has an entry for each.
    ///
    /// # Errors
    /// `Mismatch`, naming the class.
    pub fn check(&self, heads: usize, model: &Path) -> Result<()> {
        if let Some(n) = self.listed.filter(|&n| n < heads) {
            let model = model.display();
            let what = format!(
                "it lists {n} classes in the order of the outputs, of which `{model}` has {heads}"
            );
            return Err(Error::new(Kind::Mismatch, what)
                .at(&self.path)
                .remedy("list all of them, or write the number of its output behind each class"));
        }
        let beyond = |output: &Option<u32>| output.is_some_and(|output| output as usize >= heads);
        match self.outputs.iter().position(beyond) {
            None => Ok(()),
            Some(class) => Err(Error::new(
                Kind::Mismatch,
                format!(
                    "class `{}`: output {}, but the head of `{}` has {heads}, from 0",
                    self.title(class),
                    self.outputs[class].unwrap_or_default(),
                    model.display(),
                ),
            )
            .at(&self.path)),
        }
    }

    /// The file it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The outputs of the classes that are not left out, in the order of the classes.
    pub fn outputs(&self) -> Vec<u32> {
        self.outputs.iter().flatten().copied().collect()
    }

    /// The names of the classes that are not left out, in the same order, where the data have names.
    pub fn names(&self) -> Option<Vec<String>> {
        let names = self.names.as_ref()?.iter().zip(&self.outputs);
        Some(names.filter(|(_, output)| output.is_some()).map(|(name, _)| name.clone()).collect())
    }

    /// How many classes are left out.
    pub fn left_out(&self) -> usize {
        self.outputs.iter().filter(|output| output.is_none()).count()
    }

    fn title(&self, class: usize) -> String {
        title(class, self.names.as_deref())
    }

    /// The dataset with outputs for labels, without the images that are left out.
    ///
    /// # Errors
    /// `Input` where no image is left.
    pub fn apply(&self, dataset: Arc<dyn Dataset>) -> Result<Arc<dyn Dataset>> {
        let kept = |&index: &usize| self.outputs[dataset.label(index)].is_some();
        let images: Vec<usize> = (0..dataset.len()).filter(kept).collect();
        if images.is_empty() {
            return Err(Error::input("it leaves out every image of the data").at(&self.path));
        }
        Ok(Arc::new(Mapped { dataset, images, map: self.clone() }))
    }
}

struct Mapped {
    dataset: Arc<dyn Dataset>,
    /// The indices of the images that are not left out.
    images: Vec<usize>,
    map: ClassMap,
}

impl Mapped {
    /// Whether each image is a file: then those that are left out have no part in the data.
    fn has_own_files(&self) -> bool {
        self.dataset.files() == self.dataset.len()
    }
}

impl Dataset for Mapped {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn classes(&self) -> Classes {
        Classes::AtLeast(self.map.outputs.iter().flatten().max().map_or(0, |&o| o as usize + 1))
    }

    /// Labels are outputs, for which the data have no names.
    fn class_names(&self) -> Option<&[String]> {
        None
    }

    fn label(&self, index: usize) -> usize {
        let class = self.dataset.label(self.images[index]);
        self.map.outputs[class].expect("images of other classes are left out") as usize
    }

    fn name(&self, index: usize) -> String {
        self.dataset.name(self.images[index])
    }

    fn image(&self, index: usize) -> Result<Image> {
        self.dataset.image(self.images[index])
    }

    fn files(&self) -> usize {
        match self.has_own_files() {
            true => self.images.len(),
            false => self.dataset.files(),
        }
    }

    fn file(&self, place: usize) -> PathBuf {
        match self.has_own_files() {
            true => self.dataset.file(self.images[place]),
            false => self.dataset.file(place),
        }
    }

    fn describe(&self) -> String {
        let (used, path) = (grouped(self.len()), printable(&self.map.path.to_string_lossy()));
        format!("{}; {used} images by `{path}`", self.dataset.describe())
    }
}

fn title(class: usize, names: Option<&[String]>) -> String {
    names.and_then(|names| names.get(class)).cloned().unwrap_or_else(|| class.to_string())
}

/// Finds the entry of each class.
fn resolve(entries: &[Entry], count: usize, names: Option<&[String]>) -> Result<Vec<Option<u32>>> {
    let by_name: HashMap<&str, usize> =
        names.unwrap_or_default().iter().enumerate().map(|(i, name)| (&name[..], i)).collect();
    let are_names = entries.iter().any(|(name, _)| by_name.contains_key(&name[..]));
    let class = |name: &str| match are_names {
        true => by_name.get(name).copied(),
        false => name.parse().ok(),
    };
    let mut found: Vec<Option<&Entry>> = vec![None; count];
    for entry in entries {
        let Some(class) = class(&entry.0) else {
            if are_names {
                continue;
            }
            // Not one known name, and this is not a number.
            let all: Vec<String> = (0..count.min(3)).map(|class| title(class, names)).collect();
            return Err(Error::new(
                Kind::Mismatch,
                format!("`{}` is not a class of the data", entry.0),
            )
            .remedy(format!("its {count} classes are `{}`, …", all.join("`, `"))));
        };
        if class < count && found[class].replace(entry).is_some() {
            return Err(Error::input(format!("class `{}` has two entries", entry.0)));
        }
    }
    let missing = (0..count).filter(|&class| found[class].is_none());
    let missing: Vec<String> = missing.map(|class| format!("`{}`", title(class, names))).collect();
    if !missing.is_empty() {
        let what = format!("{} class(es) of the data have no entry", missing.len());
        return Err(Error::new(Kind::Mismatch, what)
            .remedy("add them; null, or `-` in text, leaves a class's images out")
            .list(missing));
    }
    let outputs: Vec<Option<u32>> = found.iter().flatten().map(|(_, output)| *output).collect();
    let mut taken = HashMap::new();
    for (class, output) in outputs.iter().enumerate() {
        if let Some(output) = output
            && let Some(other) = taken.insert(output, class)
        {
            let (a, b) = (title(other, names), title(class, names));
            return Err(Error::input(format!("`{a}` and `{b}` both have the output {output}")));
        }
    }
    Ok(outputs)
}

/// Fails if lines of two numbers give the classes other outputs when they are read the other way round.
fn check_one_way(
    outputs: &[Option<u32>],
    other: &[Option<u32>],
    names: Option<&[String]>,
) -> Result<()> {
    let shown = |output: Option<u32>| output.map_or("-".into(), |output| output.to_string());
    match (0..outputs.len()).find(|&class| outputs[class] != other[class]) {
        None => Ok(()),
        Some(class) => Err(Error::input(format!(
            "two columns of numbers, and either may be the class: `{}` has the output {} or {}",
            title(class, names),
            shown(outputs[class]),
            shown(other[class])
        ))
        .remedy("write a line of headings above them: `class,output` or `output,class`")),
    }
}

#[cfg(test)]
mod tests;
