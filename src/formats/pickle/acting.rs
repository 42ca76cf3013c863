//! Tables of code that acts: it starts processes, evaluates or imports code, opens files or connections, or changes
//! the program that loads it. docs/formats.md has the rule that uses them.
//!
//! Source: the standard libraries of Python 3.13 and 2.7, and published ways around lists like this one. Protocol 2
//! renames modules: `subprocess.Popen` is stored as `commands.Popen`, `os.system` as `posix.system`, `eval` as
//! `__builtin__.eval`.

/// Modules of which everything acts but what is in [`PLAIN`], with all below them; sorted.
#[rustfmt::skip]
pub const MODULES: [&str; 158] = [
    "BaseHTTPServer", "CGIHTTPServer", "DocXMLRPCServer", "SimpleHTTPServer", "SimpleXMLRPCServer", "SocketServer",
    "Tkinter", "_aix_support", "_android_support", "_bootsubprocess", "_ctypes", "_curses", "_dbm",
    "_frozen_importlib", "_frozen_importlib_external", "_gdbm", "_imp", "_interpchannels", "_interpqueues",
    "_interpreters", "_io", "_ios_support", "_multiprocessing", "_osx_support", "_pickle", "_posixshmem",
    "_posixsubprocess", "_pyio", "_pyrepl", "_sitebuiltins", "_socket", "_sqlite3", "_ssl", "_testcapi",
    "_testinternalcapi", "_thread", "_winapi", "_winreg", "_xxinterpchannels", "_xxsubinterpreters", "antigravity",
    "anydbm", "asynchat", "asyncio", "asyncore", "atexit", "bdb", "bz2", "cPickle", "cProfile", "cgitb", "code",
    "codeop", "commands", "compileall", "cookielib", "ctypes", "curses", "dbhash", "dbm", "distutils", "doctest",
    "dumbdbm", "ensurepip", "eventlet", "faulthandler", "fcntl", "fileinput", "ftplib", "gc", "gdbm", "gevent",
    "gzip", "hotshot", "http", "httplib", "idlelib", "ihooks", "imaplib", "imp", "importlib", "imputil", "io",
    "lib2to3", "lzma", "mailbox", "marshal", "mmap", "modulefinder", "msilib", "multiprocess", "multiprocessing",
    "nntplib", "nt", "os", "ossaudiodev", "paramiko", "pdb", "pexpect", "pickle", "pip", "pipes", "pkg_resources",
    "pkgutil", "platform", "plumbum", "popen2", "poplib", "posix", "profile", "pty", "py_compile", "pydoc",
    "readline", "resource", "rexec", "rlcompleter", "runpy", "setuptools", "shelve", "shutil", "signal", "site",
    "smtpd", "smtplib", "socket", "socketserver", "sqlite3", "ssl", "subprocess", "sys", "syslog", "tarfile",
    "telnetlib", "tempfile", "termios", "test", "thread", "timeit", "tkinter", "trace", "tracemalloc", "tty",
    "turtle", "turtledemo", "urllib", "urllib2", "venv", "webbrowser", "whichdb", "winreg", "winsound", "wsgiref",
    "xmlrpc", "xmlrpclib", "zipapp", "zipfile", "zipimport",
];

/// Values in [`MODULES`]: with all below them. Exceptions (`…Error`) need not be listed.
#[rustfmt::skip]
pub const PLAIN: [&str; 49] = [
    "_io.BytesIO", "_io.StringIO", "asyncio.exceptions", "commands.CompletedProcess", "commands.TimeoutExpired",
    "ctypes.c_double", "ctypes.c_float", "distutils.version", "http.HTTPMethod", "http.HTTPStatus",
    "http.cookies.BaseCookie", "http.cookies.Morsel", "http.cookies.SimpleCookie", "io.BytesIO", "io.StringIO",
    "nt.stat_result", "nt.times_result", "nt.uname_result", "os.PathLike", "os.path", "os.stat_result",
    "os.statvfs_result", "os.terminal_size", "pkg_resources.extern.packaging.version", "platform.uname_result",
    "posix.stat_result", "posix.times_result", "posix.uname_result", "resource.struct_rusage",
    "setuptools._distutils.version", "signal.Handlers", "signal.Sigmasks", "signal.Signals", "socket.AddressFamily",
    "socket.SocketKind", "ssl.TLSVersion", "ssl.VerifyMode", "subprocess.CompletedProcess",
    "subprocess.TimeoutExpired", "sys.float_info", "sys.version_info", "tarfile.TarInfo", "urllib.parse",
    "urllib.quote", "urllib.quote_plus", "urllib.unquote", "urllib.unquote_plus", "urllib.urlencode",
    "zipfile.ZipInfo",
];

