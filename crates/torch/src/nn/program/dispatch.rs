//! Operators of libtorch by name, called through its dispatcher. tch binds functions, each with a signature of its own;
//! a program names what it calls. All `unsafe` of programs is here; `shim.cpp` is the other side.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;

use tch::{Device, Kind, Tensor};

#[repr(C)]
struct RawGuard {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn swa_error() -> *const c_char;
    fn swa_op_find(name: *const c_char, overload: *const c_char) -> *mut c_void;
    fn swa_op_free(op: *const c_void);
    fn swa_op_argument(
        op: *const c_void,
        at: usize,
        needed: *mut c_int,
        written: *mut c_int,
    ) -> *const c_char;
    fn swa_op_views(op: *const c_void) -> c_int;
    fn swa_op_results(op: *const c_void) -> usize;
    fn swa_call_new(op: *const c_void) -> *mut c_void;
    fn swa_call_free(call: *mut c_void);
    fn swa_call_set(call: *mut c_void, value: *const Value) -> c_int;
    fn swa_call_run(
        call: *mut c_void,
        inputs: *const Value,
        n: usize,
        mode: *const Mode,
        guard: *const RawGuard,
        wanted: *const i64,
        n_wanted: usize,
        results: *mut RawValue,
        touched: *mut i64,
    ) -> c_int;
    fn swa_guard_new() -> *mut RawGuard;
    fn swa_guard_free(guard: *mut RawGuard);
    fn swa_guard_add(guard: *mut RawGuard, tensor: *const c_void, number: i64);
    fn swa_guard_copy(guard: *const RawGuard) -> *mut RawGuard;
}

/// What `shim.cpp` calls `Value`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawValue {
    tag: u32,
    at: u32,
    len: i64,
    data: Data,
}

#[repr(C)]
#[derive(Clone, Copy)]
union Data {
    i: i64,
    f: f64,
    p: *const c_void,
}

// As in `shim.cpp`.
const NONE: u32 = 0;
const TENSOR: u32 = 1;
const INT: u32 = 2;
const FLOAT: u32 = 3;
const BOOL: u32 = 4;
const STRING: u32 = 5;
const INTS: u32 = 6;
const FLOATS: u32 = 7;
const BOOLS: u32 = 8;
const TENSORS: u32 = 9;
const DEVICE: u32 = 10;

const DONE: c_int = 0;
const GUARDED: c_int = 2;

/// An argument: where it stands, and what it borrows.
#[repr(transparent)]
pub struct Value<'a>(RawValue, PhantomData<&'a ()>);

/// A tensor in a list, or none.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Listed<'a>(*const c_void, PhantomData<&'a Tensor>);

impl<'a> Listed<'a> {
    pub fn new(tensor: Option<&'a Tensor>) -> Self {
        Listed(tensor.map_or(std::ptr::null(), |tensor| tensor.as_ptr().cast()), PhantomData)
    }
}

impl<'a> Value<'a> {
    fn new(at: usize, tag: u32, len: usize, data: Data) -> Self {
        Value(RawValue { tag, at: at as u32, len: len as i64, data }, PhantomData)
    }

    fn slice<T>(at: usize, tag: u32, values: &'a [T]) -> Self {
        Self::new(at, tag, values.len(), Data { p: values.as_ptr().cast() })
    }

    pub fn none(at: usize) -> Self {
        Self::new(at, NONE, 0, Data { i: 0 })
    }

    pub fn tensor(at: usize, tensor: &'a Tensor) -> Self {
        Self::new(at, TENSOR, 0, Data { p: tensor.as_ptr().cast() })
    }

    pub fn int(at: usize, value: i64) -> Self {
        Self::new(at, INT, 0, Data { i: value })
    }

    pub fn float(at: usize, value: f64) -> Self {
        Self::new(at, FLOAT, 0, Data { f: value })
    }

    pub fn bool(at: usize, value: bool) -> Self {
        Self::new(at, BOOL, 0, Data { i: value as i64 })
    }

    pub fn string(at: usize, text: &'a str) -> Self {
        Self::slice(at, STRING, text.as_bytes())
    }

    pub fn ints(at: usize, values: &'a [i64]) -> Self {
        Self::slice(at, INTS, values)
    }

