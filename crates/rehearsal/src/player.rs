//! Which answer a request gets.

use crate::{
    conversation::{ModelRequest, Reply, Usage},
    script::{Script, Turn, UsageFigures},
    tools,
    transcript::Outcome,
};

/// A common rule of thumb; only used where the script gives no figure.
const BYTES_PER_TOKEN: usize = 4;

/// An answer and what is to be written down about it.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) reply: Reply,
    /// The script's turn; none for a side answer.
    pub(crate) turn: Option<usize>,
    /// How the previous turn's action came out, if this request tells.
    pub(crate) outcome: Option<Outcome>,
}

/// Answers `request`, whose body had `body_bytes`.
pub(crate) fn play(
    script: &Script,
    request: &ModelRequest,
    body_bytes: usize,
    serial: u64,
) -> Played {
    if !tools::can_act(&request.tools) {
        let text = side_text(request);
        let usage = usage(UsageFigures::default(), body_bytes, text.len());
        let reply = Reply {
            text,
            call: None,
            usage,
            turn: 0,
            serial,
        };
        return Played {
            reply,
            turn: None,
            outcome: None,
        };
    }
    let turn = request.history.next_turn();
    let outcome = outcome(script, request, turn);
    let (text, call, figures) = match script.turns().get(turn) {
        Some(current) => {
            let (text, call) = lines(current, request);
            (text, call, current.usage)
        }
        None => (script.ending().to_owned(), None, UsageFigures::default()),
    };
    let length = text.len()
        + call
            .as_ref()
            .map_or(0, |call| call.arguments.to_string().len());
    let usage = usage(figures, body_bytes, length);
    Played {
        reply: Reply {
            text,
            call,
            usage,
            turn,
            serial,
        },
        turn: Some(turn),
        outcome,
    }
}

fn lines(turn: &Turn, request: &ModelRequest) -> (String, Option<crate::conversation::ToolCall>) {
    let Some(action) = &turn.action else {
        return (turn.text.clone(), None);
    };
    let directory = tools::working_directory(&request.prompt);
    match tools::call_for(action, &request.tools, directory) {
        Some(call) => (turn.text.clone(), Some(call)),
        None => (
            format!("{}(This client offers no tool for this step.)", turn.text),
            None,
        ),
    }
}

fn outcome(script: &Script, request: &ModelRequest, turn: usize) -> Option<Outcome> {
    let previous = turn.checked_sub(1)?;
    let played = script.turns().get(previous)?;
    let results = request.history.results();
    if played.action.is_none() || results.is_empty() {
        return None;
    }
    let text = results
        .iter()
        .map(|result| result.text.as_str())
        .collect::<Vec<_>>()
        .join("\n");
    let failures = played.expect.failures(&text);
    Some(Outcome {
        turn: previous,
        label: played.label.clone(),
        failures,
    })
}

/// Titles, summaries, classifiers: valid if a schema is asked for, else short.
fn side_text(request: &ModelRequest) -> String {
    match &request.answer_schema {
        Some(schema) => tools::made_up(schema, 0).to_string(),
        None => "Rehearsal".to_owned(),
    }
}

fn usage(figures: UsageFigures, body_bytes: usize, reply_bytes: usize) -> Usage {
    let estimate =
        |bytes: usize| u64::try_from(bytes.div_ceil(BYTES_PER_TOKEN)).unwrap_or(u64::MAX);
    Usage {
        input: figures.input.unwrap_or_else(|| estimate(body_bytes)),
        cache_read: figures.cache_read.unwrap_or(0),
        cache_write: figures.cache_write.unwrap_or(0),
        output: figures.output.unwrap_or_else(|| estimate(reply_bytes)),
        reasoning: figures.reasoning.unwrap_or(0),
    }
}
