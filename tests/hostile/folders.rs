//! Hostile folders: distributed checkpoints, DeepSpeed, shards.

use super::Case;
use super::build::*;

pub fn folders() -> Vec<Case> {
    let one = |shape: &[i64], chunks: &[(&[i64], &[i64])], file: &str, content: Bytes| {
        distributed(&[Chunked { name: "w", shape, chunks }], file, content, true)
    };
    let chunk = torch(&tensor(&[4, 1], &[1, i64::MAX]));
    let halves: [(&[i64], &[i64]); 2] = [(&[0, 0], &[4, 1]), (&[4, 0], &[4, 1])];
    let whole: [(&[i64], &[i64]); 1] = [(&[0], &[16])];
    let fine = torch(&tensor(&[16], &[1]));
    // One chunk again and again, in one tensor again and again.
    let again = object("m\nChunk", &[("offsets", &ints(&[0])), ("sizes", &ints(&[0]))]);
    let properties = object("m\nP", &[("dtype", b"ctorch\nfloat32\n")]);
    let chunks = join(&[&again, &put(1), b"0](", &get(1).repeat(10_000), b"e"]);
    let fields: [(&str, &[u8]); 3] =
        [("size", &ints(&[0])), ("properties", &properties), ("chunks", &chunks)];
    let storage = join(&[&object("m\nTensor", &fields), &put(2), b"0"]);
    let tensors: Bytes = (0..3000).flat_map(|i| join(&[&text(&i.to_string()), &get(2)])).collect();
    let product = metadata(&join(&[&storage, &dict(&[&tensors])]), b"}");
    // A chunk whose state has its fields behind thousands of others.
    let fields = join(&[&text("offsets"), &ints(&[0]), &text("sizes"), &ints(&[0])]);
    let wide = join(&[b"cm\nChunk\n)\x81}(", &fields, &b"NN".repeat(10_000), b"ub", &put(1), b"0"]);
    let chunks = join(&[&wide, b"](", &get(1).repeat(15_000), b"e"]);
    let fields: [(&str, &[u8]); 3] =
        [("size", &ints(&[0])), ("properties", &properties), ("chunks", &chunks)];
    let wide = metadata(&dict(&[&text("w"), &object("m\nTensor", &fields)]), b"}");
    // Many chunks in one place, which is read for each.
    let places: Vec<[i64; 1]> = (0..200).map(|i| [i]).collect();
    let singles: Vec<(&[i64], &[i64])> = places.iter().map(|at| (&at[..], &[1i64][..])).collect();
    let slow = torch(&join(&[b"](", &b"]".repeat(40_000), b"e0", &tensor(&[1], &[1])]));
    let storage = join(&[&16u64.to_le_bytes(), &[0; 64]]);
    let old = legacy(&tensor(&[8], &[1]), &join(&[b"](", &text("0"), b"e"]), &storage);
    let old = old[0].1.clone();
    let mut states = vec![
        (
            "a chunk of before 1.6",
            one(&[16], &[(&[0], &[8]), (&[8], &[8])], "__0_0.distcp", old),
            3,
            "bad zip file",
        ),
        ("a distributed checkpoint", one(&[16], &whole, "__0_0.distcp", fine.clone()), 0, ""),
        (
            "a size of 1 with a huge stride",
            one(&[8, 1], &halves, "__0_0.distcp", chunk.clone()),
            0,
            "",
        ),
        (
            "no values, and a huge shape",
            one(&[0, 1 << 40, 1 << 40], &[], "__0_0.distcp", fine.clone()),
            3,
            "too large",
        ),
        ("a path as a name", one(&[16], &whole, "../x.distcp", fine.clone()), 3, "not a file name"),
        (
            "an absolute path as a name",
            one(&[16], &whole, "/etc/passwd", fine.clone()),
            3,
            "not a file name",
        ),
        ("a name with a zero", one(&[16], &whole, "a\0", fine.clone()), 3, "not a file name"),
        (
            "chunks that overlap",
            one(&[16], &[(&[0], &[8]), (&[4], &[8])], "__0_0.distcp", fine.clone()),
            3,
            "overlap",
        ),
        (
            "chunks beyond",
            one(&[16], &[(&[i64::MAX], &[8])], "__0_0.distcp", fine.clone()),
            3,
            "beyond",
        ),
        (
            "a product of chunks",
            vec![(".metadata", product), ("__0_0.distcp", fine.clone())],
            6,
            "chunks",
        ),
        (
            "chunks of many fields",
            vec![(".metadata", wide), ("__0_0.distcp", fine.clone())],
            3,
            "broken",
        ),
        (
            "one place for many chunks",
            distributed(
                &[Chunked { name: "w", shape: &[200], chunks: &singles }],
                "__0_0.distcp",
                slow,
                false,
            ),
            3,
            "more bytes than it has",
        ),
    ];
    states.extend(deepspeed());
    states.extend([
        (
            "a long name of the latest",
            vec![("latest", b"a/".repeat(30_000)), ("x", vec![])],
            2,
            "holds no checkpoints",
        ),
        (
            "a shard's path",
            vec![("model.safetensors.index.json", br#"{"weight_map":{"w":"../x"}}"#.to_vec())],
            3,
            "not a file name",
        ),
        (
            "a shard's absolute path",
            vec![("model.safetensors.index.json", br#"{"weight_map":{"w":"/x"}}"#.to_vec())],
            3,
            "not a file name",
        ),
    ]);
    states
}

fn deepspeed() -> Vec<Case> {
    let group = join(&[b"](", &tensor(&[16], &[1]), b"e"]);
    let names: Vec<String> = (0..2500).map(|i| i.to_string()).collect();
    let shaped = |names: &[String], shape: &[u8]| -> Bytes {
        let all: Bytes = names.iter().flat_map(|name| join(&[&text(name), shape])).collect();
        dict(&[&all])
    };
    let shapes = |groups: &[u8]| join(&[&text("param_shapes"), b"](", groups, b"e"]);
    let empty = join(&[&ints(&[0]), &put(9), b"0"]);
    let one = shapes(&dict(&[&text("w"), &ints(&[16])]));
    // Each name is looked for among all.
    let zeros = join(&[&tensor(&[0], &[1]), &put(8), b"0"]);
    let frozen = join(&[
        &one,
        &empty,
        &zeros,
        &text("frozen_param_shapes"),
        &shaped(&names, &get(9)),
        &text("frozen_param_fragments"),
        &shaped(&names, &get(8)),
    ]);
    let module = join(&[
        &one,
        &text("module"),
        &shaped(&names, b"N"),
        &text("shared_params"),
        &shaped(&names, b"N"),
        &text("buffer_names"),
        b"](",
        &text("b").repeat(2000),
        b"e",
    ]);
    let again = shapes(&join(&[&empty, &shaped(&names, &get(9)), &put(7), &get(7).repeat(10_000)]));
    let many_runs = join(&[&zeros, b"](", &get(8).repeat(20_000), &tensor(&[16], &[1]), b"e"]);
    let small = join(&[&ints(&[0]), &put(9), b"0"]);
    let long_scan = shapes(&join(&[&small, &shaped(&names, &get(9))]));
    let huge = shapes(&dict(&[&text("w"), &ints(&[1 << 62, 4])]));
    let before = shapes(&dict(&[&text("w"), &ints(&[i64::MAX]), &text("v"), &ints(&[i64::MAX])]));
    vec![
        ("DeepSpeed", zero_3(&group, &one), 0, ""),
        ("frozen weights", zero_3(&group, &frozen), 0, ""),
        ("shared weights", zero_3(&group, &module), 0, ""),
        ("groups again and again", zero_3(&group, &again), 6, "far more names"),
        ("many runs", zero_3(&many_runs, &long_scan), 0, ""),
        ("a shape that overflows", zero_3(&group, &huge), 3, "too large"),
        (
            "more than the partitions",
            zero_3(&group, &before),
            3,
            "beyond the processes' partitions",
        ),
    ]
}
