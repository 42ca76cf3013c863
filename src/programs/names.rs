//! The model's tensors by name: what the signature says and what the file has beside it, put together.

use std::collections::{HashMap, HashSet};

use super::archive::Stored;
use super::graph::Named;
use super::schema::{TensorMeta, dtype};
use crate::tensors::view::{View, dimensions};
use crate::weights::tree::short;
use crate::{Error, Kind, Result};

pub fn damaged(what: impl Into<String>) -> Error {
    Error::new(Kind::Damaged, what).remedy("save the program again, or ask where it came from")
}

/// Fails if a graph describes a tensor otherwise than its file does.
pub fn agrees(name: &str, meta: Option<&TensorMeta>, view: &View) -> Result<()> {
    let Some(meta) = meta else { return Ok(()) };
    if meta.shape().as_ref() == Some(&view.shape) && dtype(meta.dtype) == Some(view.dtype) {
        return Ok(());
    }
    let what = format!(
        "its graph describes it otherwise than its file, which has {:?} of shape {:?}",
        view.dtype, view.shape
    );
    Err(damaged(what).tensor(&short(name)))
}

pub fn shape(name: &str, view: &View) -> Result<Vec<usize>> {
    dimensions(&view.shape).ok_or_else(|| damaged("its shape is too large").tensor(&short(name)))
}

/// Storage, offset, shape and strides.
type Place = (Box<str>, u64, Vec<u64>, Vec<u64>);

/// The names of the model: those of the signature, then what the file has beside them.
pub struct Names {
    pub named: Vec<Named>,
    by_name: HashMap<String, usize>,
    taken: HashSet<usize>,
    views: Vec<View>,
}

impl Names {
    /// What the file says it has. Tensors of one storage, place and shape are the same.
    pub fn new(weights: Vec<Stored>) -> Result<Self> {
        let (mut named, mut views) = (vec![], vec![]);
        let mut by_name = HashMap::with_capacity(weights.len());
        let mut first: HashMap<Place, usize> = HashMap::new();
        for stored in weights {
            let Stored { name, view, is_parameter, .. } = stored;
            let number = named.len();
            let place =
                (view.storage.clone(), view.offset, view.shape.clone(), view.strides.clone());
            let same = *first.entry(place).or_insert(number);
            let is_empty = view.shape.contains(&0);
            named.push(Named {
                shape: shape(&name, &view)?,
                name: name.clone(),
                dtype: view.dtype,
                slot: None,
                alias_of: (same != number && !is_empty).then_some(same),
                is_parameter: is_parameter.unwrap_or(false),
            });
            views.push(view);
            if by_name.insert(name.clone(), number).is_some() {
                return Err(damaged("its file has it twice").tensor(&short(&name)));
            }
        }
        Ok(Names { named, by_name, taken: HashSet::new(), views })
    }

    /// A tensor of the signature.
    pub fn add(
        &mut self,
        name: &str,
        meta: Option<&TensorMeta>,
        slot: usize,
        is_parameter: bool,
    ) -> Result<()> {
        let number = match self.by_name.get(name) {
            Some(&number) => {
                agrees(name, meta, &self.views[number])?;
                number
            }
            // A file without its weights: the graph says what they are.
            None => {
                let unknown =
                    || damaged("neither its graph nor its file describes it").tensor(&short(name));
                let meta = meta.ok_or_else(unknown)?;
                let (sizes, dtype) = (meta.shape(), dtype(meta.dtype));
                let (Some(sizes), Some(dtype)) = (sizes, dtype) else { return Err(unknown()) };
                let view =
                    View { storage: "".into(), dtype, shape: sizes, strides: vec![], offset: 0 };
                let (shape, number) = (shape(name, &view)?, self.named.len());
                self.views.push(view);
                let (name, alias_of) = (name.to_string(), None);
                self.by_name.insert(name.clone(), number);
                self.named.push(Named { name, shape, dtype, slot: None, alias_of, is_parameter });
                number
            }
        };
        if !self.taken.insert(number) {
            return Err(damaged("its signature has it twice").tensor(&short(name)));
        }
        self.named[number].slot = Some(slot);
        self.named[number].is_parameter = is_parameter;
        Ok(())
    }
}
