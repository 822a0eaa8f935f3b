//! What a contract grants more than the last one, which is asked about, and what was agreed to.

use stockade_sandbox::Capture;

use super::{Assurance, Contract};

impl Contract {
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
        compare("may use the MCP server", &self.mcp, &last.mcp);
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
        if last.hooks && !self.hooks {
            wider.push("no longer tells tool calls to the policy".to_owned());
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::AgentLine;

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

    /// What is changed in the contract that a task starts with, or in the last one, and
    /// what is said of it.
    type Widening = (fn(&mut Contract, &mut Contract), &'static str);

    const WIDENINGS: &[Widening] = &[
        (|now, _| now.reads.push("/data".into()), "reads /data"),
        (|now, _| now.writes.push("/data".into()), "writes /data"),
        (
            |now, _| now.reaches.push("example.org".into()),
            "reaches example.org",
        ),
        (
            |now, _| now.asks.push("asked.test (GET)".into()),
            "reaches, asked for by the repository: asked.test (GET)",
        ),
        (
            |now, _| now.approvals.push("about hosts that no rule names".into()),
            "may ask you about hosts that no rule names",
        ),
        (
            |_, last| last.denies.push("denied.test".into()),
            "no longer denies denied.test",
        ),
        (
            |now, _| now.publishes.push("port 3000 inside".into()),
            "publishes port 3000 inside",
        ),
        (
            |now, _| now.keys.push("OPENAI_API_KEY".into()),
            "uses OPENAI_API_KEY",
        ),
        (
            |now, _| now.secrets.push("github at api.github.com".into()),
            "may use the secret github at api.github.com",
        ),
        (
            |now, _| now.setup.push("npm ci".into()),
            "runs before the agent: npm ci",
        ),
        (|now, _| now.masked.clear(), "no longer hides .env"),
        (
            |_, last| last.policy.repository.push("ours.cedar".into()),
            "no longer has the repository's rules in ours.cedar",
        ),
        (
            |_, last| last.records_programs = true,
            "no longer records the programs that start",
        ),
        (
            |_, last| last.hooks = true,
            "no longer tells tool calls to the policy",
        ),
        (
            |now, _| now.agent.digest = Some("bb".into()),
            "claude is another program now (2)",
        ),
        (
            |now, _| now.assurance = Assurance::Weak,
            "assurance weak instead of reduced",
        ),
        (
            |now, _| now.weaker.push("no cgroup".into()),
            "weaker: no cgroup",
        ),
    ];

    #[test]
    fn every_kind_of_widening_is_named() {
        let named =
            |now: &Contract, last: &Contract| [now.widenings(last), now.lowerings(last)].concat();
        let (mut all_now, mut all_last) = (contract(), contract());
        for (change, sentence) in WIDENINGS {
            let (mut now, mut last) = (contract(), contract());
            change(&mut now, &mut last);
            assert_eq!(named(&now, &last), [*sentence]);
            // The other way round it is less, and a program that changed has changed.
            let back = named(&last, &now);
            assert!(back.is_empty() || now.agent != last.agent, "{back:?}");
            change(&mut all_now, &mut all_last);
        }
        let all = named(&all_now, &all_last);
        assert_eq!(all.len(), WIDENINGS.len(), "{all:?}");
    }
}
