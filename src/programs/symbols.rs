//! Arithmetic on sizes: Python's, on integers, floats and truth values.

macro_rules! symbols {
    ($($(#[doc = $doc:literal])+ $name:ident = $($target:literal)|+;)+) => {
        /// What a node computes from plain numbers, or asks of a tensor's shape. Python's arithmetic: `//` and `%` round
        /// toward minus infinity.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum SymbolOp {
            $($(#[doc = $doc])+ $name,)+
        }

        impl SymbolOp {
            /// By the name that a program has.
            pub(super) fn named(target: &str) -> Option<Self> {
                match target {
                    $($($target)|+ => Some(SymbolOp::$name),)+
                    _ => None,
                }
            }

            /// As a program names it.
            pub fn target(self) -> &'static str {
                match self {
                    $(SymbolOp::$name => [$($target),+][0],)+
                }
            }
        }
    };
}

symbols! {
    /// The size of a tensor along a dimension: `self`, `dim`, which may be negative.
    Size = "torch.ops.aten.sym_size.int";
    /// How many values a tensor has: `self`.
    Numel = "torch.ops.aten.sym_numel.default";
    /// The stride of a tensor along a dimension: `self`, `dim`.
    Stride = "torch.ops.aten.sym_stride.int";
    /// Where a tensor begins in its storage: `self`.
    StorageOffset = "torch.ops.aten.sym_storage_offset.default";
    /// `a + b`.
    Add = "_operator.add";
    /// `a - b`.
    Sub = "_operator.sub";
    /// `a * b`.
    Mul = "_operator.mul";
    /// `a // b`.
    FloorDiv = "_operator.floordiv";
    /// `a / b`, a float.
    TrueDiv = "_operator.truediv";
    /// `a % b`.
    Mod = "_operator.mod";
    /// `a ** b`.
    Pow = "_operator.pow";
    /// `a << b`.
    LeftShift = "_operator.lshift";
    /// `a >> b`.
    RightShift = "_operator.rshift";
    /// `-a`.
    Neg = "_operator.neg";
    /// `+a`.
    Pos = "_operator.pos";
    /// `a == b`.
    Eq = "_operator.eq";
    /// `a != b`.
    Ne = "_operator.ne";
    /// `a < b`.
    Lt = "_operator.lt";
    /// `a <= b`.
    Le = "_operator.le";
    /// `a > b`.
    Gt = "_operator.gt";
    /// `a >= b`.
    Ge = "_operator.ge";
    /// `a & b`, bit by bit for integers.
    And = "_operator.and_";
    /// `a | b`, bit by bit for integers.
    Or = "_operator.or_";
    /// `not a`.
    Not = "torch.sym_not";
    /// `float(a)`.
    Float = "torch.sym_float";
    /// `int(a)`, toward zero.
    Int = "torch.sym_int" | "math.trunc";
    /// The larger.
    Max = "torch.sym_max";
    /// The smaller.
    Min = "torch.sym_min";
    /// The square root, a float.
    Sqrt = "torch.sym_sqrt" | "math.sqrt" | "torch._sym_sqrt";
    /// `t if b else f`.
    IfElse = "torch.sym_ite";
    /// Toward minus infinity, an integer.
    Floor = "math.floor";
    /// Toward plus infinity, an integer.
    Ceil = "math.ceil";
}
