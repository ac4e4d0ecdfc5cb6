//! `downhill fit` as its users meet it.

#![cfg(feature = "cli")]

mod program;

use std::fs;
use std::path::Path;

use program::{Ended, run, succeed};
use serde_json::Value;

const MISRA: &str = "y = b1*(1-exp(-b2*x))";
const START: &str = "b1=500; b2=0.0001";

/// A folder with a table of NIST's, one that has faults, and arrays for many fits.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let strd = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/strd/Misra1a.csv");
    fs::copy(strd, folder.path().join("misra.csv")).expect("a copy");
    let write = |name: &str, text: &[u8]| fs::write(folder.path().join(name), text).expect("a file");
    write("text.csv", b"x,y,name\n1,2,a\n2,nan,b\n3,4,c\n4,5,d\n");
    write("short.csv", b"x,y\n1,2\n");
    write("ragged.csv", b"x,y\n1,2\n3\n");
    write("weights.csv", b"x,y,w\n1,2,1\n2,3,-1\n3,5,1\n");
    let x: Vec<f64> = (0..20).map(|i| 0.2 * f64::from(i)).collect();
    let row = |fit: u32| x.iter().map(move |x| (1.0 + f64::from(fit)) * (-0.5 * x).exp() + 0.25);
    let y: Vec<f64> = (0..70).flat_map(row).collect();
    write("y.npy", &array("20, ", "70, ", &y));
    write("x.npy", &array("20, ", "", &x));
    write("far.npy", &array("3, ", "70, ", &[[20.0, 0.2, 0.0]; 70].concat()));
    write("cube.npy", &array("2, 2, ", "2, ", &[0.0; 8]));
    folder
}

/// A NumPy array of f64, with its sizes as text.
fn array(inner: &str, outer: &str, values: &[f64]) -> Vec<u8> {
    let header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({outer}{inner}), }}\n");
    let length = (header.len() as u16).to_le_bytes();
    let mut bytes = [b"\x93NUMPY\x01\x00".as_slice(), &length, header.as_bytes()].concat();
    values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    bytes
}

fn done(ended: &Ended) -> Value {
    let lines: Vec<Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let [done] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(done["event"], "done");
    done.clone()
}

fn near(value: &Value, wanted: f64, within: f64) {
    let found = value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    assert!((found - wanted).abs() <= within * wanted.abs(), "{found} {wanted}");
}

#[test]
fn a_fit_is_told_in_json_and_in_words_and_drawn() {
    let folder = folder();
    for (precision, within) in [("f32", 1e-4), ("f64", 1e-9)] {
        let arguments = [
            "fit",
            MISRA,
            "--data",
            "misra.csv",
            "--start",
            START,
            "--method",
            "lm",
            "--precision",
            precision,
        ];
        let done = done(&succeed(folder.path(), &[&arguments[..], &["--json", "--svg", "fit.svg"]].concat()));
        assert_eq!(done["status"], "converged");
        near(&done["parameters"]["b1"], 238.94212918, within);
        near(&done["parameters"]["b2"], 5.5015643181e-4, within);
        near(&done["standard_errors"]["b1"], 2.7070075241, within);
        near(&done["covariance"][1][1], 7.2668688436e-6f64.powi(2), 2.0 * within);
        near(&done["rss"], 0.12455138894, within);
        near(&done["residual_sd"], 0.10187876330, within);
        assert_eq!(done["degrees_of_freedom"], 12);
        assert!(done["steps"].as_u64().is_some_and(|steps| steps > 3));
        let text = succeed(folder.path(), &arguments).stdout;
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("converged after ") && lines[0].ends_with("12 degrees of freedom"),
            "{text}"
        );
        assert!(lines[1].starts_with("b1 = 238.94") && lines[1].ends_with("± 2.707"), "{text}");
        let picture = fs::read_to_string(folder.path().join("fit.svg")).expect("a picture");
        assert!(
            picture.contains(">residual</text>") && picture.matches("<circle").count() == 28,
            "{picture}"
        );
    }
}