/// Modules of [`MODULES`] whose names people give their own, and the classes that the standard one has. It has no
/// modules below it. Another class is somebody's own.
pub const SHADOWED: [(&str, &[&str]); 11] = [
    ("code", &["CommandCompiler", "InteractiveConsole", "InteractiveInterpreter"]),
    ("commands", &["Popen"]),
    ("imp", &["NullImporter"]),
    ("pipes", &["Template"]),
    ("platform", &["DEV_NULL", "_Processor"]),
    ("profile", &["Profile", "_Utils"]),
    ("resource", &[]),
    ("site", &["Quitter"]),
    ("test", &[]),
    ("timeit", &["Timer"]),
    ("trace", &["CoverageResults", "Trace"]),
];

/// Names elsewhere that act, with all below them.
#[rustfmt::skip]
pub const NAMES: [&str; 191] = [
    "IPython", "PIL.Image.open", "PIL.ImageGrab", "PIL.ImageMath", "PIL.ImageShow", "_codecs.register",
    "_operator.call", "attr._make._compile_and_eval", "attr._make._linecache_and_compile", "cloudpickle.load",
    "cloudpickle.loads", "codecs.EncodedFile", "codecs.open", "codecs.register",
    "concurrent.futures.ProcessPoolExecutor", "concurrent.futures.ThreadPoolExecutor", "concurrent.futures.process",
    "concurrent.futures.thread", "copy_reg.add_extension", "copy_reg.constructor", "copy_reg.pickle",
    "copyreg._extension_cache", "copyreg._extension_registry", "copyreg._inverted_registry", "copyreg.add_extension",
    "copyreg.clear_extension_cache", "copyreg.constructor", "copyreg.dispatch_table", "copyreg.pickle",
    "copyreg.remove_extension", "dataclasses._create_fn", "decorator.FunctionMaker", "dill._dill._create_filehandle",
    "dill._dill._eval_repr", "dill._dill._import_module", "dill.load", "dill.loads", "dill.session", "dill.source",
    "dill.temp", "fsspec.core", "fsspec.implementations.arrow", "fsspec.implementations.cached",
    "fsspec.implementations.dask", "fsspec.implementations.dbfs", "fsspec.implementations.ftp",
    "fsspec.implementations.git", "fsspec.implementations.github", "fsspec.implementations.http",
    "fsspec.implementations.jupyter", "fsspec.implementations.libarchive", "fsspec.implementations.sftp",
    "fsspec.implementations.smb", "fsspec.implementations.tar", "fsspec.implementations.webhdfs",
    "fsspec.implementations.zip", "fsspec.open", "future.moves", "gymnasium.envs.registration.make",
    "gymnasium.make", "h5py.File", "h5py._hl.files", "hydra._internal", "hydra.utils", "joblib.dump",
    "joblib.externals.loky.cloudpickle_wrapper", "joblib.load", "joblib.numpy_pickle", "linecache.getline",
    "linecache.lazycache", "linecache.updatecache", "logging.FileHandler", "logging.basicConfig", "logging.config",
    "logging.handlers", "loguru._file_sink", "loky.cloudpickle_wrapper", "mako", "matplotlib._get_executable_info",
    "matplotlib.texmanager", "mmengine.config.lazy", "numba.core.serialize", "numpy.DataSource", "numpy.ctypeslib",
    "numpy.distutils", "numpy.f2py", "numpy.fromfile", "numpy.genfromtxt", "numpy.lib._datasource",
    "numpy.lib._npyio_impl", "numpy.lib.npyio", "numpy.load", "numpy.loadtxt", "numpy.save", "numpy.savetxt",
    "numpy.savez", "numpy.savez_compressed", "numpy.testing", "operator.call", "pandas.HDFStore",
    "pandas.core.computation", "pandas.eval", "pandas.io.common", "pandas.io.pickle", "pandas.io.pytables",
    "pandas.read_pickle", "past.builtins", "past.translation", "patsy.dmatrices", "patsy.dmatrix", "patsy.highlevel",
    "psutil.Popen", "pyarrow.lib.OSFile", "pyarrow.lib.create_memory_map", "pyarrow.lib.memory_map",
    "pydantic.TypeAdapter", "pydantic.type_adapter", "scipy._lib._uarray", "scipy._lib.uarray", "scipy.io.loadmat",
    "scipy.io.savemat", "six.moves", "statsmodels.formula", "sympy.core.sympify.kernS", "sympy.core.sympify.sympify",
    "sympy.lambdify", "sympy.parsing", "sympy.sympify", "sympy.utilities.lambdify",
    "threading._start_joinable_thread", "threading._start_new_thread", "tokenize._builtin_open", "tokenize.open",
    "torch._C.PyTorchFileReader", "torch._C.PyTorchFileWriter", "torch._C._distributed_c10d", "torch._dynamo.guards",
    "torch._inductor", "torch._utils._import_dotted_name", "torch.classes.load_library", "torch.cuda.gds",
    "torch.distributed.FileStore", "torch.distributed.HashStore", "torch.distributed.TCPStore",
    "torch.distributed.debug", "torch.distributed.elastic", "torch.distributed.launch", "torch.distributed.rpc",
    "torch.distributed.run", "torch.from_file", "torch.fx._lazy_graph_module", "torch.fx.experimental",
    "torch.fx.graph_module._exec_with_source", "torch.fx.graph_module._forward_from_src",
    "torch.fx.graph_module.reduce_deploy_graph_module", "torch.fx.graph_module.reduce_graph_module",
    "torch.fx.graph_module.reduce_package_graph_module", "torch.hub", "torch.jit.frontend", "torch.jit.load",
    "torch.jit.save", "torch.jit.unsupported_tensor_ops", "torch.load", "torch.multiprocessing",
    "torch.ops.load_library", "torch.package", "torch.save", "torch.serialization._legacy_load",
    "torch.serialization._legacy_save", "torch.serialization._load", "torch.serialization._open_file",
    "torch.serialization._open_zipfile_reader", "torch.serialization._save", "torch.serialization.load",
    "torch.serialization.save", "torch.testing._internal", "torch.utils._config_module", "torch.utils._sympy",
    "torch.utils.bottleneck", "torch.utils.collect_env", "torch.utils.cpp_extension", "torch.utils.data.datapipes",
    "torch.utils.file_baton", "torch.utils.show_pickle", "torch.utils.tensorboard",
    "torchvision.datasets.kinetics.Pool", "unittest.mock._importer", "uuid._get_command_stdout", "uuid._popen",
    "weakref.finalize", "yaml.constructor",
];

