//! Libraries that are there wherever PyTorch is, or mostly: what of them is not called, though its name tells nothing.

mod values;

use super::globals::{Name, is_exception};
pub use values::{is_enumeration, rebuilds};

/// Of their functions only those that rebuild a value are called.
#[rustfmt::skip]
const LIBRARIES: [&str; 21] = [
    "PIL", "cloudpickle", "dill", "filelock", "fsspec", "functorch", "jinja2", "joblib", "markupsafe",
    "mpmath", "networkx", "numpy", "packaging", "pandas", "requests", "scipy", "sympy", "torch", "torchgen",
    "torchvision", "triton",
];

/// Classes that these libraries have of other modules, of which the name says that they act: `torch.fx.graph_module`
/// has `PackageExporter` of `torch.package`. By their last names, since each version has others.
///
/// Found by walking all modules of the libraries in Python (PyTorch 2.11, Python 3.11): each callable attribute that is
/// written like a class, whose `__module__` and `__qualname__` are a name that is refused, or that of a class of the
/// standard library which is not called; without those for which a library has another class of the same name. Sorted.
#[rustfmt::skip]
const ELSEWHERE: [&str; 142] = [
    "AbstractContextManager", "AbstractEventLoop", "AllgatherOptions", "BZ2File", "BaseContext",
    "BaseHTTPRequestHandler", "BufferedIOBase", "BufferedRandomType", "BufferedReader", "BufferedReaderType",
    "BufferedWriter", "BufferedWriterType", "BuiltinCommHookType", "C10dBackend", "CDLL", "CUDACodeCache",
    "CellType", "CheckFunctionManager", "CodeCacheFuture", "CodeType", "Components", "ConcurrentFuture",
    "Condition", "ConfigModule", "Connection", "ContextType", "CppCodeCache", "CppPythonBindingsCodeCache",
    "CudaKernelParamCache", "DFIterDataPipe", "DLLWrapper", "DataChunk", "DefaultLogsSpecs", "DocTestFinder",
    "DocTestRunner", "ET_Element", "ET_parse", "ElementTree", "EntryPoint", "ExceptHookArgsType", "Executor",
    "ExitStack", "ExitType", "FakeProcessGroup", "FakeWork", "FileIO", "FileStore", "FileType", "FrameType",
    "FunctionType", "FxGraphCache", "FxGraphCachePickler", "FxGraphHashDetails", "GeneratorType", "GradBucket",
    "GuardBuilder", "GuardedCache", "GzipFile", "HDFStore", "HalideCodeCache", "HashStore", "IOHandles", "Importer",
    "IterDataPipe", "LRUCacheType", "LZMAFile", "LambdaFuture", "LocalElasticAgent", "LocaleTime", "Lock",
    "LockType", "LoggingTensorMode", "LogsSpecs", "MapDataPipe", "MethodType", "ModuleType", "NamedTemporaryFile",
    "PackageExporter", "PackageImporter", "PersistentCache", "ProcessPoolExecutor", "PyBufferedRandomType",
    "PyBufferedReaderType", "PyBufferedWriterType", "PyBytes_AsString", "PyBytes_FromStringAndSize", "PyCodeCache",
    "PyTextWrapperType", "PythonCallbackWork", "RLock", "RLockType", "ROCmCodeCache", "RRef", "Reducer",
    "RendezvousParameters", "SimpleQueue", "SocketType", "StaticAutotunerFuture", "Stats", "StockPickler",
    "StockUnpickler", "StorageWeakRef", "SubElement", "TCPStore", "TemporaryFile", "TextIOWrapper",
    "TextWrapperType", "Thread", "ThreadPoolExecutor", "ThreadingHTTPServer", "TracebackType", "WorkerSpec",
    "ZipFile", "_Backend", "_ConfigEntry", "_ContextDecorator", "_ControlCollectives", "_DefaultLogsSpecs",
    "_DistributedBackendOptions", "_Faketqdm", "_GeneratorContextManager", "_IterDataPipeSerializationWrapper",
    "_LockContextManager", "_MapDataPipeSerializationWrapper", "_ProcessGroupWrapper", "_PyCapsule_GetContext",
    "_PyCapsule_GetDestructor", "_PyCapsule_GetName", "_PyCapsule_GetPointer", "_PyCapsule_IsValid",
    "_PyCapsule_New", "_PyCapsule_SetContext", "_PyCapsule_SetDestructor", "_PyCapsule_SetName",
    "_PyCapsule_SetPointer", "_Request", "_Response", "_ShardingIterDataPipe", "_StoreCollectives",
    "_SymmetricMemory", "_TimeRE", "_WorkerServer",
];

