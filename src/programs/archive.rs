//! The containers: zip files of three generations, which keep a graph as JSON, the weights, and the constants. The bytes of
//! the weights are not needed, and may be missing.

use std::collections::HashSet;
use std::ops::Range;

use super::json::parse;
use super::schema::{Payloads, TensorMeta, dtype, known};
use crate::formats::packages::{FLAT_GRAPH, Layout};
use crate::formats::torch;
use crate::formats::zip::{Archive, Entry};
use crate::store::Source;
use crate::tensors::view::{Located, Storage, View, bytes, locate};
use crate::tensors::{Dtype, MAX_HEADER, MAX_RANK};
use crate::weights::tree::{Node, short};
use crate::{Error, Kind, Result};

/// A program's file.
pub struct Container<'a> {
    pub source: &'a Source,
    pub archive: &'a Archive,
    pub layout: &'a Layout,
}

/// A tensor that the file says it has.
#[derive(Debug)]
pub struct Stored {
    pub name: String,
    pub view: View,
    /// Its storage's bytes, if they are in the file.
    storage: Option<Storage>,
    big_endian: bool,
    /// None where the file does not say.
    pub is_parameter: Option<bool>,
}

/// The two kinds of tensors that a file keeps apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Weights,
    Constants,
}

impl Which {
    /// The entry of PyTorch up to 2.7.
    fn flat(self) -> &'static str {
        match self {
            Which::Weights => "serialized_state_dict.pt",
            Which::Constants => "serialized_constants.pt",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Which::Weights => "data/weights",
            Which::Constants => "data/constants",
        }
    }
}

impl Container<'_> {
    /// The graph's JSON.
    pub fn graph<'s>(&'s self, scratch: &'s mut Vec<u8>) -> Result<(String, &'s [u8])> {
        let name = match self.layout {
            Layout::Flat => FLAT_GRAPH.to_string(),
            Layout::Archive { root, model } => format!("{root}models/{model}.json"),
        };
        let entry = self.archive.get(&name).expect("the layout was found by it");
        Ok((name, self.read(entry, scratch)?))
    }

    /// The tensors that it says it has; none where it says nothing.
    pub fn tensors(&self, which: Which) -> Result<Vec<Stored>> {
        let (root, model) = match self.layout {
            Layout::Flat => return self.saved(which.flat(), which),
            Layout::Archive { root, model } => (root, model),
        };
        let folder = format!("{root}{}", which.folder());
        let kind = if which == Which::Weights { "weights" } else { "constants" };
        let config = format!("{folder}/{model}_{kind}_config.json");
        match self.archive.get(&config) {
            Some(entry) => self.raw(&folder, entry, which),
            None => self.saved(&format!("{folder}/{model}.pt"), which),
        }
    }

    fn read<'s>(&'s self, entry: &Entry, scratch: &'s mut Vec<u8>) -> Result<&'s [u8]> {
        self.archive.read_entry(self.source, entry, MAX_HEADER as u64, scratch)
    }

    /// Storages as entries, since 2.9.
    fn raw(&self, folder: &str, config: &Entry, which: Which) -> Result<Vec<Stored>> {
        let mut scratch = vec![];
        let payloads: Payloads = parse(&config.name, self.read(config, &mut scratch)?)?;
        let big_endian = self.is_big_endian(folder, which)?;
        let (mut stored, mut verified) = (vec![], HashSet::new());
        for (name, payload) in payloads.config.0 {
            if payload.use_pickle {
                let what = "it is stored as a pickle: a tensor of a subclass, or a script object";
                return Err(Error::new(Kind::Unsupported, what)
                    .tensor(&short(&name))
                    .remedy("export a model of plain tensors"));
            }
            let described =
                payload.tensor_meta.as_ref().and_then(|meta| view(meta, &payload.path_name));
            let broken =
                || Error::new(Kind::Damaged, "its description is broken").tensor(&short(&name));
            let view = described.ok_or_else(broken)?;
            let mut storage = None;
            if let Some(entry) = self.archive.get(&format!("{folder}/{}", payload.path_name)) {
                // Many tensors may share it.
                if which == Which::Constants && verified.insert(payload.path_name.clone()) {
                    let mut scratch = vec![];
                    self.archive.read_entry(self.source, entry, u64::MAX, &mut scratch)?;
                }
                storage = Some(Storage { bytes: entry.stored()?, crc: None });
            }
            let is_parameter = Some(payload.is_param);
            stored.push(Stored { name, view, storage, big_endian, is_parameter });
        }
        Ok(stored)
    }

    fn is_big_endian(&self, folder: &str, which: Which) -> Result<bool> {
        let root = folder.strip_suffix(which.folder()).expect("it is below the root");
        let Some(entry) = self.archive.get(&format!("{root}byteorder")) else { return Ok(false) };
        let mut scratch = vec![];
        match self.read(entry, &mut scratch)? {
            b"little" => Ok(false),
            b"big" => Ok(true),
            _ => Err(Error::new(Kind::Unsupported, "its byte order is not known")),
        }
    }

    /// What `torch.save` wrote, a zip file in the zip file, up to 2.8. Its pickle is read and never run.
    fn saved(&self, name: &str, which: Which) -> Result<Vec<Stored>> {
        let Some(entry) = self.archive.get(name) else { return Ok(vec![]) };
        let range: Range<u64> = entry.stored()?;
        if range.is_empty() {
            return Ok(vec![]);
        }
        if which == Which::Constants {
            let mut scratch = vec![];
            self.archive.read_entry(self.source, entry, u64::MAX, &mut scratch)?;
        }
        let saved = torch::read(self.source, range)?;
        let tree = saved.tree()?;
        let mut stored = vec![];
        for (name, node) in tree.items() {
            let view = match &**node {
                Node::Tensor(view) => view.clone(),
                other => {
                    let what = format!("it is {}, not a plain tensor", other.describe());
                    return Err(Error::new(Kind::Unsupported, what)
                        .tensor(&short(name))
                        .remedy("export a model of plain tensors"));
                }
            };
            let storage = saved.storages.get(&view.storage).cloned();
            let (name, big_endian) = (name.to_string(), saved.big_endian);
            stored.push(Stored { name, view, storage, big_endian, is_parameter: None });
        }
        Ok(stored)
    }
}

