//! What texts mean, and what is said of those that mean nothing.

use proptest::prelude::*;

use super::Builder;
use crate::graph::StepContext;
use crate::{Error, Objective};

/// The unknowns of these tests.
const START: &str = "x=2; y=-3; v=[1,2,4]; n=[-1,0,2]; one=[7]";

/// The value of `text` where the names are unknowns of a graph.
fn of_unknowns(text: &str) -> Result<f64, Error> {
    let mut builder = Builder::default();
    let starts = Builder::starts(START).map_err(|fault| fault.in_text("start", START))?;
    for start in &starts {
        builder.unknown(start)?;
    }
    let var = builder.scalar(text).map_err(|fault| fault.in_text("expression", text))?;
    let (graph, inputs) = builder.finish();
    let theta = starts.into_iter().map(|start| start.value.data).collect();
    let context = StepContext { inputs, theta, ..StepContext::default() };
    Ok(graph.evaluate(&[var], 1, &context)[0].data[0])
}

/// The value of `text` where the names are known, so that all is computed while the text is read.
fn of_constants(text: &str) -> Result<f64, Error> {
    let text = format!("{START}; {text}");
    let mut builder = Builder::default();
    let var = builder.scalar(&text).map_err(|fault| fault.in_text("expression", &text))?;
    let (graph, _) = builder.finish();
    Ok(graph.evaluate(&[var], 1, &StepContext::default())[0].data[0])
}

#[test]
fn texts_have_the_values_that_their_language_promises() {
    let (x, y, e): (f64, f64, f64) = (2.0, -3.0, std::f64::consts::E);
    let rows: &[(&str, f64)] = &[
        // Numbers and precedence.
        ("1 + 2*3", 7.0),
        ("1.5e2 + .5 + 5. + 1E-1", 155.6),
        ("8/4/2", 1.0),
        ("8-4-2", 2.0),
        ("-x^2", -4.0),
        ("(-x)^2", 4.0),
        ("2^-1", 0.5),
        ("2^3^2", 512.0),
        ("-x^-2", -0.25),
        ("2--3", 5.0),
        ("2*-x", -4.0),
        ("+x - -+-y", 5.0),
        ("pi*e", std::f64::consts::PI * e),
        // Powers of what may be negative.
        ("y^2", 9.0),
        ("y^3", -27.0),
        ("y^0", 1.0),
        ("y^1", -3.0),
        ("y^-3", -1.0 / 27.0),
        ("x^0.5", x.sqrt()),
        ("x^2.5", x.powf(2.5)),
        ("x^y", 0.125),
        ("3^y", 1.0 / 27.0),
        ("e^y", y.exp()),
        ("sum(n^2)", 5.0),
        ("sum(n^[1,0,3])", 8.0),
        ("sum([x,y,x]^[-1,3,0])", 0.5 - 27.0 + 1.0),
        ("sum(y^[1,2,3])", -3.0 + 9.0 - 27.0),
        ("sum(2^v)", 22.0),
        // Functions.
        ("exp(y)", y.exp()),
        ("log(x)", x.ln()),
        ("sqrt(x)", x.sqrt()),
        ("sin(y) + cos(y)", y.sin() + y.cos()),
        ("tan(y)", y.tan()),
        ("tanh(y)", y.tanh()),
        ("atan(y)", y.atan()),
        ("abs(y)", 3.0),
        ("relu(y) + relu(x)", 2.0),
        ("sigmoid(y)", 1.0 / (1.0 + 3.0f64.exp())),
        ("floor(y/2)", -2.0),
        ("min(x, y)", -3.0),
        ("sum(max(v, 3))", 10.0),
        ("mod(-7, 3)", 2.0),
        ("mod(7, y)", -2.0),
        ("sum(mod(7*iota(4)+3, 11))", 3.0 + 10.0 + 6.0 + 2.0),
        // Vectors.
        ("v[0] + 10*v[-1]", 41.0),
        ("sum(v[1:]) + 10*sum(v[:-1]) + 100*sum(v[1:2]) + 1000*sum(v[:])", 7236.0),
        ("sum(v[-99:99])", 7.0),
        ("sum(v[-2:-1])", 2.0),
        ("[1, x, y][2]", -3.0),
        ("dot([x, 1, y*y], v)", 2.0 + 2.0 + 36.0),
        ("[v[1], 5][0]^2", 4.0),
        ("sum(v) + mean(v)", 7.0 + 7.0 / 3.0),
        ("sum(x) + mean(y)", -1.0),
        ("dot(v, n)", 7.0),
        ("sum(iota(5)*2) + sum(zeros(3)) + sum(ones(4))", 24.0),
        ("sum(one) + sum(one^2)", 56.0),
        ("sum(1/(1+v))", 0.5 + 1.0 / 3.0 + 0.2),
        // Definitions.
        ("a = x+1; b = a*a; b - a", 6.0),
        ("e = 3; e*x;", 6.0),
        ("  \n a=1 ;\t a  ", 1.0),
        ("θ_1 = 4; θ_1", 4.0),
    ];
    for &(text, expected) in rows {
        for value in [of_unknowns(text), of_constants(text)] {
            let value = value.unwrap_or_else(|error| panic!("`{text}`: {error}"));
            // A few roundings of f64.
            assert!((value - expected).abs() <= 1e-13 * expected.abs().max(1.0), "`{text}` is {value}");
        }
    }
}

