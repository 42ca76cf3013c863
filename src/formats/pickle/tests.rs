mod given;

use super::*;
use crate::Kind;

fn parse(bytes: &[u8]) -> Pickle {
    Pickle::parse(bytes).unwrap()
}

fn fails(bytes: &[u8]) -> Error {
    Pickle::parse(bytes).unwrap_err()
}

#[test]
fn values_of_every_protocol_are_read() {
    // pickle.dumps({'a': [1, 2.5, None, True], 'b': (b'xy', -3)}, protocol=N), Python 3.11.
    let written: [&[u8]; 3] = [
        b"(dp0\nVa\np1\n(lp2\nI1\naF2.5\naNaI01\nasVb\np3\n(c_codecs\nencode\np4\n(Vxy\np5\nVlatin1\np6\ntp7\nRp8\nI-3\ntp9\ns.",
        b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01G@\x04\x00\x00\x00\x00\x00\x00N\x88eX\x01\x00\x00\x00bq\x03c_codecs\nencode\nq\x04X\x02\x00\x00\x00xyq\x05X\x06\x00\x00\x00latin1q\x06\x86q\x07Rq\x08J\xfd\xff\xff\xff\x86q\tu.",
        b"\x80\x05\x95-\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x01a\x94]\x94(K\x01G@\x04\x00\x00\x00\x00\x00\x00N\x88e\x8c\x01b\x94C\x02xy\x94J\xfd\xff\xff\xff\x86\x94u.",
    ];
    for bytes in written {
        let pickle = parse(bytes);
        let list = pickle.elements(pickle.get(pickle.root(), "a").unwrap()).unwrap();
        let values: Vec<_> = list.iter().map(|&id| pickle.value(id).clone()).collect();
        assert_eq!(values, [Value::Int(1), Value::Float(2.5), Value::None, Value::Bool(true)]);
        let pair = pickle.elements(pickle.get(pickle.root(), "b").unwrap()).unwrap();
        assert_eq!(pickle.int(pair[1]), Some(-3));
        assert_eq!(pickle.length, bytes.len());
    }
}

#[test]
fn calls_are_not_made_and_keep_their_names() {
    // An argparse.Namespace(lr=1): copyreg-free, as protocol 2 writes it.
    let bytes =
        b"\x80\x02cargparse\nNamespace\nq\x00)\x81q\x01}q\x02X\x02\x00\x00\x00lrq\x03K\x01sb.";
    let pickle = parse(bytes);
    assert_eq!(pickle.called(pickle.root()), Some("argparse.Namespace"));
    assert_eq!(pickle.describe(pickle.root()), "a `argparse.Namespace`");
    let lr = pickle.field(pickle.root(), "lr").unwrap();
    assert_eq!(pickle.int(lr), Some(1));
}

#[test]
fn ordered_dicts_are_dicts_and_their_attributes_are_left() {
    let bytes = b"\x80\x02ccollections\nOrderedDict\n)R(U\x01aK\x01U\x01aK\x02u}U\x09_metadataNsb.";
    let pickle = parse(bytes);
    // Of two items with one key the later counts.
    assert_eq!(pickle.get(pickle.root(), "a").and_then(|id| pickle.int(id)), Some(2));
    assert_eq!(pickle.get(pickle.root(), "_metadata"), None);
}

#[test]
fn code_that_acts_is_refused_by_name_wherever_it_stands() {
    let names = [
        "posix\nsystem",
        "os\nsystem",
        "nt\nsystem",
        "commands\nPopen",
        "subprocess\nPopen",
        "__builtin__\neval",
        "builtins\nexec",
        "builtins\nsetattr",
        "sys\nexit",
        "runpy\nrun_path",
        "importlib\nimport_module",
        "importlib.util\nfind_spec",
        "ctypes\nCDLL",
        "socket\nsocket",
        "shutil\nrmtree",
        "torch.hub\nload",
        "torch.hub.x\ny",
        "pathlib\nos.system",
        "types\nCodeType",
    ];
    for name in names {
        let error = fails(format!("]c{name}\na.").as_bytes());
        assert_eq!(error.kind(), Kind::Hostile);
        let dotted = name.replace('\n', ".");
        assert!(error.to_string().contains(&format!("`{dotted}`")), "{error}");
    }
    let stack = b"\x80\x04\x8c\x05posix\x8c\x06system\x93.";
    assert!(fails(stack).to_string().contains("`posix.system`"));
    for name in ["builtins\ndict", "__builtin__\nset", "argparse\nNamespace", "osx\nsystem"] {
        parse(format!("c{name}\n.").as_bytes());
    }
}

