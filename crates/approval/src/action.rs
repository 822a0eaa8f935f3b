use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::json;
use stockade_audit::Hash;
use stockade_types::{Effect, EffectKind, HostName, Reversible, TaskId, canonical_json};

/// The form in which actions are digested; another form is another version.
const VERSION: u8 = 1;
/// Methods that ask a server for something and leave nothing there.
const READING: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

/// Something that needs a person's approval, as it was parsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Action {
    /// Requests to a host.
    Request {
        /// The method, in upper case.
        method: String,
        /// `https` or `http`.
        scheme: String,
        /// The host.
        host: HostName,
        /// The TCP port.
        port: u16,
        /// Path and query of the only ones that are meant; all without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
    },
    /// A command inside.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
        /// The folder in which it would run.
        cwd: String,
        /// Variables that it gets on top of those of its task.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, String>,
        /// What it reads from its standard input, if it does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Input>,
        /// What it would do.
        effects: Vec<Effect>,
    },
    /// Reviewed work leaves for a remote of the user's repository.
    Push(Departure),
}

/// What leaves, and where to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departure {
    /// The remote's name.
    pub remote: String,
    /// Where it is, without what proves who asks.
    pub url: String,
    /// The branch there, `refs/heads/…`.
    pub reference: String,
    /// The commit that it must still be at; it must not exist without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// The commit that it moves to.
    pub new: String,
    /// SHA-256, in hexadecimal, over what that commit brings.
    pub manifest: String,
    /// Files in it that a build server runs, or the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ci: Vec<String>,
    /// What it would do.
    pub effects: Vec<Effect>,
}

/// How many people must approve what a build server would run: it acts on others'
/// machines, with the secrets that those hold.
const PEOPLE_OF_CI: u8 = 2;

/// What a command reads from its standard input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// Bytes that are known.
    Given {
        /// SHA-256 over them.
        sha256: Hash,
        /// How many they are.
        bytes: u64,
        /// How they begin, as text, for people.
        begins: String,
    },
    /// What it is sent once it runs, which nobody has seen yet.
    Later,
}

impl Input {
    /// How many characters of what is given are told.
    const TOLD: usize = 2048;

    /// These bytes.
    pub fn given(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        Self::Given {
            sha256: Hash::of(bytes),
            bytes: bytes.len() as u64,
            begins: text.chars().take(Self::TOLD).collect(),
        }
    }
}

impl Action {
    /// What is approved: SHA-256 over the task and every word of the action, in
    /// the one spelling of RFC 8785.
    pub fn digest(&self, task: &TaskId) -> ActionDigest {
        let form = json!({ "version": VERSION, "task": task, "action": self });
        ActionDigest(Hash::of(canonical_json(&form).as_bytes()))
    }

    /// Whether it changes or tells something outside the machine, beyond asking
    /// for it.
    pub fn outward(&self) -> bool {
        match self {
            Self::Request { method, .. } => !reads(method),
            Self::Command { effects, .. } => effects.iter().any(|effect| effect.outward),
            Self::Push(_) => true,
        }
    }

    /// Whether it can be taken back; of several effects, the worst counts.
    pub fn reversible(&self) -> Reversible {
        match self {
            Self::Request { method, .. } if reads(method) => Reversible::Yes,
            Self::Request { .. } => EffectKind::NetUpload.reversible(),
            Self::Command { effects, .. } | Self::Push(Departure { effects, .. }) => {
                let worst = effects.iter().map(|effect| effect.reversible).max();
                worst.unwrap_or(Reversible::No)
            }
        }
    }

    /// Whether only a person who shows presence may approve it.
    pub fn is_grave(&self) -> bool {
        self.outward() && self.reversible() == Reversible::No
    }

    /// How many people must approve it, whatever the user configured.
    pub fn people(&self) -> u8 {
        match self {
            Self::Push(departure) if !departure.ci.is_empty() => PEOPLE_OF_CI,
            _ => 1,
        }
    }
}

fn reads(method: &str) -> bool {
    READING.contains(&method)
}

/// Names exactly one action of one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ActionDigest(Hash);

