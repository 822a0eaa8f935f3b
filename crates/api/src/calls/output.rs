//! What a command printed that was too long for its result.

use std::io::ErrorKind;

use schemars::JsonSchema;
use serde::Serialize;
use stockade_supervisor::TaskDirectory;

use super::{aside, no_sandbox};
use crate::http::{Kind, Problem, Target};

/// How much is sent if nothing is said, and at most.
const LENGTH: u64 = 64 * 1024;
const LENGTH_MAX: u64 = 1 << 20;

/// A piece of what a command printed.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct OutputPiece {
    /// The text, up to the last whole character.
    text: String,
    /// The offset of the piece after this one; `total` when this is the last.
    next: u64,
    /// How many bytes there are in all.
    total: u64,
}

pub(super) async fn piece(task: TaskDirectory, target: &Target) -> Result<OutputPiece, Problem> {
    let exec = target.number(1)?;
    let offset = target.query("offset").unwrap_or(0);
    let length = target.query("length").unwrap_or(LENGTH);
    if !(4..=LENGTH_MAX).contains(&length) {
        let detail = format!("`length` must be from 4 to {LENGTH_MAX}");
        return Err(Problem::new(Kind::Invalid, detail));
    }
    aside(move || match task.exec_piece(exec, offset, length) {
        Ok(piece) => Ok(OutputPiece {
            text: piece.text,
            next: piece.next,
            total: piece.total,
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(none(&task, exec)),
        Err(error) => Err(Problem::failed(error)),
    })
    .await
}

fn none(task: &TaskDirectory, exec: u32) -> Problem {
    if task.status().is_err() {
        return no_sandbox(task.id().as_str());
    }
    Problem::new(Kind::NotFound, format!("of command {exec} nothing is kept"))
        .fix("only what was too long for its result is kept, of the last 100 commands")
}
