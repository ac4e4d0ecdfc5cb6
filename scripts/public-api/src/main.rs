//! Prints the public items of a crate, a line each, from rustdoc's JSON.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("say where rustdoc's JSON is")?;
    let api = public_api::Builder::from_rustdoc_json(path)
        .omit_auto_derived_impls(true)
        .omit_auto_trait_impls(true)
        .omit_blanket_impls(true)
        .build()?;
    api.items().for_each(|item| println!("{item}"));
    Ok(())
}