fn view(meta: &TensorMeta, storage: &str) -> Option<View> {
    let (shape, strides) = (meta.shape()?, known(&meta.strides)?);
    let offset = match &meta.storage_offset {
        None => 0,
        Some(offset) => known(std::slice::from_ref(offset))?[0],
    };
    let is_strided = meta.layout.is_none_or(|layout| layout == super::arguments::STRIDED);
    if shape.len() != strides.len() || shape.len() > MAX_RANK || !is_strided {
        return None;
    }
    Some(View { storage: storage.into(), dtype: dtype(meta.dtype)?, shape, strides, offset })
}

impl Stored {
    pub fn dtype(&self) -> Dtype {
        self.view.dtype
    }

    /// Size of its values, in bytes.
    pub fn size(&self) -> Result<u64> {
        bytes(self.view.dtype, &self.view.shape).map_err(|e| e.tensor(&short(&self.name)))
    }

    /// Its values, row by row, little-endian. The caller has looked at their size.
    pub fn read(&self, source: &Source) -> Result<Vec<u8>> {
        self.values(source).map_err(|e| e.tensor(&short(&self.name)))
    }

    fn values(&self, source: &Source) -> Result<Vec<u8>> {
        let size = self.size()?;
        let missing = || Error::new(Kind::Damaged, "its values are not in the file");
        if size == 0 {
            return Ok(vec![]);
        }
        let storage = self.storage.as_ref().ok_or_else(missing)?;
        let mut scratch = vec![];
        match locate(&self.view, storage, 0, self.big_endian)? {
            Located::Contiguous { start, .. } => {
                Ok(source.read(start..start + size, &mut scratch)?.to_vec())
            }
            Located::Gathered(gather) => {
                gather.read(std::slice::from_ref(source), 0..size, &mut scratch)?;
                scratch.truncate(size as usize);
                Ok(scratch)
            }
        }
    }
}
