//! What a checkpoint may be recognised as: the programs that were given, and the known families.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use super::program::Prepared;
use super::takes::Takes;
use swa_base::{Error, Result, setting};
use swa_tools::programs::Program;

/// What a checkpoint may be recognised as.
#[derive(Default, Clone)]
pub(crate) struct Candidates {
    /// The architecture by name; None: any known family.
    pub arch: Option<String>,
    /// They come before the families.
    pub programs: Vec<Rc<Prepared>>,
    /// What the names of the network's tensors begin with, if that was said.
    pub network: Option<String>,
    /// Whether the head of a known family may be any, or be missing.
    pub headless: bool,
}

impl Candidates {
    /// Opens the programs and makes sure that libtorch has their operators.
    ///
    /// # Errors
    /// `Usage` for programs together with an architecture; those of [`Program::open`], [`Takes::of`] and
    /// [`Prepared::new`].
    pub fn open(arch: Option<&str>, programs: &[PathBuf]) -> Result<Self> {
        if let (Some(name), [_, ..]) = (arch, programs) {
            let (arch, program) = (setting!("arch"), setting!("program"));
            let what = format!("{arch} {name} does not go with {program}");
            return Err(Error::usage(what).remedy(format!(
                "leave out {arch}, which names a network that is built in: a program is the network itself"
            )));
        }
        let mut opened: Vec<Rc<Prepared>> = Vec::with_capacity(programs.len());
        for path in programs {
            let program = Program::open(path)?;
            Takes::of(&program)?;
            // An equal one computes the same.
            if opened.iter().all(|other| other.program().digest() != program.digest()) {
                opened.push(Rc::new(Prepared::new(Arc::new(program))?));
            }
        }
        Ok(Candidates {
            arch: arch.map(String::from),
            programs: opened,
            network: None,
            headless: false,
        })
    }
}