/// Modules that no name may lead through: an attribute like these is the module that it is called.
#[rustfmt::skip]
pub const ALIASES: [&str; 17] = [
    "builtins", "ctypes", "importlib", "marshal", "multiprocessing", "nt", "os", "pickle", "posix", "pty", "runpy",
    "shutil", "socket", "subprocess", "sys", "urllib", "builtin",
];

/// Names of `builtins` and `__builtin__` that do nothing when they are called but make a value; exceptions need not be
/// listed. `__main__` is what dill calls the program's own module.
#[rustfmt::skip]
pub const BUILTINS: [&str; 68] = [
    "Ellipsis", "NoneType", "NotImplemented", "NotImplementedType", "StopIteration", "__main__", "abs", "all", "any",
    "ascii", "basestring", "bin", "bool", "bytearray", "bytes", "callable", "chr", "classmethod", "cmp", "complex",
    "dict", "divmod", "ellipsis", "enumerate", "filter", "float", "format", "frozenset", "getattr", "hasattr", "hash",
    "hex", "id", "int", "isinstance", "issubclass", "iter", "len", "list", "long", "map", "max", "min", "next",
    "object", "oct", "ord", "pow", "print", "property", "range", "reduce", "repr", "reversed", "round", "set",
    "slice", "sorted", "staticmethod", "str", "sum", "super", "tuple", "type", "unichr", "unicode", "xrange", "zip",
];

/// Attributes through which the insides of a program are reached.
#[rustfmt::skip]
pub const INSIDES: [&str; 33] = [
    "__base__", "__bases__", "__builtins__", "__class__", "__closure__", "__code__", "__delattr__", "__dict__",
    "__func__", "__getattr__", "__getattribute__", "__globals__", "__import__", "__loader__", "__mro__", "__reduce__",
    "__reduce_ex__", "__self__", "__setattr__", "__setstate__", "__spec__", "__subclasses__", "__traceback__",
    "__wrapped__", "cr_frame", "f_builtins", "f_globals", "f_locals", "func_globals", "gi_frame", "im_func", "mro",
    "tb_frame",
];
