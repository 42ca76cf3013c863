//! The JSON of a program, as it stands in the file: schema versions 5 to 8. Fields that are not needed are passed over,
//! also those of later versions; kinds of arguments that are not known are kept by name.

use serde::de::IgnoredAny;

use super::json::{Number, Pairs};
use crate::tensors::Dtype;

#[derive(Debug, serde::Deserialize)]
pub struct ExportedProgram {
    pub graph_module: GraphModule,
    #[serde(default)]
    pub range_constraints: Pairs<Range>,
    #[serde(default)]
    pub torch_version: String,
}

/// Read first: what follows depends on it.
#[derive(Debug, serde::Deserialize)]
pub struct Versioned {
    pub schema_version: Version,
}

#[derive(Debug, serde::Deserialize)]
pub struct Version {
    pub major: u64,
    #[serde(default)]
    pub minor: u64,
}

#[derive(Debug, serde::Deserialize)]
pub struct Range {
    pub max_val: Option<i64>,
}

#[derive(Debug, serde::Deserialize)]
pub struct GraphModule {
    pub graph: Graph,
    pub signature: Signature,
    #[serde(default)]
    pub module_call_graph: Vec<Module>,
}

#[derive(Debug, serde::Deserialize)]
pub struct Module {
    pub fqn: String,
    pub signature: Option<Call>,
}

#[derive(Debug, serde::Deserialize)]
pub struct Call {
    pub out_spec: String,
}

#[derive(Debug, serde::Deserialize)]
pub struct Graph {
    pub inputs: Vec<Argument>,
    pub outputs: Vec<Argument>,
    pub nodes: Vec<Node>,
    pub tensor_values: Pairs<TensorMeta>,
}

#[derive(Debug, serde::Deserialize)]
pub struct Node {
    pub target: String,
    pub inputs: Vec<NamedArgument>,
    pub outputs: Vec<Argument>,
    #[serde(default)]
    pub metadata: Metadata,
    pub name: Option<String>,
}

#[derive(Debug, Default, serde::Deserialize)]
pub struct Metadata {
    pub nn_module_stack: Option<String>,
}

#[derive(Debug, serde::Deserialize)]
pub struct NamedArgument {
    pub name: String,
    pub arg: Argument,
}

#[derive(Debug, serde::Deserialize)]
pub struct Name {
    pub name: String,
}

#[derive(Debug, serde::Deserialize)]
pub struct GraphArgument {
    pub graph: Graph,
}

/// A size: known, or an expression.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub enum Size {
    #[serde(rename = "as_int")]
    Int(i64),
    #[serde(rename = "as_expr")]
    Expression(Expression),
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Expression {
    #[serde(rename = "expr_str")]
    pub text: String,
}

#[derive(Debug, serde::Deserialize)]
pub struct TensorMeta {
    pub dtype: i64,
    pub sizes: Vec<Size>,
    #[serde(default)]
    pub strides: Vec<Size>,
    pub storage_offset: Option<Size>,
    pub layout: Option<i64>,
}

#[derive(Debug, serde::Deserialize)]
pub struct Signature {
    pub input_specs: Vec<InputSpec>,
    pub output_specs: Vec<OutputSpec>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputSpec {
    UserInput {
        arg: Argument,
    },
    Parameter {
        arg: Name,
        parameter_name: String,
    },
    Buffer {
        arg: Name,
        buffer_name: String,
        #[serde(default = "yes")]
        persistent: bool,
    },
    TensorConstant {
        arg: Name,
        tensor_constant_name: String,
    },
    ConstantInput(IgnoredAny),
    CustomObj(IgnoredAny),
    Token(IgnoredAny),
}

fn yes() -> bool {
    true
}

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputSpec {
    UserOutput(IgnoredAny),
    BufferMutation(IgnoredAny),
    ParameterMutation(IgnoredAny),
    UserInputMutation(IgnoredAny),
    LossOutput(IgnoredAny),
    GradientToParameter(IgnoredAny),
    GradientToUserInput(IgnoredAny),
    Token(IgnoredAny),
}

/// Where the tensors of an archive lie.
#[derive(Debug, serde::Deserialize)]
pub struct Payloads {
    pub config: Pairs<Payload>,
}

#[derive(Debug, serde::Deserialize)]
pub struct Payload {
    pub path_name: String,
    #[serde(default)]
    pub is_param: bool,
    #[serde(default)]
    pub use_pickle: bool,
    pub tensor_meta: Option<TensorMeta>,
}

/// A value of a node.
#[derive(Debug)]
pub enum Argument {
    None,
    Tensor(String),
    Tensors(Vec<Name>),
    OptionalTensors(Vec<OptionalTensor>),
    Int(i64),
    Ints(Vec<i64>),
    Float(f64),
    Floats(Vec<Number>),
    Bool(bool),
    Bools(Vec<bool>),
    String(String),
    SymInt(Sym<i64>),
    SymInts(Vec<Sym<i64>>),
    SymFloat(Sym<Number>),
    SymFloats(Vec<Sym<Number>>),
    SymBool(Sym<bool>),
    SymBools(Vec<Sym<bool>>),
    Dtype(i64),
    MemoryFormat(i64),
    Layout(i64),
    Device,
    Graph(Box<Graph>),
    /// Of a kind that is not known, or that no operator of images takes.
    Other(String),
}

/// A number, or the name of one.
#[derive(Debug, serde::Deserialize)]
pub enum Sym<T> {
    #[serde(rename = "as_name")]
    Name(String),
    #[serde(rename = "as_int", alias = "as_float", alias = "as_bool")]
    Known(T),
}

#[derive(Debug, serde::Deserialize)]
pub enum OptionalTensor {
    #[serde(rename = "as_tensor")]
    Tensor(Name),
    #[serde(rename = "as_none")]
    None(IgnoredAny),
}

/// The type that a number of the schema stands for: as ATen numbers it.
pub fn aten_type(number: i64) -> Option<i64> {
    Some(match number {
        1..=12 => number - 1,
        13 => 15,
        28 => 27,
        29 => 24,
        30 => 23,
        31 => 26,
        32 => 25,
        _ => return None,
    })
}

/// The type of a tensor's values.
pub fn dtype(number: i64) -> Option<Dtype> {
    Some(match number {
        1 => Dtype::U8,
        2 => Dtype::I8,
        3 => Dtype::I16,
        4 => Dtype::I32,
        5 => Dtype::I64,
        6 => Dtype::F16,
        7 => Dtype::F32,
        8 => Dtype::F64,
        10 => Dtype::C64,
        12 => Dtype::BOOL,
        13 => Dtype::BF16,
        28 => Dtype::U16,
        29 => Dtype::F8_E4M3,
        30 => Dtype::F8_E5M2,
        31 => Dtype::F8_E4M3FNUZ,
        32 => Dtype::F8_E5M2FNUZ,
        _ => return None,
    })
}

impl TensorMeta {
    /// The dimensions, if all are known.
    pub fn shape(&self) -> Option<Vec<u64>> {
        known(&self.sizes)
    }
}

/// Sizes that are known and not negative.
pub fn known(sizes: &[Size]) -> Option<Vec<u64>> {
    let known = |size: &Size| match size {
        Size::Int(n) => u64::try_from(*n).ok(),
        Size::Expression(_) => None,
    };
    sizes.iter().map(known).collect()
}
