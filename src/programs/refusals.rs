//! What is said of files that are no program, and of programs that cannot run.

use std::collections::HashMap;
use std::path::Path;

use super::graph::Counted;
use super::schema::{self, Argument};
use super::targets::{Target, Why};
use crate::checkpoint::Checkpoint;
use crate::error::LISTED;
use crate::formats::packages::Package;
use crate::text::in_quotes;
use crate::weights::tree::short;
use crate::{Error, Kind, Result};

/// How a program is written, in the trainer's Python: what every message recommends in which one is missing.
pub const RECIPE: &str = "in the trainer's Python, write \
    `program = torch.export.export(model.eval(), (torch.randn(2, 3, 224, 224),), \
    dynamic_shapes=({0: torch.export.Dim(\"batch\")},))` and \
    `torch.export.save(program, \"model.pt2\")` (docs/programs.md)";

/// A file that is no program, by what it is.
pub fn no_program(path: &Path, head: &[u8], package: Option<&Package>) -> Error {
    let said = |what: &str| {
        let what = format!("{what}, not an exported program");
        Error::new(Kind::Unsupported, what).remedy(RECIPE)
    };
    if let Some(Package::Programs(names)) = package {
        let names: Vec<String> = names.iter().take(LISTED).map(|name| short(name)).collect();
        let names = names.join("`, `");
        let what = format!("it holds several exported programs: `{names}`");
        return Error::new(Kind::Unsupported, what).remedy("save the one that is meant alone");
    }
    if let Some(package) = package {
        return said(package.what());
    }
    if head.get(4..8).is_some_and(|magic| magic.starts_with(b"ET") && magic[2].is_ascii_digit()) {
        return said("an ExecuTorch program (.pte), which has no batchnorm left");
    }
    // A message of protobuf: the version of the format, then the producer's name.
    let is_onnx = matches!(head, [8, 1..=30, 0x12, length, name @ ..]
        if name.len() >= *length as usize && name[..*length as usize].is_ascii())
        || matches!(head, [8, 1..=30, 0x3a, ..]);
    if is_onnx {
        return said("an ONNX file, which has no batchnorm to recompute");
    }
    match Checkpoint::open(path) {
        Ok(checkpoint) => said(&format!(
            "a checkpoint ({}): weights without the network",
            checkpoint.container().name()
        )),
        // Reading it failed, or it is known for something else.
        Err(error) => match error.kind() {
            Kind::Io | Kind::NoSpace | Kind::Changed | Kind::OutOfMemory | Kind::Usage => error,
            Kind::NoMatch | Kind::Limit => error,
            _ => {
                // Without the file's name, which comes before the whole.
                let cause = error.cause(&in_quotes);
                let own = format!("`{}`: ", crate::text::printable(&path.to_string_lossy()));
                let cause = cause.strip_prefix(&own).unwrap_or(&cause);
                Error::new(Kind::Unsupported, format!("not an exported program: {cause}"))
                    .remedy(RECIPE)
            }
        },
    }
}

/// The operators of a graph that may not run.
#[derive(Debug, Default)]
struct Refused {
    /// In the order in which they occur.
    found: Vec<(String, Why, usize)>,
    by_name: HashMap<String, usize>,
}

impl Refused {
    fn add(&mut self, graph: &schema::Graph) {
        for node in &graph.nodes {
            if let Target::Refused(name, why) = Target::of(&node.target) {
                let next = self.found.len();
                let at = *self.by_name.entry(name.clone()).or_insert(next);
                if at == next {
                    self.found.push((short(&name), why, 0));
                }
                self.found[at].2 += 1;
                // What is within it does not run either.
                continue;
            }
            for input in &node.inputs {
                if let Argument::Graph(graph) = &input.arg {
                    self.add(graph);
                }
            }
        }
    }
}

/// Fails if operators of a graph may not run, and names all of them.
pub fn check(graph: &schema::Graph) -> Result<()> {
    let mut refused = Refused::default();
    refused.add(graph);
    if refused.found.is_empty() {
        return Ok(());
    }
    let (mut foreign, mut others) = (vec![], vec![]);
    for (target, why, nodes) in refused.found {
        let counted = Counted { target, nodes };
        match why {
            Why::Foreign => foreign.push(counted),
            Why::HigherOrder(what) => {
                others.push(format!("`{}` ({what}) cannot be run", counted.target));
            }
            Why::Denied(why) => others.push(format!("`{}` is not run: it {why}", counted.target)),
        }
    }
    let mut parts = vec![];
    if !foreign.is_empty() {
        parts.push(missing(&foreign, "PyTorch"));
    }
    let more = others.len().saturating_sub(LISTED);
    others.truncate(LISTED);
    parts.append(&mut others);
    if more > 0 {
        parts.push(format!("and {more} more"));
    }
    Err(Error::new(Kind::Unsupported, parts.join(", and ")).remedy(REPLACE))
}

const REPLACE: &str = "export a model of PyTorch's own operators, without branches on data (custom \
    operators live in their Python package)";

/// That operators are missing, all in one error.
pub fn missing_operators(missing_ones: &[Counted], library: &str) -> Error {
    Error::new(Kind::Unsupported, missing(missing_ones, library)).remedy(REPLACE)
}

fn missing(operators: &[Counted], library: &str) -> String {
    let one = |operator: &Counted| match operator.nodes {
        1 => format!("`{}`", operator.target),
        n => format!("`{}` ({n} nodes)", operator.target),
    };
    let mut list: Vec<String> = operators.iter().take(LISTED).map(one).collect();
    if operators.len() > LISTED {
        list.push(format!("and {} more", operators.len() - LISTED));
    }
    let are = match operators.len() {
        1 => "1 operator is".to_string(),
        n => format!("{n} operators are"),
    };
    format!("{are} not in {library}: {}", list.join(", "))
}