#[test]
fn a_text_without_meaning_is_refused_at_its_place() {
    let rows: &[(&str, usize, &str)] = &[
        ("", 1, "there is no value"),
        ("a = x", 6, "there is no value"),
        ("x +", 4, "expected a number, a name, `(` or `[`, not the end"),
        ("x + * 2", 5, "not `*`"),
        ("(x", 3, "expected `)` for the parenthesis that is open, not the end"),
        ("x)", 2, "expected an operator, `;` or the end, not `)`"),
        ("2x", 2, "an operator is missing before `x`"),
        ("2e", 2, "an operator is missing before `e`"),
        ("x y", 3, "an operator is missing before `y`"),
        ("x (y)", 1, "`x` is no function"),
        ("1..2", 3, "an operator is missing before `0.2`"),
        ("x # y", 3, "`#` means nothing here"),
        ("x == y", 4, "expected a number"),
        ("θ*θ + x@y", 8, "`@` means nothing here"),
        ("x; y", 1, "only the last statement"),
        ("foo(x)", 1, "unknown name `foo`"),
        ("sgmoid(x)", 1, "did you mean `sigmoid`?"),
        ("1 + flor(x)", 5, "did you mean `floor`?"),
        ("xx + vv", 1, "unknown name `xx`"),
        ("1 + sum", 5, "`sum` is a function"),
        ("sum = 3; sum", 1, "`sum` is a function and cannot be defined"),
        ("x = 3; x", 1, "`x` has a value already"),
        ("a=1; a=2; a", 6, "`a` has a value already"),
        ("sin(x, y)", 1, "`sin` takes 1 argument, not 2"),
        ("min(x)", 1, "`min` takes 2 arguments, not 1"),
        ("sin()", 1, "`sin` takes 1 argument, not 0"),
        ("sin(x", 6, "expected `)` after the arguments, not the end"),
        ("v", 1, "the value is a vector of 3, not a scalar; reduce it with `sum` or `mean`"),
        ("a=1; v+n", 6, "the value is a vector of 3"),
        ("sum(v + one)", 7, "`+` takes vectors of one length, not of 3 and 1"),
        ("sum(v[1:]*v)", 10, "not of 2 and 3"),
        ("sum(v^[1,2])", 6, "`^` takes vectors of one length"),
        ("dot(v, 2)", 1, "`dot` takes two vectors of one length, not a vector of 3 and a scalar"),
        ("v[3]", 2, "there is no element 3 in a vector of 3"),
        ("v[-4]", 2, "there is no element -4"),
        ("v[0.5]", 2, "an index is a known whole number"),
        ("v[x]", 2, "an index is a known whole number"),
        ("v[v]", 2, "an index is a known whole number"),
        ("v[1e300]", 2, "there is no element"),
        ("x[0]", 2, "a scalar has no elements"),
        ("sum(v[2:1])", 6, "no element of a vector of 3 is between these bounds"),
        ("v[0", 4, "expected `]` after an index, not the end"),
        ("[]", 1, "a vector has at least one element"),
        ("sum([1, v])", 5, "the elements of a vector are scalars, not a vector of 3"),
        ("sum(iota(0))", 5, "a known whole number from 1"),
        ("sum(zeros(1e9))", 5, "a known whole number from 1"),
        ("sum(ones(x))", 5, "a known whole number"),
        ("x * 1e39", 3, "1e39 is beyond 3.4e38"),
        ("x + log(-1)", 3, "not a number"),
        ("x * (1/0)", 3, "beyond 3.4e38"),
    ];
    for &(text, wanted, fragment) in rows {
        match of_unknowns(text) {
            Err(Error::Expression { name: "expression", column, message, .. }) => {
                assert!(message.contains(fragment), "`{text}`: {message}");
                assert_eq!(column, wanted, "`{text}`: {message}");
            }
            other => panic!("`{text}`: {other:?}"),
        }
    }
}

#[test]
fn a_start_without_meaning_is_refused_at_its_place() {
    let rows = [
        ("", 1, "there is no unknown"),
        ("1", 1, "a start is of the form NAME=VALUE"),
        ("x=1; 2", 6, "a start is of the form NAME=VALUE"),
        ("x=y", 3, "unknown name `y`"),
        ("x=1; x=2", 6, "`x` has a value already"),
        ("x=1e39", 1, "`x` cannot start at"),
        ("x=log(-1)", 1, "`x` cannot start at NaN"),
        ("sin=2", 1, "`sin` is a function"),
        ("x=1; z=2", 6, "`z` does not occur in the expression"),
    ];
    for (start, wanted, fragment) in rows {
        match Objective::parse("x^2", start) {
            Err(Error::Expression { name: "start", column, message, .. }) => {
                assert!(message.contains(fragment), "`{start}`: {message}");
                assert_eq!(column, wanted, "`{start}`: {message}");
            }
            other => panic!("`{start}`: {other:?}"),
        }
    }
}