fn global(name: &str) -> Vec<u8> {
    let (module, name) = name.split_once(' ').unwrap();
    format!("c{module}\n{name}\n").into_bytes()
}

fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

fn call(function: &[u8], arguments: &[&[u8]]) -> Vec<u8> {
    [function, b"(", &arguments.concat(), b"tR"].concat()
}

fn attribute(of: &[u8], name: &str) -> Vec<u8> {
    call(&global("builtins getattr"), &[of, &text(name)])
}

fn whole(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02", value, b"."].concat()
}

#[test]
fn names_are_values_and_so_are_methods() {
    let object = [&global("argparse Namespace")[..], b")\x81"].concat();
    let values = [
        attribute(&global("mmengine.logging HistoryBuffer"), "mean"),
        attribute(&global("torch.optim.swa_utils SWALR"), "_linear_anneal"),
        attribute(&global("builtins str"), "lower"),
        attribute(&object, "forward"),
        attribute(&text(", "), "join"),
        call(&global("builtins type"), &[b"N"]),
        global("builtins len"),
        global("builtins getattr"),
        global("operator gt"),
        call(&global("operator attrgetter"), &[&text("lr")]),
        call(&global("functools partial"), &[&attribute(&object, "forward")]),
        call(&call(&global("functools partial"), &[&global("mine Config")]), &[]),
        call(&attribute(&global("zoneinfo ZoneInfo"), "_unpickle"), &[&text("UTC"), b"\x88"]),
        call(&attribute(&global("mine Outer"), "Mode"), &[b"K\x01"]),
        call(&attribute(&global("mine Config"), "from_dict"), &[b"}"]),
        // Packages of somebody's own, named as modules that act.
        call(&global("code.models Net"), &[]),
        call(&global("code Config"), &[]),
        call(&global("commands.train Arguments"), &[]),
        call(&global("platform Settings"), &[]),
        global("signal SIGTERM"),
        global("http HTTPStatus"),
        global("subprocess CalledProcessError"),
        global("_io BytesIO"),
    ];
    for value in values {
        if let Err(error) = Pickle::parse(&whole(&value)) {
            panic!("{}: {error}", value.escape_ascii());
        }
    }
    // At protocols up to 3 and 4 the same name.
    let nested = attribute(&global("mine Outer"), "Inner");
    let dotted = [&text("mine")[..], &text("Outer.Inner"), b"\x93"].concat();
    for class in [nested, dotted] {
        let pickle = parse(&whole(&[&class[..], b")\x81"].concat()));
        assert_eq!(pickle.class_name(pickle.root()), Some("mine.Outer.Inner"));
    }
}

