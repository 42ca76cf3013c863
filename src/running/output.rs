//! The output of a state: what averaging all that it counts at once would write.

use std::path::Path;

use super::directory::Directory;
use super::pass::Found;
use crate::average::{Options, Rule, Target, provenance};
use crate::checkpoint::TensorInfo;
use crate::formats::pickle::written::is_plain;
use crate::output::{Format, Layout, LikeLayout, SafetensorsLayout, TorchLayout};
use crate::select::base_name;
use crate::{Error, Result, setting};

/// What was written.
#[derive(Debug, Clone)]
pub struct Wrote {
    /// Size of the output in bytes.
    pub bytes: u64,
    /// Tensors with means that are not finite, and how many.
    pub nonfinite: Vec<(String, u64)>,
    /// Tensors that are means.
    pub averaged: usize,
    /// Tensors from the last checkpoint.
    pub copied: usize,
}

/// The output of a state.
pub(super) struct Output<'t> {
    pub layout: Box<dyn Layout + 't>,
    /// In its order.
    pub infos: Vec<TensorInfo>,
    pub names: Vec<String>,
    /// For each tensor of the state its place in it.
    pub places: Vec<usize>,
    pub averaged: usize,
}

impl<'t> Output<'t> {
    pub fn new(
        directory: &Directory,
        infos: &[TensorInfo],
        options: &Options,
        target: &'t Target,
    ) -> Result<Self> {
        let rules = directory.rules(infos, options)?;
        let inputs = directory.inputs.iter().map(|input| base_name(Path::new(&input.path)));
        let weights = vec![1.0; directory.inputs.len()];
        let transform = directory.transform.clone();
        let metadata = provenance::metadata(
            &directory.metadata,
            inputs.collect(),
            &weights,
            options,
            transform,
        );
        let order = directory.order.iter().map(|&tensor| tensor as usize);
        let out: Vec<TensorInfo> = order
            .clone()
            .map(|tensor| TensorInfo {
                name: match &directory.written_names {
                    Some(names) => names[tensor].clone(),
                    None => infos[tensor].name.clone(),
                },
                dtype: rules[tensor].1,
                shape: infos[tensor].shape.clone(),
            })
            .collect();
        let names: Vec<String> = order.clone().map(|tensor| infos[tensor].name.clone()).collect();
        let layout: Box<dyn Layout> = match target {
            Target::File { format: Format::Torch, .. } => {
                // A state may come from anywhere, too: nothing but plain values goes into a pickle.
                let rest = directory.rest.iter().filter(|(_, value)| is_plain(value));
                let rest: Vec<_> =
                    rest.map(|(name, value)| (name.clone(), value.as_slice())).collect();
                Box::new(TorchLayout::new(out.iter(), &rest, &metadata)?)
            }
            Target::File { .. } => Box::new(SafetensorsLayout::new(out.iter(), &metadata)?),
            Target::Like { model, .. } => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                Box::new(LikeLayout::new(model, &names, &out)?)
            }
            Target::Folder { path, .. } | Target::LikeFolder { path, .. } => {
                return Err(Error::usage(concat!(
                    "a ",
                    setting!("state"),
                    " gives a file, not a folder"
                ))
                .at(path)
                .remedy("end the name in .safetensors or .pth"));
            }
        };
        let mut places = vec![0; infos.len()];
        order.enumerate().for_each(|(place, tensor)| places[tensor] = place);
        let averaged = rules.iter().filter(|(rule, _)| matches!(rule, Rule::Mean(_)));
        let averaged = averaged.count();
        Ok(Output { layout, infos: out, names, places, averaged })
    }

    pub fn wrote(&self, found: &Found) -> Wrote {
        let mut by_name: Vec<&str> = self.names.iter().map(String::as_str).collect();
        by_name.sort();
        let named = |&(tensor, n): &(usize, u64)| (by_name[tensor].to_string(), n);
        Wrote {
            bytes: self.layout.size(),
            nonfinite: found.nonfinite.iter().map(named).collect(),
            averaged: self.averaged,
            copied: self.infos.len() - self.averaged,
        }
    }
}
