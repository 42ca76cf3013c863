//! Which network a checkpoint holds, found from names and shapes alone; then loaded, every tensor that the network
//! asks for.

use std::rc::Rc;

use super::candidates::Candidates;
use super::families::{self, Fitting, build};
use super::fault::Result;
use super::fit::Fit;
use super::freeze::Freeze;
use super::model::Model;
use super::models::Arch;
use super::pass::Layer;
use super::program::Prepared;
use super::said;
use super::scope::{Asked, Found, Scope, Setup};
use super::shapes::Shapes;
use super::takes::Takes;
use super::used_program::{self, UsedProgram};
use swa_base::{Error, Kind, setting};
use swa_tools::checkpoint::Checkpoint;

impl Model {
    /// Recognises the architecture, or takes the one named `arch`, and loads the weights.
    ///
    /// # Errors
    /// `UnknownNetwork` if no known network has these tensors, `Mismatch` if the one named has not, `Usage` for an
    /// unknown name, `Unsupported` for weights of a type that networks do not compute in; those of reading and of
    /// libtorch.
    pub fn load(
        checkpoint: &Checkpoint,
        arch: Option<&str>,
        setup: impl Into<Setup>,
    ) -> swa_base::Result<Self> {
        let candidates = Candidates::open(arch, &[])?;
        Recognised::of(checkpoint, &candidates, &Freeze::default())?.load(setup)
    }
}

/// A checkpoint whose architecture is known. Only the names and shapes of its tensors were read.
pub struct Recognised<'a> {
    checkpoint: &'a Checkpoint,
    shapes: Shapes<'a>,
    freeze: &'a Freeze,
    constructor: Constructor,
    /// Whether the checkpoint's head is not the architecture's, and left out.
    headless: bool,
    /// The architecture, with the dimensions that the weights give: `resnet50`; or the program.
    pub arch: String,
    /// Outputs of the last layer; None without a head, and of a program, whose outputs are known when it has run.
    classes: Option<usize>,
    /// Channels of the images that it takes.
    pub channels: usize,
    /// The preset that models of this family are published with, if there is one.
    pub preset: Option<&'static str>,
    /// What else it demands of its images.
    pub takes: Takes,
    /// As in [`Model`].
    pub batchnorms: Vec<Layer>,
    /// Batchnorm layers that keep their statistics.
    pub frozen: Vec<String>,
    /// Whether training noise reaches a batchnorm layer.
    pub noisy: bool,
    /// The program that it runs, if it is one.
    pub program: Option<Rc<UsedProgram>>,
    /// What the user may want to know of programs, and of what else the checkpoint holds.
    pub notes: Vec<String>,
}

enum Constructor {
    Family(Arch),
    Program(Rc<Prepared>),
}

impl<'a> Recognised<'a> {
    /// Recognises the architecture from the names and shapes: the program whose tensors these are, else a known family
    /// or the one named, with no tensor missing and every shape as expected. What is left over must be known not to be of
    /// the network; where the candidates say that no head is needed, the head may be any.
    pub fn of(
        checkpoint: &'a Checkpoint,
        candidates: &'a Candidates,
        freeze: &'a Freeze,
    ) -> swa_base::Result<Recognised<'a>> {
        let (programs, path) = (&candidates.programs, checkpoint.path());
        let network = candidates.network.as_deref();
        let refusal = match of_program(checkpoint, programs, network, freeze) {
            Ok(Ok(mut recognised)) => {
                if let Constructor::Program(prepared) = &recognised.constructor
                    && !candidates.headless
                {
                    recognised.notes.extend(used_program::evaluation_note(prepared.program()));
                }
                return Ok(recognised);
            }
            Ok(Err(refusal)) => refusal,
            Err(error) if error.file().is_none() => return Err(error.at(path)),
            Err(error) => return Err(error),
        };
        match (of_family(checkpoint, candidates, freeze), refusal) {
            (Ok(mut recognised), Some(refusal)) => {
                let (file, arch) = (path.display(), &recognised.arch);
                let why = refusal.cause(&swa_base::text::marked);
                recognised
                    .notes
                    .push(format!("note: no program fits `{file}`, which is {arch}: {why}"));
                Ok(recognised)
            }
            (Err(error), Some(refusal)) => Err(match error.kind() {
                Kind::UnknownNetwork => refusal,
                _ => error,
            }),
            (other, None) => other,
        }
    }

    /// The network with its weights.
    pub fn load(self, setup: impl Into<Setup>) -> swa_base::Result<Model> {
        self.load_with_tensors(setup.into()).map(|(model, _)| model)
    }

    /// The same, and all tensors in the network's order; if it is loaded to be trained, they are the network's own.
    pub(super) fn load_with_tensors(self, setup: Setup) -> swa_base::Result<(Model, Vec<Asked>)> {
        let Recognised { checkpoint, shapes, freeze, constructor, headless, .. } = self;
        let path = checkpoint.path().to_path_buf();
        let construct = |scope: Scope| match &constructor {
            Constructor::Family(arch) => (arch.build)(scope),
            Constructor::Program(prepared) => prepared.build(scope),
        };
        let built = build(construct, &shapes, freeze, Some((checkpoint, setup)), headless);
        let (network, found) = built.map_err(|e| Error::from(e).at(&path))?;
        let Found { batchnorms, tensors, .. } = found;
        let model = Model {
            path,
            network: network.into(),
            arch: self.arch,
            classes: self.classes,
            channels: self.channels,
            preset: self.preset,
            batchnorms,
            precision: setup.precision,
            program: self.program,
            takes: self.takes,
            gives_probabilities: false,
        };
        Ok((model, tensors))
    }
}

