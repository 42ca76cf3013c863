//! Python's arithmetic on the plain numbers of a program.

use swa_tools::programs::SymbolOp;

/// A plain number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    Int(i64),
    Float(f64),
    Bool(bool),
}

use Number::{Bool, Float, Int};

type Result<T> = std::result::Result<T, String>;

impl Number {
    fn float(self) -> f64 {
        match self {
            Int(n) => n as f64,
            Float(x) => x,
            Bool(b) => b as i64 as f64,
        }
    }

    /// An integer; truth values are 0 and 1.
    pub fn int(self) -> Option<i64> {
        match self {
            Int(n) => Some(n),
            Bool(b) => Some(b as i64),
            Float(_) => None,
        }
    }

    fn truth(self) -> bool {
        self.float() != 0.0
    }
}

/// What an operator that asks for no tensor gives.
pub fn compute(op: SymbolOp, arguments: &[Number]) -> Result<Number> {
    let count = || format!("it takes no {} numbers", arguments.len());
    let one = || match arguments {
        [a] => Ok(*a),
        _ => Err(count()),
    };
    let two = || match arguments {
        [a, b] => Ok((*a, *b)),
        _ => Err(count()),
    };
    // For two integers, or for two floats.
    let arithmetic = |ints: fn(i64, i64) -> Option<i64>, floats: fn(f64, f64) -> f64| {
        let (a, b) = two()?;
        Ok(match (a.int(), b.int()) {
            (Some(a), Some(b)) => Int(ints(a, b).ok_or_else(|| beyond(a, b))?),
            _ => Float(floats(a.float(), b.float())),
        })
    };
    let compare = |ints: fn(&i64, &i64) -> bool, floats: fn(&f64, &f64) -> bool| {
        let (a, b) = two()?;
        Ok(Bool(match (a.int(), b.int()) {
            (Some(a), Some(b)) => ints(&a, &b),
            _ => floats(&a.float(), &b.float()),
        }))
    };
    let bits = |ints: fn(i64, i64) -> i64| match two()? {
        (Bool(a), Bool(b)) => Ok(Bool(ints(a as i64, b as i64) != 0)),
        (a, b) => match (a.int(), b.int()) {
            (Some(a), Some(b)) => Ok(Int(ints(a, b))),
            _ => Err("floats have no bits".into()),
        },
    };
    let rounded = |round: fn(f64) -> f64| match one()? {
        Float(x) => whole(round(x)),
        other => Ok(Int(other.int().unwrap_or_default())),
    };
    match op {
        SymbolOp::Add => arithmetic(i64::checked_add, |a, b| a + b),
        SymbolOp::Sub => arithmetic(i64::checked_sub, |a, b| a - b),
        SymbolOp::Mul => arithmetic(i64::checked_mul, |a, b| a * b),
        SymbolOp::FloorDiv => match divided(two()?)? {
            (a, b) if a.int().is_some() && b.int().is_some() => arithmetic(floor_div, f64::max),
            (a, b) => Ok(Float((a.float() / b.float()).floor())),
        },
        SymbolOp::TrueDiv => divided(two()?).map(|(a, b)| Float(a.float() / b.float())),
        SymbolOp::Mod => {
            divided(two()?)?;
            // Of the divisor's sign, as Python has it.
            arithmetic(
                |a, b| {
                    a.checked_rem(b).map(|r| if r != 0 && (r < 0) != (b < 0) { r + b } else { r })
                },
                |a, b| if (a % b) * b < 0.0 { a % b + b } else { a % b },
            )
        }
        SymbolOp::Pow => match two()? {
            (a, b) if b.int().is_some_and(|b| b < 0) || a.int().is_none() || b.int().is_none() => {
                Ok(Float(a.float().powf(b.float())))
            }
            _ => arithmetic(|a, b| a.checked_pow(b.try_into().ok()?), f64::powf),
        },
        SymbolOp::LeftShift => arithmetic(
            |a, b| a.checked_mul(1i64.checked_shl(b.try_into().ok()?).filter(|&p| p > 0)?),
            |_, _| f64::NAN,
        ),
        SymbolOp::RightShift => {
            arithmetic(|a, b| Some(a >> u32::try_from(b).ok()?.min(63)), |_, _| f64::NAN)
        }
        SymbolOp::Neg => match one()? {
            Float(x) => Ok(Float(-x)),
            other => compute(SymbolOp::Sub, &[Int(0), other]),
        },
        SymbolOp::Pos => Ok(match one()? {
            Bool(b) => Int(b as i64),
            other => other,
        }),
        SymbolOp::Eq => compare(i64::eq, f64::eq),
        SymbolOp::Ne => compare(i64::ne, f64::ne),
        SymbolOp::Lt => compare(i64::lt, f64::lt),
        SymbolOp::Le => compare(i64::le, f64::le),
        SymbolOp::Gt => compare(i64::gt, f64::gt),
        SymbolOp::Ge => compare(i64::ge, f64::ge),
        SymbolOp::And => bits(|a, b| a & b),
        SymbolOp::Or => bits(|a, b| a | b),
        SymbolOp::Not => Ok(Bool(!one()?.truth())),
        SymbolOp::Float => Ok(Float(one()?.float())),
        SymbolOp::Int => rounded(f64::trunc),
        SymbolOp::Floor => rounded(f64::floor),
        SymbolOp::Ceil => rounded(f64::ceil),
        SymbolOp::Max => two().map(|(a, b)| if b.float() > a.float() { b } else { a }),
        SymbolOp::Min => two().map(|(a, b)| if b.float() < a.float() { b } else { a }),
        SymbolOp::Sqrt => match one()?.float() {
            x if x >= 0.0 => Ok(Float(x.sqrt())),
            x => Err(format!("{x} has no square root")),
        },
        SymbolOp::IfElse => match arguments {
            [condition, a, b] => Ok(if condition.truth() { *a } else { *b }),
            _ => Err(count()),
        },
        other => Err(format!("{} is not arithmetic", other.target())),
    }
}

