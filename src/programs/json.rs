//! How the JSON of a program is read: unions by their only key, floats that JSON has no numbers for, dicts in the order of
//! the file.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::schema::{Argument, GraphArgument, Name, OptionalTensor};
use crate::weights::tree::short;
use crate::{Error, Kind, Result};

/// Reads JSON of one entry.
pub fn parse<'de, T: Deserialize<'de>>(entry: &str, json: &'de [u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|e| {
        let text = e.to_string();
        if text.starts_with("recursion limit") {
            return Error::limit(format!("`{entry}` nests deeper than {RECURSION} levels"));
        }
        let kind = if e.is_eof() { Kind::Truncated } else { Kind::Damaged };
        Error::new(kind, format!("`{entry}` is no graph that is known: {}", short(&text)))
            .remedy("save or copy the file again")
    })
}

/// How deep serde_json follows.
const RECURSION: usize = 128;

impl<'de> Deserialize<'de> for Argument {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct OneKind;
        impl<'de> Visitor<'de> for OneKind {
            type Value = Argument;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an argument: its kind and its value")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Argument, A::Error> {
                let kind: Cow<str> =
                    map.next_key()?.ok_or_else(|| de::Error::custom("an argument of no kind"))?;
                let argument = match &*kind {
                    "as_none" => map.next_value::<IgnoredAny>().map(|_| Argument::None)?,
                    "as_tensor" => Argument::Tensor(map.next_value::<Name>()?.name),
                    "as_tensors" => Argument::Tensors(map.next_value()?),
                    "as_optional_tensors" => Argument::OptionalTensors(map.next_value()?),
                    "as_optional_tensor" => match map.next_value()? {
                        OptionalTensor::Tensor(tensor) => Argument::Tensor(tensor.name),
                        OptionalTensor::None(_) => Argument::None,
                    },
                    "as_int" => Argument::Int(map.next_value()?),
                    "as_ints" => Argument::Ints(map.next_value()?),
                    "as_float" => Argument::Float(map.next_value::<Number>()?.0),
                    "as_floats" => Argument::Floats(map.next_value()?),
                    "as_bool" => Argument::Bool(map.next_value()?),
                    "as_bools" => Argument::Bools(map.next_value()?),
                    "as_string" => Argument::String(map.next_value()?),
                    "as_sym_int" => Argument::SymInt(map.next_value()?),
                    "as_sym_ints" => Argument::SymInts(map.next_value()?),
                    "as_sym_float" => Argument::SymFloat(map.next_value()?),
                    "as_sym_floats" => Argument::SymFloats(map.next_value()?),
                    "as_sym_bool" => Argument::SymBool(map.next_value()?),
                    "as_sym_bools" => Argument::SymBools(map.next_value()?),
                    "as_scalar_type" => Argument::Dtype(map.next_value()?),
                    "as_memory_format" => Argument::MemoryFormat(map.next_value()?),
                    "as_layout" => Argument::Layout(map.next_value()?),
                    "as_device" => map.next_value::<IgnoredAny>().map(|_| Argument::Device)?,
                    "as_graph" => {
                        Argument::Graph(Box::new(map.next_value::<GraphArgument>()?.graph))
                    }
                    other => {
                        map.next_value::<IgnoredAny>()?;
                        Argument::Other(short(other))
                    }
                };
                match map.next_key::<IgnoredAny>()? {
                    None => Ok(argument),
                    Some(_) => Err(de::Error::custom("an argument of two kinds")),
                }
            }
        }
        from.deserialize_map(OneKind)
    }
}

/// A float; JSON has no infinities, so those are texts.
#[derive(Debug, Clone, Copy)]
pub struct Number(pub f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a number, `Infinity`, `-Infinity` or `NaN`")
            }

            fn visit_f64<E>(self, x: f64) -> std::result::Result<Number, E> {
                Ok(Number(x))
            }

            fn visit_i64<E>(self, n: i64) -> std::result::Result<Number, E> {
                Ok(Number(n as f64))
            }

            fn visit_u64<E>(self, n: u64) -> std::result::Result<Number, E> {
                Ok(Number(n as f64))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<Number, E> {
                Ok(Number(match text {
                    "Infinity" => f64::INFINITY,
                    "-Infinity" => f64::NEG_INFINITY,
                    "NaN" => f64::NAN,
                    _ => return Err(E::invalid_value(de::Unexpected::Str(&short(text)), &self)),
                }))
            }
        }
        from.deserialize_any(Any)
    }
}

/// A dict in the order of the file, with what it has twice.
#[derive(Debug)]
pub struct Pairs<T>(pub Vec<(String, T)>);

impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Pairs(vec![])
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct All<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for All<T> {
            type Value = Pairs<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a dict")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Pairs<T>, A::Error> {
                let mut pairs = vec![];
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(All(PhantomData))
    }
}