#[test]
fn many_fits_go_to_a_table_or_an_array() {
    let folder = folder();
    let arguments = ["fit", "y = a*exp(-k*x) + c", "--data", "y.npy", "--start", "a=1; k=1; c=0", "--json"];
    let with = |more: &[&str]| done(&succeed(folder.path(), &[&arguments[..], more].concat()));
    let told = with(&["--x", "x.npy", "--out", "fits.csv"]);
    assert_eq!(
        (&told["status"], &told["fits"], &told["converged"]),
        (&"converged".into(), &70.into(), &70.into())
    );
    let table = fs::read_to_string(folder.path().join("fits.csv")).expect("a table");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "a,k,c,error of a,error of k,error of c,objective,steps,status");
    assert_eq!(lines.len(), 71);
    for (fit, line) in lines[1..].iter().enumerate() {
        let fields: Vec<&str> = line.split(',').collect();
        assert_eq!(fields[8], "converged");
        for (field, wanted) in fields.iter().zip([1.0 + fit as f64, 0.5, 0.25]) {
            let found: f64 = field.parse().expect("a number");
            // Exact but for the rounding of f32.
            assert!((found - wanted).abs() <= 1e-4 * wanted, "{line}");
        }
    }
    // x is the number of the point where nothing else is said.
    let told = with(&["--out", "fits.npy", "--precision", "f64", "--starts", "far.npy"]);
    assert_eq!(told["converged"], 70);
    let bytes = fs::read(folder.path().join("fits.npy")).expect("an array");
    let first: Vec<f64> = bytes[bytes.len() - 70 * 24..]
        .chunks_exact(8)
        .take(3)
        .map(|x| f64::from_le_bytes(x.try_into().unwrap()))
        .collect();
    assert!(first.iter().zip([1.0, 0.1, 0.25]).all(|(x, wanted)| (x - wanted).abs() < 1e-8), "{first:?}");
}

#[test]
fn data_far_from_zero_are_warned_of_in_f32() {
    let folder = tempfile::tempdir().unwrap();
    let rows = |offset: f64| {
        let row = |i: i32| format!("{i},{}\n", offset + 0.02 * f64::exp(-0.3 * f64::from(i)));
        format!("x,y\n{}", (0..20).map(row).collect::<String>())
    };
    // One rounding of 10⁵ is a fifth of what varies; taken off in the equation, it is too late.
    let (usual, moved) = ("y = a*exp(-k*x) + c", "y - 100000 = a*exp(-k*x) + c");
    let cases = [
        (1e5, usual, "f32", true),
        (1e5, moved, "f32", true),
        (1e5, usual, "f64", false),
        (1.0, usual, "f32", false),
    ];
    for (offset, equation, precision, warns) in cases {
        std::fs::write(folder.path().join("far.csv"), rows(offset)).unwrap();
        let start = format!("a=0.03; k=1; c={}", if equation == moved { 0.0 } else { offset });
        let arguments = ["fit", equation, "--data", "far.csv", "--start", &start, "--precision", precision];
        let ended = run(folder.path(), &arguments);
        assert_eq!(
            ended.stderr.contains("the data lie far from 0"),
            warns,
            "{offset} {precision}: {}",
            ended.stderr
        );
    }
}

#[test]
fn what_the_data_leave_open_is_told() {
    let folder = folder();
    let arguments = ["fit", "y = (a+b)*x", "--data", "misra.csv", "--start", "a=1; b=2"];
    let ended = succeed(folder.path(), &arguments);
    assert!(ended.stderr.contains("the data do not determine the unknowns along a - b"), "{}", ended.stderr);
    assert!(ended.stdout.contains("± unknown"), "{}", ended.stdout);
    let done = done(&succeed(folder.path(), &[&arguments[..], &["--json", "--quiet"]].concat()));
    assert_eq!((&done["undetermined"][0], &done["standard_errors"]["a"]), (&"a - b".into(), &Value::Null));
}

