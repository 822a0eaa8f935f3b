//! Puts the reports of `scripts/security-comparison` side by side.

#![expect(clippy::print_stdout, reason = "the document is what this prints")]

use std::{error::Error, fs, path::Path};

use serde_json::Value;
use stockade_attack::{Probe, Selection};

/// A target that was attacked.
struct Column {
    name: String,
    version: String,
    command: String,
    report: Value,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let folder = words.next().ok_or("say where the reports are")?;
    let commit = words.next().ok_or("say of which commit Stockade is")?;
    let columns = columns(Path::new(&folder))?;
    let date = time()?;
    println!(
        "{}",
        INTRODUCTION
            .replace("{date}", &date)
            .replace("{commit}", &commit)
    );
    println!("| target | version | command | held | escaped | skipped | needs that are broken |");
    println!("|---|---|---|---|---|---|---|");
    for column in &columns {
        let totals = &column.report["totals"];
        println!(
            "| {} | {} | `{}` | {} | {} | {} | {} |",
            column.name,
            column.version,
            column.command,
            totals["held"],
            totals["escaped"],
            totals["skipped"],
            totals["needs_broken"]
        );
    }
    println!("\n## Probe by probe\n\n{LEGEND}\n");
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    println!("| | probe | {} |", names.join(" | "));
    println!("|---|---|{}", "---|".repeat(columns.len()));
    for probe in Selection::default().probes()? {
        row(probe, &columns);
    }
    Ok(())
}

/// The reports in a folder, by the names of their files.
fn columns(folder: &Path) -> Result<Vec<Column>, Box<dyn Error>> {
    let mut paths: Vec<_> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|kind| kind == "json"));
    paths.sort();
    let column = |path: &std::path::PathBuf| {
        let about = fs::read_to_string(path.with_extension("txt"))?;
        let mut lines = about.lines().map(str::to_owned);
        let mut line = || lines.next().unwrap_or_default();
        Ok(Column {
            name: line(),
            version: line(),
            command: line(),
            report: serde_json::from_slice(&fs::read(path)?)?,
        })
    };
    paths.iter().map(column).collect()
}

/// A probe that was tried in any of the targets.
fn row(probe: &Probe, columns: &[Column]) {
    let cells: Vec<String> = columns.iter().map(|column| cell(probe, column)).collect();
    if cells.iter().any(|cell| cell != SKIPPED) {
        let label = format!("{} {}", probe.class, probe.id);
        println!("| {label} | {} | {} |", probe.title, cells.join(" | "));
    }
}

const SKIPPED: &str = "–";

fn cell(probe: &Probe, column: &Column) -> String {
    let list = |name: &str| column.report[name].as_array().cloned().unwrap_or_default();
    for (of, held, escaped) in [
        ("probes", "held", "**escaped**"),
        ("needs", "works", "**broken**"),
    ] {
        let found = list(of).into_iter().find(|row| row["id"] == probe.id);
        let Some(found) = found else { continue };
        return match (found["outcome"].as_str(), found["witness"].as_str()) {
            (Some("held"), _) => held.to_owned(),
            (Some("escaped"), Some("inside")) if of == "probes" => format!("{escaped} (inside)"),
            (Some("escaped"), _) => escaped.to_owned(),
            _ => SKIPPED.to_owned(),
        };
    }
    SKIPPED.to_owned()
}

/// Today, as the newest report's file tells.
fn time() -> Result<String, Box<dyn Error>> {
    let format = time::macros::format_description!("[year]-[month]-[day]");
    Ok(time::OffsetDateTime::now_utc().format(format)?)
}

const INTRODUCTION: &str = "\
# Security comparison

What `stockade attack` finds in Stockade's own sandbox and in others. Made by
`scripts/security-comparison` on {date} at commit {commit}, all on one machine, by one run each, as an
ordinary user; nothing here is taken from what a product says of itself.

Each probe is first run where no sandbox is, where it must go through, or it is
skipped. A probe *held* if it failed inside and the host was as before. The others
*escaped*; that is not the same as a hole. A probe asks whether one thing is kept
from an agent, and a product may let that through on purpose: bubblewrap does what
its options say, and what sandbox-runtime and Codex let through here other settings
may forbid. The commands stand in the table; SETTINGS are in the script. The probes were written for what Stockade
promises, so that Stockade does well is no surprise; that others differ, and
where, is what the table shows. Class A is judged by what git runs when the user
then works in the folder, which with Stockade is the user's checkout after review.
";

const LEGEND: &str = "\
**escaped** was seen by the host, afterwards; *escaped (inside)* was seen inside
only: a call that was not refused, a file that could be read, a way that was open.
– is skipped: the probe cannot be tried there, or not yet. Probes that could be
tried nowhere are not shown; `stockade attack` gives their reasons.";