#[test]
fn nesting_has_a_limit_and_length_has_none() {
    for nested in [
        format!("{}x{}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("x{}", "^x".repeat(100_000)),
        format!("{}x", "sin(".repeat(100_000)),
        format!("{}x", "[".repeat(100_000)),
        format!("v{}", "[v".repeat(100_000)),
    ] {
        let error = of_unknowns(&nested).unwrap_err();
        assert!(error.to_string().ends_with("nested more than 200 deep"), "{error}");
    }
    assert_eq!(of_unknowns(&format!("x{}", "+1".repeat(20_000))).unwrap(), 20_002.0);
    assert_eq!(of_unknowns(&format!("{}x", "-".repeat(20_000))).unwrap(), 2.0);
}

/// Every function at two places, where it is smooth.
#[test]
fn gradients_are_those_of_central_differences() {
    let rows = [
        ("exp(x)*y", "x=0.3; y=-1.2"),
        ("log(x) + sqrt(y)", "x=0.7; y=2.5"),
        ("sin(x)*cos(y) + tan(x*y)", "x=0.4; y=1.3"),
        ("tanh(x) + atan(3*x) + sigmoid(-x)", "x=0.4"),
        ("abs(x)*relu(y) + relu(x)", "x=-1.5; y=0.6"),
        ("floor(x) + x*floor(y)", "x=1.5; y=2.5"),
        ("min(x, y) + 2*max(x, y)", "x=1.5; y=2.5"),
        ("mod(x, y)", "x=7.3; y=-3.1"),
        ("x/y - y/x", "x=7.3; y=-3.1"),
        ("x^2 + x^3 + x^-2 + x^7", "x=-1.1"),
        ("abs(x)^1.5 + abs(x)^0.5", "x=-1.1"),
        ("x^y + 2^x + e^y", "x=1.4; y=-0.3"),
        ("sum(x^[3,2,0,1,-1])", "x=[-1.5,0.2,0.3,2,-0.5]"),
        ("dot(x[1:], x[:-1]^2) + mean(x) + x[-1]*x[0]", "x=[1,-2,3]"),
        ("sum([x*y, 2, y]*[y, x, 1])", "x=1.5; y=-2"),
        ("c = 10^(iota(4)/3); sum(c*(x-1)^2)/2", "x=[1,2,3,5]"),
        ("sum(x*y)", "x=[1,2,3]; y=4"),
    ];
    for (text, start) in rows {
        let objective = Objective::parse(text, start).unwrap();
        let theta = objective.start().to_vec();
        let gradient = objective.gradient(&theta);
        for (i, slope) in gradient.iter().enumerate() {
            let at = |step: f64| {
                let mut moved = theta.clone();
                moved[i] += step;
                objective.evaluate(&moved)
            };
            let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
            // The differences' own error: h²·f‴/6 and 1e-16/h.
            assert!(
                (slope - difference).abs() <= 1e-7 * (1.0 + slope.abs()),
                "`{text}` {i}: {slope} {difference}"
            );
        }
    }
}

#[test]
fn powers_have_derivatives_where_the_base_is_zero_or_negative() {
    let rows: [(&str, f64, f64); 7] = [
        ("x^2", 0.0, 0.0),
        ("x^3", 0.0, 0.0),
        ("x^1", 0.0, 1.0),
        ("x^0", 0.0, 0.0),
        ("x^2", -3.0, -6.0),
        ("sum(x^[0,1,2])", 0.0, 1.0),
        ("sum([x, 2]^[2, -1])", 0.0, 0.0),
    ];
    for (text, at, slope) in rows {
        let objective = Objective::parse(text, &format!("x={at}")).unwrap();
        assert_eq!(objective.gradient(&[at]), [slope], "`{text}` at {at}");
    }
}

#[test]
fn theta_of_another_length_has_no_value() {
    let objective = Objective::parse("sum(x)", "x=[1,2]").unwrap();
    assert!(objective.evaluate(&[1.0]).is_nan() && objective.evaluate(&[1.0, 2.0, 3.0]).is_nan());
    assert_eq!(objective.unknowns().collect::<Vec<_>>(), [("x", 2)]);
}

proptest! {
    #[test]
    fn reading_never_panics(text in "[-xyv0-9.e+*/^()\\[\\],:;= a-c]{0,40}") {
        let _ = of_unknowns(&text);
        let _ = Objective::parse("x", &text);
    }

    #[test]
    fn words_in_any_order_never_panic(words in proptest::collection::vec(0usize..30, 0..25)) {
        const WORDS: [&str; 30] = [
            "x", "y", "v", "n", "one", "2", "0.5", "-", "+", "*", "/", "^", "(", ")", "[", "]", ",", ":", ";", "=",
            "sum(", "sin(", "dot(", "mod(", "iota(", "zeros(", "min(", "a", "pi", "é",
        ];
        let text: String = words.into_iter().map(|word| WORDS[word]).collect();
        let _ = of_unknowns(&text);
    }
}