/// fixtures/formats/reached.py holds those that were seen to act, by names that are listed.
#[test]
fn calls_of_what_has_no_harmless_name_are_refused() {
    // A module that no list has, found in another one.
    let found = attribute(&global("mine.tools sp"), "Popen_");
    let unknown = attribute(&attribute(&global("mine sp"), "run"), "__call__");
    let argument = text("x");
    let object = [&global("mine Thing")[..], b")\x81"].concat();
    let by_partial = call(&global("functools partial"), &[&global("mine Thing")]);
    let state = |of: &[u8], value: &[u8]| [of, b"}", &text("__setstate__"), value, b"sb"].concat();
    let getter = call(&global("operator attrgetter"), &[&text("run")]);
    let cases = [
        (call(&attribute(&global("mine sp"), "run"), &[&argument]), "`mine.sp.run`"),
        (call(&unknown, &[&argument]), "`mine.sp.run.__call__`"),
        (call(&attribute(&object, "run"), &[]), "the method `run` of `mine.Thing`"),
        (call(&attribute(&argument, "format"), &[&object]), "the method `format`"),
        (call(&call(&getter, &[&global("mine sp")]), &[]), "`operator.attrgetter`"),
        (call(&getter, &[&object]), "`operator.attrgetter`"),
        (call(&call(&global("mine make"), &[]), &[]), "`mine.make`"),
        (call(&call(&global("functools partial"), &[&getter]), &[]), "`operator.attrgetter`"),
        (call(&[&by_partial[..], b"(", &getter, b")NNtb"].concat(), &[]), "`operator.attrgetter`"),
        (call(&global("builtins map"), &[&getter, b"]"]), "`operator.attrgetter`"),
        (call(&global("itertools accumulate"), &[b"]", &getter]), "`operator.attrgetter`"),
        (
            call(&call(&global("functools partial"), &[&global("builtins sorted")]), &[]),
            "`builtins.sorted`",
        ),
        (state(&object, &global("mine run")), "sets `__setstate__`"),
        ([&global("mine Thing")[..], b"}b"].concat(), "sets attributes of `mine.Thing`"),
        ([&attribute(&object, "a")[..], b"}b"].concat(), "what `builtins.getattr` finds"),
        (call(&global("builtins type"), &[&argument, b")", b"}"]), "`builtins.type`"),
        (attribute(&global("builtins object"), "__subclasses__"), "`builtins.object."),
        (attribute(&object, "__class__"), "`__class__` of `mine.Thing`"),
        (call(&global("builtins getattr"), &[&object, &object]), "a name that it computes"),
        ([&object[..], &object, b"\x93"].concat(), "computes a name"),
        ([&found[..], b")\x81"].concat(), "`mine.tools.sp.Popen_`"),
        ([b"(", &getter[..], b"o"].concat(), "`operator.attrgetter`"),
        (global("code InteractiveConsole"), "`code.InteractiveConsole`"),
        (global("code interact"), "`code.interact`"),
        (global("commands getoutput"), "`commands.getoutput`"),
        (call(&global("torch.storage _load_from_bytes"), &[b"N"]), "_load_from_bytes"),
    ];
    for (value, expected) in cases {
        let error = fails(&whole(&value));
        assert_eq!(error.kind(), Kind::Hostile, "{error}");
        assert!(error.to_string().contains(expected), "{expected} not in {error}");
    }
    for code in [&b"\x82\x07."[..], b"\x83\x07\x00.", b"\x84\x07\x00\x00\x00."] {
        let error = fails(code);
        assert!(error.to_string().contains("extension code"), "{error}");
    }
}

fn dict(key: &str, value: &[u8]) -> Vec<u8> {
    [b"}", &text(key)[..], value, b"s"].concat()
}

fn tuple(values: &[&[u8]]) -> Vec<u8> {
    [b"(", &values.concat()[..], b"t"].concat()
}

/// `class.__new__(class, *arguments, key=value)`.
fn new_with(class: &str, arguments: &[&[u8]], key: &str, value: &[u8]) -> Vec<u8> {
    [global(class), tuple(arguments), dict(key, value), b"\x92".to_vec()].concat()
}

