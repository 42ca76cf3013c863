//! One output of a plan: which inputs count in it, and how much.

use super::{Coefficients, Float};
use crate::Result;

/// A column of the matrix of coefficients, inputs × outputs: what each input counts for in one output.
///
/// An input may be absent from a column. That is not a weight of 0: an absent input is not read for this
/// output, need not have its tensors and is not named in its metadata. The output is the one that the
/// inputs which count would give if they were averaged alone.
#[derive(Debug, Clone)]
pub struct Column {
    /// How many inputs the matrix has.
    rows: usize,
    /// Which of them count, in ascending order.
    counting: Vec<usize>,
    coefficients: Coefficients,
    dtype: Option<Float>,
}

impl Column {
    /// A weight for each input in turn, of any scale and sign, or `None` where it does not count.
    ///
    /// ```
    /// # use swa_tools::average::Column;
    /// // The mean of the first three of five.
    /// let column = Column::new((0..5).map(|i| (i < 3).then_some(1.0)))?;
    /// assert_eq!(column.counting(), [0, 1, 2]);
    /// # Ok::<(), swa_tools::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Usage`, as [`Coefficients::new`] of the weights that are there: none, a zero, a sum of zero.
    pub fn new(weights: impl IntoIterator<Item = Option<f64>>) -> Result<Self> {
        let (mut rows, mut counting, mut present) = (0, vec![], vec![]);
        for (row, weight) in weights.into_iter().enumerate() {
            rows += 1;
            if let Some(weight) = weight {
                counting.push(row);
                present.push(weight);
            }
        }
        let coefficients = Coefficients::new(present)?;
        Ok(Column { rows, counting, coefficients, dtype: None })
    }

    /// The type of the averaged tensors of this output, in place of [`Options::dtype`](super::Options::dtype).
    pub fn with_dtype(self, dtype: Float) -> Self {
        Column { dtype: Some(dtype), ..self }
    }

    /// How many inputs the column has entries for, absent ones included.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Always false: a column without inputs is an error.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Numbers of the inputs that count, in ascending order.
    pub fn counting(&self) -> &[usize] {
        &self.counting
    }

    /// The weights of those that count.
    pub fn coefficients(&self) -> &Coefficients {
        &self.coefficients
    }

    pub(super) fn dtype(&self) -> Option<Float> {
        self.dtype
    }
}

/// All inputs count.
impl From<Coefficients> for Column {
    fn from(coefficients: Coefficients) -> Self {
        let rows = coefficients.weights().len();
        Column { rows, counting: (0..rows).collect(), coefficients, dtype: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_input_is_not_a_weight_of_zero() {
        let column = Column::new([None, Some(2.0), None, Some(1.0)]).unwrap();
        assert_eq!((column.len(), column.counting()), (4, &[1, 3][..]));
        assert_eq!(column.coefficients(), &Coefficients::new(vec![2.0, 1.0]).unwrap());
        for bad in [vec![], vec![None, None], vec![Some(1.0), Some(0.0)]] {
            assert_eq!(Column::new(bad).unwrap_err().kind().exit_code(), 2);
        }
    }
}
