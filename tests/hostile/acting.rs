//! Hostile files that act in disguise: each was seen to act in Python 3.11 and PyTorch 2.11, or does by its source. And
//! sound ones that look alike, which are read.

use super::Case;
use super::build::*;

/// `module name`, as protocols 0 to 3 write it.
fn name(path: &str) -> Bytes {
    let (module, name) = path.rsplit_once('.').unwrap();
    join(&[b"c", module.as_bytes(), b"\n", name.as_bytes(), b"\n"])
}

/// A name with several attributes, as protocol 4 writes it.
fn stacked(module: &str, path: &str) -> Bytes {
    join(&[&text(module), &text(path), b"\x93"])
}

fn tuple(values: &[&[u8]]) -> Bytes {
    join(&[b"(", &values.concat(), b"t"])
}

fn list(values: &[&[u8]]) -> Bytes {
    join(&[b"](", &values.concat(), b"e"])
}

fn bytes(of: &[u8]) -> Bytes {
    join(&[b"B", &(of.len() as u32).to_le_bytes(), of])
}

fn called(function: &[u8], arguments: &[&[u8]]) -> Bytes {
    join(&[function, &tuple(arguments), b"R"])
}

fn call(function: &str, arguments: &[&[u8]]) -> Bytes {
    called(&name(function), arguments)
}

fn new(class: &str, arguments: &[&[u8]]) -> Bytes {
    join(&[&name(class), &tuple(arguments), b"\x81"])
}

fn build(object: &[u8], state: &[u8]) -> Bytes {
    join(&[object, state, b"b"])
}

fn outside(values: &[&[u8]]) -> Bytes {
    join(&[&tuple(values), b"Q"])
}

/// A file with weights, and this beside them.
fn beside(value: &[u8]) -> Bytes {
    dict(&[&text("model"), &dict(&[&text("w"), &tensor(&[16], &[1])]), &text("x"), value])
}

/// What is run where a text or bytes become code.
const CODE: &str = "import os; os.system('true')";

/// A function that evaluates a text in what it is given, and an object with such a text.
fn hints() -> (Bytes, Bytes) {
    let annotations = dict(&[&text("x"), &text(CODE)]);
    let state = dict(&[&text("__annotations__"), &annotations]);
    (name("typing.get_type_hints"), build(&new("argparse.Namespace", &[]), &state))
}

fn template(inner: &str) -> Bytes {
    let class = new("scipy.stats._continuous_distns.norm_gen", &[]);
    build(&class, &dict(&[&text("_parse_arg_template"), &text(inner)]))
}

/// What SciPy writes for a distribution with one shape.
const TEMPLATE: &str = "
def _parse_args(self, a,  loc=0, scale=1):
    return (a, ), loc, scale

def _parse_args_rvs(self, a,  loc=0, scale=1, size=None):
    return self._argcheck_rvs(a,  loc, scale, size=size)

def _parse_args_stats(self, a,  loc=0, scale=1, moments='mv'):
    return (a, ), loc, scale, moments
";

