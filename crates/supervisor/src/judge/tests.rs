use std::sync::{LazyLock, Mutex};

use proptest::prelude::*;
use stockade_approval::AskId;
use stockade_policy::{Layer, Source};

use super::*;

pub(super) const WORKSPACE: &str = "/workspace/app";

pub(super) fn judge_with(rules: &str) -> Judge {
    let source = Source {
        layer: Layer::User,
        name: "mine.cedar".to_owned(),
        text: rules.to_owned(),
    };
    let policy = TaskPolicy::new(&[source], Vec::new());
    let judge = Judge::new(policy, &TaskId::from_random(7), WORKSPACE.to_owned(), None);
    judge.read_rules().unwrap();
    judge
}

fn command(judge: &Judge, text: &str) -> Result<Admitted, Box<Denial>> {
    let words = ["/bin/bash", "-c", text].map(str::to_owned);
    judge.command(&attempt(&words))
}

fn attempt(words: &[String]) -> Attempt<'_> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    Attempt {
        words,
        folder: WORKSPACE,
        variables: &NONE,
        stdin: &Stdin::Nothing,
        patience: Duration::ZERO,
    }
}

/// The rule by which a request may not leave as it is.
fn rule_against(judge: &Judge, outgoing: &Outgoing) -> Option<String> {
    match judge.request(outgoing) {
        PolicyAnswer::Allow => None,
        PolicyAnswer::Ask(rule) | PolicyAnswer::Deny(rule) => Some(rule.rule),
    }
}

fn outgoing(method: &str, host: &str, path: &str) -> Outgoing {
    Outgoing {
        host: host.to_owned(),
        method: method.to_owned(),
        path: path.to_owned(),
        query: String::new(),
        of_model: false,
    }
}

/// A rule that forbids what `when` says of effects of `action`.
pub(super) fn forbids(number: usize, verdict: &str, action: &str, when: &str) -> String {
    format!(
        "@id(\"mine.rule-{number}\")\n@verdict(\"{verdict}\")\n@reason(\"A test.\")\n\
         forbid (principal, action {action}, resource) when {{ {when} }};\n"
    )
}

/// A few policies with rules of every verdict, made once: Cedar takes its time.
static POLICIES: LazyLock<Vec<(Judge, Judge)>> = LazyLock::new(|| {
    let actions = [
        "== Action::\"net.connect\"",
        "in Action::\"net\"",
        "in Action::\"outward\"",
        "== Action::\"vcs.push\"",
        "== Action::\"exec.run\"",
        "in Action::\"fs\"",
    ];
    let conditions = [
        "true",
        "context.target like \"*.test\"",
        "context.target == \"a.test\"",
        "context.marks.contains(Mark::\"force\")",
        "context.program == \"git\"",
        "!context.outward",
    ];
    (0..12)
        .map(|seed: usize| {
            let rules: Vec<String> = (0..3)
                .map(|number| {
                    let verdict = ["deny", "ask", "contain"][(seed + number) % 3];
                    let action = actions[(seed * 5 + number * 7) % actions.len()];
                    let when = conditions[(seed * 3 + number * 5) % conditions.len()];
                    forbids(number, verdict, action, when)
                })
                .collect();
            (judge_with(&rules.concat()), judge_with(""))
        })
        .collect()
});

