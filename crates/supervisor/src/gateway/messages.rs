//! What the supervisor and its gateway say to each other.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};
use stockade_agents::{AgentKind, Opinion, ToolCall};
use stockade_approval::{Outcome, Question};
use stockade_gateway::{
    Bill, HostRule, ModelCall, Outgoing, PolicyAnswer, SecretText, Settings, Settlement, Unpaid,
};
use stockade_types::Event;
use stockade_vault::SecretName;

/// What the supervisor sends.
#[derive(Serialize, Deserialize)]
pub(super) enum Told {
    Settings(Box<Settings>),
    Listeners,
    Recorded {
        event: u64,
    },
    NotRecorded {
        event: u64,
    },
    Grant {
        grant: u64,
        rule: HostRule,
        seconds: Option<u64>,
    },
    Reserved {
        ask: u64,
        answer: Result<u64, Unpaid>,
    },
    Settled {
        ask: u64,
        bill: Option<Bill>,
    },
    /// A secret's value, or why there is none.
    Secret {
        ask: u64,
        answer: Result<SecretText, String>,
    },
    TakeBack {
        grant: u64,
        secret: SecretName,
    },
    /// The fingerprints of the repository's files, in a file, or why there are
    /// none.
    Fingerprints {
        ask: u64,
        answer: Result<(), String>,
        #[serde(skip)]
        file: Option<OwnedFd>,
    },
    /// What a question to a person came to, as far as it is known.
    Outcome {
        ask: u64,
        outcome: Outcome,
    },
    /// A person has answered a question; who waits may look again.
    Answered,
    /// What the policy says of a request.
    Judged {
        ask: u64,
        answer: PolicyAnswer,
    },
    /// What an agent's hook is to say.
    Advised {
        ask: u64,
        opinion: Opinion,
    },
}

/// What the gateway sends.
#[derive(Serialize, Deserialize)]
pub(super) enum Heard {
    Authority(String),
    Sealed,
    Event {
        event: u64,
        what: Event,
    },
    /// An event whose record nobody waits for.
    Note {
        what: Event,
    },
    Granted {
        grant: u64,
        answer: Result<(), String>,
    },
    Reserve {
        ask: u64,
        call: Box<ModelCall>,
    },
    Settle {
        ask: u64,
        reservation: u64,
        ended: Settlement,
    },
    Secret {
        ask: u64,
        secret: SecretName,
    },
    Fingerprints {
        ask: u64,
    },
    Question {
        ask: u64,
        question: Box<Question>,
    },
    Judge {
        ask: u64,
        outgoing: Outgoing,
    },
    /// An agent's hook told of a tool call, or of something that is not understood.
    Advise {
        ask: u64,
        agent: AgentKind,
        call: Result<ToolCall, String>,
    },
    /// Somebody inside wants the MCP server of this name; the connection comes along.
    Mcp {
        name: String,
    },
    Failed(String),
}