pub fn pickles() -> Vec<Case> {
    let (hints, object) = hints();
    let computed = |text_: &str| call("builtins.str", &[&text(text_)]);
    let alias = |function: &[u8]| call("types.GenericAlias", &[function, b")"]);
    let matcher =
        |junk: &[u8]| call("difflib.SequenceMatcher", &[junk, &text(""), &list(&[&object])]);
    let inner = bytes(&pickle(&call("posix.system", &[&text("true")])));
    let loky = "joblib.externals.loky.cloudpickle_wrapper._reconstruct_wrapper";
    let builtin = |name: &str| call("cloudpickle.cloudpickle._builtin_type", &[&text(name)]);
    let method = called(&builtin("MethodType"), &[&hints, &object]);
    let make = call("cloudpickle.cloudpickle._make_function", &[b"N", b"}", b"N", b"N", b"N"]);
    let bases = tuple(&[&name("enum.Enum")]);
    let members = |members: &[u8]| {
        let (e, none) = (text("E"), b"N");
        call(
            "cloudpickle.cloudpickle._make_skeleton_enum",
            &[&bases, &e, &e, members, &e, &e, none],
        )
    };
    let register = dict(&[&text("register"), &hints, &text("_abc_impl"), &list(&[&object])]);
    let setter = "cloudpickle.cloudpickle._class_setstate";
    let register = call(setter, &[&members(b"}"), &tuple(&[&register, b"}"])]);
    let key = |key: &[u8]| build(&new("argparse.Namespace", &[]), &dict(&[key, &hints]));
    let slot = tuple(&[b"N", &dict(&[&computed("__class__"), &hints])]);
    let weak = new("weakref.ref", &[&object, &hints]);
    let cached =
        new("functools._lru_cache_wrapper", &[&hints, b"K\0", b"\x89", &name("builtins.tuple")]);
    let local = dict(&[&text("path"), &text("/etc/passwd"), &text("mode"), &text("rb")]);
    let font =
        |path: &[u8]| build(&new("PIL.ImageFont.FreeTypeFont", &[]), &list(&[path, b"K\x0a"]));
    let file = call("_io.BytesIO", &[&bytes(b"font")]);
    let everything = name("mine.__dict__");
    let code = called(&call("dill._dill._load_type", &[&text("CodeType")]), &[b"K\0"]);
    let dill =
        |names: &[u8]| call("dill._dill._create_function", &[&code, names, &text("f"), b"N", b"N"]);
    let undefined = call("sympy.core.function._rebuild_undef", &[&text("f"), b"}"]);
    let symbol = new("sympy.core.symbol.Symbol", &[&text("x")]);
    let partial = |function: &str, of: &[u8]| call("functools.partial", &[&name(function), of]);
    let kind = |kind: &[u8]| outside(&[kind, &stacked("pathlib", "Path.unlink"), b"N", b"N"]);
    let hostile = [
        // Texts and bytes become code.
        ("bytes that are a pickle", call(loky, &[&inner, b"\x89"]), "_reconstruct_wrapper`"),
        (
            "a function by its name",
            call(
                "scipy._lib._uarray._backend.unpickle_function",
                &[&text("os"), &text("system"), b"N"],
            ),
            "unpickle_function`",
        ),
        ("a distribution's code", template(CODE), "_parse_arg_template"),
        (
            "a file opened by a state",
            build(&new("fsspec.implementations.local.LocalFileOpener", &[]), &local),
            "the state of `fsspec",
        ),
        ("a font opened by a state", font(&text("/etc/passwd")), "the state of `PIL"),
        // Constructors.
        (
            "a timer's code",
            call("torch.utils.benchmark.utils.timer.Timer", &[&text(CODE)]),
            "timer.Timer`",
        ),
        (
            "a library",
            call("torch.cuda.memory.CUDAPluggableAllocator", &[&text("/x.so")]),
            "Allocator`",
        ),
        (
            "a module of templates",
            call("jinja2.loaders.PackageLoader", &[&text("mine")]),
            "PackageLoader`",
        ),
        (
            "a file",
            call("PIL.PdfParser.PdfParser", &[&text("/x"), b"N", b"N", b"K\0", &text("w+b")]),
            "PdfParser`",
        ),
        (
            "a reader of addresses",
            call("pandas.io.excel._base.ExcelFile", &[&text("http://x")]),
            "ExcelFile`",
        ),
        (
            "a source file",
            call("traceback.FrameSummary", &[&text("/x"), b"K\x01", &text("x")]),
            "FrameSummary`",
        ),
        (
            "a class given to what calls it",
            call(
                "builtins.map",
                &[&name("torch.utils.benchmark.utils.timer.Timer"), &list(&[&text(CODE)])],
            ),
            "timer.Timer`",
        ),
        (
            "a generator's class",
            call(
                "numpy.random._pickle.__bit_generator_ctor",
                &[&name("torch.backends.xeon.run_cpu._CPUinfo")],
            ),
            "_CPUinfo`",
        ),
        (
            "a partial constructor",
            called(&partial("torch.utils.benchmark.utils.timer.Timer", &text(CODE)), &[]),
            "timer.Timer`",
        ),
        // Functions within objects.
        ("an alias of a function", matcher(&alias(&hints)), "what is no type"),
        (
            "an exception with a function",
            matcher(&call("builtins.ValueError", &[&hints])),
            "a function, `typing",
        ),
        ("a cached function", matcher(&cached), "a function, `typing"),
        ("a method of a type", matcher(&method), "`difflib.SequenceMatcher` with a function"),
        ("a reference with a function", weak, "`typing.get_type_hints`"),
        // Persistent ids.
        ("a kind as a text", called(&kind(&text("module")), &[&text("x")]), "Path.unlink`"),
        ("a kind as bytes", called(&kind(&bytes(b"module")), &[&text("x")]), "Path.unlink`"),
        (
            "a kind that is computed",
            called(&kind(&computed("module")), &[&text("x")]),
            "stands outside",
        ),
        (
            "a class that is computed",
            outside(&[&text("module"), &object, &text("x"), &text("y")]),
            "stands outside",
        ),
        ("a call of a storage", called(&storage(&text("0")), &[]), "what is outside"),
        // cloudpickle and dill.
        (
            "dill's array",
            call("dill._dill._create_array", &[&hints, &tuple(&[&object]), b"N"]),
            "`typing.get_type",
        ),
        ("a member that is called", members(&dict(&[&text("__new__"), &make])), "with functions"),
        ("a class that registers", register, "sets `register`"),
        ("a key that is computed", key(&computed("__setstate__")), "names that it computes"),
        (
            "a slot that is computed",
            build(&new("argparse.Namespace", &[]), &slot),
            "names that it computes",
        ),
        (
            "an object under another name",
            call("cloudpickle.cloudpickle._file_reconstructor", &[&object]),
            "_file_reconstructor`",
        ),
        ("all that a module has", call("mine.make", &[&everything]), "all that a module has"),
        ("a module's, in a list", list(&[&everything]), "all that a module has"),
        // Modules.
        (
            "a test that runs",
            called(&stacked("test.test_cmd_line_script", "CmdLineTest._check_script"), &[]),
            "_check_script`",
        ),
        ("a profiler", new("profile._Utils", &[]), "`profile._Utils`"),
        ("a program", name("unittest.__main__.X"), "`unittest.__main__.X`"),
        // sympy.
        (
            "a text that is computed",
            call("sympy.core.containers.Tuple", &[&computed(CODE)]),
            "sympy",
        ),
        (
            "a function of a text",
            join(&[&undefined, &tuple(&[&text(CODE)]), b"\x81"]),
            "a text that it evaluates",
        ),
        // Words.
        ("an editor", call("click.edit", &[&text("x"), &text("true;")]), "`click.edit`"),
        ("a word within a name", call("mine.check_and_log_subprocess", &[]), "log_subprocess`"),
        ("a class by its name", call("mine.get_class", &[&text("os.X")]), "`mine.get_class`"),
        ("a program's functions", call("mine.cli.f", &[]), "`mine.cli.f`"),
    ];
    let sound = [
        ("a distribution", template(TEMPLATE)),
        ("a font in memory", font(&file)),
        ("a class for later", partial("torch.optim.adamw.AdamW", b"K\x01")),
        (
            "a list's type",
            call(
                "types.GenericAlias",
                &[&name("__builtin__.list"), &tuple(&[&name("__builtin__.int")])],
            ),
        ),
        ("an enumeration", call("PIL.Image.Resampling", &[b"K\x02"])),
        ("what max returns", call("torch.return_types.max", &[&tuple(&[b"N", b"N"])])),
        ("an enumeration of its own", members(&dict(&[&text("A"), b"K\x01"]))),
        ("a function of sympy", join(&[&undefined, &tuple(&[&symbol]), b"\x81"])),
        ("a function of a script", dill(&everything)),
        ("an identifier", call("plistlib.UID", &[b"K\x01"])),
    ];
    let hostile =
        hostile.into_iter().map(|(label, value, part)| (label, torch_file(&value), 3, part));
    hostile
        .chain(sound.into_iter().map(|(label, value)| (label, torch_file(&beside(&value)), 0, "")))
        .collect()
}

