//! `--generate`: what packagers put beside the commands.

use std::process::Command;

use swa_testing::swa_avg;

fn generated(what: &str) -> String {
    let output =
        swa_avg().arg(format!("--generate={what}")).assert().success().get_output().clone();
    assert!(output.stderr.is_empty());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_flag_of_the_help_is_in_the_completions_and_in_the_man_page() {
    let help = swa_avg().arg("--help").assert().success().get_output().stdout.clone();
    let help = String::from_utf8(help).unwrap();
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let words = lines.flat_map(|line| line.split([' ', ',']));
    let flags: Vec<&str> = words.filter(|word| word.starts_with("--")).collect();
    assert!(flags.len() > 40, "{flags:?}");
    for what in ["bash", "zsh", "fish", "powershell", "man"] {
        // In fish `-l start`, in troff `\\-\\-start`.
        let text = generated(what).replace("\\-", "-").replace(" -l ", " --");
        for flag in &flags {
            assert!(text.contains(flag), "{what}: {flag}");
        }
        // It is for packagers.
        assert!(!text.contains("--generate"), "{what}");
    }
    assert!(!help.contains("--generate"));
}

#[test]
fn bash_takes_the_completions() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("swa-avg");
    std::fs::write(&file, generated("bash")).unwrap();
    let line = "source $0; COMP_WORDS=(swa-avg --dtype b); COMP_CWORD=2; \
                $(complete -p swa-avg | sed 's/.* -F \\([^ ]*\\).*/\\1/') swa-avg b --dtype; echo ${COMPREPLY[@]}";
    let output = Command::new("bash").args(["-c", line]).arg(&file).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "bf16", "{output:?}");
}

#[test]
fn what_cannot_be_generated_is_named() {
    let output = swa_avg().args(["--generate", "csh"]).assert().code(2).get_output().clone();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("'csh'") && error.contains("powershell"), "{error}");
    swa_avg().arg("--generate").assert().code(2);
    // After `--` it is the name of a file.
    swa_avg().args(["--list", "--", "--generate"]).assert().code(2);
    // Nobody reads: that is no error.
    let line = format!(
        "'{}' --generate bash | head -c 1 >/dev/null; echo ${{PIPESTATUS[0]}}",
        swa_testing::binary("swa-avg").display()
    );
    let output = Command::new("bash").args(["-c", &line]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "0");
}
