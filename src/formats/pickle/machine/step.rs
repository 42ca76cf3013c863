//! The instructions, protocols 0 to 5.

use super::Machine;
use crate::formats::pickle::judge::How;
use crate::formats::pickle::{Id, MAX_NAME, Value, globals, python2};
use crate::{Error, Kind, Result};

impl Machine<'_> {
    /// Runs one instruction; false if it was the last.
    pub(super) fn step(&mut self) -> Result<bool> {
        let [code] = self.array()?;
        match code {
            b'.' => return Ok(false),
            0x80 => match self.array()? {
                [0..=5] => {}
                [n] => return Err(self.bad(&format!("protocol {n}, not 0 to 5,"))),
            },
            0x95 => drop(self.array::<8>()?), // a frame's length, for readers that buffer
            // Constants.
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'I' => match self.line()? {
                "00" => self.push(Value::Bool(false)),
                "01" => self.push(Value::Bool(true)),
                digits => self.decimal(digits)?,
            },
            b'L' => {
                let digits = self.line()?;
                self.decimal(digits)?;
            }
            b'J' => {
                let n = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(n.into()));
            }
            b'K' => {
                let [n] = self.array()?;
                self.push(Value::Int(n.into()));
            }
            b'M' => {
                let n = u16::from_le_bytes(self.array()?);
                self.push(Value::Int(n.into()));
            }
            0x8a => {
                let bytes = self.counted::<1>()?;
                self.long(bytes);
            }
            0x8b => {
                let bytes = self.counted::<4>()?;
                self.long(bytes);
            }
            b'F' => {
                let x = self.line()?.parse().map_err(|_| self.bad("a bad number"))?;
                self.push(Value::Float(x));
            }
            b'G' => {
                let x = f64::from_be_bytes(self.array()?);
                self.push(Value::Float(x));
            }
            b'S' => {
                let line = self.raw_line()?;
                let bytes = python2::string(line).ok_or_else(|| self.bad("a bad string"))?;
                self.push(match String::from_utf8(bytes) {
                    Ok(text) => Value::Text(text.into()),
                    Err(error) => Value::Escaped(error.into_bytes().into()),
                });
            }
            b'V' => {
                let line = self.raw_line()?;
                let text = python2::unicode(line).ok_or_else(|| self.bad("a bad string"))?;
                self.push(Value::Text(text.into()));
            }
            b'U' => {
                let bytes = self.counted::<1>()?;
                self.string(bytes);
            }
            b'T' => {
                let bytes = self.counted::<4>()?;
                self.string(bytes);
            }
            0x8c => {
                let bytes = self.counted::<1>()?;
                self.text(bytes);
            }
            b'X' => {
                let bytes = self.counted::<4>()?;
                self.text(bytes);
            }
            0x8d => {
                let bytes = self.counted::<8>()?;
                self.text(bytes);
            }
            b'C' => {
                let bytes = self.counted::<1>()?;
                self.bytes_value(bytes);
            }
            b'B' => {
                let bytes = self.counted::<4>()?;
                self.bytes_value(bytes);
            }
            0x8e | 0x96 => {
                let bytes = self.counted::<8>()?;
                self.bytes_value(bytes);
            }
            // Containers.
            b'(' => self.marks.push(self.stack.len()),
            b']' => self.push(Value::List(vec![])),
            b'}' => self.push(Value::Dict(vec![])),
            b')' => self.push(Value::Tuple([].into())),
            0x8f => self.push(Value::Set(vec![])),
            b'l' => {
                let elements = self.pop_to_mark()?;
                self.push(Value::List(elements));
            }
            b't' => {
                let elements = self.pop_to_mark()?;
                self.push(Value::Tuple(elements.into()));
            }
            0x91 => {
                let elements = self.pop_to_mark()?;
                self.push(Value::Set(elements));
            }
            0x85..=0x87 => {
                let mut elements = vec![];
                for _ in 0x85..=code {
                    elements.push(self.pop()?);
                }
                elements.reverse();
                self.push(Value::Tuple(elements.into()));
            }
            b'd' => {
                let items = self.pop_to_mark()?;
                let dict = self.add(Value::Dict(vec![]));
                self.set_items(dict, &items)?;
                self.stack.push(dict);
            }
            b'a' => {
                let value = self.pop()?;
                let list = self.top()?;
                self.append(list, vec![value])?;
            }
            b'e' | 0x90 => {
                let values = self.pop_to_mark()?;
                let list = self.top()?;
                self.append(list, values)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                let dict = self.top()?;
                self.set_items(dict, &[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                let dict = self.top()?;
                self.set_items(dict, &items)?;
            }
            // The stack and the memo.
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'p' => {
                let key = self.key()?;
                self.put(key)?;
            }
            b'q' => {
                let [key] = self.array()?;
                self.put(key.into())?;
            }
            b'r' => {
                let key = u32::from_le_bytes(self.array()?);
                self.put(key)?;
            }
            0x94 => self.put(self.memoized() as u32)?,
            b'g' => {
                let key = self.key()?;
                self.get(key)?;
            }
            b'h' => {
                let [key] = self.array()?;
                self.get(key.into())?;
            }
            b'j' => {
                let key = u32::from_le_bytes(self.array()?);
                self.get(key)?;
            }
            // Names and calls.
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                let id = self.global(module, name)?;
                self.stack.push(id);
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id: Id| match &self.values[id.0 as usize] {
                    // Cut just above the limit, so that little is copied.
                    Value::Text(text) => Ok(text.chars().take(MAX_NAME + 1).collect::<String>()),
                    Value::Object(_) => Err(globals::asked("computes a name to import")),
                    _ => Err(self.bad("a global that is not a name")),
                };
                let (module, name) = (text(module)?, text(name)?);
                let id = self.global(&module, &name)?;
                self.stack.push(id);
            }
            b'R' => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments, How::Called)?;
            }
            0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments, How::New(None))?;
            }
            0x92 => {
                let keywords = self.pop()?;
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments, How::New(Some(keywords)))?;
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                let callable = self.global(module, name)?;
                let arguments = self.pop_to_mark()?;
                let arguments = self.add(Value::Tuple(arguments.into()));
                self.call(callable, arguments, How::Called)?;
            }
            b'o' => {
                let arguments = self.pop_to_mark()?;
                let Some((&callable, arguments)) = arguments.split_first() else {
                    return Err(self.bad("an object of no class"));
                };
                let arguments = self.add(Value::Tuple(arguments.into()));
                self.call(callable, arguments, How::Called)?;
            }
            b'b' => {
                let state = self.pop()?;
                let of = self.top()?;
                self.check_state(of, state)?;
                match &mut self.values[of.0 as usize] {
                    Value::Object(object) => object.state = Some(state),
                    // Attributes of a dict, such as the `_metadata` of a state dict, hold no weights.
                    _ => drop(self.attributes.insert(of.0, state)),
                }
            }
            b'P' => {
                let line = self.line()?;
                let id = self.add(Value::Text(line.into()));
                self.push(Value::Persistent(id));
            }
            b'Q' => {
                let id = self.pop()?;
                self.check_outside(id)?;
                self.push(Value::Persistent(id));
            }
            0x82..=0x84 => {
                let what =
                    "its pickle has an extension code, which only the program that wrote it knows";
                return Err(Error::new(Kind::Unsupported, what)
                    .remedy("save it without copyreg's extensions"));
            }
            code => return Err(self.bad(&format!("unknown instruction {code:#04x}"))),
        }
        Ok(true)
    }
}