proptest! {
    #[test]
    fn g4_no_point_lets_more_pass_than_the_policy_decides(
        policy in 0..12_usize,
        method in proptest::sample::select(vec!["GET", "POST", "PUT", "DELETE", "BREW"]),
        host in proptest::sample::select(vec!["a.test", "b.test", "example.com", "10.0.0.1",
            "registry.npmjs.org", "crates.io"]),
        path in proptest::sample::select(vec!["/", "/x.git/info/refs", "/x.git/git-receive-pack",
            "/x.git/git-upload-pack", "/api/v1/crates/new"]),
        query in proptest::sample::select(vec!["", "a=b", "service=git-receive-pack"]),
        text in proptest::sample::select(vec!["ls", "git push origin agent/x", "git push -f",
            "curl https://a.test", "make all", "eval \"$X\"", "rm -rf target", "npm publish",
            "git push origin agent/x; make", "curl -d x https://b.test"]),
    ) {
        let (judge, plain) = &POLICIES[policy];
        // A command starts freely only if Cedar allows every effect of it, and
        // contained only if Cedar allows or contains every one.
        let around = Surroundings::inside(WORKSPACE);
        let words = ["/bin/bash", "-c", text].map(str::to_owned);
        let effects = stockade_policy::effects_of_words(&words, &around);
        let decide = |judge: &Judge, effects: &[Effect]| judge.decide(effects).unwrap();
        let verdict = decide(judge, &effects).verdict;
        match command(judge, text) {
            Ok(Admitted::Free) => prop_assert_eq!(verdict, Verdict::Allow),
            Ok(Admitted::Contained(_)) => prop_assert!(verdict <= Verdict::Contain),
            Err(denial) => {
                prop_assert!(verdict >= Verdict::Ask);
                prop_assert!(!denial.rule.is_empty() && !denial.reason.is_empty());
            }
        }
        // A request leaves only if Cedar allows every effect of it, but for what
        // Stockade's own rules say of reaching and sending.
        let outgoing = Outgoing { query: query.to_owned(), ..outgoing(method, host, path) };
        let effects = effects_of_request(&Asked {
            host, method, path, query, of_model: false,
        });
        if judge.request(&outgoing) == PolicyAnswer::Allow {
            for effect in effects {
                let strict = decide(judge, std::slice::from_ref(&effect));
                let own = decide(plain, std::slice::from_ref(&effect));
                let is_of_hosts =
                    matches!(effect.kind, EffectKind::NetConnect | EffectKind::NetUpload);
                let allowed = strict.verdict == Verdict::Allow
                    || is_of_hosts && strict == own;
                prop_assert!(allowed, "{effect:?}: {strict:?}");
            }
        }
    }
}

#[test]
fn g4_rules_that_cannot_be_used_let_nothing_pass() {
    let source = Source {
        layer: Layer::User,
        name: "mine.cedar".to_owned(),
        text: "permit".to_owned(),
    };
    let policy = TaskPolicy::new(&[source], Vec::new());
    let judge = Judge::new(policy, &TaskId::from_random(7), WORKSPACE.to_owned(), None);
    assert_eq!(command(&judge, "true").unwrap_err().rule, UNREAD);
    let refused = rule_against(&judge, &outgoing("GET", "a.test", "/"));
    assert_eq!(refused.as_deref(), Some(UNREAD));
    let error = judge.read_rules().unwrap_err().to_string();
    assert!(error.contains("mine.cedar:1:"), "{error}");
}

#[test]
fn a_denial_names_the_strictest_rule_and_what_to_do_instead() {
    let judge = judge_with("");
    let denial = command(&judge, "npm publish; git push --force origin main").unwrap_err();
    assert_eq!(denial.rule, "git.push-force-protected");
    assert_eq!(denial.instead.as_deref(), Some("Push to a new branch."));
    let denial = command(&judge, "npm publish").unwrap_err();
    assert!(denial.reason.contains("A person must decide"), "{denial}");
}

#[test]
fn g4_what_a_text_of_a_session_sets_counts_for_the_next_and_a_refused_one_leaves_nothing() {
    let judge = judge_with("");
    let shell = judge.session(WORKSPACE, &BTreeMap::new()).unwrap();
    let shell = judge
        .text(&shell, "CODE='git push --force origin main'")
        .unwrap();
    let denial = judge.text(&shell, "$CODE").unwrap_err();
    assert_eq!(denial.rule, "git.push-force-protected");
    assert!(judge.text(&shell, "npm publish; CODE=ls").is_err());
    assert!(judge.text(&shell, "$CODE").is_err(), "it did not run");
    let shell = judge.text(&shell, "CODE=ls").unwrap();
    let shell = judge.text(&shell, "$CODE; unset CODE").unwrap();
    let denial = judge.text(&shell, "eval \"$CODE\"").unwrap_err();
    assert!(denial.reason.contains("shares the network"), "{denial}");
}