/// Modules that write code and run it: nothing of them is called.
const COMPILERS: [&str; 4] = ["torch._dynamo", "torch._export", "torch.export", "torch.fx"];

/// Of these, what only keeps values; and what compiled models are made of, by `__new__` alone.
const KEEPERS: &str = "torch.fx.immutable_collections";
const COMPILED: &str = "torch._dynamo";

/// Functions that make arrays of numbers: factories of defaults are partial functions of these.
#[rustfmt::skip]
const ARRAYS: [&str; 15] = [
    "arange", "array", "as_tensor", "asarray", "empty", "eye", "full", "linspace", "ones", "rand", "randint", "randn",
    "scalar_tensor", "tensor", "zeros",
];

/// Where they are.
const OF_ARRAYS: [&str; 3] = ["numpy", "torch", "torch._C._VariableFunctionsClass"];

/// Constants of PyTorch that are names, and classes of arrays and numbers that are not written like classes.
#[rustfmt::skip]
const VALUES: [&str; 52] = [
    "_mkldnn", "bit", "bool", "bool_", "bytes_", "cdouble", "cfloat", "chalf", "channels_last", "channels_last_3d",
    "chararray", "contiguous_format", "device", "double", "dtype", "float", "floating", "generic", "half",
    "inexact", "int", "int_", "integer", "jagged", "layout", "legacy_contiguous_format", "long", "matrix", "memmap",
    "memory_format", "mvoid", "ndarray", "number", "object_", "per_channel_affine",
    "per_channel_affine_float_qparams", "per_channel_symmetric", "per_tensor_affine", "per_tensor_symmetric",
    "preserve_format", "recarray", "record", "short", "sparse_bsc", "sparse_bsr", "sparse_coo", "sparse_csc",
    "sparse_csr", "str_", "strided", "uint", "void",
];

/// The same, before a number of bits.
#[rustfmt::skip]
const SIZED: [&str; 10] = [
    "bfloat", "bits", "complex", "datetime", "float", "int", "qint", "quint", "timedelta", "uint",
];

/// Whether a name is a library's, by the first part of its module's.
pub fn is_library(top: &str) -> bool {
    LIBRARIES.contains(&top)
}

/// Whether a class is another module's, of which the name says that it acts.
pub fn is_elsewhere(class: &str) -> bool {
    ELSEWHERE.binary_search(&class).is_ok()
}

/// Whether something of a library may be called, as far as its module and class tell. `is_new`: only its `__new__` is.
pub fn may_be_called(name: Name, last: &str, is_new: bool) -> bool {
    let is_below =
        |module: &str| name.path.strip_prefix(module).is_some_and(|rest| rest.starts_with('.'));
    // The class of a mapped array opens the file in `__new__`, and that of graphs runs their code.
    if is_elsewhere(last) || last == "memmap" || last.ends_with("GraphModule") {
        return false;
    }
    match COMPILERS.into_iter().any(is_below) {
        true => is_below(KEEPERS) || is_new && is_below(COMPILED),
        false => true,
    }
}

/// Whether a class of a library is called to make an instance again. Of another one only `__new__` is.
pub fn is_made_by_calls(name: Name, last: &str) -> bool {
    is_exception(last) || values::is_made_by_calls(name.path, name.top(), last)
}

/// Whether a class has a `__setstate__` that acts: it opens a file or starts something.
pub fn takes_acting_state(name: Name) -> bool {
    const ACTING: [&str; 8] = [
        "BackgroundBlockCache",
        "Condition",
        "FreeTypeFont",
        "LocalFileOpener",
        "MMapCache",
        "Queue",
        "SemLock",
        "VideoClips",
    ];
    let last = name.attributes().last().unwrap_or_default();
    matches!(name.top(), "PIL" | "fsspec" | "joblib" | "torchvision") && ACTING.contains(&last)
}

/// Whether a function makes an array of numbers.
pub fn makes_arrays(name: Name) -> bool {
    name.path
        .rsplit_once('.')
        .is_some_and(|(of, last)| OF_ARRAYS.contains(&of) && ARRAYS.contains(&last))
}

/// Whether a name is a constant, or a class that is not written like one.
pub fn is_value(name: Name) -> bool {
    let last = name.attributes().last().unwrap_or_default();
    let stem = last.split(|c: char| c.is_ascii_digit()).next().unwrap_or_default();
    matches!(name.path, "numpy._globals._NoValue" | "pandas.NA" | "pandas.NaT")
        || matches!(name.top(), "numpy" | "torch")
            && (VALUES.contains(&last) || stem != last && SIZED.contains(&stem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_searched() {
        assert!(ELSEWHERE.is_sorted());
    }
}