fn beyond(a: i64, b: i64) -> String {
    format!("of {a} and {b} comes what is no 64-bit integer")
}

fn divided((a, b): (Number, Number)) -> Result<(Number, Number)> {
    if b.float() == 0.0 { Err("division by zero".into()) } else { Ok((a, b)) }
}

/// Toward minus infinity.
fn floor_div(a: i64, b: i64) -> Option<i64> {
    let quotient = a.checked_div(b)?;
    Some(if a % b != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient })
}

fn whole(x: f64) -> Result<Number> {
    if x.abs() < 9e18 { Ok(Int(x as i64)) } else { Err(format!("{x} is no 64-bit integer")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Python 3's own results.
    #[test]
    fn the_arithmetic_is_python_s() {
        use SymbolOp as S;
        let cases = [
            (S::FloorDiv, vec![Int(-7), Int(2)], Int(-4)),
            (S::FloorDiv, vec![Int(7), Int(-2)], Int(-4)),
            (S::FloorDiv, vec![Int(-8), Int(2)], Int(-4)),
            (S::FloorDiv, vec![Float(7.5), Int(2)], Float(3.0)),
            (S::Mod, vec![Int(-7), Int(3)], Int(2)),
            (S::Mod, vec![Int(7), Int(-3)], Int(-2)),
            (S::Mod, vec![Float(-7.5), Int(2)], Float(0.5)),
            (S::TrueDiv, vec![Int(7), Int(2)], Float(3.5)),
            (S::Add, vec![Bool(true), Int(2)], Int(3)),
            (S::Mul, vec![Int(3), Float(0.5)], Float(1.5)),
            (S::Pow, vec![Int(2), Int(10)], Int(1024)),
            (S::Pow, vec![Int(2), Int(-1)], Float(0.5)),
            (S::LeftShift, vec![Int(3), Int(4)], Int(48)),
            (S::RightShift, vec![Int(-9), Int(1)], Int(-5)),
            (S::Neg, vec![Bool(true)], Int(-1)),
            (S::Eq, vec![Int(2), Float(2.0)], Bool(true)),
            (S::Lt, vec![Int(1 << 53), Int((1 << 53) + 1)], Bool(true)),
            (S::And, vec![Bool(true), Bool(false)], Bool(false)),
            (S::Or, vec![Int(6), Int(1)], Int(7)),
            (S::Not, vec![Int(0)], Bool(true)),
            (S::Int, vec![Float(-2.7)], Int(-2)),
            (S::Floor, vec![Float(-2.2)], Int(-3)),
            (S::Ceil, vec![Float(-2.2)], Int(-2)),
            (S::Max, vec![Int(2), Int(3)], Int(3)),
            (S::Sqrt, vec![Int(49)], Float(7.0)),
            (S::IfElse, vec![Bool(false), Int(1), Int(2)], Int(2)),
        ];
        for (op, arguments, expected) in cases {
            assert_eq!(compute(op, &arguments), Ok(expected), "{op:?} {arguments:?}");
        }
    }

    #[test]
    fn what_has_no_result_is_an_error_and_no_panic() {
        use SymbolOp as S;
        let extremes = [Int(0), Int(1), Int(-1), Int(i64::MIN), Int(i64::MAX), Float(f64::NAN)];
        let more = [Float(f64::INFINITY), Float(0.0), Bool(true), Int(64), Int(63)];
        let all = [&extremes[..], &more].concat();
        let two = [
            S::Add,
            S::Sub,
            S::Mul,
            S::FloorDiv,
            S::TrueDiv,
            S::Mod,
            S::Pow,
            S::LeftShift,
            S::RightShift,
            S::Eq,
            S::And,
            S::Or,
            S::Max,
            S::Min,
            S::Size,
        ];
        for op in two {
            for &a in &all {
                all.iter().for_each(|&b| drop(compute(op, &[a, b])));
            }
        }
        for op in [S::Neg, S::Pos, S::Not, S::Float, S::Int, S::Floor, S::Ceil, S::Sqrt] {
            all.iter().for_each(|&a| drop(compute(op, &[a])));
            assert!(compute(op, &[]).is_err());
        }
        for (op, arguments) in [
            (S::FloorDiv, [Int(1), Int(0)]),
            (S::FloorDiv, [Int(i64::MIN), Int(-1)]),
            (S::Mod, [Int(1), Bool(false)]),
            (S::TrueDiv, [Float(1.0), Float(0.0)]),
            (S::Add, [Int(i64::MAX), Int(1)]),
            (S::Pow, [Int(10), Int(30)]),
            (S::LeftShift, [Int(1), Int(63)]),
            (S::And, [Float(1.0), Int(1)]),
        ] {
            assert!(compute(op, &arguments).is_err(), "{op:?} {arguments:?}");
        }
    }
}