#[test]
fn what_rebuilds_a_value_is_called_whatever_its_library() {
    let object = [&global("mine Thing")[..], b")\x81"].concat();
    let method = attribute(&object, "forward");
    let partial = call(&global("functools partial"), &[&method]);
    let state = tuple(&[&method, b")", b"}", b"N"]);
    let bits = call(&global("numpy.random._pickle __bit_generator_ctor"), &[&text("MT19937")]);
    let ctor = global("numpy.random._pickle __bit_generator_ctor");
    let cloud = |name: &str| global(&format!("cloudpickle.cloudpickle {name}"));
    let code = call(&call(&cloud("_builtin_type"), &[&text("CodeType")]), &[b"K\x00"]);
    let brought = call(&cloud("_make_function"), &[&code, b"}", b"N", b"N", b"N"]);
    let rebuilt = global("torch._utils _rebuild_tensor_v2");
    let values = [
        [&partial[..], &state, b"b"].concat(),
        // A method is given to somebody's class, to `__new__` of any, and is a part of a state.
        call(&global("mine Callback"), &[&method]),
        [&global("mine Spec")[..], &tuple(&[&method]), b"\x81"].concat(),
        [&object[..], &dict("hook", &method), b"b"].concat(),
        new_with("mine Config", &[], "key", &global("mine rank")),
        call(
            &global("collections defaultdict"),
            &[&call(
                &global("functools partial"),
                &[&global("collections defaultdict"), &global("builtins list")],
            )],
        ),
        call(&global("collections defaultdict"), &[&brought]),
        [&brought[..], b"0", &call(&cloud("_function_setstate"), &[&brought, b"}"])].concat(),
        call(&global("numpy.random._pickle __generator_ctor"), &[&bits]),
        call(&global("numpy.random._pickle __generator_ctor"), &[&text("PCG64"), &ctor]),
        call(
            &global("torch._tensor _rebuild_from_type_v2"),
            &[&rebuilt, &global("mine Tensor"), b")", b"N"],
        ),
        // A tensor of a class of PyTorch's own (DTensor), whose class is among the arguments of what makes it.
        call(
            &global("torch._tensor _rebuild_from_type_v2"),
            &[
                &global("torch._utils _rebuild_wrapper_subclass"),
                &global("torch.distributed.tensor DTensor"),
                &tuple(&[&global("torch.distributed.tensor DTensor"), &global("torch float32")]),
                b"}",
            ],
        ),
        call(
            &global("copyreg _reconstructor"),
            &[&global("mine lower"), &global("builtins dict"), b"}"],
        ),
        call(&global("pandas.core.indexes.base _new_Index"), &[&global("pandas Index"), b"}"]),
        call(&global("numpy._core _ufunc_reconstruct"), &[&text("scipy.special"), &text("expit")]),
        call(&global("operator getitem"), &[&global("typing Literal"), &text("a")]),
        call(&global("functools reduce"), &[&global("_operator or_"), b")"]),
        call(&global("contextlib nullcontext"), &[]),
        call(&global("sympy.core.symbol Symbol"), &[&text("x")]),
        [&global("threading Event")[..], b")\x81"].concat(),
        call(&global("exceptions ValueError"), &[]),
        call(&global("StringIO StringIO"), &[]),
        call(&global("test.models Net"), &[]),
        attribute(&global("mine Config"), "code"),
    ];
    for value in values {
        if let Err(error) = Pickle::parse(&whole(&value)) {
            panic!("{}: {error}", value.escape_ascii());
        }
    }
}

