//! Memory: how much is taken does not depend on the inputs, and where too little is given, the run ends in an error.

use std::process::Command;

use swa_testing::{f32s, listing, load, save, to_f32};

use crate::scene::*;

#[test]
fn memory_does_not_depend_on_the_number_and_size_of_inputs() {
    let dir = tempfile::tempdir().unwrap();
    // 40 × 5 MB.
    let values: Vec<f32> = (0..1_250_000).map(|i| i as f32).collect();
    for i in 0..40 {
        save(&dir.path().join(format!("{i}.safetensors")), &[f32s("w", &values)]);
    }
    let out = ["-qo", "out", "--force", "--threads"];
    for (threads, stacks) in [("1", 2), ("8", 16), ("64", 128)] {
        // What a process may write to and shares with none: 64 MiB, and 2 MiB of stack a thread.
        let line = format!("ulimit -d {}; exec \"$0\" \"$@\"", (64 + stacks) << 10);
        let mut shell = Command::new("bash");
        shell.args(["-c", &line, TOOL, "*.safetensors"]).args(out).arg(threads);
        let output = shell.current_dir(&dir).output().unwrap();
        assert!(output.status.success(), "{threads} threads: {}", text(&output));
    }
    assert_eq!(to_f32(&load(&dir.path().join("out"))["w"]), values);
}

#[test]
fn a_huge_header_in_little_memory_ends_without_an_abort() {
    let dir = tempfile::tempdir().unwrap();
    let text_of_90_mb = format!(
        "{{\"__metadata__\":{{\"notes\":\"{}\"}},\
         \"w\":{{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}}}",
        "x".repeat(90_000_000)
    );
    // Names so long that the output's header, which has digests, is over the limit; and shorter ones.
    let many = |name: &str| {
        let tensors: Vec<String> = (0..500_000)
            .map(|i| {
                let place = format!("\"data_offsets\":[{},{}]", 4 * i, 4 * i + 4);
                format!("\"{name}{i:06}\":{{\"dtype\":\"F32\",\"shape\":[1],{place}}}")
            })
            .collect();
        format!("{{{}}}", tensors.join(","))
    };
    let [long, short] = [110, 80].map(|length| many(&"n".repeat(length)));
    let headers = [(text_of_90_mb, 4), (long, 2_000_000), (short, 2_000_000)];
    let inputs = ["a.safetensors", "b.safetensors"];
    for (header, size) in headers {
        for name in inputs {
            with_hole(&dir.path().join(name), &header, size, &[]);
        }
        for inputs in [&inputs[..1], &inputs[..]] {
            let out = dir.path().join("out.safetensors");
            std::fs::write(&out, "old").unwrap();
            let mut args = inputs.to_vec();
            args.extend(["-q", "--force", "--threads", "1", "--allow-duplicates"]);
            args.extend(["-o", "out.safetensors"]);
            let output = limited(2_000_000, dir.path(), &args);
            let message = text(&output);
            let (code, n) = (output.status.code(), inputs.len());
            eprintln!(
                "{} B of header, {n} input(s): {code:?} {}",
                header.len(),
                message.trim_end()
            );
            match code {
                Some(0) => assert!(out.metadata().unwrap().len() > 3),
                Some(3 | 6) => assert_eq!(std::fs::read(&out).unwrap(), b"old", "{message}"),
                _ => panic!("{:?} {message}", output.status),
            }
            assert_eq!(listing(dir.path()).len(), 3);
        }
    }
}
