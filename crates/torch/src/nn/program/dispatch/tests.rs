//! Every conversion from a program's values to an operator's arguments, by operators that take them.

use super::*;

fn found(name: &str, overload: &str) -> Operator {
    Operator::find(&format!("aten::{name}"), overload).unwrap()
}

/// Runs an operator on these values, all given in the run.
fn run(
    (name, overload): (&str, &str),
    values: &[Value],
    wanted: &[Wanted],
) -> Result<Vec<Given>, String> {
    let call = Call::new(&found(name, overload), wanted.iter().copied()).unwrap();
    let mut results = vec![];
    match call.run(values, Mode::new(Device::Cpu, None), &Guard::new(), &mut results) {
        Ok(()) => Ok(results),
        Err(Failure::Torch(message)) => Err(message),
        Err(Failure::Touched(number)) => panic!("{number}"),
    }
}

#[track_caller]
fn one(op: (&str, &str), values: &[Value]) -> Tensor {
    match run(op, values, &[Wanted::One]).unwrap().remove(0) {
        Given::Tensor(tensor) => tensor,
        other => panic!("{other:?}"),
    }
}

fn ints(values: &[i64]) -> Tensor {
    Tensor::from_slice(values)
}

fn floats(values: &[f32]) -> Tensor {
    Tensor::from_slice(values)
}

#[test]
fn a_number_in_place_of_a_tensor_promotes_as_a_number() {
    let x = floats(&[1.0, 2.0]);
    for value in [Value::float(1, 0.5), Value::int(1, 3), Value::bool(1, true)] {
        let y = one(("mul", "Tensor"), &[Value::tensor(0, &x), value]);
        assert_eq!(y.kind(), Kind::Float, "not f64 or i64");
    }
    let half = x.to_kind(Kind::Half);
    let y = one(("mul", "Tensor"), &[Value::tensor(0, &half), Value::float(1, 0.1)]);
    assert_eq!(y.kind(), Kind::Half);
}

#[test]
fn scalars_keep_their_kind() {
    let x = ints(&[5, -5]);
    let y = one(("add", "Tensor"), &[Value::tensor(0, &x), Value::tensor(1, &x), Value::int(2, 2)]);
    assert_eq!(y, ints(&[15, -15]));
    let y = one(("mul", "Scalar"), &[Value::tensor(0, &x), Value::float(1, 0.5)]);
    assert_eq!(y, floats(&[2.5, -2.5]));
    // Scalar?: one given, one left out.
    let y = one(("clamp", ""), &[Value::tensor(0, &x), Value::int(1, 0), Value::none(2)]);
    assert_eq!(y, ints(&[5, 0]));
}

#[test]
fn an_integer_is_a_float_where_one_is_declared_and_a_list_where_one_is() {
    let x = floats(&[1.0, 2.0, 3.0, 4.0]).view([1, 1, 2, 2]);
    let y = one(("dropout", ""), &[Value::tensor(0, &x), Value::int(1, 0), Value::bool(2, false)]);
    assert_eq!(y, x);
    // int[2] from an int, and from ints.
    let by_int = one(("avg_pool2d", ""), &[Value::tensor(0, &x), Value::int(1, 2)]);
    let by_ints = one(("avg_pool2d", ""), &[Value::tensor(0, &x), Value::ints(1, &[2, 2])]);
    assert_eq!((by_int.double_value(&[0, 0, 0, 0]), by_int), (2.5, by_ints));
    // int[1]?
    let y = one(("mean", "dim"), &[Value::tensor(0, &x), Value::int(1, 3)]);
    assert_eq!(y.size(), [1, 1, 2]);
    // bool as int, int as bool.
    let y = one(("mean", "dim"), &[Value::tensor(0, &x), Value::int(1, 3), Value::int(2, 1)]);
    assert_eq!(y.size(), [1, 1, 2, 1]);
}