impl fmt::Display for ActionDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, host: &str) -> Action {
        Action::Request {
            method: method.to_owned(),
            scheme: "https".to_owned(),
            host: host.parse().unwrap(),
            port: 443,
            path: None,
        }
    }

    fn command(effects: Vec<Effect>) -> Action {
        Action::Command {
            argv: vec!["git".to_owned(), "push".to_owned()],
            cwd: "/workspace/a".to_owned(),
            env: BTreeMap::new(),
            input: None,
            effects,
        }
    }

    #[test]
    fn g4_whatever_differs_in_an_action_its_task_or_its_kind_changes_the_digest() {
        let task = TaskId::from_random(1);
        let mut digests = vec![
            request("GET", "a.test").digest(&task),
            request("GET", "a.test").digest(&TaskId::from_random(2)),
            request("GET", "b.test").digest(&task),
            request("HEAD", "a.test").digest(&task),
            command(Vec::new()).digest(&task),
        ];
        for change in ["scheme", "port", "path", "argv", "cwd", "env", "input"] {
            let mut value = json!(if ["scheme", "port", "path"].contains(&change) {
                request("GET", "a.test")
            } else {
                command(Vec::new())
            });
            value[change] = match change {
                "port" => json!(444),
                "argv" => json!(["git push"]),
                "env" => json!({ "GIT_SSH_COMMAND": "ssh" }),
                "input" => json!("later"),
                _ => json!("http"),
            };
            let changed: Action = serde_json::from_value(value).unwrap();
            digests.push(changed.digest(&task));
        }
        for (place, digest) in digests.iter().enumerate() {
            assert!(!digests[..place].contains(digest), "{place}");
        }
        assert_eq!(digests[0], request("GET", "a.test").digest(&task));
    }

    fn push() -> Action {
        let push = Effect::new(EffectKind::VcsPush, "git");
        Action::Push(Departure {
            remote: "origin".to_owned(),
            url: "https://a.test/x.git".to_owned(),
            reference: "refs/heads/b".to_owned(),
            old: None,
            new: "1".repeat(40),
            manifest: "2".repeat(64),
            ci: Vec::new(),
            effects: vec![push],
        })
    }

    #[test]
    fn g4_whatever_differs_in_a_push_changes_the_digest() {
        let task = TaskId::from_random(1);
        let mut digests = vec![push().digest(&task)];
        for (part, value) in [
            ("remote", json!("backup")),
            ("url", json!("https://b.test/x.git")),
            ("reference", json!("refs/heads/c")),
            ("old", json!("3".repeat(40))),
            ("new", json!("3".repeat(40))),
            ("manifest", json!("3".repeat(64))),
            ("ci", json!([".github/workflows/a.yml"])),
        ] {
            let mut changed = json!(push());
            changed[part] = value;
            let changed: Action = serde_json::from_value(changed).unwrap();
            digests.push(changed.digest(&task));
        }
        for (place, digest) in digests.iter().enumerate() {
            assert!(!digests[..place].contains(digest), "{place}");
        }
    }

    #[test]
    fn g4_a_push_can_be_made_up_for_unless_it_overrides_and_what_builds_run_takes_two() {
        let plain = push();
        assert!(plain.outward() && !plain.is_grave());
        assert_eq!(plain.people(), 1);
        let mut changed = json!(plain);
        changed["ci"] = json!([".github/workflows/a.yml"]);
        let ci: Action = serde_json::from_value(changed).unwrap();
        assert_eq!((ci.people(), ci.is_grave()), (2, false));
        let forced = Effect::new(EffectKind::VcsPush, "git");
        let mut changed = json!(plain);
        changed["effects"] = json!([forced.marked([stockade_types::Mark::Force])]);
        let forced: Action = serde_json::from_value(changed).unwrap();
        assert!(forced.is_grave());
    }

    #[test]
    fn the_digest_of_an_action_is_one_that_anybody_can_compute() {
        let digest = request("GET", "a.test").digest(&TaskId::from_random(0));
        let text = concat!(
            r#"{"action":{"host":"a.test","kind":"request","method":"GET","port":443,"#,
            r#""scheme":"https"},"task":"t-00000000","version":1}"#
        );
        assert_eq!(digest.to_string(), Hash::of(text.as_bytes()).to_string());
    }

    #[test]
    fn what_leaves_something_with_others_for_good_is_grave_and_asking_for_a_page_is_not() {
        assert!(!request("GET", "a.test").is_grave());
        assert!(request("POST", "a.test").is_grave());
        assert!(request("DELETE", "a.test").is_grave());
        let read = Effect::new(EffectKind::FsRead, "cat");
        let push = Effect::new(EffectKind::VcsPush, "git");
        let publish = Effect::new(EffectKind::PkgPublish, "npm");
        assert!(!command(vec![read.clone(), push.clone()]).is_grave());
        assert!(command(vec![read, push, publish]).is_grave());
        // One of which nothing is known cannot be taken back, but leaves nothing.
        assert_eq!(command(Vec::new()).reversible(), Reversible::No);
    }
}
