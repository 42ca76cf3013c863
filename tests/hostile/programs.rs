//! Hostile files: exported programs that contradict themselves, name what does not exist, or claim what they do not have.

use serde_json::{Value, json};

use super::Case;
use super::build::*;

fn tensor(name: &str) -> Value {
    json!({"as_tensor": {"name": name}})
}

fn ints(sizes: &[i64]) -> Vec<Value> {
    sizes.iter().map(|n| json!({"as_int": n})).collect()
}

/// What a graph says of a tensor of f32.
fn meta(sizes: &[i64], strides: &[i64]) -> Value {
    json!({"dtype": 7, "sizes": ints(sizes), "strides": ints(strides),
           "storage_offset": {"as_int": 0}, "layout": 7})
}

fn node(target: &str, inputs: &[(&str, Value)], output: Value) -> Value {
    let inputs: Vec<Value> =
        inputs.iter().map(|(name, arg)| json!({"name": name, "arg": arg})).collect();
    json!({"target": target, "inputs": inputs, "outputs": [output],
           "metadata": {"nn_module_stack": "a,,Net;b,layers.2,Linear"}})
}

fn relu(from: &str, to: &str) -> Value {
    node("torch.ops.aten.relu.default", &[("self", tensor(from))], tensor(to))
}

/// A program with a weight, a constant and an image: `y = relu(mul(x, w) + c)`.
fn program() -> Value {
    json!({
        "schema_version": {"major": 8, "minor": 17},
        "torch_version": "2.11.0",
        "range_constraints": {},
        "graph_module": {
            "graph": {
                "inputs": [tensor("p_w"), tensor("c_c"), tensor("x")],
                "outputs": [tensor("y")],
                "nodes": [
                    node("torch.ops.aten.mul.Tensor", &[("self", tensor("x")), ("other", tensor("p_w"))], tensor("m")),
                    node("torch.ops.aten.add.Tensor", &[("self", tensor("m")), ("other", tensor("c_c"))], tensor("a")),
                    relu("a", "y"),
                ],
                "tensor_values": {"p_w": meta(&[4], &[1]), "c_c": meta(&[4], &[1]), "x": meta(&[2, 3, 8, 4], &[96, 32, 4, 1])},
            },
            "signature": {
                "input_specs": [
                    {"parameter": {"arg": {"name": "p_w"}, "parameter_name": "w"}},
                    {"tensor_constant": {"arg": {"name": "c_c"}, "tensor_constant_name": "c"}},
                    {"user_input": {"arg": tensor("x")}},
                ],
                "output_specs": [{"user_output": {"arg": tensor("y")}}],
            },
            "module_call_graph": [],
        },
    })
}

fn payload(path: &str, meta: Value) -> Value {
    json!({"path_name": path, "is_param": false, "use_pickle": false, "tensor_meta": meta})
}

/// A PT2 archive around a graph and what it says of weights and constants; each storage has 16 bytes.
fn archive(graph: &str, weights: &Value, constants: &Value) -> Vec<File> {
    let config = |config: &Value| json!({"config": config}).to_string();
    let (weights, constants) = (config(weights), config(constants));
    let bytes = zip(&[
        ("m/archive_format", b"pt2"),
        ("m/models/model.json", graph.as_bytes()),
        ("m/data/weights/model_weights_config.json", weights.as_bytes()),
        ("m/data/constants/model_constants_config.json", constants.as_bytes()),
        ("m/data/constants/tensor_0", &[0; 16]),
    ]);
    vec![("x.pt2", bytes)]
}

/// The program, changed.
fn changed(change: impl FnOnce(&mut Value)) -> Vec<File> {
    let mut graph = program();
    change(&mut graph);
    with(&graph.to_string(), payload("tensor_0", meta(&[4], &[1])))
}

/// A graph, and what the file says of its constant.
fn with(graph: &str, constant: Value) -> Vec<File> {
    let weights = json!({"w": payload("weight_0", meta(&[4], &[1]))});
    archive(graph, &weights, &json!({"c": constant}))
}

