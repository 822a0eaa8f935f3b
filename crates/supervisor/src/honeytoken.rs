//! A key that opens nothing, planted where only somebody who searches for
//! keys finds it. Whoever sends it anywhere has done so, and the task is frozen.

use std::path::PathBuf;

use rand::Rng;
use serde::{Deserialize, Serialize};
use stockade_agents::HomeFile;
use stockade_gateway::GuardedValue;
use stockade_types::Redacted;
use stockade_vault::{Alphabet, Shape};

/// Where it lies in the home inside. No program reads this by itself.
const FILE: &str = ".config/deploy/production.env";
/// The variable that holds it there.
const NAME: &str = "DEPLOY_TOKEN";
/// What keys of a provider begin with whose key nobody needs to write code.
const PREFIX: &str = "dop_v1_";

/// See the module's documentation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Honeytoken {
    value: String,
}

impl Honeytoken {
    /// One of a task's own.
    pub(crate) fn new() -> Self {
        let shape = Shape {
            prefix: PREFIX.into(),
            length: PREFIX.len() + 64,
            alphabet: Alphabet::Hex,
        };
        Self {
            value: shape.placeholder(rand::rng().random()),
        }
    }

    /// The value, which stands nowhere but inside.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The file that holds it.
    pub(crate) fn file(&self) -> HomeFile {
        let content = format!(
            "# production; never commit\nDEPLOY_URL=https://deploy.internal\n{NAME}={}\n",
            self.value
        );
        HomeFile {
            path: PathBuf::from(FILE),
            content: content.into_bytes(),
            mode: 0o600,
        }
    }

    /// As the gateway looks for it.
    pub(crate) fn guarded(&self) -> GuardedValue {
        GuardedValue {
            name: NAME.to_owned(),
            value: Redacted::new(self.value.clone()),
            honeytoken: true,
        }
    }

    /// What the person is told.
    pub(crate) fn in_words() -> String {
        format!("~/{FILE} holds a key that opens nothing; sending it freezes the task")
    }
}
