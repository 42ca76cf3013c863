//! `--generate`: completions and man pages, made of the flags themselves.

use std::ffi::OsStr;
use std::io::{ErrorKind, Write};

use clap::Command;
use clap_complete::Shell;
use swa_base::{Kind, choices, panics};

use crate::choice;

choices! {
    /// What is made of the flags.
    pub enum Generated {
        Bash = "bash": "Completions for bash",
        Zsh = "zsh": "Completions for zsh",
        Fish = "fish": "Completions for fish",
        Powershell = "powershell": "Completions for PowerShell",
        Man = "man": "The man page",
    }
}

const FLAG: &str = "--generate";

/// Whether an argument asks for one of them. The flag is for packagers: no help shows it, and what else a command needs
/// is not asked for with it.
pub(crate) fn is_flag(argument: &OsStr) -> bool {
    argument.to_str().is_some_and(|text| text.split('=').next() == Some(FLAG))
}

/// Prints what the arguments ask for, and ends the process.
pub(crate) fn run(command: Command) -> ! {
    let value = clap::Arg::new("generate")
        .long("generate")
        .value_name("WHAT")
        .value_parser(choice::<Generated>())
        .required(true);
    let name: &str = command.get_name().to_string().leak();
    let asked = Command::new(name).disable_version_flag(true).arg(value).get_matches();
    let what = *asked.get_one::<Generated>("generate").expect("it is required");
    // Memory takes all that is written to it, and a reader that has gone has read enough.
    let text = text(command, what).unwrap_or_default();
    match std::io::stdout().write_all(&text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            panics::stderr_line(&format!("error: `stdout`: cannot write: {error}"));
            std::process::exit(Kind::Io.exit_code().into())
        }
        _ => std::process::exit(0),
    }
}

/// The text for a command.
fn text(mut command: Command, what: Generated) -> std::io::Result<Vec<u8>> {
    let name: &str = command.get_name().to_string().leak();
    let mut text = vec![];
    let shell = match what {
        Generated::Bash => Shell::Bash,
        Generated::Zsh => Shell::Zsh,
        Generated::Fish => Shell::Fish,
        Generated::Powershell => Shell::PowerShell,
        Generated::Man => {
            clap_mangen::Man::new(command).render(&mut text)?;
            return Ok(text);
        }
    };
    clap_complete::generate(shell, &mut command, name, &mut text);
    Ok(text)
}
