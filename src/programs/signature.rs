//! What goes into a program and what comes out: the model's tensors under their names in a state dict, tensors of its own, one
//! batch of images; and the names of its outputs.

use std::collections::HashMap;

use super::archive::Stored;
use super::arguments::{Scope, Value};
use super::build::Builder;
use super::graph::{Constant, Image, Named};
use super::names::{Names, agrees, damaged, shape};
use super::schema::{self, Argument, InputSpec, OutputSpec, Size, TensorMeta, dtype};
use crate::store::Source;
use crate::weights::tree::short;
use crate::{Error, Kind, Result};

/// What goes in.
pub struct Inputs {
    pub tensors: Vec<Named>,
    pub constants: Vec<Constant>,
    pub image: Image,
}

/// Constants may repeat values by their strides; by no more than so many bytes beyond the file's.
const REPEATED: u64 = 16 << 20;

/// Reads the signature; the names that it gives are defined in the scope.
pub fn inputs<'a>(
    program: &'a schema::ExportedProgram,
    (weights, constants): (Vec<Stored>, &[Stored]),
    source: &Source,
    builder: &mut Builder,
    scope: &mut Scope<'a>,
) -> Result<Inputs> {
    let graph = &program.graph_module.graph;
    let specs = &program.graph_module.signature.input_specs;
    if specs.len() != graph.inputs.len() {
        let (said, has) = (specs.len(), graph.inputs.len());
        return Err(damaged(format!("its signature has {said} inputs, its graph {has}")));
    }
    let metas = pairs("tensor_values", &graph.tensor_values.0)?;
    let stored: HashMap<&str, &Stored> = constants.iter().map(|c| (&c.name[..], c)).collect();
    let mut names = Names::new(weights)?;
    let mut own = vec![];
    let mut images = vec![];
    let mut left = source.size().saturating_add(REPEATED);
    for (spec, input) in specs.iter().zip(&graph.inputs) {
        let (label, kind) = match spec {
            InputSpec::Parameter { arg, parameter_name } => (arg, Kinds::Parameter(parameter_name)),
            InputSpec::Buffer { arg, buffer_name, persistent: true } => {
                (arg, Kinds::Buffer(buffer_name))
            }
            InputSpec::Buffer { arg, buffer_name, .. } => (arg, Kinds::Constant(buffer_name)),
            InputSpec::TensorConstant { arg, tensor_constant_name } => {
                (arg, Kinds::Constant(tensor_constant_name))
            }
            InputSpec::UserInput { arg: Argument::Tensor(name) } => {
                images.push(name);
                continue;
            }
            InputSpec::ConstantInput(_) => continue,
            InputSpec::UserInput { arg } => match arg {
                Argument::SymInt(_) | Argument::SymFloat(_) | Argument::SymBool(_) => {
                    return Err(Error::new(
                        Kind::Unsupported,
                        "it takes a number beside the image: export it for one value of it",
                    ));
                }
                _ => continue, // a value that the export made a part of the program
            },
            InputSpec::CustomObj(_) | InputSpec::Token(_) => {
                return Err(Error::new(Kind::Unsupported, "it takes a script object")
                    .remedy("export a model of plain tensors"));
            }
        };
        if !matches!(input, Argument::Tensor(name) if *name == label.name) {
            let label = short(&label.name);
            return Err(damaged(format!(
                "`{label}` stands elsewhere in its graph than in its signature"
            )));
        }
        let name = kind.name();
        let meta = metas.get(&label.name[..]).copied();
        let slot = builder.tensor(name);
        scope.define(&label.name, Value::Slot(slot)).map_err(damaged)?;
        match kind {
            Kinds::Parameter(name) => names.add(name, meta, slot, true)?,
            Kinds::Buffer(name) => names.add(name, meta, slot, false)?,
            Kinds::Constant(name) => {
                let missing = || damaged("it is not in the file").tensor(&short(name));
                let stored = stored.get(&name[..]).copied().ok_or_else(missing)?;
                agrees(name, meta, &stored.view)?;
                let size = stored.size()?;
                left = left.checked_sub(size).ok_or_else(|| {
                    let what = "the constants of the program are much larger than its file";
                    Error::limit(what).tensor(&short(name))
                })?;
                let shape = shape(name, &stored.view)?;
                let bytes = stored.read(source)?;
                own.push(Constant {
                    name: name.clone(),
                    slot,
                    dtype: stored.dtype(),
                    shape,
                    bytes,
                });
            }
        }
    }
    let image = match &images[..] {
        [name] => image(name, &metas, program, builder, scope)?,
        [] => return Err(Error::new(Kind::Unsupported, "it takes no image")),
        several => {
            let names: Vec<String> = several.iter().take(10).map(|name| short(name)).collect();
            let (n, names) = (several.len(), names.join("`, `"));
            let what =
                format!("it takes {n} inputs, `{names}`, where one batch of images is given");
            return Err(Error::new(Kind::Unsupported, what)
                .remedy("export a module around it that takes the images alone"));
        }
    };
    Ok(Inputs { tensors: names.named, constants: own, image })
}

