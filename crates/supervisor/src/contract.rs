//! The contract: what a task may read, write, reach and spend, shown before
//! it starts and kept with the record.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use stockade_sandbox::Capture;

/// What a task may do, how hard each bound is, and what is weaker than usual.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contract {
    /// How strong the walls are as a whole.
    pub assurance: Assurance,
    /// Who runs: name, version and digest of the agent, or the command.
    pub agent: AgentLine,
    /// The commit it starts from.
    pub base: String,
    /// How the workspace is made.
    pub workspace: String,
    /// Host paths that it may read, with their places inside.
    pub reads: Vec<String>,
    /// Host paths that it may change, with their places inside.
    pub writes: Vec<String>,
    /// Files of the repository whose contents it does not see.
    pub masked: Vec<String>,
    /// What it may reach.
    pub reaches: Vec<String>,
    /// What of that the repository asks for.
    #[serde(default)]
    pub asks: Vec<String>,
    /// What a person is asked about while it runs. A contract that was agreed to
    /// before there was such a thing keeps its digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<String>,
    /// What it must not reach, whatever is allowed.
    #[serde(default)]
    pub denies: Vec<String>,
    /// Ports of the sandbox that can be reached on this machine.
    #[serde(default)]
    pub publishes: Vec<String>,
    /// The names of keys that are used for it, outside.
    pub keys: Vec<String>,
    /// Each secret that it may use without holding it, and where.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// What is planted to catch whoever searches for keys.
    #[serde(default)]
    pub honeytoken: Option<String>,
    /// Bindings of secrets that the repository asks for and does not get.
    #[serde(default)]
    pub asked_secrets: Vec<String>,
    /// Commands of the base commit that run inside before the agent.
    #[serde(default)]
    pub setup: Vec<String>,
    /// The rules by which commands and requests are judged.
    #[serde(default, skip_serializing_if = "PolicyLine::is_unknown")]
    pub policy: PolicyLine,
    /// Caps and how hard they are.
    pub caps: Vec<Cap>,
    /// Whether the record tells of each program that starts inside.
    #[serde(default)]
    pub records_programs: bool,
    /// Guards of the agent's own that are off because the sandbox is on.
    pub switched_off: Vec<String>,
    /// What is weaker than it could be, and why.
    pub weaker: Vec<String>,
    /// The level below which it was not to start, if that was said.
    #[serde(default)]
    pub required: Option<Assurance>,
    /// The level down to which it was to start although the last contract had
    /// a higher one, if that was said.
    #[serde(default)]
    pub accepted: Option<Assurance>,
}

/// Who runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentLine {
    /// Its name, or the command.
    pub name: String,
    /// Its version, where the installation tells.
    pub version: Option<String>,
    /// SHA-256 of what runs.
    pub digest: Option<String>,
}

/// By which rules commands and requests are judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyLine {
    /// SHA-256 of all of them, Stockade's own among them.
    pub digest: String,
    /// Files of the administrator and the user.
    pub people: Vec<String>,
    /// Files of the repository, at the base commit.
    pub repository: Vec<String>,
}

impl PolicyLine {
    /// Whether it is from before tasks had rules.
    pub(crate) fn is_unknown(&self) -> bool {
        self.digest.is_empty()
    }

    fn in_words(&self) -> String {
        let mut files = vec!["Stockade's own".to_owned()];
        files.extend(self.people.iter().cloned());
        let of_repository = self.repository.iter();
        files.extend(of_repository.map(|file| format!("{file} of the repository")));
        let digest = self.digest.trim_start_matches("sha256:");
        format!(
            "{} (sha256:{}), on requests and on what `exec` and programs run; the main command is \
             not judged by its text",
            files.join(", "),
            short(digest)
        )
    }
}

/// How strong the walls are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assurance {
    /// A wall is missing.
    Weak,
    /// Every wall stands; a cap that was asked for is only watched.
    #[default]
    Reduced,
    /// Every wall stands and the kernel keeps every cap.
    Full,
}

/// A bound on what a task may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cap {
    /// Of what.
    pub of: String,
    /// How much.
    pub limit: String,
    /// Who keeps it.
    pub strength: Strength,
}

/// Who keeps a cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strength {
    /// The kernel: it cannot be passed.
    Kernel,
    /// The gateway: no request passes it.
    Gateway,
    /// A process that looks and then ends the task.
    Watched,
    /// Nobody.
    None,
}

impl Contract {
    /// By what a contract is named that somebody agrees to without seeing it
    /// again: SHA-256 of its JSON.
    pub fn digest(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        format!("sha256:{}", hex::encode(Sha256::digest(text)))
    }

