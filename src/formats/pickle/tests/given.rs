//! What known libraries are given, and what of them is made. `hostile-reached` holds those that were seen to act.

use super::*;

/// An `argparse.Namespace` with one attribute.
fn space(key: &str, value: &[u8]) -> Vec<u8> {
    [&global("argparse Namespace")[..], b")\x81", &dict(key, value), b"b"].concat()
}

fn new(class: &str, state: &[u8]) -> Vec<u8> {
    [&global(class)[..], b")\x81", state, b"b"].concat()
}

fn list(value: &[u8]) -> Vec<u8> {
    [b"](", value, b"e"].concat()
}

fn partial(function: &str, argument: &[u8]) -> Vec<u8> {
    call(&global("functools partial"), &[&global(function), argument])
}

fn defaults(factory: &[u8]) -> Vec<u8> {
    call(&global("collections defaultdict"), &[factory])
}

#[test]
fn what_is_kept_beside_the_weights_is_read() {
    let zeros = attribute(&global("torch._C _VariableFunctionsClass"), "zeros");
    let zeros = call(&global("functools partial"), &[&zeros, b"K\x01"]);
    let random = attribute(&new("random Random", b"K\x03N\x86"), "random");
    let states = global("torch.amp.grad_scaler _refresh_per_optimizer_state");
    let scaler = dict("_per_optimizer_states", &defaults(&states));
    let array = |class: &str| {
        let class = global(class);
        call(&global("numpy._core.multiarray _reconstruct"), &[&class, b"K\x00\x85", &text("b")])
    };
    let record = |class: &str| call(&global(class), &[b")", b"}"]);
    let values = [
        new("torch.amp.grad_scaler GradScaler", &scaler),
        new("torch.cuda.amp.grad_scaler GradScaler", &scaler),
        defaults(&zeros),
        defaults(&random),
        defaults(&partial("torch tensor", b"K\x00")),
        defaults(&partial("numpy zeros", b"K\x03")),
        defaults(&global("time time")),
        defaults(&global("uuid uuid4")),
        defaults(&attribute(&global("datetime datetime"), "now")),
        defaults(&global("mine evaluate")),
        record("posix uname_result"),
        record("posix times_result"),
        record("os statvfs_result"),
        record("resource struct_rusage"),
        call(&global("exceptions StopIteration"), &[&text("x")]),
        call(&global("builtins StopAsyncIteration"), &[]),
        call(&global("builtins ExceptionGroup"), &[&text("x"), b"]"]),
        // Exceptions keep what they are given.
        call(&global("builtins ValueError"), &[&space("hook", &global("torch relu"))]),
        array("numpy memmap"),
        array("numpy recarray"),
        call(
            &global("numpy._core._internal _convert_to_stringdtype_kwargs"),
            &[b"\x88", &global("numpy._globals _NoValue")],
        ),
        [
            &global("Cookie SimpleCookie")[..],
            b")\x81",
            &text("a"),
            &new("Cookie Morsel", b"}"),
            b"s",
        ]
        .concat(),
        [&global("torchvision.models.squeezenet Fire")[..], b")\x81"].concat(),
        new("torch._dynamo.eval_frame OptimizedModule", &dict("hook", &global("mine rank"))),
        [&global("torch.fx.immutable_collections immutable_list")[..], b")\x81"].concat(),
        call(&global("types GenericAlias"), &[&global("numpy ndarray"), &global("mine run")]),
        call(&global("operator or_"), &[&global("torch dtype"), &global("torch float8_e4m3fn")]),
        call(&global("builtins type"), &[&global("__builtin__ NotImplemented")]),
        call(&global("mine Trainer"), &[&space("hook", &global("torch relu"))]),
        new("torch.ao.quantization.qconfig QConfig", &space("x", b"N")),
        list(&space("hook", &partial("typing get_type_hints", b"N"))),
    ];
    for value in values {
        if let Err(error) = Pickle::parse(&whole(&value)) {
            panic!("{}: {error}", value.escape_ascii());
        }
    }
}