#[test]
fn what_is_computed_neither_names_nor_acts() {
    let object = [&global("mine Thing")[..], b")\x81"].concat();
    let computed = call(&global("builtins str"), &[&text("x")]);
    let of_dict = call(&global("collections defaultdict"), &[&global("builtins str")]);
    let method = attribute(&object, "run");
    let getter = call(&global("operator attrgetter"), &[&text("run")]);
    let held = call(&global("functools partial"), &[&getter]);
    let list = |value: &[u8]| [b"](", value, b"e"].concat();
    let zip = call(&global("builtins zip"), &[&list(&text("k")), &list(b"N")]);
    let type_of = call(&global("builtins type"), &[&object]);
    let cloud = |name: &str| global(&format!("cloudpickle.cloudpickle {name}"));
    let brought = call(&cloud("_make_function"), &[b"N"]);
    let plain = call(&global("functools partial"), &[&global("builtins len")]);
    let legacy = [&tuple(&[&text("module"), &method, b"N", b"N"]), &b"Q"[..]].concat();
    let outside = [&tuple(&[&text("module"), &global("mine Net"), b"N", b"N"]), &b"Q"[..]].concat();
    let slots = |key: &str| [&object[..], &tuple(&[b"N", &dict(key, b"N")]), b"b"].concat();
    // A partial function that is changed after it was judged.
    let late = [&plain[..], b"q\xfe0", &call(&global("builtins map"), &[b"h\xfe", b"]"])].concat();
    let late = [&late[..], b"0h\xfe", &tuple(&[&method, b")", b"N", b"N"]), b"b"].concat();
    // A list that is filled after it was given to what looks at it later; and one within it.
    let mapped = |list: &[u8]| call(&global("builtins map"), &[&global("mine f"), list]);
    let filled = [b"]q\xfd0", &mapped(b"h\xfd")[..], b"0h\xfd(", &getter, b"e"].concat();
    let inner = [b"]q\xfd0", &mapped(&list(b"h\xfd"))[..], b"0h\xfd", &method, b"a"].concat();
    let entries = [b"}q\xfd0", &mapped(b"h\xfd")[..], b"0h\xfdK\x01", &getter, b"s"].concat();
    let cases = [
        (filled, "what it gave a container with a function"),
        (inner, "what it gave a container with a function"),
        (entries, "what it gave a container with a function"),
        // Names that a call makes.
        (call(&global("operator attrgetter"), &[&computed]), "`operator.attrgetter` for a name"),
        (
            call(&global("operator attrgetter"), &[&text("a"), &of_dict]),
            "`operator.attrgetter` for",
        ),
        (
            call(&global("_operator methodcaller"), &[&computed]),
            "`_operator.methodcaller` for a name",
        ),
        (
            call(&global("builtins getattr"), &[&global("mine sp"), &computed]),
            "a name that it computes",
        ),
        (call(&global("builtins getattr"), &[&object, &text("a"), &getter]), "other than two"),
        (call(&cloud("subimport"), &[&computed]), "`cloudpickle.cloudpickle.subimport` for a name"),
        (call(&cloud("subimport"), &[&text("os")]), "`cloudpickle.cloudpickle.subimport` for `os`"),
        (
            call(&global("numpy._core _ufunc_reconstruct"), &[&text("os"), &text("system")]),
            "`os.system`",
        ),
        (call(&global("numpy.core _ufunc_reconstruct"), &[&text("os"), &computed]), "for a name"),
        (call(&global("operator attrgetter"), &[&text("pkgutil.resolve_name")]), "pkgutil.resolve"),
        (
            attribute(&attribute(&global("unittest.mock x"), "pkgutil"), "resolve_name"),
            "pkgutil.res",
        ),
        // Functions of which nobody knows what they do, given to what may call them.
        (
            call(&global("heapq nsmallest"), &[b"K\x01", b"]", &global("mine f")]),
            "`heapq.nsmallest`",
        ),
        (
            call(&global("copy _reconstruct"), &[b"N", b"N", &global("mine f"), b")"]),
            "`copy._recon",
        ),
        (call(&global("mine apply"), &[&getter]), "`mine.apply` with a function"),
        (call(&global("mine apply"), &[&list(&tuple(&[&method]))]), "`mine.apply` with a function"),
        (call(&global("mine apply"), &[&dict("key", &held)]), "`mine.apply` with a function"),
        (
            call(&global("mine apply"), &[&global("builtins getattr")]),
            "`mine.apply` with a function",
        ),
        (call(&global("mine apply"), &[&brought]), "`mine.apply` with a function"),
        (call(&global("pathlib Path"), &[&getter]), "`pathlib.Path` with a function"),
        (
            call(&call(&global("functools partial"), &[&global("mine apply"), &method]), &[]),
            "a partial f",
        ),
        (call(&global("collections defaultdict"), &[&held]), "`operator.attrgetter`"),
        (call(&global("collections defaultdict"), &[&method]), "the method `run`"),
        (
            call(&global("builtins map"), &[&global("functools partial"), b"]"]),
            "with what is not known",
        ),
        (
            call(&global("copyreg __newobj__"), &[&global("builtins map"), &method, b"]"]),
            "not known",
        ),
        (
            [global("builtins map"), tuple(&[&method, b"]"]), b"\x81".to_vec()].concat(),
            "method `run`",
        ),
        (new_with("itertools groupby", &[b"]"], "key", &global("mine f")), "with keywords"),
        (new_with("functools partial", &[&global("mine f")], "key", &method), "with keywords"),
        (
            [&global("mine T")[..], b")", &call(&global("builtins dict"), &[&zip]), b"\x92"]
                .concat(),
            "keywords that it computes",
        ),
        (
            call(&global("torch._tensor _rebuild_from_type_v2"), &[&method, b"N", b")", b"N"]),
            "method",
        ),
        (
            call(
                &global("torch._tensor _rebuild_from_type_v2"),
                &[&global("torch.storage _load_from_bytes"), b"N", &tuple(&[b"N"]), b"N"],
            ),
            "with what is not known",
        ),
        (call(&global("numpy.random._pickle __generator_ctor"), &[b"N", &method]), "method `run`"),
        (call(&global("operator getitem"), &[&object, b"K\x00"]), "of what is no type"),
        (
            call(&outside, &[]).into_iter().chain(*b"0").chain(call(&legacy, &[])).collect(),
            "computes what stands outside of it",
        ),
        // States.
        ([&plain[..], &call(&global("mine f"), &[]), b"b"].concat(), "to what it computes"),
        ([&object[..], b"}b}b"].concat(), "twice"),
        (late, "twice"),
        ([&outside[..], b"}b"].concat(), "what is outside"),
        ([&type_of[..], b"}b"].concat(), "changes what `builtins.type` finds"),
        (slots("__class__"), "sets `__class__`"),
        ([&object[..], &text("__setstate__"), b"Ns"].concat(), "sets `__setstate__`"),
        (
            call(&attribute(&global("builtins dict"), "update"), &[b"}", &zip]),
            "`builtins.dict.update`",
        ),
        (call(&attribute(&global("builtins str"), "format"), &[&of_dict]), "`builtins.str.format`"),
        (call(&cloud("_class_setstate"), &[&global("mine T"), b"}"]), "does not make"),
        // Names.
        (global("StringIO open"), "`StringIO.open`"),
        (global("tkFileDialog askopenfile"), "`tkFileDialog.askopenfile`"),
        (call(&global("mine.shell check_output"), &[]), "`mine.shell.check_output`"),
        (call(&global("six.moves getoutput"), &[]), "`six.moves.getoutput`"),
        (call(&global("abc ABCMeta"), &[b"N", b")", b"}"]), "`abc.ABCMeta`"),
        (call(&global("wave Wave_write"), &[]), "`wave.Wave_write`"),
        (call(&global("torch compile"), &[]), "`torch.compile`"),
        (call(&global("sympy Integral"), &[&text("x")]), "`sympy.Integral`"),
        (
            [global("sympy Tuple"), tuple(&[&list(&text("x"))]), b"\x81".to_vec()].concat(),
            "evaluates",
        ),
        (
            call(&global("builtins map"), &[&global("sympy Integral"), &list(&text("x"))]),
            "not known",
        ),
        (call(&global("mine.processes Popen"), &[]), "`mine.processes.Popen`"),
        (call(&attribute(&global("mine Model"), "save"), &[]), "`mine.Model.save`"),
        (call(&global("torch.distributed.rendezvous TCPStore"), &[]), "TCPStore"),
        (global("fsspec.implementations.sftp SFTPFileSystem"), "fsspec.implementations.sftp"),
        (global("torch.fx.graph_module reduce_graph_module"), "reduce_graph_module"),
        (global("concurrent.futures.thread _worker"), "concurrent.futures.thread"),
    ];
    for (value, expected) in cases {
        let error = fails(&whole(&value));
        assert_eq!(error.kind(), Kind::Hostile, "{error}");
        assert!(error.to_string().contains(expected), "{expected} not in {error}");
    }
}

