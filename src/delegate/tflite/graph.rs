//! What the engine asks of a library: a graph that is loaded, with memory for all that goes in and out.

use crate::delegate::failed;
use crate::error::Result;

/// A tensor that goes in or out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    pub name: String,
    pub element: Element,
    pub shape: Vec<usize>,
}

/// The types of numbers of such tensors, which are the only ones that exported graphs have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    F32,
    I32,
}

impl Element {
    /// The type that both libraries give this number: `TfLiteType` and `LiteRtElementType` agree.
    ///
    /// # Errors
    /// [`Delegate`](crate::ErrorKind::Delegate) for a type that exported graphs do not have.
    pub fn of(number: std::ffi::c_int, name: &str) -> Result<Self> {
        match number {
            1 => Ok(Self::F32),
            2 => Ok(Self::I32),
            other => Err(failed(format!("{name} has elements of type {other}: export the graphs again"))),
        }
    }
}

/// Values of an input.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    F32(&'a [f32]),
    I32(&'a [i32]),
}

impl Values<'_> {
    /// Where they lie.
    pub fn address(&self) -> *const u8 {
        match self {
            Self::F32(values) => values.as_ptr().cast(),
            Self::I32(values) => values.as_ptr().cast(),
        }
    }

    fn element(&self) -> Element {
        match self {
            Self::F32(_) => Element::F32,
            Self::I32(_) => Element::I32,
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I32(values) => values.len(),
        }
    }
}

impl Tensor {
    /// Its numbers.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its bytes: both types of numbers have four.
    pub fn bytes(&self) -> usize {
        4 * self.count()
    }

    /// Checks that `values` are all of this tensor.
    ///
    /// # Errors
    /// [`Delegate`](crate::ErrorKind::Delegate) if they are others.
    pub fn check(&self, values: &Values<'_>) -> Result<()> {
        let (element, count) = (values.element(), values.count());
        if element == self.element && count == self.count() {
            return Ok(());
        }
        let Self { name, element: wanted, shape } = self;
        Err(failed(format!("{name} is {wanted:?} {shape:?}, not {count} numbers of {element:?}")))
    }
}

/// A graph that its library has loaded.
pub trait Graph: Send + Sync {
    /// What it reads.
    fn inputs(&self) -> &[Tensor];

    /// What it gives.
    fn outputs(&self) -> &[Tensor];

    /// Sets an input, which keeps its values until it is set again.
    ///
    /// # Errors
    /// As [`Tensor::check`], and what the library answers.
    fn write(&mut self, input: usize, values: Values<'_>) -> Result<()>;

    /// Computes the outputs.
    ///
    /// # Errors
    /// What the library answers.
    fn run(&mut self) -> Result<()>;

    /// Copies an output to `values`.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    fn read(&mut self, output: usize, values: &mut [f32]) -> Result<()>;

    /// Makes what an output holds the values of an input of the same shape; the output is then undefined.
    ///
    /// # Errors
    /// What the library answers.
    fn feed_back(&mut self, output: usize, input: usize) -> Result<()>;
}
