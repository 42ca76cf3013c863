//! What of known libraries is called, because their own objects are made again so: by full names. Of a class that is
//! not among these only the `__new__` is called, and functions are not called.
//!
//! Source: the `__reduce__` of all classes of these libraries (PyTorch 2.11, NumPy 2.4, pandas 2.3, SciPy 1.16, Python
//! 3.11), and what twenty libraries were seen to save.

/// Functions, with all that continues these names.
#[rustfmt::skip]
const FUNCTIONS: [&str; 23] = [
    "numpy._core._DType_reconstruct", "numpy._core._internal._reconstruct", "numpy._core._ufunc_reconstruct",
    "numpy._core.multiarray._reconstruct", "numpy.core._internal._reconstruct", "numpy.core._ufunc_reconstruct",
    "numpy.core.multiarray._reconstruct", "numpy.ma.core._mareconstruct", "numpy.ma.mrecords._mrreconstruct",
    "numpy.random.__RandomState_ctor", "numpy.random._pickle.__bit_generator_ctor",
    "numpy.random._pickle.__generator_ctor", "numpy.random._pickle.__randomstate_ctor",
    "packaging.ranges._restore_version_range", "pandas._libs.internals._unpickle_block",
    "pandas._libs.tslibs.nattype._nat_unpickle", "pandas._libs.tslibs.timedeltas._timedelta_unpickle",
    "pandas._libs.tslibs.timestamps._unpickle_timestamp", "sympy.core.function._rebuild_undef",
    "torch._tensor._rebuild_from_type", "torch._utils._rebuild_",
    "torch.nested._internal.nested_tensor._rebuild_njt", "torch.return_types.",
];

/// How Cython names the functions that rebuild its classes.
const CYTHON: &str = "__pyx_unpickle_";

/// Modules whose classes are values, with all below them.
#[rustfmt::skip]
const MODULES: [&str; 7] = [
    "numpy.random", "pandas._libs.interval", "pandas._libs.sparse", "pandas._libs.tslibs",
    "torch.ao.quantization.fake_quantize", "torch.ao.quantization.observer",
    "torch.distributed.tensor.placement_types",
];

/// Classes whose instances are made by a call.
#[rustfmt::skip]
const CLASSES: [&str; 46] = [
    "fsspec.implementations.local.LocalFileSystem", "fsspec.implementations.memory.MemoryFileSystem",
    "numpy.Generator", "numpy.RandomState", "numpy.ma.MaskedArray", "numpy.ma.core.MaskedArray",
    "numpy.ma.core.MaskedConstant", "packaging.version.Version", "pandas.Categorical", "pandas.DataFrame",
    "pandas.Index", "pandas.Interval", "pandas.Period", "pandas.Series", "pandas.Timedelta", "pandas.Timestamp",
    "pandas.core.indexes.frozen.FrozenList", "pandas.core.internals.managers.BlockManager",
    "pandas.core.internals.managers.SingleBlockManager", "sympy.Dummy", "sympy.Float", "sympy.Symbol", "sympy.Wild",
    "sympy.core.numbers.Float", "sympy.core.symbol.Dummy", "sympy.core.symbol.Str", "sympy.core.symbol.Symbol",
    "sympy.core.symbol.Wild", "sympy.external.pythonmpq.PythonMPQ", "sympy.polys.matrices.domainmatrix.DomainMatrix",
    "sympy.polys.polyclasses.ANP", "sympy.polys.polyclasses.DUP_Flint", "torch.Generator", "torch.Size",
    "torch.Tensor", "torch._C.Generator", "torch._C.Size", "torch.nn.Buffer", "torch.nn.Parameter",
    "torch.nn.parameter.Buffer", "torch.nn.parameter.Parameter", "torch.nn.parameter.UninitializedBuffer",
    "torch.nn.parameter.UninitializedParameter", "torch.torch_version.TorchVersion",
    "torch.utils._ordered_set.OrderedSet", "torchvision.datasets.vision.StandardTransform",
];