/// The same call in what each protocol has for it.
#[test]
fn every_protocol_is_judged_alike() {
    let cases: [&[u8]; 7] = [
        b"(icopy\n_reconstruct\n.",
        b"(Vx\nimine\nsystem\n.",
        b"cmine\nsystem\n(Vx\ntR.",
        b"(cmine\nsystem\nVx\no.",
        b"\x80\x02cmine\nsystem\nX\x01\x00\x00\x00x\x85R.",
        b"\x80\x04\x8c\x04mine\x8c\x06system\x93\x8c\x01x\x85R.",
        b"\x80\x05\x95\x16\0\0\0\0\0\0\0\x8c\x04mine\x94\x8c\x06system\x94\x93\x94h\x02\x8c\x01x\x85R.",
    ];
    for bytes in cases {
        let error = fails(bytes);
        assert_eq!(error.kind(), Kind::Hostile, "{}: {error}", bytes.escape_ascii());
    }
}

#[test]
fn arguments_that_are_looked_at_over_and_over_end_at_a_limit() {
    // A long list of tuples, given to one function again and again.
    let mut bytes = b"(".to_vec();
    bytes.extend([b')'; 20_000]);
    bytes.extend(b"l\x85q\x00cmine\nmake\nq\x01(");
    bytes.extend([&b"h\x01h\x00R"[..]; 8000].concat());
    bytes.extend(b"t.");
    assert_eq!(fails(&bytes).kind(), Kind::Limit);
}

