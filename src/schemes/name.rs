//! Schemes by name: `ema:0.99`.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use super::{Scheme, Shape};
use crate::{Choice, Error, Result, setting};

/// The names, and what follows the colon.
const NAMES: [(&str, &str); 7] = [
    ("mean", ""),
    ("ema", "DECAY"),
    ("window", "N"),
    ("wsm", "SHAPE"),
    ("posthoc-ema", "SIGMA"),
    ("swag", "K"),
    ("prefix", ""),
];

impl Scheme {
    /// Splits `SCHEME=PATH`. `None`: the text has no scheme, and is a path. What stands before the first `=` is a
    /// scheme if it is the name of one, or begins with that and a colon; after a slash nothing is.
    ///
    /// # Errors
    /// `Usage` for a scheme that cannot be read, and for what is so close to one that a path is not what was
    /// meant.
    pub fn before_path(text: &str) -> Result<Option<(Scheme, &str)>> {
        let Some((before, path)) = text.split_once('=') else { return Ok(None) };
        let name = before.split(':').next().unwrap_or_default();
        if NAMES.iter().any(|(known, _)| *known == name) {
            return Ok(Some((before.parse()?, path)));
        }
        let looks_like = before.contains(':') || nearest(name).is_some_and(|(_, far)| far == 1);
        match looks_like && !before.contains('/') {
            true => {
                Err(unknown(before)
                    .remedy(format!("{}; a path of that name is ./{text}", known(name))))
            }
            false => Ok(None),
        }
    }
}

impl FromStr for Scheme {
    type Err = Error;

    /// # Errors
    /// `Usage`: what is wrong with the name, and what there is.
    fn from_str(text: &str) -> Result<Scheme> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let Some((_, parameter)) = NAMES.iter().find(|(known, _)| *known == name) else {
            return Err(unknown(text).remedy(known(name)));
        };
        let wrong = |what: &str, example: &str| {
            let what = format!("{} {text}: {what}", setting!("scheme"));
            Error::usage(what).remedy(format!("such as {example}"))
        };
        let value = match (value, parameter.is_empty()) {
            (None, true) => "",
            (Some(value), false) if !value.is_empty() => value,
            (Some(_), true) => return Err(wrong("nothing follows this name", name)),
            (_, false) => {
                let example = match name {
                    "ema" => "ema:0.99",
                    "window" => "window:5",
                    "wsm" => "wsm:1-sqrt",
                    "swag" => "swag:20",
                    _ => "posthoc-ema:0.1",
                };
                return Err(wrong(&format!("{parameter} is missing"), example));
            }
        };
        let number = |example: &str| {
            value.parse::<f64>().map_err(|_| wrong("a number follows the colon", example))
        };
        Ok(match name {
            "mean" => Scheme::Mean,
            "prefix" => Scheme::Prefix,
            "ema" => {
                let decay = number("ema:0.99")?;
                if !(decay > 0.0 && decay < 1.0) {
                    return Err(wrong("the decay lies between 0 and 1", "ema:0.99"));
                }
                Scheme::Ema { decay }
            }
            "window" => match value.parse() {
                Ok(size) => Scheme::Window(size),
                Err(_) => {
                    return Err(wrong("a whole number follows the colon, 1 or more", "window:5"));
                }
            },
            "swag" => match value.parse::<NonZeroUsize>() {
                Ok(kept) if kept.get() > 1 => Scheme::Swag(kept),
                _ => return Err(wrong("a whole number follows the colon, 2 or more", "swag:20")),
            },
            "wsm" => match Shape::named(value) {
                Some(shape) => Scheme::Wsm(shape),
                None => {
                    let shapes: Vec<&str> = Shape::ALL.iter().map(|shape| shape.name()).collect();
                    return Err(wrong(
                        &format!("the shapes are {}", shapes.join(", ")),
                        "wsm:1-sqrt",
                    ));
                }
            },
            _ => {
                let sigma = number("posthoc-ema:0.1")?;
                if !(sigma > 0.0 && sigma < 0.2887) {
                    return Err(wrong("the width lies between 0 and 0.2887", "posthoc-ema:0.1"));
                }
                Scheme::PosthocEma { sigma }
            }
        })
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scheme::Mean => write!(f, "mean"),
            Scheme::Weights(_) => write!(f, "weights"),
            Scheme::Ema { decay } => write!(f, "ema:{decay}"),
            Scheme::Window(size) => write!(f, "window:{size}"),
            Scheme::Wsm(shape) => write!(f, "wsm:{}", shape.name()),
            Scheme::PosthocEma { sigma } => write!(f, "posthoc-ema:{sigma}"),
            Scheme::Swag(kept) => write!(f, "swag:{kept}"),
            Scheme::Prefix => write!(f, "prefix"),
        }
    }
}

