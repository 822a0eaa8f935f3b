//! Makes the demo repository: `cargo run -p stockade-rehearsal --example make_demo -- DIRECTORY`.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args_os()
        .nth(1)
        .ok_or("missing argument: DIRECTORY")?;
    Ok(stockade_rehearsal::demo_repository::create(Path::new(
        &directory,
    ))?)
}
