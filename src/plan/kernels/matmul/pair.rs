//! Two products in one kernel: its first workgroups do the first product, those behind them the second.
//!
//! Each product is a function with the text that it would have alone, in which every name that it declares for the module
//! ends in its number. Workgroup memory, which a workgroup needs for one of them only, is declared once.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::spec::PARAMS;
use super::{Body, FIRST_READ, ProductText, compute, declare, declare_memory};

/// The whole WGSL module of two products of one tile, entry point `main`.
///
/// Bindings: 0 step, 1 the [`super::MatmulParams`] of both, each from a multiple of 16 bytes on, then what the first
/// reads, what the second reads, what the first writes and what the second writes. The first one's `fold` holds for both.
pub(crate) fn pair_wgsl(products: [&ProductText; 2], step: &str) -> String {
    let tile = products[0].spec.tile;
    let mut text = format!(
        "{step}{PARAMS}struct Products {{ @align(16) first: Matmul, @align(16) second: Matmul }}
@group(0) @binding(1) var<uniform> products: Products;
"
    );
    declare_memory(&mut text, tile);
    let [first, second] = products;
    let first_write = FIRST_READ + first.reads + second.reads;
    text += &numbered(&function(first, "first", FIRST_READ, first_write), 1);
    let (first_read, first_write) = (FIRST_READ + first.reads, first_write + first.writes());
    text += &numbered(&function(second, "second", first_read, first_write), 2);
    let [columns, rows] = tile.workgroup;
    let lane = match tile.body {
        Body::Broadcast => "subgroup_invocation_id",
        Body::Direct | Body::Staged | Body::Units => "local_invocation_index",
    };
    let _ = write!(
        text,
        "
@compute @workgroup_size({columns}, {rows})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin({lane}) lane: u32
) {{
    let place = group.x + group.y * products.first.fold;
    let first = products.first.tiles_m * products.first.tiles_n * products.first.batch;
    if place < first {{
        product_1(place, local, lane);
    }} else {{
        product_2(place - first, local, lane);
    }}
}}
"
    );
    text
}

/// The function of one product, and what it declares for the module.
fn function(product: &ProductText, params: &str, first_read: usize, first_write: usize) -> String {
    let mut text = String::new();
    let declarations = shifted(&product.epilogue.declarations, first_read - FIRST_READ);
    let epilogue = super::Epilogue { declarations, ..product.epilogue.clone() };
    declare(&mut text, &ProductText { epilogue, ..product.clone() }, first_read, first_write);
    let _ = writeln!(
        text,
        "\nfn product(place: u32, local: vec3<u32>, lane: u32) {{\n    let p = products.{params};"
    );
    compute(&mut text, &product.spec);
    text += "}\n";
    text
}

/// Declarations with every binding `by` further on.
fn shifted(declarations: &str, by: usize) -> String {
    let mut parts = declarations.split("@binding(");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.chars().take_while(char::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        // Our own texts number their bindings; anything else would not compile with a binding twice.
        let binding = number.parse::<usize>().unwrap_or_default() + by;
        let _ = write!(text, "@binding({binding}{rest}");
    }
    text
}

/// `text` with `number` behind every name that it declares for the module, wherever it stands but as a field.
fn numbered(text: &str, number: u32) -> String {
    let letters: Vec<char> = text.chars().collect();
    let is_letter = |letter: char| letter == '_' || letter.is_ascii_alphanumeric();
    // Names and numbers, and what stands between them.
    let words: Vec<String> =
        letters.chunk_by(|a, b| is_letter(*a) == is_letter(*b)).map(String::from_iter).collect();
    let declared: BTreeSet<&str> = words
        .windows(3)
        .filter(|words| matches!((words[0].as_str(), words[1].as_str()), ("alias" | "fn", " ") | (_, "> ")))
        .map(|words| words[2].as_str())
        .collect();
    let mut numbered = String::new();
    for (place, word) in words.iter().enumerate() {
        let is_field = place > 0 && words[place - 1].ends_with('.');
        numbered += word;
        if declared.contains(word.as_str()) && !is_field {
            let _ = write!(numbered, "_{number}");
        }
    }
    numbered
}