#[test]
fn names_that_multiply_end_at_a_limit() {
    // A name of 300 bytes for every few of the pickle.
    let mut bytes = [&text(&"m".repeat(290))[..], b"q\x00", &text("n"), b"q\x01", b"00]("].concat();
    bytes.extend([&b"h\x00h\x01\x93"[..]; 8000].concat());
    bytes.extend(b"e.");
    assert_eq!(fails(&bytes).kind(), Kind::Limit);
}

#[test]
fn bombs_end_at_a_limit() {
    let deep = [vec![b']'; 30_000], vec![b'a'; 29_999], vec![b'.']].concat();
    // A long tuple, made a list again and again.
    let mut copies = b"(".to_vec();
    copies.extend([b'N'; 20_000]);
    copies.extend(b"t\x85q\x00cbuiltins\nlist\nq\x01(");
    copies.extend([&b"h\x01h\x00R"[..]; 8000].concat());
    copies.extend(b"t.");
    for bytes in [deep, copies] {
        assert_eq!(fails(&bytes).kind(), Kind::Limit);
    }
}

#[test]
fn a_value_within_itself_is_no_endless_loop() {
    let pickle = parse(b"]q\x00h\x00a.");
    assert_eq!(pickle.elements(pickle.root()).unwrap(), [pickle.root()]);
}

#[test]
fn long_integers() {
    let cases: [(&[u8], Value); 5] = [
        (b"\x8a\x00.", Value::Int(0)),
        (b"\x8a\x01\xff.", Value::Int(-1)),
        (b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\x7f\x00.", Value::Int(i64::MAX)),
        (b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00.", Value::BigInt),
        (b"L123456789012345678901234567890L\n.", Value::BigInt),
    ];
    for (bytes, expected) in cases {
        let pickle = parse(bytes);
        assert_eq!(*pickle.value(pickle.root()), expected);
    }
}

#[test]
fn bad_programs_are_refused() {
    let cases: [(&[u8], &str); 9] = [
        (b"", "ends within"),
        (b".", "not there"),
        (b"K", "ends within"),
        (b"h\x05.", "memo that was not put"),
        (b"e.", "no mark"),
        (b"Na.", "not there"),
        (b"NNa.", "not a list"),
        (b"\x80\x06.", "protocol 6"),
        (b"\xff.", "unknown instruction 0xff"),
    ];
    for (bytes, expected) in cases {
        let text = fails(bytes).to_string();
        assert!(text.contains(expected), "{expected:?} not in {text:?}");
    }
    // A length beyond the file costs nothing.
    fails(b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f");
}