/// The program that runs the checkpoint, if there is one; else why the closest does not, if any was given.
fn of_program<'a>(
    checkpoint: &'a Checkpoint,
    programs: &'a [Rc<Prepared>],
    network: Option<&str>,
    freeze: &'a Freeze,
) -> swa_base::Result<Result<Recognised<'a>, Option<Error>>> {
    let mut fits = Vec::with_capacity(programs.len());
    for prepared in programs {
        fits.push((prepared, Fit::of(prepared.program(), checkpoint, network)?));
    }
    let mut fitting: Vec<&(&Rc<Prepared>, Fit)> =
        fits.iter().filter(|(_, fit)| fit.is_perfect()).collect();
    // The one that leaves the fewest tensors over.
    let most = fitting.iter().map(|(_, fit)| fit.in_common()).max();
    fitting.retain(|(_, fit)| Some(fit.in_common()) == most);
    let (prepared, fit) = match fitting[..] {
        [] => {
            let closest = fits.iter().min_by_key(|(_, fit)| fit.problems());
            return Ok(Err(closest.map(|(_, fit)| fit.refusal())));
        }
        [fit] => fit,
        [(a, _), (b, _), ..] => {
            let (a, b) = (a.program().path().display(), b.program().path().display());
            let what = format!(
                "has the tensors of two programs, `{a}` and `{b}`, which compute different things"
            );
            let remedy = concat!("give one of them as ", setting!("program"));
            return Err(Error::new(Kind::Mismatch, what).remedy(remedy));
        }
    };
    let (program, shapes) = (prepared.program(), fit.shapes());
    let (_, found) = build(|scope| prepared.build(scope), &shapes, freeze, None, false)?;
    let Found { batchnorms, frozen, noisy, .. } = found;
    freeze.check(&frozen, &batchnorms)?;
    let (channels, takes) = Takes::of(program)?;
    let used = UsedProgram::of(program, fit, &batchnorms);
    Ok(Ok(Recognised {
        checkpoint,
        shapes,
        freeze,
        constructor: Constructor::Program(Rc::clone(prepared)),
        headless: false,
        arch: used_program::title(program),
        classes: None,
        channels,
        preset: preset(channels, &takes),
        takes,
        batchnorms,
        frozen,
        noisy,
        notes: used.notes(),
        program: Some(Rc::new(used)),
    }))
}

/// Images of fewer pixels a side are rarely ImageNet's, and have other means.
const IMAGENET_SIDE: usize = 64;

/// The preset of a program's images where nothing else says so: ImageNet's, at the program's size. For one that takes bytes
/// there is no question.
fn preset(channels: usize, takes: &Takes) -> Option<&'static str> {
    let is_large = |side: Option<usize>| side.is_none_or(|side| side >= IMAGENET_SIDE);
    match channels == 3 && is_large(takes.height) && is_large(takes.width) {
        true => Some("imagenet"),
        false => takes.integers.is_some().then_some("none"),
    }
}

/// The known family of a checkpoint.
fn of_family<'a>(
    checkpoint: &'a Checkpoint,
    candidates: &Candidates,
    freeze: &'a Freeze,
) -> swa_base::Result<Recognised<'a>> {
    let at = |e: Error| e.at(checkpoint.path());
    let fitting = families::find(checkpoint, candidates, freeze).map_err(at)?;
    let mut notes = fitting.notes(checkpoint);
    // Who names the architecture knows better than the file.
    if candidates.arch.is_none() {
        notes.extend(said::check(checkpoint, &fitting.arch.name).map_err(at)?);
    }
    let Fitting { shapes, arch, found, headless, .. } = fitting;
    let Found { batchnorms, frozen, noisy, .. } = found;
    freeze.check(&frozen, &batchnorms).map_err(at)?;
    Ok(Recognised {
        checkpoint,
        shapes,
        freeze,
        arch: arch.name.clone(),
        classes: (!headless).then_some(arch.classes),
        channels: arch.channels,
        preset: arch.preset,
        takes: Takes::default(),
        constructor: Constructor::Family(arch),
        headless,
        batchnorms,
        frozen,
        noisy,
        program: None,
        notes,
    })
}

#[cfg(test)]
mod tests;