#[test]
fn classes_are_refused_under_every_name_and_functions_where_they_are_called() {
    let hints = global("typing get_type_hints");
    let run = partial("typing get_type_hints", &space("__annotations__", b"}"));
    let held = space("items", &run);
    let path = call(&global("pathlib Path"), &[&text("x")]);
    // Filled after they are given.
    let late = |filled: &[u8]| {
        let map = call(&global("builtins map"), &[&global("builtins dict"), b"h\xfd"]);
        [&list(filled)[..], b"q\xfd0", &map].concat()
    };
    let late_item = [&late(b"")[..], b"0h\xfd", &held, b"a"].concat();
    let empty = [&global("argparse Namespace")[..], b")\x81q\xfc"].concat();
    let late_state = [&late(&empty)[..], b"0h\xfc", &dict("keys", &run), b"b"].concat();
    let frame =
        space("tb_frame", &space("f_globals", &dict("__loader__", &space("get_source", &hints))));
    let keys = space("keys", &run);
    let by_partial = [
        &partial("argparse ArgumentParser", &text("x"))[..],
        &tuple(&[&global("argparse ArgumentParser"), b")", &dict("formatter_class", &hints), b"N"]),
        b"b",
    ];
    let by_partial = call(&by_partial.concat(), &[]);
    let main = defaults(&global("mine main"));
    let cases = [
        (
            call(&global("torch.distributed.launcher ThreadingHTTPServer"), &[b")", b"N"]),
            "HTTPServer`",
        ),
        (call(&global("torch.anything TemporaryFile"), &[]), "TemporaryFile`"),
        (call(&global("dill._dill StockUnpickler"), &[&path]), "StockUnpickler`"),
        (call(&global("dill._dill FileType"), &[&text("x"), &text("w")]), "FileType`"),
        (call(&global("fsspec.compression GzipFile"), &[&text("x"), &text("w")]), "GzipFile`"),
        (call(&global("torch.jit._script PackageImporter"), &[&text("x")]), "PackageImporter`"),
        ([&global("numpy.core.memmap memmap")[..], b")\x81"].concat(), "memmap.memmap`"),
        (call(&global("numpy memmap"), &[&text("x")]), "`numpy.memmap`"),
        (call(&global("torch.fx GraphModule"), &[b"}", b"N"]), "`torch.fx.GraphModule`"),
        (call(&global("torch.ao.any ObservedGraphModule"), &[]), "ObservedGraphModule`"),
        (call(&global("torch.export ExportedProgram"), &[b"}", b"N"]), "ExportedProgram`"),
        (call(&global("enum Enum"), &[&text("X"), b"]"]), "`enum.Enum`"),
        (call(&global("json.decoder JSONArray"), &[b")", &hints]), "JSONArray`"),
        (call(&global("json.decoder JSONObject"), &[b")", &hints]), "JSONObject`"),
        (call(&global("difflib IS_CHARACTER_JUNK"), &[b"N", &hints]), "IS_CHARACTER_JUNK`"),
        (
            call(&global("torch.distributed.distributed_c10d _new_process_group_helper"), &[]),
            "helper`",
        ),
        // Functions, and objects that hold one.
        (call(&global("email.feedparser FeedParser"), &[&hints]), "a function, `typing.get_type"),
        (call(&global("torch.optim.lr_scheduler LambdaLR"), &[b"N", &list(&hints)]), "LambdaLR`"),
        (call(&global("re Scanner"), &[&list(&tuple(&[&text("a"), &hints]))]), "`re.Scanner`"),
        (call(&global("re Scanner"), &[&list(&global("sympy Integral"))]), "`re.Scanner`"),
        (by_partial, "a partial function with a function"),
        (call(&global("traceback TracebackException"), &[b"N", b"N", &frame]), "TracebackExc"),
        (call(&global("torch.nn ModuleDict"), &[&keys]), "`torch.nn.ModuleDict`"),
        (call(&global("collections Counter"), &[&keys]), "`collections.Counter`"),
        (call(&global("json JSONDecodeError"), &[&text("x"), &held, b"K\x00"]), "`json.JSON"),
        (
            call(
                &global("copyreg _reconstructor"),
                &[&global("mine D"), &global("builtins dict"), &keys],
            ),
            "_reconstructor` with a function",
        ),
        (
            call(&call(&global("functools partial"), &[&global("builtins dict")]), &[&keys]),
            "a partial function with",
        ),
        (
            [&global("torch.nn Buffer")[..], &tuple(&[&space("detach", &run)]), b"\x81"].concat(),
            "`torch.nn.Buffer` with a function",
        ),
        (new("torch.nn Linear", &keys), "what takes a state"),
        (late_item, "what it gave a container"),
        (late_state, "what it gave a container"),
        // Dicts that ask what acts for what is not there.
        (call(&global("operator mod"), &[&text("%(x)s"), &main]), "`operator.mod`"),
        (
            call(&attribute(&global("builtins str"), "translate"), &[&text("x"), &main]),
            "translate`",
        ),
        (call(&global("logging LogRecord"), &[&tuple(&[&main])]), "LogRecord`"),
        (new("random Random", &main), "what takes a state"),
        (defaults(&attribute(&path, "touch")), "the method `touch`"),
    ];
    for (value, expected) in cases {
        let error = fails(&whole(&value));
        assert_eq!(error.kind(), Kind::Hostile, "{error}");
        assert!(error.to_string().contains(expected), "{expected} not in {error}");
    }
}

/// Files of 64 KB are read within 50 ms, however often they give the same values.
#[test]
fn what_is_given_is_looked_at_once() {
    let many = 6000;
    let names: Vec<u8> = (0..many).flat_map(|i| format!("ca\nb{i}\n").into_bytes()).collect();
    let shared = [&list(&names)[..], b"q\xfd0(", &global("builtins len"), b"q\xfc0"].concat();
    let calls = b"h\xfch\xfd\x85R".repeat(many);
    let bytes = [b"\x80\x02", &shared[..], &calls, b"t."].concat();
    let from = std::time::Instant::now();
    parse(&bytes);
    assert!(from.elapsed().as_millis() < 500, "{:?}", from.elapsed());
}
