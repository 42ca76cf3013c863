//! Programs that take images as bytes and normalise them themselves.

use super::*;

const BYTE: &str = "0.00392156862745098,0.00392156862745098,0.00392156862745098";

/// What makes bytes of pixels.
const BYTES: [&str; 4] = ["--mean", "0,0,0", "--std", BYTE];

#[test]
fn a_program_of_bytes_gets_bytes_or_nothing() {
    let folder = Folder::new();
    let (model, plain) = folder.network("plain");
    let program = folder.program("bytes");
    let out = folder.path("out.safetensors");
    let remedy = format!("--mean 0,0,0 --std {BYTE}");
    let parts = ["takes integers from 0 to 255", remedy.as_str()];
    for pixels in [&PIXELS[..], &["--preset", "cifar10"], &["--mean", "0,0,0", "--std", "1,1,1"]] {
        let pixels = [pixels, &["--resize", "32", "--crop", "32"]].concat();
        fails(&mut eval(&[&model], &[&program], &pixels), 2, &parts);
        fails(&mut update(&model, &program, &out, &pixels), 2, &parts);
    }
    // Where nothing was said, too.
    let mut command = swa_eval();
    command.arg(&model).arg("--program").arg(&program).arg("--data").arg(photos());
    fails(&mut command, 2, &parts);
    assert!(!out.exists());
    // It divides by 255 and normalises by PIXELS.
    let expected = logits(&model, &plain, &folder.path("a.safetensors"), &[]);
    let found = logits(&model, &program, &folder.path("b.safetensors"), &BYTES);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-4, "{found}, {expected}");
    }
    let expected = updated(&model, &plain, &folder.path("c.safetensors"), &[]);
    let found = updated(&model, &program, &out, &BYTES);
    assert_eq!(found.len(), 6);
    for (name, expected) in &expected {
        for (found, expected) in to_f32(&found[name]).iter().zip(to_f32(expected)) {
            assert!((found - expected).abs() < 1e-4 * expected.abs().max(1.0), "{name}");
        }
    }
    // What is recorded is known from then on.
    let mut command = swa_eval();
    command.arg(&out).arg("--program").arg(&program).arg("--data").arg(photos());
    command.assert().success();
}

#[test]
fn bytes_and_normalised_pixels_are_not_evaluated_together() {
    let folder = Folder::new();
    let (tokens, tokens_program) = folder.network("tokens");
    let (plain, program) = (folder.network("plain").0, folder.program("bytes"));
    let pixels = [&BYTES[..], &["--resize", "32", "--crop", "32"]].concat();
    let parts = ["takes bytes, ", "normalised pixels", "one by one"];
    fails(&mut eval(&[&tokens, &plain], &[&tokens_program, &program], &pixels), 3, &parts);
}