    /// What is in this contract and was not in `last`: each line grants more.
    pub fn widenings(&self, last: &Self) -> Vec<String> {
        let mut wider = Vec::new();
        let mut compare = |what: &str, now: &[String], before: &[String]| {
            for line in now.iter().filter(|line| !before.contains(line)) {
                wider.push(format!("{what} {line}"));
            }
        };
        compare("reads", &self.reads, &last.reads);
        compare("writes", &self.writes, &last.writes);
        compare("reaches", &self.reaches, &last.reaches);
        compare(
            "reaches, asked for by the repository:",
            &self.asks,
            &last.asks,
        );
        compare("may ask you", &self.approvals, &last.approvals);
        compare("publishes", &self.publishes, &last.publishes);
        compare("uses", &self.keys, &last.keys);
        compare("may use the secret", &self.secrets, &last.secrets);
        compare("runs before the agent:", &self.setup, &last.setup);
        for hidden in last
            .masked
            .iter()
            .filter(|path| !self.masked.contains(path))
        {
            wider.push(format!("no longer hides {hidden}"));
        }
        let denied = last.denies.iter();
        for rule in denied.filter(|rule| !self.denies.contains(rule)) {
            wider.push(format!("no longer denies {rule}"));
        }
        let rules = last.policy.repository.iter();
        for file in rules.filter(|file| !self.policy.repository.contains(file)) {
            wider.push(format!("no longer has the repository's rules in {file}"));
        }
        if last.records_programs && !self.records_programs {
            wider.push("no longer records the programs that start".to_owned());
        }
        if self.agent.name == last.agent.name
            && self.agent.digest != last.agent.digest
            && last.agent.digest.is_some()
        {
            let version = self.agent.version.as_deref().unwrap_or("unknown version");
            wider.push(format!(
                "{} is another program now ({version})",
                self.agent.name
            ));
        }
        wider
    }

    /// What is weaker in this contract and was not in `last`, down to its level.
    pub fn lowerings(&self, last: &Self) -> Vec<String> {
        let weaker = self.weaker.iter();
        let new = weaker.filter(|line| !last.weaker.contains(line));
        let lower = (self.assurance < last.assurance).then(|| {
            format!(
                "assurance {} instead of {}",
                self.assurance.name(),
                last.assurance.name()
            )
        });
        new.map(|line| format!("weaker: {line}"))
            .chain(lower)
            .collect()
    }

    /// Whether a level as low as this contract's was accepted by its name.
    pub fn accepts_its_level(&self) -> bool {
        self.accepted.is_some_and(|level| self.assurance >= level)
    }

    /// Whether a sandbox may run whose connections are captured like this. What a
    /// kernel without nf_tables lacks stands here; that one which has it refuses the
    /// redirect shows only when the sandbox is built, and needs a yes to the level.
    pub(crate) fn allows(&self, captured: Capture, has_redirect: bool) -> bool {
        let accepted = self
            .accepted
            .is_some_and(|level| level <= Assurance::Reduced)
            && self
                .required
                .is_none_or(|level| level <= Assurance::Reduced);
        captured == Capture::EveryPort || !has_redirect || accepted
    }

    /// The contract as people read it.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let mut line = |label: &str, value: &str| {
            let _ = writeln!(text, "  {label:<11} {value}");
        };
        let version = self
            .agent
            .version
            .as_deref()
            .map(|version| format!(" {version}"));
        let digest = self
            .agent
            .digest
            .as_deref()
            .map(|digest| format!(" sha256:{}", short(digest)));
        line(
            "agent",
            &format!(
                "{}{}{}",
                self.agent.name,
                version.unwrap_or_default(),
                digest.unwrap_or_default()
            ),
        );
        line(
            "base",
            &format!("{} · {}", short(&self.base), self.workspace),
        );
        let (system, own): (Vec<_>, Vec<_>) = self.reads.iter().partition(|path| {
            path.starts_with("/etc") || path.starts_with("/usr") || path.starts_with("/lib")
        });
        if !system.is_empty() {
            line(
                "reads",
                &format!(
                    "system programs and settings ({} paths, read-only)",
                    system.len()
                ),
            );
        }
        for path in own {
            line("reads", path);
        }
        for path in &self.writes {
            line("writes", path);
        }
        if !self.masked.is_empty() {
            line("hidden", &self.masked.join(", "));
        }
        if self.reaches.is_empty() && self.asks.is_empty() {
            line("reaches", "nothing");
        }
        for host in &self.reaches {
            line("reaches", host);
        }
        for host in &self.asks {
            line("reaches", &format!("{host}, which the repository asks for"));
        }
        for what in &self.approvals {
            line("asks you", what);
        }
        for rule in &self.denies {
            line("denies", rule);
        }
        for port in &self.publishes {
            line("publishes", port);
        }
        if !self.keys.is_empty() {
            line(
                "keys",
                &format!("{} (outside; a placeholder inside)", self.keys.join(", ")),
            );
        }
        for secret in &self.secrets {
            line("secret", secret);
        }
        if let Some(planted) = &self.honeytoken {
            line("honeytoken", planted);
        }
        for asked in &self.asked_secrets {
            line(
                "not given",
                &format!("{asked}, which the repository asks for; `stockade secret bind` gives it"),
            );
        }
        for command in &self.setup {
            line("setup", command);
        }
        if !self.policy.is_unknown() {
            line("policy", &self.policy.in_words());
        }
        for cap in &self.caps {
            line(
                "cap",
                &format!("{} {} ({})", cap.of, cap.limit, cap.strength.name()),
            );
        }
        if self.records_programs {
            line("records", "each program that starts, as it is seen");
        }
        for switch in &self.switched_off {
            line("agent's own", switch);
        }
        for weaker in &self.weaker {
            line("weaker", weaker);
        }
        let said = [("required", self.required), ("accepted", self.accepted)];
        let said: Vec<String> = said
            .iter()
            .filter_map(|(what, level)| Some(format!("{} {what}", (*level)?.name())))
            .collect();
        let said = if said.is_empty() {
            String::new()
        } else {
            format!(" ({})", said.join(", "))
        };
        line("assurance", &format!("{}{said}", self.assurance.name()));
        text
    }
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

