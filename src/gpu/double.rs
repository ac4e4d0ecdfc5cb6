//! Kernels in f64 from those in f32: an exchange of words, and the functions that SPIR-V has in 16 and 32 bits only.

use std::collections::BTreeSet;
use std::fmt::Write;

#[cfg(test)]
mod tests;

/// What the exchanged functions are defined by, between empty lines.
const DEFINITIONS: &str = include_str!("../../shaders/double.wgsl");

/// The functions that become ours, and how many numbers they take.
const FUNCTIONS: [(&str, usize); 17] = [
    ("exp", 1),
    ("exp2", 1),
    ("log", 1),
    ("log2", 1),
    ("pow", 2),
    ("sin", 1),
    ("cos", 1),
    ("tan", 1),
    ("asin", 1),
    ("acos", 1),
    ("atan", 1),
    ("atan2", 2),
    ("sinh", 1),
    ("cosh", 1),
    ("tanh", 1),
    ("inverseSqrt", 1),
    ("erf", 1),
];

/// The largest f32, from which maxima start, and the largest f64.
const LARGEST: [&str; 2] = ["3.4028234663852886e38", "1.7976931348623157e308"];

/// The kernel `wgsl` in f64: every `f32` is `f64`, every float literal one of f64 (the largest f32 the largest f64), and
/// functions that drivers lack are ours. Needs [`super::Profile::f64`].
///
/// Such functions take an `f64`, or where the text has `alias T = vec4<f32>` a vector of four; one that takes the other, one
/// that the kernel defines itself and one that reads the bits of a float are errors when the kernel is compiled. Blocks that
/// the host writes hold f64 too, aligned to 8 bytes. Kernels in f64 do not run on Metal or DX12, whose devices lack it.
pub(crate) fn in_double(wgsl: &str) -> String {
    let vectors = wgsl.contains("alias T = vec4<f32>");
    let mut called = BTreeSet::new();
    let mut text = String::with_capacity(wgsl.len());
    let mut rest = wgsl;
    while !rest.is_empty() {
        let (word, after) = rest.split_at(length_of_word(rest));
        rest = after;
        let function = FUNCTIONS.iter().find(|(name, _)| *name == word);
        match function.filter(|_| rest.trim_start().starts_with('(')) {
            Some(function) => {
                called.insert(*function);
                let _ = write!(text, "double_{word}{}", if vectors { "4" } else { "" });
            }
            None if word == "f32" => text.push_str("f64"),
            None if is_float(word) => text.push_str(&literal_in_double(word)),
            None => text.push_str(word),
        }
    }
    if vectors {
        called.iter().for_each(|(name, numbers)| text.push_str(&by_fours(name, *numbers)));
    }
    text + &definitions(called.iter().map(|(name, _)| format!("double_{name}")).collect())
}

/// The bytes of the word, number, comment or other character that `text` begins with.
fn length_of_word(text: &str) -> usize {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let first = text.chars().next().unwrap_or(' ');
    let end = if text.starts_with("//") {
        text.find('\n')
    } else if first.is_ascii_digit() {
        // The sign of an exponent is part of a number, but not of one in base 16.
        let decimal = !text.starts_with("0x");
        let mut before = ' ';
        text.find(|c: char| {
            let is_sign = decimal && matches!(before, 'e' | 'E') && matches!(c, '+' | '-');
            before = c;
            !(is_word(c) || c == '.' || is_sign)
        })
    } else if is_word(first) {
        text.find(|c| !is_word(c))
    } else {
        Some(first.len_utf8())
    };
    end.unwrap_or(text.len())
}

fn is_float(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
        && !word.starts_with("0x")
        && (word.contains(['.', 'e', 'E']) || word.ends_with('f'))
}

/// With the suffix that naga has for f64, so that `var x = 0.0` is one.
fn literal_in_double(word: &str) -> String {
    let digits = word.trim_end_matches('f');
    let [single, double] = LARGEST;
    format!("{}lf", if digits == single { double } else { digits })
}

/// The function of `name` on vectors of four.
fn by_fours(name: &str, numbers: usize) -> String {
    let of = |form: &dyn Fn(char) -> String| {
        ['a', 'b'].into_iter().take(numbers).map(form).collect::<Vec<_>>().join(", ")
    };
    let parts = ['x', 'y', 'z', 'w'];
    let values = parts.map(|part| format!("double_{name}({})", of(&|argument| format!("{argument}.{part}"))));
    format!(
        "\nfn double_{name}4({}) -> vec4<f64> {{\n    return vec4<f64>({});\n}}\n",
        of(&|argument| format!("{argument}: vec4<f64>")),
        values.join(", ")
    )
}

/// What defines the functions `wanted`, and what those call.
fn definitions(mut wanted: BTreeSet<String>) -> String {
    let mut kept = Vec::new();
    for definition in DEFINITIONS.split("\n\n").collect::<Vec<_>>().into_iter().rev() {
        let head = definition.lines().find_map(|line| line.strip_prefix("fn "));
        let name = head.and_then(|head| head.split('(').next());
        if name.is_some_and(|name| wanted.contains(name)) {
            let words = definition.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            wanted.extend(words.filter(|word| word.starts_with("double_")).map(str::to_owned));
            kept.push(definition);
        }
    }
    kept.reverse();
    kept.iter().map(|definition| format!("\n{definition}\n")).collect()
}