#[test]
fn lists_of_every_kind() {
    let (a, b) = (floats(&[1.0, 2.0]), floats(&[3.0, 4.0]));
    let listed = [Listed::new(Some(&a)), Listed::new(Some(&b))];
    let y = one(("cat", ""), &[Value::tensors(0, &listed)]);
    assert_eq!(y, floats(&[1.0, 2.0, 3.0, 4.0]));
    // Tensor?[]: index x[:, [1, 0]].
    let (x, swap) = (ints(&[1, 2, 3, 4]).view([2, 2]), ints(&[1, 0]));
    let listed = [Listed::new(None), Listed::new(Some(&swap))];
    let y = one(("index", "Tensor"), &[Value::tensor(0, &x), Value::tensors(1, &listed)]);
    assert_eq!(y, ints(&[2, 1, 4, 3]).view([2, 2]));
    // float[]?: scale factors, of which there may be none.
    let image = floats(&[1.0, 2.0]).view([1, 1, 1, 2]);
    let scaled = |factors| {
        let values = [Value::tensor(0, &image), Value::none(1), factors];
        one(("upsample_nearest2d", "vec"), &values).size()
    };
    assert_eq!(scaled(Value::floats(2, &[2.0, 1.5])), [1, 1, 2, 3]);
    assert_eq!(scaled(Value::ints(2, &[2, 1])), [1, 1, 2, 2]);
    let values = [Value::tensor(0, &image), Value::ints(1, &[3, 3]), Value::none(2)];
    assert_eq!(one(("upsample_nearest2d", "vec"), &values).size(), [1, 1, 3, 3]);
    // Tensors in a list of results, wanted as it is long.
    let values = [Value::tensor(0, &y), Value::int(1, 1), Value::int(2, 1)];
    let split = run(("split", "Tensor"), &values, &[Wanted::List(2)]).unwrap();
    assert_eq!(split.len(), 2);
    let error = run(("split", "Tensor"), &values, &[Wanted::List(3)]).unwrap_err();
    assert!(error.contains("2 tensors in place of 3"), "{error}");
    // bool[3]: which of three gradients are wanted.
    let mask = [Value::bools(9, &[true, false, false])];
    let mut call = Call::new(&found("convolution_backward", ""), []).unwrap();
    let at = found("convolution_backward", "").arguments();
    let at = at.iter().position(|argument| argument.name == "output_mask").unwrap();
    assert!(call.set(&Value::bools(at, &[true, false, false])).is_ok() && mask.len() == 1);
}

#[test]
fn types_devices_texts_and_formats() {
    let x = floats(&[1.0, -2.0]).view([1, 2, 1, 1]);
    let y = one(("to", "dtype"), &[Value::tensor(0, &x), Value::int(1, 4)]);
    assert_eq!(y.kind(), Kind::Int64);
    let values = [
        Value::ints(0, &[2, 3]),
        Value::int(1, 7), // f64
        Value::int(2, 0), // strided
        Value::device(3, Device::Cpu),
        Value::bool(4, false),
    ];
    let y = one(("zeros", ""), &values);
    assert_eq!((y.kind(), y.size()), (Kind::Double, vec![2, 3]));
    let values = [Value::tensor(0, &x), Value::tensor(1, &x), Value::string(2, "floor")];
    let y = one(
        ("div", "Tensor_mode"),
        &values[..2].iter().chain(&values[2..]).map(copy).collect::<Vec<_>>(),
    );
    assert_eq!(y.flatten(0, -1), floats(&[1.0, 1.0]));
    let big = Tensor::zeros([2, 3, 4, 5], (Kind::Float, Device::Cpu));
    let at =
        found("clone", "").arguments().iter().position(|argument| argument.name == "memory_format");
    let y = one(("clone", ""), &[Value::tensor(0, &big), Value::int(at.unwrap(), 2)]);
    assert_eq!(y.stride(), [60, 1, 15, 3]);
}

fn copy<'a>(value: &Value<'a>) -> Value<'a> {
    Value(value.0, PhantomData)
}

#[test]
fn several_results_those_not_wanted_and_plain_ones() {
    let x = floats(&[3.0, 1.0, 2.0]);
    let wanted = [Wanted::Nothing, Wanted::One];
    let values = [Value::tensor(0, &x), Value::int(1, 2)];
    let results = run(("topk", ""), &values, &wanted).unwrap();
    let [Given::Tensor(indices)] = &results[..] else { panic!("{results:?}") };
    assert_eq!(*indices, ints(&[0, 2]));
    let results = run(("item", ""), &[Value::tensor(0, &ints(&[7]))], &[Wanted::One]).unwrap();
    assert!(matches!(results[..], [Given::Int(7)]));
    let error = run(("relu", ""), &[Value::tensor(0, &x)], &[Wanted::One; 2]).unwrap_err();
    assert!(error.contains("1 results in place of 2"), "{error}");
}