#[test]
fn fits_that_fail_say_so_with_code_1() {
    let folder = folder();
    let rows: [(&[&str], &str, &str); 2] = [
        (&["--steps", "2"], "max_steps", "not converged after 2 steps; raise --steps or start elsewhere"),
        (&["--start", "b1=500; b2=-1e9"], "diverged", "the residuals are not finite at the start"),
    ];
    for (more, status, message) in rows {
        let start = if more[0] == "--start" { &[][..] } else { &["--start", START] };
        let arguments = [&["fit", MISRA, "--data", "misra.csv"], start, more].concat();
        let ended = run(folder.path(), &arguments);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.error(status).starts_with(message), "{}", ended.stderr);
        let json = run(folder.path(), &[&arguments[..], &["--json"]].concat());
        assert_eq!((json.code, &done(&json)["status"]), (Some(1), &status.into()));
    }
}

#[test]
fn bad_requests_are_one_line_and_code_2() {
    let folder = folder();
    // Equation, data, start, more arguments, what the message has.
    let rows: [(&str, &str, &str, &[&str], &str); 27] = [
        ("b1*x", "misra.csv", "b1=1", &[], "there is no `=`"),
        ("= b1*x", "misra.csv", "b1=1", &[], "there is nothing before `=`"),
        ("y = b1*x +", "misra.csv", "b1=1", &[], "expected a number"),
        ("y = b1*z", "misra.csv", "b1=1", &[], "unknown name `z`"),
        ("z = b1*x", "misra.csv", "b1=1", &[], "unknown name `z`"),
        ("y = b1*x", "misra.csv", "b1=1; b2=1", &[], "`b2` does not occur in the equation"),
        ("y = x*y", "misra.csv", "x=1", &[], "`x` is a column of the data too"),
        ("1 = b1", "misra.csv", "b1=1", &[], "the equation reads no column"),
        ("y = sum(b)*x", "misra.csv", "b=ones(30)", &[], "30 unknowns, where a fit has at most 24"),
        (
            "y = b*x",
            "misra.csv",
            "b=[1,2]",
            &[],
            "`*` takes a column of the data and a scalar, not a vector of 2",
        ),
        (MISRA, "misra.csv", "b1=500", &[], "unknown name `b2`"),
        (MISRA, "misra.csv", START, &["--method", "lmm"], "did you mean `lm`?"),
        (MISRA, "misra.csv", START, &["--weights", "w"], "weights: unknown name `w`"),
        (MISRA, "misra.csv", START, &["--bounds", "b3=0:1"], "bounds: unknown name `b3`"),
        (MISRA, "misra.csv", START, &["--bounds", "b1=2:1"], "`b1=2:1` has nothing between its values"),
        (MISRA, "misra.csv", START, &["--bounds", "b1"], "`b1` has no `=`"),
        (
            MISRA,
            "misra.csv",
            START,
            &["--bounds", "b1=0:400"],
            "`b1` starts at 500, outside its bounds 0 to 400",
        ),
        (MISRA, "misra.csv", START, &["--robust", "hubert:1"], "did you mean `huber`?"),
        (MISRA, "misra.csv", START, &["--robust", "huber:0"], "the scale is a number above 0"),
        (MISRA, "misra.csv", START, &["--tolerance", "-1"], "tolerance: must be a number from 0 on"),
        (MISRA, "misra.csv", START, &["--x", "x.npy"], "x: is for many fits"),
        (MISRA, "short.csv", START, &[], "1 points do not determine 2 unknowns"),
        (MISRA, "text.csv", START, &[], "line 3, column `y`: `nan` is not a finite number"),
        ("y = b1*name", "text.csv", "b1=1", &[], "line 2, column `name`: `a` is not a number"),
        (MISRA, "ragged.csv", START, &[], "line 3: 1 values, but the header names 2 columns"),
        (
            "y = b1*x",
            "weights.csv",
            "b1=1",
            &["--weights", "w"],
            "`w`, row 1: a weight is not negative, this is -1",
        ),
        ("y = b1*x", "cube.npy", "b1=1", &[], "is of shape [2, 2, 2], not [fits, points]"),
    ];
    for (equation, data, start, more, message) in rows {
        let arguments = [&["fit", equation, "--data", data, "--start", start], more].concat();
        let ended = run(folder.path(), &arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.stderr);
        // Faults of a text show their place in two lines more.
        let line = ended.stderr.lines().next().unwrap_or_default();
        assert!(line.starts_with("error: ") && line.contains(message), "{arguments:?}: {line}");
    }
}