impl Assurance {
    /// The name that people read and give.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weak => "weak",
            Self::Reduced => "reduced",
            Self::Full => "full",
        }
    }
}

impl Strength {
    /// The name that people read.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Gateway => "gateway",
            Self::Watched => "watched",
            Self::None => "none",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract() -> Contract {
        Contract {
            reaches: vec!["api.example.com:443 POST /v1/messages".into()],
            masked: vec![".env".into()],
            agent: AgentLine {
                name: "claude".into(),
                version: Some("2".into()),
                digest: Some("aa".into()),
            },
            ..Contract::default()
        }
    }

    #[test]
    fn an_equal_or_narrower_contract_widens_nothing() {
        let narrower = Contract {
            reaches: Vec::new(),
            ..contract()
        };
        assert!(contract().widenings(&contract()).is_empty());
        assert!(contract().lowerings(&contract()).is_empty());
        assert!(narrower.widenings(&contract()).is_empty());
    }

    #[test]
    fn g2_fewer_ports_than_agreed_are_captured_only_if_the_level_was_accepted_by_its_name() {
        let allows = |required, accepted, captured, has_redirect| {
            let contract = Contract {
                required,
                accepted,
                ..contract()
            };
            contract.allows(captured, has_redirect)
        };
        let (every, web) = (Capture::EveryPort, Capture::WebPortsOnly);
        let reduced = Some(Assurance::Reduced);
        assert!(allows(Some(Assurance::Full), None, every, true));
        assert!(!allows(None, None, web, true));
        assert!(!allows(None, Some(Assurance::Full), web, true));
        assert!(!allows(Some(Assurance::Full), reduced, web, true));
        assert!(allows(None, reduced, web, true));
        // Without nf_tables it stands in the contract, whose level was agreed to.
        assert!(allows(None, None, web, false));
    }

    #[test]
    fn a_level_is_accepted_by_its_name_and_no_lower_one_with_it() {
        let accepted = |accepted, assurance| {
            let contract = Contract {
                assurance,
                accepted,
                ..contract()
            };
            contract.accepts_its_level()
        };
        assert!(accepted(Some(Assurance::Reduced), Assurance::Reduced));
        assert!(accepted(Some(Assurance::Weak), Assurance::Reduced));
        assert!(!accepted(Some(Assurance::Reduced), Assurance::Weak));
        assert!(!accepted(Some(Assurance::Full), Assurance::Reduced));
        assert!(!accepted(None, Assurance::Full));
    }

    #[test]
    fn every_kind_of_widening_is_named() {
        let mut wider = contract();
        wider.reaches.push("example.org".into());
        wider.writes.push("/data".into());
        wider.masked.clear();
        wider.asks.push("asked.test (GET)".into());
        wider.publishes.push("port 3000 inside".into());
        let mut before = contract();
        before.policy.repository.push("ours.cedar".into());
        before.denies.push("denied.test".into());
        wider.assurance = Assurance::Weak;
        wider.agent.digest = Some("bb".into());
        let named = [wider.widenings(&before), wider.lowerings(&before)].concat();
        let named = named.join("\n");
        for word in [
            "reaches example.org",
            "asked for by the repository: asked.test",
            "no longer denies denied.test",
            "writes /data",
            "publishes port 3000",
            "rules in ours.cedar",
            ".env",
            "weak",
            "another program",
        ] {
            assert!(named.contains(word), "{word} not in {named}");
        }
    }
}