/// Enumerations, by library and last name: a member is made by a call with its value. Without those for which the
/// library has another class of that name. Found in the sources.
#[rustfmt::skip]
const ENUMERATIONS: [&str; 77] = [
    "PIL.AlphaEncoding", "PIL.Base", "PIL.Blend", "PIL.Dither", "PIL.Encoding", "PIL.GPS", "PIL.IFD", "PIL.Intent",
    "PIL.Interop", "PIL.Layout", "PIL.LightSource", "PIL.LoadingStrategy", "PIL.Palette", "PIL.Quantize",
    "PIL.Resampling", "PIL.Transpose", "networkx.EdgePartition", "numpy._CopyMode", "packaging.BoundaryKind",
    "pandas.ColumnNullType", "pandas.DlpackDeviceType", "pandas.DtypeKind", "torch.AccessType",
    "torch.AsyncCheckpointerType", "torch.AttentionType", "torch.BackwardPrefetch", "torch.CausalVariant",
    "torch.CheckpointImpl", "torch.CheckpointPolicy", "torch.DDPCommHookType", "torch.DLDeviceType",
    "torch.DQuantType", "torch.DimOrder", "torch.FormatMode", "torch.GridSamplerInterpolation",
    "torch.HandleShardingStrategy", "torch.HandleTrainingState", "torch.LoadEndianness", "torch.LoadItemType",
    "torch.MEM_FORMAT_ENCODING", "torch.MappingType", "torch.MatchState", "torch.NodeState", "torch.ObservationType",
    "torch.OptState", "torch.OptimStateKeyType", "torch.ProfilerAction", "torch.QuantType",
    "torch.REDUCTION_OUTPUT_TYPE_KIND", "torch.RETURN_TYPE", "torch.RequestType", "torch.ScanState",
    "torch.SerializationFormat", "torch.ShardedState", "torch.ShardingStrategy", "torch.SplitPoint",
    "torch.StateDictType", "torch.TorchAODType", "torch.TorchScalarTypes", "torch.TrainingState", "torch.WorkerState",
    "torch.WriteItemType", "torch.ZeroPointDomain", "torch._BufferCommHookLocation", "torch._CausalBehavior",
    "torch._ComputationType", "torch._ExecOrderWarnStatus", "torch._MEM_FORMAT_ENCODING", "torch._OrthMaps",
    "torch._OverlapStatus", "torch._PrefetchMode", "torch._RotateMethod", "torch._ScaleMode", "torch._SnapshotState",
    "torchvision.AutoAugmentPolicy", "torchvision.BoundingBoxFormat", "torchvision.InterpolationMode",
];

/// Whether a function rebuilds a value.
pub fn rebuilds(path: &str) -> bool {
    let last = path.rsplit('.').next().unwrap_or_default();
    last.starts_with(CYTHON) || FUNCTIONS.iter().any(|name| path.starts_with(name))
}

/// Whether a class is an enumeration, whose call finds a member by its value.
pub fn is_enumeration(top: &str, last: &str) -> bool {
    ENUMERATIONS.iter().any(|name| name.split_once('.') == Some((top, last)))
        || top == "torchvision" && last.ends_with("Weights")
}

/// Whether a class is called to make an instance again.
pub fn is_made_by_calls(path: &str, top: &str, last: &str) -> bool {
    let below =
        |module: &&str| path.strip_prefix(*module).is_some_and(|rest| rest.starts_with('.'));
    MODULES.iter().any(below)
        || CLASSES.binary_search(&path).is_ok()
        || is_enumeration(top, last)
        || matches!(top, "numpy" | "pandas") && (last.ends_with("DType") || last.ends_with("Dtype"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_can_be_searched() {
        assert!(CLASSES.is_sorted() && ENUMERATIONS.is_sorted() && FUNCTIONS.is_sorted());
    }
}
