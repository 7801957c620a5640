//! TensorFlow Lite's own operators.

/// A builtin operator with the options that differ from the schema's defaults.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the operators of the same names
pub enum Builtin {
    Add,
    Sub,
    Mul,
    Div,
    /// `x W^T + b`.
    FullyConnected(Weights),
    /// Products of stacks of matrices, the second ones transposed or not.
    BatchMatMul {
        adj_y: bool,
    },
    Softmax,
    Logistic,
    Tanh,
    Relu,
    Gelu,
    Sqrt,
    Rsqrt,
    Mean,
    Reshape,
    Transpose {
        perm: Vec<usize>,
    },
    BroadcastTo,
    Split {
        parts: usize,
    },
    Gather,
    Dequantize,
}

/// The matrix of a [`FullyConnected`](Builtin::FullyConnected). With int8 the runtime quantizes the rows of x, each with a
/// scale and a zero of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// 32-bit floats.
    F32,
    /// int8 with one scale.
    PerTensor,
    /// int8 with a scale for each row.
    PerChannel,
}

/// An option of an operator.
pub enum Scalar {
    /// A truth value.
    Bool(bool),
    /// An integer.
    I32(i32),
    /// A number.
    F32(f32),
}

impl Builtin {
    /// By the numbers of the schema: the operator, its version, and the table of its options, which is 0 where there is none.
    ///
    /// A version is the lowest that does what is asked for, so that older runtimes refuse what they do not know: with 12,
    /// TensorFlow Lite 2.9 refuses scales of rows, which it would compute wrong.
    pub fn numbers(&self) -> (i32, i32, u8) {
        match self {
            Self::Add => (0, 1, 11),
            Self::Dequantize => (6, 2, 38),
            Self::FullyConnected(Weights::F32) => (9, 1, 8),
            Self::FullyConnected(Weights::PerTensor) => (9, 9, 8),
            Self::FullyConnected(Weights::PerChannel) => (9, 12, 8),
            Self::Logistic => (14, 1, 0),
            Self::Mul => (18, 1, 21),
            Self::Relu => (19, 1, 0),
            Self::Reshape => (22, 1, 17),
            Self::Softmax => (25, 1, 9),
            Self::Tanh => (28, 1, 0),
            Self::Gather => (36, 2, 23),
            Self::Transpose { .. } => (39, 1, 26),
            Self::Mean => (40, 1, 27),
            Self::Sub => (41, 1, 28),
            Self::Div => (42, 1, 29),
            Self::Split { .. } => (49, 1, 35),
            Self::Sqrt => (75, 1, 0),
            Self::Rsqrt => (76, 1, 0),
            Self::BatchMatMul { .. } => (126, 1, 101),
            Self::BroadcastTo => (130, 2, 104),
            Self::Gelu => (150, 1, 116),
        }
    }

    /// The option that differs from the schema's default, by its place in its table.
    pub fn option(&self) -> Option<(u16, Scalar)> {
        match self {
            Self::FullyConnected(Weights::PerTensor | Weights::PerChannel) => {
                Some((field::ASYMMETRIC_INPUTS, Scalar::Bool(true)))
            }
            Self::Softmax => Some((field::BETA, Scalar::F32(1.0))),
            Self::Mean => Some((field::KEEP_DIMS, Scalar::Bool(true))),
            Self::Split { parts } => Some((field::PARTS, Scalar::I32(*parts as i32))),
            Self::BatchMatMul { adj_y } => Some((field::ADJ_Y, Scalar::Bool(*adj_y))),
            _ => None,
        }
    }
}

/// Fields by their place in the tables of options.
mod field {
    pub const ASYMMETRIC_INPUTS: u16 = 3;
    pub const BETA: u16 = 0;
    pub const KEEP_DIMS: u16 = 0;
    pub const PARTS: u16 = 0;
    pub const ADJ_Y: u16 = 1;
}