    pub fn floats(at: usize, values: &'a [f64]) -> Self {
        Self::slice(at, FLOATS, values)
    }

    pub fn bools(at: usize, values: &'a [bool]) -> Self {
        Self::slice(at, BOOLS, values)
    }

    pub fn tensors(at: usize, tensors: &'a [Listed<'a>]) -> Self {
        Self::slice(at, TENSORS, tensors)
    }

    pub fn device(at: usize, device: Device) -> Self {
        let (kind, index) = device_code(device);
        Self::new(at, DEVICE, index, Data { i: kind as i64 })
    }
}

/// As c10 numbers devices.
fn device_code(device: Device) -> (i32, usize) {
    match device {
        Device::Cuda(index) => (1, index),
        _ => (0, 0),
    }
}

/// As ATen numbers the types to which autocast casts.
fn code(kind: Kind) -> i32 {
    match kind {
        Kind::Half => 5,
        Kind::Double => 7,
        Kind::BFloat16 => 15,
        _ => 6,
    }
}

/// What a call runs under.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Mode {
    device: i32,
    /// The type as ATen numbers it; -1 for none.
    autocast: i32,
}

impl Mode {
    /// On the device, casting to a type or not.
    pub fn new(device: Device, autocast: Option<Kind>) -> Self {
        let autocast = autocast.map_or(-1, code);
        Mode { device: device_code(device).0, autocast }
    }
}

/// A result of a call.
#[derive(Debug)]
pub enum Given {
    None,
    Tensor(Tensor),
    Int(i64),
    Float(f64),
    Bool(bool),
}

/// Why a call gave nothing.
#[derive(Debug)]
pub enum Failure {
    /// libtorch's message.
    Torch(String),
    /// It would have written to the guarded tensor of this number.
    Touched(i64),
}

/// The message of what failed last in this thread.
fn message() -> String {
    // SAFETY: the pointer is to a string of this thread, which ends in a zero and changes only in calls.
    unsafe { CStr::from_ptr(swa_error()) }.to_string_lossy().into_owned()
}

/// An argument as an operator declares it.
pub struct Parameter {
    pub name: String,
    /// Whether it has no default.
    pub needed: bool,
    /// Whether the operator changes it.
    pub written: bool,
}

/// An operator that libtorch has.
pub struct Operator(NonNull<c_void>);

impl Operator {
    /// `name`: `aten::conv2d`; `overload`: empty for the default. None if libtorch has no such operator.
    pub fn find(name: &str, overload: &str) -> Option<Self> {
        let (name, overload) = (CString::new(name).ok()?, CString::new(overload).ok()?);
        // SAFETY: both are strings that end in a zero, and are not kept.
        let op = unsafe { swa_op_find(name.as_ptr(), overload.as_ptr()) };
        NonNull::new(op).map(Operator)
    }

    /// Its arguments in order.
    pub fn arguments(&self) -> Vec<Parameter> {
        let argument = |at: usize| {
            let (mut needed, mut written) = (0, 0);
            // SAFETY: the operator lives as long as `self`.
            let name = unsafe { swa_op_argument(self.0.as_ptr(), at, &mut needed, &mut written) };
            // SAFETY: a string of the operator's schema, which ends in a zero.
            let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) })?;
            let name = name.to_string_lossy().into_owned();
            Some(Parameter { name, needed: needed != 0, written: written != 0 })
        };
        (0..).map_while(argument).collect()
    }

    /// Whether a result is declared to be the memory of an argument.
    pub fn views(&self) -> bool {
        // SAFETY: the operator lives as long as `self`.
        unsafe { swa_op_views(self.0.as_ptr()) != 0 }
    }

    /// How many results it has.
    pub fn results(&self) -> usize {
        // SAFETY: the operator lives as long as `self`.
        unsafe { swa_op_results(self.0.as_ptr()) }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // SAFETY: it came from `swa_op_find`, and nothing else has it: calls have copies.
        unsafe { swa_op_free(self.0.as_ptr()) }
    }
}

/// A call of an operator, with the arguments that are the same in every run.
pub struct Call {
    call: NonNull<c_void>,
    /// By result: -1 not wanted, -2 as it is, or a list of so many tensors.
    wanted: Vec<i64>,
    results: usize,
    raw: RefCell<Vec<RawValue>>,
}