#[test]
fn g4_variables_that_change_what_programs_are_count() {
    let judge = judge_with("");
    let variables = BTreeMap::from([("LD_PRELOAD".to_owned(), "/workspace/app/x.so".to_owned())]);
    let words = ["git", "fetch"].map(str::to_owned);
    let plain = attempt(&words);
    let with = Attempt {
        variables: &variables,
        ..attempt(&words)
    };
    assert_ne!(judge.command(&with).ok(), Some(Admitted::Free));
    assert_eq!(judge.command(&plain).unwrap(), Admitted::Free);
}

#[test]
fn g4_a_rule_for_hosts_speaks_for_stockades_own_rules_and_for_nobody_elses() {
    let post = |host: &str, path: &str| outgoing("POST", host, path);
    let own = judge_with("");
    assert_eq!(rule_against(&own, &post("a.test", "/in")), None);
    let push = rule_against(&own, &post("a.test", "/x.git/git-receive-pack"));
    assert_eq!(push.as_deref(), Some("git.push-unread"));
    let publish = rule_against(&own, &outgoing("PUT", "registry.npmjs.org", "/x"));
    assert_eq!(publish.as_deref(), Some("packages.publish"));
    let mine = judge_with(&forbids(1, "ask", "== Action::\"net.upload\"", "true"));
    let asked = mine.request(&post("a.test", "/in"));
    assert!(matches!(asked, PolicyAnswer::Ask(rule) if rule.rule == "mine.rule-1"));
    assert_eq!(rule_against(&mine, &outgoing("GET", "a.test", "/in")), None);
}

/// Somebody who always says the same, and remembers what about.
struct Says(Outcome, Mutex<Vec<Question>>);

impl Person for Says {
    fn asked(&self, question: &Question, _patience: Duration) -> Outcome {
        self.1.lock().unwrap().push(question.clone());
        self.0.clone()
    }
}

#[test]
fn g4_a_person_is_asked_once_about_all_that_a_command_would_do_and_never_about_what_is_denied() {
    let id: AskId = "00112233445566778899aabbccddeeff".parse().unwrap();
    let refused = Outcome::Refused("not today".to_owned());
    for (outcome, expected) in [
        (Outcome::Granted(id), None),
        (Outcome::Pending(id), Some("#00112233")),
        (refused, Some("not today")),
    ] {
        let person = Arc::new(Says(outcome, Mutex::default()));
        let policy = TaskPolicy::new(&[], Vec::new());
        let asked: Arc<dyn Person> = person.clone();
        let task = TaskId::from_random(7);
        let judge = Judge::new(policy, &task, WORKSPACE.to_owned(), Some(asked));
        let denied = command(&judge, "npm publish; git push --force origin main");
        assert_eq!(denied.unwrap_err().rule, "git.push-force-protected");
        assert!(person.1.lock().unwrap().is_empty());

        let answer = command(&judge, "npm publish; npm publish --tag next");
        let questions = person.1.lock().unwrap();
        let [question] = questions.as_slice() else {
            panic!("{questions:?}");
        };
        let because = question.because.as_ref().unwrap();
        assert_eq!(because.rule, "packages.publish");
        assert!(question.action.outward());
        match expected {
            None => assert_eq!(answer.unwrap(), Admitted::Free),
            Some(word) => assert!(answer.unwrap_err().reason.contains(word)),
        }
    }
}

#[test]
fn g4_other_rules_count_for_everybody_who_asks_from_then_on() {
    let judge = judge_with("");
    let other = judge.clone();
    assert_eq!(command(&other, "make all").unwrap(), Admitted::Free);
    let rules = forbids(
        1,
        "deny",
        "== Action::\"exec.run\"",
        "context.program == \"make\"",
    );
    let source = Source {
        layer: Layer::User,
        name: "mine.cedar".to_owned(),
        text: rules,
    };
    judge.replace(Policy::load(&[source]).unwrap());
    assert_eq!(command(&other, "make all").unwrap_err().rule, "mine.rule-1");
}