fn graph(program: &mut Value) -> &mut Value {
    &mut program["graph_module"]["graph"]
}

fn nodes(program: &mut Value) -> &mut Vec<Value> {
    graph(program)["nodes"].as_array_mut().unwrap()
}

/// The program with its first node's target, inputs and all replaced.
fn first(node: Value) -> Vec<File> {
    changed(|p| nodes(p)[0] = node)
}

fn block(target: &str, before: &[Value], graph: Value, operands: &[Value], output: Value) -> Value {
    let graph = json!({"as_graph": {"name": "sub", "graph": graph}});
    let arguments = before.iter().cloned().chain([graph]).chain(operands.iter().cloned());
    let inputs: Vec<(&str, Value)> = arguments.map(|value| ("", value)).collect();
    node(&format!("torch.ops.higher_order.{target}"), &inputs, output)
}

fn no_grad(graph: Value, operands: &[Value], output: Value) -> Value {
    block("wrap_with_set_grad_enabled", &[json!({"as_bool": false})], graph, operands, output)
}

fn sub(inputs: &[Value], outputs: &[Value], nodes: &[Value]) -> Value {
    json!({"inputs": inputs, "outputs": outputs, "nodes": nodes, "tensor_values": {}})
}

pub fn names() -> Vec<Case> {
    let norm = |argument: &str, value: Value| {
        let mut inputs = vec![
            ("input", tensor("x")),
            ("weight", tensor("p_w")),
            ("bias", json!({"as_none": true})),
            ("running_mean", json!({"as_none": true})),
            ("running_var", json!({"as_none": true})),
            ("training", json!({"as_bool": true})),
            ("eps", json!({"as_float": 1e-5})),
        ];
        inputs
            .iter_mut()
            .filter(|(name, _)| *name == argument)
            .for_each(|(_, v)| *v = value.clone());
        first(node("torch.ops.aten.batch_norm.default", &inputs, tensor("m")))
    };
    let mul = |a: Value, b: Value| {
        first(node("torch.ops.aten.mul.Tensor", &[("self", a), ("other", b)], tensor("m")))
    };
    let x = || tensor("x");
    let within = |inputs: &[Value], outputs: &[Value], nodes: &[Value], operands: &[Value]| {
        first(no_grad(sub(inputs, outputs, nodes), operands, tensor("m")))
    };
    let place = "node `m` (aten.mul.Tensor, in layers.2): ";
    vec![
        ("a program", changed(|_| ()), 0, ""),
        (
            "a name that is not defined",
            mul(x(), tensor("nowhere")),
            3,
            "`nowhere` is not defined before it",
        ),
        ("a place that is named", mul(x(), tensor("nowhere")), 3, place),
        ("a cycle", mul(x(), tensor("a")), 3, "`a` is not defined before it"),
        ("a value of itself", mul(x(), tensor("m")), 3, "`m` is not defined before it"),
        (
            "a name twice",
            changed(|p| nodes(p)[1]["outputs"][0] = tensor("m")),
            3,
            "`m` is defined twice",
        ),
        (
            "the image's name twice",
            changed(|p| nodes(p)[0]["outputs"][0] = x()),
            3,
            "`x` is defined twice",
        ),
        (
            "an output that is not defined",
            changed(|p| graph(p)["outputs"][0] = tensor("z")),
            3,
            "its outputs: `z` is not",
        ),
        (
            "an argument twice",
            changed(|p| nodes(p)[0]["inputs"][1]["name"] = json!("self")),
            3,
            "argument `self` twice",
        ),
        (
            "a tensor as a number",
            mul(x(), json!({"as_sym_int": {"as_name": "p_w"}})),
            3,
            "is a tensor, not an integer",
        ),
        (
            "a number as a tensor",
            changed(|p| {
                nodes(p)[0] = node(
                    "torch.ops.aten.sym_size.int",
                    &[("self", tensor("x")), ("dim", json!({"as_int": 0}))],
                    json!({"as_sym_int": {"as_name": "m"}}),
                )
            }),
            3,
            "`m` is an integer, not a tensor",
        ),
        (
            "an unknown kind",
            mul(x(), json!({"as_riddle": 1})),
            3,
            "the kind `as_riddle` is not supported",
        ),
        (
            "a kind that no operator takes",
            mul(x(), json!({"as_custom_obj": {"name": "o", "class_fqn": "c"}})),
            3,
            "`as_custom_obj`",
        ),
        (
            "two kinds",
            mul(x(), json!({"as_int": 1, "as_float": 1.0})),
            3,
            "an argument of two kinds",
        ),
        ("no kind", mul(x(), json!({})), 3, "an argument of no kind"),
        (
            "a value of another type",
            mul(x(), json!({"as_int": "one"})),
            3,
            "no graph that is known",
        ),
        (
            "a type that is not known",
            mul(x(), json!({"as_scalar_type": 99})),
            3,
            "type 99 is not known",
        ),
        ("a sparse layout", mul(x(), json!({"as_layout": 1})), 3, "layout 1 is not known"),
        (
            "a number that is no number",
            mul(x(), json!({"as_float": "many"})),
            3,
            "no graph that is known",
        ),
        (
            "a graph as an argument",
            mul(x(), json!({"as_graph": {"name": "g", "graph": sub(&[], &[], &[])}})),
            3,
            "takes a graph",
        ),
        (
            "batchnorm without an input",
            norm("input", json!({"as_none": true})),
            3,
            "lacks its argument `input`",
        ),
        ("batchnorm of a number", norm("weight", json!({"as_int": 1})), 3, "`weight` is no tensor"),
        ("batchnorm with a mean alone", norm("running_mean", tensor("p_w")), 3, "only one of"),
        (
            "batchnorm whose eps is a text",
            norm("eps", json!({"as_string": "x"})),
            3,
            "`eps` is no number",
        ),
        (
            "batchnorm that may train",
            norm("training", json!({"as_int": 1})),
            3,
            "`training` is no truth value",
        ),
        (
            "a block with a name from outside",
            within(&[tensor("i")], &[tensor("o")], &[relu("x", "o")], &[x()]),
            3,
            "`x` is not defined before it",
        ),
        (
            "a block that is given too little",
            within(&[tensor("i")], &[tensor("i")], &[], &[]),
            3,
            "takes 1 values and is given 0",
        ),
        (
            "a block of another kind",
            within(&[json!({"as_sym_int": {"as_name": "i"}})], &[], &[], &[x()]),
            3,
            "a value of another kind",
        ),
        (
            "a block that yields nothing",
            within(&[tensor("i")], &[], &[], &[x()]),
            3,
            "yields 0 values",
        ),
        (
            "a block without a graph",
            first(node(
                "torch.ops.higher_order.wrap_with_autocast",
                &[("", json!({"as_bool": true}))],
                tensor("m"),
            )),
            3,
            "it has no graph",
        ),
        (
            "autocast that does not say",
            first(block(
                "wrap_with_autocast",
                &[],
                sub(&[tensor("i")], &[tensor("i")], &[]),
                &[x()],
                tensor("m"),
            )),
            3,
            "does not say whether autocast is on",
        ),
    ]
}

