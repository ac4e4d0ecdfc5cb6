//! The functions of the language, by name.

/// A function and what its arguments are.
pub(super) struct Function {
    pub name: &'static str,
    pub arguments: usize,
    pub meaning: Meaning,
}

/// What a function does.
#[derive(Clone, Copy)]
pub(super) enum Meaning {
    /// The graph's function of the same name, element by element.
    Unary,
    /// The graph's function of two variables of the same name, element by element.
    Binary,
    /// a − b·⌊a/b⌋, which has the sign of b.
    Modulo,
    Sum,
    Mean,
    Dot,
    /// 0, 1, … n − 1.
    Iota,
    /// So many of one number.
    Fill(f64),
}

const fn unary(name: &'static str) -> Function {
    Function { name, arguments: 1, meaning: Meaning::Unary }
}

const fn function(name: &'static str, arguments: usize, meaning: Meaning) -> Function {
    Function { name, arguments, meaning }
}

/// Every function; a new one that the graph has is a row.
pub(super) static FUNCTIONS: &[Function] = &[
    unary("exp"),
    unary("log"),
    unary("sqrt"),
    unary("sin"),
    unary("cos"),
    unary("tan"),
    unary("tanh"),
    unary("atan"),
    unary("abs"),
    unary("relu"),
    unary("sigmoid"),
    unary("floor"),
    function("min", 2, Meaning::Binary),
    function("max", 2, Meaning::Binary),
    function("mod", 2, Meaning::Modulo),
    function("sum", 1, Meaning::Sum),
    function("mean", 1, Meaning::Mean),
    function("dot", 2, Meaning::Dot),
    function("iota", 1, Meaning::Iota),
    function("zeros", 1, Meaning::Fill(0.0)),
    function("ones", 1, Meaning::Fill(1.0)),
];

/// Numbers with a name, which a definition or an unknown may take for itself.
pub(super) static CONSTANTS: [(&str, f64); 2] = [("pi", std::f64::consts::PI), ("e", std::f64::consts::E)];

/// The function called `name`.
pub(super) fn function_of(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}
