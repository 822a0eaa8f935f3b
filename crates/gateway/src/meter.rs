use std::{fmt, future::Future, pin::Pin};

use serde::{Deserialize, Serialize};
use stockade_types::{Money, Usage};

use crate::settings::ModelApi;

/// A model request as its price and its loops are told: what the gateway read
/// in it, without a word of its text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelCall {
    /// The API.
    pub api: ModelApi,
    /// The model that it names, bounded.
    pub model: String,
    /// The size of its body.
    pub input_bytes: u64,
    /// Whether the size says nothing about its tokens: it holds pictures or
    /// documents, or refers to what the provider keeps.
    pub whole_context: bool,
    /// Whether it asks for a cache that lasts an hour.
    pub hour_cache: bool,
    /// The most output tokens that it wants.
    pub output_limit: Option<u64>,
    /// How many answers it wants.
    pub answers: u64,
    /// Service tiers, speeds and places that it names, bounded.
    pub tiers: Vec<String>,
    /// Whether the model may act on it: it offers tools, or goes on with a
    /// conversation. Agents ask for titles and the like beside that.
    pub turn: bool,
    /// The agent's last tool calls since a person spoke, the last one last.
    pub calls: Vec<ToolCall>,
}

/// A tool call in a request's history, by digests that hold within one
/// gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The tool.
    pub tool: u64,
    /// The tool and its arguments.
    pub call: u64,
    /// What it gave.
    pub result: u64,
    /// Whether that is marked as a failure.
    pub failed: bool,
}

/// What became of a reserved request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spent {
    /// It never reached the provider, or the provider refused it.
    Nothing,
    /// The provider said what it took.
    Reported(Usage),
    /// Nobody knows.
    Unknown,
}

/// What a reply asks the agent to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Calls of a tool that runs a command.
    pub commands: u64,
    /// Calls of a tool that starts another agent.
    pub subagents: u64,
}

/// How a reserved request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// What became of it.
    pub spent: Spent,
    /// What its reply asked for, as far as it came.
    pub asked: Asked,
}

impl From<Spent> for Settlement {
    fn from(spent: Spent) -> Self {
        let asked = Asked::default();
        Self { spent, asked }
    }
}

/// What a settled request was booked at.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Bill {
    /// Its cost.
    pub cost: Money,
    /// Whether that is a guess: nothing was reported, or the price is not
    /// known.
    pub estimated: bool,
}

/// Why a request may not be spent for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpaid {
    /// A sentence, or several.
    pub reason: String,
    /// The command by which a person can change that.
    pub allow: Option<String>,
}

impl Unpaid {
    /// Nothing that a command could change.
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            allow: None,
        }
    }

    /// With that command.
    pub fn with_allow(mut self, command: impl Into<String>) -> Self {
        self.allow = Some(command.into());
        self
    }
}

impl fmt::Display for Unpaid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.reason)?;
        match &self.allow {
            Some(command) => write!(formatter, " A person can change that with: {command}"),
            None => Ok(()),
        }
    }
}

/// What a meter's methods give.
pub type Metered<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who knows prices and caps. Every metered request asks it before it leaves.
pub trait Meter: Send + Sync {
    /// Reserves for a request, or says why it may not be sent.
    fn reserve(&self, call: ModelCall) -> Metered<'_, Result<u64, Unpaid>>;

    /// Settles what was reserved under this number.
    fn settle(&self, reservation: u64, ended: Settlement) -> Metered<'_, Option<Bill>>;
}