pub fn contents() -> Vec<Case> {
    let spec = |n: usize, value: Value| {
        changed(move |p| p["graph_module"]["signature"]["input_specs"][n] = value)
    };
    let constant = |meta: Value| with(&program().to_string(), payload("tensor_0", meta));
    let grown = |meta: Value| {
        let mut graph_ = program();
        graph(&mut graph_)["tensor_values"]["c_c"] = meta.clone();
        with(&graph_.to_string(), payload("tensor_0", meta))
    };
    let version = |major: u64| changed(move |p| p["schema_version"]["major"] = json!(major));
    let text = program().to_string();
    let fine = || payload("tensor_0", meta(&[4], &[1]));
    let deep = {
        let mut inner = sub(&[], &[], &[]);
        for _ in 0..200 {
            inner = sub(&[], &[], &[no_grad(inner, &[], json!({"as_none": true}))]);
        }
        inner
    };
    let half = 1i64 << 40;
    let twice =
        format!(r#"{{"config": {{"w": {0}, "w": {0}}}}}"#, payload("weight_0", meta(&[4], &[1])));
    let twice = zip(&[
        ("m/archive_format", b"pt2"),
        ("m/models/model.json", text.as_bytes()),
        ("m/data/weights/model_weights_config.json", twice.as_bytes()),
    ]);
    let target = |target: &str| first(node(target, &[("self", tensor("x"))], tensor("m")));
    let many = |n: usize| {
        let all =
            (0..n).map(|i| relu(if i == 0 { "x" } else { "m" }, if i == 0 { "m" } else { "n" }));
        let mut all: Vec<Value> = all.collect();
        all.iter_mut()
            .enumerate()
            .for_each(|(i, node)| node["target"] = json!(format!("torch.ops.lib.op{i}")));
        changed(move |p| *nodes(p) = all)
    };
    let models = zip(&[
        ("m/archive_format", b"pt2"),
        ("m/models/a.json", text.as_bytes()),
        ("m/models/b.json", text.as_bytes()),
    ]);
    let compiled =
        zip(&[("m/archive_format", b"pt2"), ("m/data/aotinductor/model/x.so", b"\x7fELF")]);
    let mut deflated = archive(&text, &json!({}), &json!({"c": fine()}));
    {
        let bytes = &mut deflated[0].1;
        for (signature, at) in [(b"PK\x03\x04", 8), (b"PK\x01\x02", 10)] {
            let mut found = (0..bytes.len()).filter(|&i| bytes[i..].starts_with(signature));
            let place = found.nth(1).unwrap() + at;
            bytes[place] = 8;
        }
    }
    let pickled = json!({"path_name": "tensor_0", "is_param": false, "use_pickle": true, "tensor_meta": null});
    vec![
        ("an earlier schema", version(4), 3, "schema 4.17 is not known"),
        ("a later schema", version(9), 3, "schema 9.17 is not known"),
        ("a text that ends early", with(&text[..text.len() / 2], fine()), 3, "EOF"),
        ("no JSON", with("[]", fine()), 3, "no graph that is known"),
        (
            "a graph within graphs",
            with(&deep_program(deep).to_string(), fine()),
            6,
            "nests deeper than",
        ),
        ("a constant beyond its storage", grown(meta(&[5], &[1])), 3, "reaches beyond its storage"),
        ("a huge constant", grown(meta(&[half], &[0])), 6, "much larger than its file"),
        ("a constant too large to count", grown(meta(&[half, half], &[0, 0])), 3, "too large"),
        ("a negative size", grown(meta(&[-1], &[1])), 3, "its description is broken"),
        (
            "a constant described twice",
            constant(meta(&[2], &[1])),
            3,
            "tensor `c`: its graph describes it otherwise",
        ),
        (
            "a constant that is missing",
            archive(&text, &json!({}), &json!({})),
            3,
            "tensor `c`: it is not in the file",
        ),
        (
            "values that are missing",
            with(&text, payload("tensor_9", meta(&[4], &[1]))),
            3,
            "its values are not in the file",
        ),
        ("a pickle", with(&text, pickled), 3, "stored as a pickle"),
        (
            "a weight of another shape",
            changed(|p| graph(p)["tensor_values"]["p_w"] = meta(&[5], &[1])),
            3,
            "tensor `w`: its graph describes it otherwise",
        ),
        ("weights twice", vec![("x.pt2", twice)], 3, "tensor `w`: its file has it twice"),
        (
            "a parameter twice",
            spec(1, json!({"parameter": {"arg": {"name": "c_c"}, "parameter_name": "w"}})),
            3,
            "tensor `w`: its",
        ),
        (
            "a signature in another order",
            spec(0, json!({"parameter": {"arg": {"name": "x"}, "parameter_name": "w"}})),
            3,
            "stands elsewhere",
        ),
        (
            "fewer inputs",
            changed(|p| graph(p)["inputs"] = json!([tensor("x")])),
            3,
            "has 3 inputs, its graph 1",
        ),
        (
            "fewer outputs",
            changed(|p| graph(p)["outputs"] = json!([])),
            3,
            "has 1 outputs, its graph 0",
        ),
        (
            "two images",
            spec(0, json!({"user_input": {"arg": tensor("p_w")}})),
            3,
            "it takes 2 inputs, `p_w`, `x`",
        ),
        (
            "a script object",
            spec(0, json!({"custom_obj": {"arg": {"name": "p_w"}}})),
            3,
            "a script object",
        ),
        ("an unknown input", spec(0, json!({"riddle": {}})), 3, "no graph that is known"),
        (
            "opening files",
            target("torch.ops.aten.from_file.default"),
            3,
            "`aten::from_file` is not run: it opens files",
        ),
        (
            "a storage elsewhere",
            target("torch.ops.aten.set_.source_Storage"),
            3,
            "changes where tensors lie",
        ),
        ("an output given", target("torch.ops.aten.relu.out"), 3, "resizes its output"),
        (
            "an internal operator",
            target("torch.ops.aten._sparse_coo_tensor_unsafe.default"),
            3,
            "for PyTorch's own use",
        ),
        (
            "a branch",
            target("torch.ops.higher_order.cond"),
            3,
            "`cond` (a branch on data) cannot be run",
        ),
        (
            "another library",
            target("torch.ops.torchvision.deform_conv2d.default"),
            3,
            "1 operator is not in PyTorch: `torchvision::deform_conv2d`",
        ),
        ("Python", target("os.system"), 3, "`os.system`"),
        ("a target of a long name", target(&"a".repeat(40_000)), 3, "1 operator is not in PyTorch"),
        ("many of them", many(300), 3, "300 operators are not in PyTorch"),
        ("several programs", vec![("x.pt2", models)], 3, "several exported programs"),
        ("machine code", vec![("x.pt2", compiled)], 3, "an AOTInductor package"),
        ("a compressed graph", deflated, 3, "is compressed"),
    ]
}

fn deep_program(inner: Value) -> Value {
    let mut program = program();
    nodes(&mut program).push(no_grad(inner, &[], json!({"as_none": true})));
    program
}

/// What is quick to say of a small file must not be quick to say at length.
pub fn multiplied() -> Vec<Case> {
    let list = |kind: &str, one: &str, n: usize| {
        let list = vec![one; n].join(",");
        let node = r#"{"target":"torch.ops.aten.foo.default","outputs":[],"metadata":{},"inputs":[{"name":"a","arg":"#;
        let node = format!(r#"{node}{{"{kind}":[{list}]}}}}]}},"#);
        let text = program().to_string();
        let at = text.find(r#""nodes":["#).unwrap() + r#""nodes":["#.len();
        format!("{}{node}{}", &text[..at], &text[at..])
    };
    let fine = || payload("tensor_0", meta(&[4], &[1]));
    let constants: serde_json::Map<String, Value> =
        (0..200).map(|i| (format!("c{i}"), payload("tensor_0", meta(&[4], &[1])))).collect();
    let weights = json!({"w": payload("weight_0", meta(&[4], &[1]))});
    let mut all = constants.clone();
    all.insert("c".into(), fine());
    let small = r#"{"target":"_operator.pos","inputs":[],"outputs":[],"metadata":{}},"#;
    let text = program().to_string();
    let at = text.find(r#""nodes":["#).unwrap() + r#""nodes":["#.len();
    let empty = format!("{}{}{}", &text[..at], small.repeat(900), &text[at..]);
    vec![
        ("many integers", with(&list("as_ints", "1", 30_000), fine()), 0, ""),
        ("many tensors", with(&list("as_tensors", r#"{"name":"x"}"#, 4_500), fine()), 0, ""),
        ("many nodes of nothing", with(&empty, fine()), 0, ""),
        ("many constants", archive(&text, &weights, &Value::Object(all)), 0, ""),
    ]
}
