//! From a path to a program.

use std::path::Path;

use super::archive::{Container, Which};
use super::arguments::Scope;
use super::build::Builder;
use super::graph::Graph;
use super::json::parse;
use super::schema::{ExportedProgram, Versioned};
use super::{Program, digest, facts, liveness, output_names, refusals, signature};
use crate::formats::Candidate;
use crate::formats::packages::{Layout, Package};
use crate::formats::zip::{Archive, first_name};
use crate::store::Source;
use crate::{Error, Kind, Result};

/// The schema's major versions that are known.
const MAJORS: std::ops::RangeInclusive<u64> = 5..=8;

pub fn is_one(path: &Path) -> Result<bool> {
    let source = Source::open(path)?;
    let candidate = Candidate::of(&source)?;
    // The directory of a checkpoint may be long.
    let is_pickle = |name: &[u8]| name.ends_with(b"data.pkl");
    if !candidate.is_zip() || first_name(&candidate.head).is_some_and(is_pickle) {
        return Ok(false);
    }
    let package = Package::of(candidate.archive().map_err(|e| e.at(path))?);
    Ok(matches!(package, Some(Package::Program(_) | Package::Programs(_))))
}

pub fn open(path: &Path) -> Result<Program> {
    let source = Source::open(path)?;
    let at = |e: Error| if e.file().is_some() { e } else { e.at(path) };
    read(path, &source).map_err(at)
}

fn read(path: &Path, source: &Source) -> Result<Program> {
    let candidate = Candidate::of(source)?;
    let package = match candidate.is_zip() {
        true => Package::of(candidate.archive()?),
        false => None,
    };
    match package {
        Some(Package::Program(layout)) => program(path, source, candidate.archive()?, &layout),
        other => Err(refusals::no_program(path, &candidate.head, other.as_ref())),
    }
}

fn program(path: &Path, source: &Source, archive: &Archive, layout: &Layout) -> Result<Program> {
    let container = Container { source, archive, layout };
    let mut scratch = vec![];
    let (entry, json) = container.graph(&mut scratch)?;
    let Versioned { schema_version: version } = parse(&entry, json)?;
    if !MAJORS.contains(&version.major) {
        let (major, minor) = (version.major, version.minor);
        let (first, last) = (MAJORS.start(), MAJORS.end());
        let what = format!("schema {major}.{minor} is not known, {first} to {last} are");
        return Err(Error::new(Kind::Unsupported, what)
            .remedy("export the model with a PyTorch from 2.4 to 2.15"));
    }
    let read: ExportedProgram = parse(&entry, json)?;
    let from = &read.graph_module.graph;
    refusals::check(from)?;
    let wanted = signature::outputs(&read)?;

    let (mut builder, mut scope) = (Builder::default(), Scope::default());
    let weights = container.tensors(Which::Weights)?;
    let constants = container.tensors(Which::Constants)?;
    let inputs = signature::inputs(&read, (weights, &constants), source, &mut builder, &mut scope)?;
    let (mut tensors, mut constants, image) = (inputs.tensors, inputs.constants, inputs.image);

    let mut nodes = vec![];
    builder.nodes(from, &mut scope, &mut nodes)?;
    let outputs = wanted.iter().map(|&number| &from.outputs[number]);
    let outputs = builder.outputs(outputs, &scope);
    let outputs =
        outputs.map_err(|what| Error::new(Kind::Damaged, format!("its outputs: {what}")))?;

    let mut kept = vec![false; builder.slots()];
    let own = tensors.iter().filter_map(|tensor| tensor.slot);
    own.chain(constants.iter().map(|constant| constant.slot)).for_each(|slot| kept[slot] = true);
    let used = liveness::settle(&mut nodes, &outputs, builder.slots(), &kept);
    tensors.iter_mut().for_each(|tensor| tensor.slot = tensor.slot.filter(|&slot| used[slot]));
    constants.retain(|constant| used[constant.slot]);

    let facts = facts::of(&mut nodes, &tensors, &outputs);
    let graph = Graph { slots: builder.slots(), nodes, outputs };
    let calls = &read.graph_module.module_call_graph;
    let call =
        calls.iter().find(|call| call.fqn.is_empty()).and_then(|call| call.signature.as_ref());
    let names = output_names::names(call.map(|call| &call.out_spec[..]), wanted.len());
    // Of `2.11.0+cu130` the build does not matter.
    let torch = read.torch_version.split('+').next().unwrap_or_default();
    Ok(Program {
        path: path.to_path_buf(),
        torch: crate::weights::tree::short(torch),
        schema: (version.major, version.minor),
        digest: digest::of(&graph, &tensors, &constants, &image, &names),
        graph,
        tensors,
        constants,
        image,
        outputs: names,
        facts,
    })
}
