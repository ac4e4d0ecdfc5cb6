//! The header of the C interface is what cbindgen makes of the sources: `make header` writes it, and this test reads it.

use std::path::Path;
use std::{env, fs};

/// In the order in which a reader meets them.
const SOURCES: [&str; 7] = ["status", "gpu", "data", "options", "events", "trainer", "model"];

const PREFACE: &str = "\
/* downhill: trains neural networks on any Vulkan, Metal or DX12 GPU.
 *
 * Every function returns a status; downhill_last_message() tells what was wrong. Handles are plain numbers in a struct: copy them
 * freely, free each once. A handle that was freed is refused with DOWNHILL_STATUS_HANDLE, also where its number was used again.
 * All functions may be called from any thread; while one works on an object, others on the same object wait for it. Functions
 * whose text does not say so wait for nothing but that.
 *
 * Made by cbindgen from src/capi: change it there, then `make header`. */";

fn header() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config {
        language: cbindgen::Language::C,
        cpp_compat: true,
        include_guard: Some("DOWNHILL_H".to_owned()),
        header: Some(PREFACE.to_owned()),
        usize_is_size_t: true,
        style: cbindgen::Style::Type,
        documentation_style: cbindgen::DocumentationStyle::C99,
        no_includes: true,
        sys_includes: vec!["stddef.h".to_owned(), "stdint.h".to_owned()],
        line_length: 120,
        ..cbindgen::Config::default()
    };
    let files = SOURCES.iter().map(|source| root.join(format!("src/capi/{source}.rs")));
    let builder = files.fold(cbindgen::Builder::new().with_config(config), cbindgen::Builder::with_src);
    let mut text = Vec::new();
    builder.generate().expect("sources that cbindgen reads").write(&mut text);
    // What Rust calls so is what the caller promises.
    String::from_utf8(text).expect("UTF-8").replace("// # Safety\n// ", "// Requires: ")
}

#[test]
fn the_header_is_that_of_the_sources() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/downhill.h");
    let made = header();
    if env::var_os("DOWNHILL_WRITE_HEADER").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder to write in");
        fs::write(&path, &made).expect("a file to write");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == made, "include/downhill.h is not what the sources say: run `make header`");
}