enum Kinds<'a> {
    Parameter(&'a String),
    Buffer(&'a String),
    Constant(&'a String),
}

impl<'a> Kinds<'a> {
    fn name(&self) -> &'a String {
        match self {
            Kinds::Parameter(name) | Kinds::Buffer(name) | Kinds::Constant(name) => name,
        }
    }
}

fn pairs<'a, T>(what: &str, pairs: &'a [(String, T)]) -> Result<HashMap<&'a str, &'a T>> {
    let mut found = HashMap::with_capacity(pairs.len());
    for (name, value) in pairs {
        if found.insert(&name[..], value).is_some() {
            return Err(damaged(format!("its `{what}` has `{}` twice", short(name))));
        }
    }
    Ok(found)
}

fn image<'a>(
    name: &'a str,
    metas: &HashMap<&str, &TensorMeta>,
    program: &schema::ExportedProgram,
    builder: &mut Builder,
    scope: &mut Scope<'a>,
) -> Result<Image> {
    let undescribed = || damaged(format!("its image `{}` is not described", short(name)));
    let meta = metas.get(name).ok_or_else(undescribed)?;
    let one = |size: &Size| match size {
        Size::Int(n) => usize::try_from(*n).map(Some).map_err(|_| undescribed()),
        Size::Expression(_) => Ok(None),
    };
    let shape = meta.sizes.iter().map(one).collect::<Result<_>>()?;
    let upper_batch = match meta.sizes.first() {
        Some(Size::Expression(expression)) => upper(&expression.text, &program.range_constraints.0),
        _ => None,
    };
    let slot = builder.image();
    scope.define(name, Value::Slot(slot)).map_err(damaged)?;
    Ok(Image { slot, shape, upper_batch, dtype: dtype(meta.dtype).ok_or_else(undescribed)? })
}

/// The upper bound of a symbol, `s77` or `Symbol('s77', positive=True, integer=True)`, if the export stated one.
fn upper(text: &str, ranges: &[(String, schema::Range)]) -> Option<usize> {
    /// What stands for no bound is close to the largest integer.
    const UNBOUNDED: i64 = 1 << 40;
    let symbol = match text.strip_prefix("Symbol('") {
        Some(rest) => rest.split('\'').next()?,
        None => text,
    };
    let (_, range) = ranges.iter().find(|(name, _)| name == symbol)?;
    range.max_val.filter(|&most| (0..UNBOUNDED).contains(&most)).map(|most| most as usize)
}

/// The outputs of a graph that are the model's, by their positions among all.
pub fn outputs(program: &schema::ExportedProgram) -> Result<Vec<usize>> {
    let specs = &program.graph_module.signature.output_specs;
    let graph = &program.graph_module.graph;
    if specs.len() != graph.outputs.len() {
        let (said, has) = (specs.len(), graph.outputs.len());
        return Err(damaged(format!("its signature has {said} outputs, its graph {has}")));
    }
    let mut own = vec![];
    for (number, spec) in specs.iter().enumerate() {
        match spec {
            OutputSpec::UserOutput(_) => own.push(number),
            // What a training step would write back is not wanted.
            OutputSpec::BufferMutation(_)
            | OutputSpec::ParameterMutation(_)
            | OutputSpec::UserInputMutation(_) => {}
            OutputSpec::LossOutput(_)
            | OutputSpec::GradientToParameter(_)
            | OutputSpec::GradientToUserInput(_) => {
                return Err(Error::new(Kind::Unsupported, "it is a training step, with gradients")
                    .remedy("export the model alone"));
            }
            OutputSpec::Token(_) => {
                return Err(Error::new(Kind::Unsupported, "it has effects beside its outputs"));
            }
        }
    }
    Ok(own)
}