#[test]
fn arguments_are_set_once_or_given_in_each_run() {
    let (x, y) = (floats(&[1.0]), floats(&[10.0]));
    let mut call = Call::new(&found("add", "Tensor"), [Wanted::One]).unwrap();
    call.set(&Value::tensor(1, &y)).unwrap();
    call.set(&Value::int(2, 3)).unwrap();
    for factor in [1.0, 2.0] {
        let mut results = vec![];
        let x = &x * factor;
        call.run(
            &[Value::tensor(0, &x)],
            Mode::new(Device::Cpu, None),
            &Guard::new(),
            &mut results,
        )
        .unwrap();
        let [Given::Tensor(sum)] = &results[..] else { panic!("{results:?}") };
        assert_eq!(sum.double_value(&[0]), factor + 30.0);
    }
}

#[test]
fn what_does_not_fit_is_an_error_by_the_argument_s_name() {
    let x = floats(&[1.0]);
    for (op, values, name) in [
        (("relu", ""), vec![Value::string(0, "x")], "self"),
        (("mean", "dim"), vec![Value::tensor(0, &x), Value::string(1, "x")], "dim"),
        (("cat", ""), vec![Value::ints(0, &[1])], "tensors"),
        (("dropout", ""), vec![Value::tensor(0, &x), Value::none(1)], "p"),
        (("reshape", ""), vec![Value::tensor(0, &x), Value::floats(1, &[1.0])], "shape"),
    ] {
        let error = run(op, &values, &[Wanted::One]).unwrap_err();
        assert!(error.contains(&format!("`{name}` is of the wrong kind")), "{op:?} {error}");
    }
    // libtorch's own, of one line.
    let values = [Value::tensor(0, &x), Value::ints(1, &[2, -1])];
    let error = run(("view", ""), &values, &[Wanted::One]).unwrap_err();
    assert!(error.starts_with("shape '[2, -1]' is invalid"), "{error}");
    assert!(Operator::find("aten::no_such", "").is_none());
    assert!(Operator::find("aten::add", "no_such").is_none());
    assert!(Operator::find("a\0b", "").is_none());
}

#[test]
fn autocast_acts_on_a_call_and_not_after_it() {
    let (x, w) = (floats(&[1.0, 2.0]).view([1, 2]), floats(&[3.0, 4.0]).view([1, 2]));
    let call = Call::new(&found("linear", ""), [Wanted::One]).unwrap();
    let kind = |autocast| {
        let mut results = vec![];
        let values = [Value::tensor(0, &x), Value::tensor(1, &w)];
        call.run(&values, Mode::new(Device::Cpu, autocast), &Guard::new(), &mut results).unwrap();
        let Some(Given::Tensor(y)) = results.pop() else { panic!() };
        y.kind()
    };
    assert_eq!(kind(Some(Kind::BFloat16)), Kind::BFloat16);
    assert_eq!(kind(Some(Kind::Half)), Kind::Half);
    assert_eq!(kind(None), Kind::Float);
    assert_eq!(x.linear(&w, None::<&Tensor>).kind(), Kind::Float);
}

#[test]
fn guarded_memory_is_not_written_to_through_any_view() {
    let (x, other) = (floats(&[-1.0, -2.0]), floats(&[-3.0]));
    let mut guard = Guard::new();
    guard.add(&other, 4);
    guard.add(&x, 7);
    let guard = guard.clone();
    let call = Call::new(&found("relu_", ""), [Wanted::One]).unwrap();
    let run = |tensor: &Tensor| {
        let mode = Mode::new(Device::Cpu, None);
        call.run(&[Value::tensor(0, tensor)], mode, &guard, &mut vec![])
    };
    assert!(matches!(run(&x.view([2, 1]).slice(0, 1, 2, 1)), Err(Failure::Touched(7))));
    assert!(matches!(run(&other), Err(Failure::Touched(4))));
    assert_eq!(x, floats(&[-1.0, -2.0]));
    let free = floats(&[-1.0]);
    run(&free).unwrap();
    assert_eq!(free, floats(&[0.0]));
}