/// A header of the time before `ustar` around what the first bytes are.
fn tar(start: &[u8]) -> [u8; 512] {
    let mut header = [0; 512];
    header[..start.len()].copy_from_slice(start);
    for (at, field) in [
        (100, &b"0000644\0"[..]),
        (108, b"0000000\0"),
        (116, b"0000000\0"),
        (124, b"00000001000\0"),
        (136, b"00000000000\0"),
        (148, b"        "),
        (156, b"0"),
    ] {
        header[at..at + field.len()].copy_from_slice(field);
    }
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// Files that PyTorch takes for others than they seem.
pub fn files() -> Vec<Case> {
    let w = pickle(&dict(&[&text("w"), &tensor(&[16], &[1])]));
    let act = pickle(&call("posix.system", &[&text("true")]));
    let zipped = |entries: &[(&str, &[u8])]| vec![("x.pt", zip(entries))];
    let values = &[0; 64][..];
    // Its first local header is five pickles, too.
    let within = zip(&[("\n.N.N.N.N./x", b"1"), ("\n.N.N.N.N./data.pkl", &act)]);
    let within = call("torch.storage._load_from_bytes", &[&bytes(&within)]);
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.";
    let rest = join(&[b"}.", &w, &pickle(&list(&[&text("0")])), &16u64.to_le_bytes(), values]);
    let start = join(&[magic, b"\x80\x02B", &(512 - magic.len() as u32 - 7).to_le_bytes()]);
    let legacy = join(&[&tar(&start), b"0", &rest]);
    let header = br#"{"w":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"__metadata__":{"a":""#;
    let start = join(&[&600u64.to_le_bytes(), header]);
    let mut tensors = tar(&start).to_vec();
    tensors.resize(604, b'x');
    tensors.extend(b"\"}}");
    tensors.resize(608, b' ');
    tensors.extend([0; 8]);
    vec![
        (
            "a pickle in capitals",
            zipped(&[("a/DATA.PKL", &act), ("a/b/data.pkl", &w), ("a/b/data/0", values)]),
            3,
            "has `DATA.PKL`",
        ),
        (
            "a folder before the pickle's",
            zipped(&[("a/version", b"3"), ("b/data.pkl", &w), ("b/data/0", values)]),
            3,
            "elsewhere",
        ),
        (
            "another folder beside it",
            zipped(&[("a/data.pkl", &w), ("a/data/0", values), ("b/version", b"3")]),
            3,
            "beside its folder",
        ),
        (
            "an order of bytes in capitals",
            zipped(&[("a/data.pkl", &w), ("a/BYTEORDER", b"big"), ("a/data/0", values)]),
            3,
            "has `BYTEORDER`",
        ),
        (
            "TorchScript beside a state dict",
            zipped(&[("a/data.pkl", &w), ("a/constants.pkl", b"\x80\x02)."), ("a/data/0", values)]),
            3,
            "a TorchScript archive",
        ),
        ("a zip file for a storage", torch_file(&within), 3, "what is no storage"),
        ("an old file that is a tar file", vec![("x.pth", legacy)], 3, "a tar archive"),
        ("safetensors that are a tar file", vec![("x.pth", tensors)], 3, "a tar archive"),
    ]
}