fn unknown(text: &str) -> Error {
    Error::usage(format!("there is no {} `{text}`", setting!("scheme")))
}

/// What there is, and what was probably meant.
fn known(name: &str) -> String {
    let spelled = |&(name, parameter): &(&str, &str)| match parameter {
        "" => name.to_string(),
        _ => format!("{name}:{parameter}"),
    };
    let all: Vec<String> = NAMES.iter().map(spelled).collect();
    let meant = nearest(name).map_or(String::new(), |(name, _)| format!("did you mean {name}? "));
    format!("{meant}the schemes are {}", all.join(", "))
}

/// The scheme whose name differs from a text by the fewest letters, if that is two at most, and how many.
fn nearest(text: &str) -> Option<(&'static str, usize)> {
    let far = |(name, _): (&'static str, _)| (name, strsim::osa_distance(text, name));
    // Of a name of three letters two changes leave little.
    let close = |&(name, far): &(&str, usize)| far <= 2 && far < name.len() - 1;
    NAMES.into_iter().map(far).filter(close).min_by_key(|(_, far)| *far)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        text.parse::<Scheme>().unwrap_err().to_string()
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in
            ["mean", "ema:0.99", "window:5", "wsm:1-sqrt", "posthoc-ema:0.05", "swag:20", "prefix"]
        {
            assert_eq!(name.parse::<Scheme>().unwrap().to_string(), name);
        }
        assert_eq!("ema:.50".parse::<Scheme>().unwrap(), Scheme::Ema { decay: 0.5 });
    }

    #[test]
    fn what_is_no_scheme_is_refused_with_what_is_one() {
        for (text, expected) in [
            (
                "emma:0.9",
                "there is no `scheme` `emma:0.9`; did you mean ema? the schemes are mean, ema:DECAY, window:N",
            ),
            ("average", "there is no `scheme` `average`; the schemes are mean"),
            ("", "there is no `scheme` ``; the schemes are mean"),
            ("ema", "`scheme` ema: DECAY is missing; such as ema:0.99"),
            ("wsm:", "SHAPE is missing"),
            ("mean:3", "nothing follows this name"),
            ("ema:x", "a number follows the colon"),
            ("ema:1", "the decay lies between 0 and 1"),
            ("ema:0", "the decay lies between 0 and 1"),
            ("ema:nan", "the decay lies between 0 and 1"),
            ("window:0", "a whole number follows the colon, 1 or more"),
            ("window:2.5", "a whole number"),
            ("swag:1", "a whole number follows the colon, 2 or more"),
            ("wsm:sqrt", "the shapes are linear, 1-sqrt, cosine"),
            ("posthoc-ema:0.3", "the width lies between 0 and 0.2887"),
        ] {
            assert!(error(text).contains(expected), "{text}: {}", error(text));
        }
    }

    #[test]
    fn a_path_with_an_equals_sign_stays_a_path() {
        let paths = [
            "swa.pth",
            "epoch=3.ckpt",
            "./mean=x",
            "runs/lr=0.1/swa",
            "./ema:0.9=x",
            "a/em:1=x",
            "=x",
            "lr=1",
        ];
        for path in paths {
            assert_eq!(Scheme::before_path(path).unwrap(), None, "{path}");
        }
        let (scheme, path) = Scheme::before_path("wsm:1-sqrt=a=b").unwrap().unwrap();
        assert_eq!((scheme, path), (Scheme::Wsm(Shape::OneMinusSqrt), "a=b"));
        // What looks like a scheme and is none is not taken for a path.
        for text in ["emma:0.9=x", "man=x", "wm:linear=x", "foo:1=x", "ema=x", "prefx=x_{n}"] {
            let error = Scheme::before_path(text).unwrap_err().to_string();
            assert!(text == "ema=x" || error.contains(&format!("./{text}")), "{error}");
        }
    }
}
