//! Builds `stockade-inside`, the executable that this crate carries.
//!
//! It is a separate build because it is linked differently: static and not
//! position independent, which makes each start inside cheaper and leaves
//! nothing of the host's to load.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            println!("cargo::error=stockade-inside: {reason}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a build script starts cargo")]
fn build() -> Result<(), String> {
    let variable = |name: &str| env::var(name).map_err(|error| format!("{name}: {error}"));
    let crates = Path::new(&variable("CARGO_MANIFEST_DIR")?)
        .parent()
        .ok_or("the crate has no parent directory")?
        .to_owned();
    let target = variable("TARGET")?;
    let output = PathBuf::from(variable("OUT_DIR")?);
    let directory = output.join("inside");
    for watched in [
        "inside/src",
        "inside/Cargo.toml",
        "types/src/wire.rs",
        "types/src/hook.rs",
    ] {
        println!("cargo::rerun-if-changed={}", crates.join(watched).display());
    }
    let status = Command::new(variable("CARGO")?)
        .args([
            "build",
            "--quiet",
            "--release",
            "--target",
            &target,
            "--manifest-path",
        ])
        .arg(crates.join("inside/Cargo.toml"))
        .arg("--target-dir")
        .arg(&directory)
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"))
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s")
        // Set by clippy and by coverage tools for the outer build only.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("CARGO_BUILD_RUSTFLAGS")
        .env_remove("RUSTFLAGS")
        .status()
        .map_err(|error| format!("cargo could not be started: {error}"))?;
    if !status.success() {
        return Err(format!("cargo ended with {status}"));
    }
    let built = directory.join(&target).join("release/stockade-inside");
    std::fs::copy(&built, output.join("stockade-inside"))
        .map_err(|error| format!("{}: {error}", built.display()))?;
    Ok(())
}

const FLAGS: [&str; 4] = [
    "-C",
    "target-feature=+crt-static",
    "-C",
    "relocation-model=static",
];