/// A result that is wanted of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Nothing,
    One,
    /// A list of so many tensors.
    List(usize),
}

impl Call {
    pub fn new(op: &Operator, wanted: impl IntoIterator<Item = Wanted>) -> Result<Self, String> {
        // SAFETY: the operator lives during this call, which copies it.
        let call = NonNull::new(unsafe { swa_call_new(op.0.as_ptr()) }).ok_or_else(message)?;
        let code = |wanted| match wanted {
            Wanted::Nothing => -1,
            Wanted::One => -2,
            Wanted::List(n) => n as i64,
        };
        let wanted: Vec<i64> = wanted.into_iter().map(code).collect();
        let count = |&wanted: &i64| match wanted {
            -1 => 0,
            -2 => 1,
            n => n as usize,
        };
        let results = wanted.iter().map(count).sum();
        let empty = RawValue { tag: NONE, at: 0, len: 0, data: Data { i: 0 } };
        Ok(Call { call, wanted, results, raw: RefCell::new(vec![empty; results]) })
    }

    /// Gives an argument its value in every run.
    pub fn set(&mut self, value: &Value) -> Result<(), String> {
        // SAFETY: `value` borrows what it points to, and the other side copies it.
        match unsafe { swa_call_set(self.call.as_ptr(), value) } {
            DONE => Ok(()),
            _ => Err(message()),
        }
    }

    /// Runs it with the other arguments; `results` gets what is wanted, lists tensor by tensor.
    pub fn run(
        &self,
        inputs: &[Value],
        mode: Mode,
        guard: &Guard,
        results: &mut Vec<Given>,
    ) -> Result<(), Failure> {
        let mut raw = self.raw.borrow_mut();
        let mut touched = 0;
        // SAFETY: the values borrow what they point to; `raw` has room for all that is wanted; the guard lives. The
        // borrow of `raw` keeps a second run of the same call out.
        let code = unsafe {
            swa_call_run(
                self.call.as_ptr(),
                inputs.as_ptr(),
                inputs.len(),
                &mode,
                guard.0.as_ptr(),
                self.wanted.as_ptr(),
                self.wanted.len(),
                raw.as_mut_ptr(),
                &mut touched,
            )
        };
        match code {
            DONE => {}
            GUARDED => return Err(Failure::Touched(touched)),
            _ => return Err(Failure::Torch(message())),
        }
        // SAFETY: after DONE all of them are written, the union as the tag says; a tensor is a new one on the heap, as
        // tch's own are, and nothing else has it.
        results.extend(raw[..self.results].iter().map(|result| unsafe {
            match result.tag {
                TENSOR => Given::Tensor(Tensor::from_ptr(result.data.p as *mut _)),
                INT => Given::Int(result.data.i),
                FLOAT => Given::Float(result.data.f),
                BOOL => Given::Bool(result.data.i != 0),
                _ => Given::None,
            }
        }));
        Ok(())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // SAFETY: it came from `swa_call_new`, and nothing else has it.
        unsafe { swa_call_free(self.call.as_ptr()) }
    }
}

const NEVER_NULL: &str = "C++ gives no null where memory runs out";

/// Tensors that no call may write to.
pub struct Guard(NonNull<RawGuard>);

impl Guard {
    pub fn new() -> Self {
        // SAFETY: it has no conditions.
        Guard(NonNull::new(unsafe { swa_guard_new() }).expect(NEVER_NULL))
    }

    /// Adds a tensor's memory, under a number.
    pub fn add(&mut self, tensor: &Tensor, number: i64) {
        // SAFETY: the guard and the tensor live during this call. The guard keeps an address, which is compared alone.
        unsafe { swa_guard_add(self.0.as_ptr(), tensor.as_ptr().cast(), number) }
    }
}

impl Clone for Guard {
    fn clone(&self) -> Self {
        // SAFETY: the guard lives during this call, which copies it.
        Guard(NonNull::new(unsafe { swa_guard_copy(self.0.as_ptr()) }).expect(NEVER_NULL))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: it came from `swa_guard_new`, and nothing else has it.
        unsafe { swa_guard_free(self.0.as_ptr()) }
    }
}

#[cfg(test)]
mod tests;
