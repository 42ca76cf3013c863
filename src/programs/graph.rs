//! A program as plain data: nodes in the order in which they run, and the values between them as numbered slots.

use crate::tensors::Dtype;

/// What is computed. Every slot is defined once: by the program's tensors, constants and image, or by a node before those
/// that use it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Graph {
    /// How many slots there are.
    pub slots: usize,
    /// In the order in which they run.
    pub nodes: Vec<Node>,
    /// What it yields: slots and plain values.
    pub outputs: Vec<Argument>,
}

/// One call.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// As the program calls it: `view_3`.
    pub name: String,
    /// The module that it belongs to, `layers.2.attn`; empty where the program does not say.
    pub module: String,
    /// What is called.
    pub op: Op,
    /// By the operator's names of its arguments, each of which occurs once; what is left out has its default. None for
    /// autocast.
    pub inputs: Vec<(String, Argument)>,
    /// What becomes of its results, in order.
    pub outputs: Vec<Output>,
    /// Slots that nothing after this node uses: those of nodes and of the image, never those of the program's tensors
    /// and constants.
    pub free: Vec<usize>,
}

/// What a node calls.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// An operator of PyTorch's namespace `aten`.
    Aten {
        /// `conv2d`.
        name: String,
        /// Which of the operators of this name; empty for the one that PyTorch calls `default`.
        overload: String,
    },
    /// Batch normalisation in any of its forms. The node's inputs are those of the form that the program has.
    BatchNorm(BatchNorm),
    /// Arithmetic on sizes and other plain numbers.
    Symbol(SymbolOp),
    /// Nodes that run with autocast on or off. They use the slots of the nodes around them, and theirs are used by those
    /// behind; blocks without gradients are dissolved.
    Autocast {
        /// On.
        enabled: bool,
        /// The type to which it casts, as ATen numbers types; None for the device's own.
        dtype: Option<i64>,
        /// In the order in which they run.
        nodes: Vec<Node>,
    },
}

impl Op {
    /// As PyTorch spells it: `aten.view.default`; of batchnorm the common name.
    pub fn target(&self) -> String {
        match self {
            Op::Aten { name, overload } if overload.is_empty() => format!("aten.{name}.default"),
            Op::Aten { name, overload } => format!("aten.{name}.{overload}"),
            Op::BatchNorm(_) => "aten.batch_norm.default".into(),
            Op::Symbol(symbol) => symbol.target().into(),
            Op::Autocast { .. } => "wrap_with_autocast".into(),
        }
    }
}

/// A batch normalisation: `(x - mean) / sqrt(var + eps) * weight + bias`, a mean and a variance for each channel, which is
/// the second dimension.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNorm {
    /// The slot of x: [batch, channels], and any dimensions behind.
    pub input: usize,
    /// The slot of the factor of each channel, `[channels]`.
    pub weight: Option<usize>,
    /// The slot of what is added to each channel, `[channels]`.
    pub bias: Option<usize>,
    /// The slots of running mean and running variance, `[channels]`; None where the batch's own always serve.
    pub running: Option<[usize; 2]>,
    /// What is added to the variance.
    pub eps: f64,
    /// Whether the program normalises by the batch.
    pub training: bool,
    /// Whether x depends on the image; it does not in weight standardisation.
    pub depends_on_image: bool,
}

/// Where a result goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A tensor or a number.
    Slot(usize),
    /// A list of tensors: one slot for each, None for those that nothing uses.
    Slots(Vec<Option<usize>>),
    /// Nowhere.
    Unused,
}

/// A value that a node takes or the graph yields.
#[derive(Debug, Clone, PartialEq)]
pub enum Argument {
    /// Python's `None`.
    None,
    /// What a slot holds: a tensor or a number.
    Slot(usize),
    /// Tensors.
    Slots(Vec<usize>),
    /// Tensors, some of which may be left out.
    OptionalSlots(Vec<Option<usize>>),
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A number, perhaps infinite or NaN.
    Float(f64),
    /// A text.
    Str(String),
    /// Integers.
    Ints(Vec<Int>),
    /// Numbers.
    Floats(Vec<f64>),
    /// Truth values.
    Bools(Vec<bool>),
    /// A type of values, as ATen numbers types.
    Dtype(i64),
    /// A layout, as ATen numbers them: 0, strided.
    Layout(i64),
    /// A memory format, as ATen numbers them: 0 contiguous, 1 preserve, 2 channels last, 3 channels last with three dimensions.
    MemoryFormat(i64),
    /// A device: whichever the program runs on, not that of the export.
    Device,
}

/// An integer in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Int {
    /// Known.
    Const(i64),
    /// What a slot holds.
    Slot(usize),
}

impl Argument {
    /// Calls `visit` with each slot in it.
    pub fn each_slot(&self, visit: &mut dyn FnMut(usize)) {
        match self {
            Argument::Slot(slot) => visit(*slot),
            Argument::Slots(slots) => slots.iter().for_each(|&slot| visit(slot)),
            Argument::OptionalSlots(slots) => slots.iter().flatten().for_each(|&slot| visit(slot)),
            Argument::Ints(ints) => ints.iter().for_each(|int| match int {
                Int::Slot(slot) => visit(*slot),
                Int::Const(_) => {}
            }),
            _ => {}
        }
    }
}

impl Output {
    /// Calls `visit` with each slot that it defines.
    pub fn each_slot(&self, visit: &mut dyn FnMut(usize)) {
        match self {
            Output::Slot(slot) => visit(*slot),
            Output::Slots(slots) => slots.iter().flatten().for_each(|&slot| visit(slot)),
            Output::Unused => {}
        }
    }
}

/// A parameter or buffer of the model, under its name in a state dict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// As the state dict has it: `layer1.0.bn1.running_mean`.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// The type that the program has it in.
    pub dtype: Dtype,
    /// Where the nodes find it; None where they do not use it.
    pub slot: Option<usize>,
    /// The first of the tensors that are the same values, if it is not this one.
    pub alias_of: Option<usize>,
    /// Whether it is trained; buffers are not.
    pub is_parameter: bool,
}

/// A tensor whose values are in the program, since no state dict has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constant {
    /// As the program calls it.
    pub name: String,
    /// Where the nodes find it.
    pub slot: usize,
    /// The type of its values.
    pub dtype: Dtype,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its values, row by row, little-endian.
    pub bytes: Vec<u8>,
}

/// The images that the program takes: its only input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Where the nodes find them.
    pub slot: usize,
    /// The dimensions, [batch, channels, height, width] for images; None for one that is free.
    pub shape: Vec<Option<usize>>,
    /// Most images in a batch, if the export stated a limit.
    pub upper_batch: Option<usize>,
    /// The type that the program was exported for.
    pub dtype: Dtype,
}

/// An operator of which there are so many nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// As PyTorch spells it: `aten.bernoulli_.float`, `torchvision::deform_conv2d`.
    pub target: String,
    /// How many nodes call it.
    pub nodes: usize,
}

pub use super::symbols::SymbolOp;
