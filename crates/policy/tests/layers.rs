//! Rules of several layers, and rules that cannot stand.

#![expect(
    clippy::panic,
    reason = "a policy that loads where it must not fails the test"
)]

use stockade_policy::{
    Decision, Layer, Policy, PolicyError, Problem, Source, Surroundings, effects_of_text,
};
use stockade_types::Verdict;

fn source(layer: Layer, text: &str) -> Source {
    Source {
        layer,
        name: format!("{}.cedar", layer.name()),
        text: text.to_owned(),
    }
}

fn judged(policy: &Policy, text: &str) -> Decision {
    policy.decide(&effects_of_text(
        text,
        &Surroundings::inside("/workspace/app"),
    ))
}

/// The problems of a policy that must not load.
fn problems(layer: Layer, text: &str) -> Vec<Problem> {
    match Policy::load(&[source(layer, text)]) {
        Err(PolicyError::Rules(problems)) => problems,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it loaded: {text}"),
    }
}

const FORBIDS_MAKE: &str = r#"
@id("team.make")
@reason("Use just.")
@instead("just build")
@match("make all")
@not_match("just build")
forbid (principal, action == Action::"exec.run", resource)
when { context.program == "make" };
"#;

const LIFTS_PUSH: &str = r#"
@id("mine.push")
@reason("My own remote.")
@lifts("git.push")
permit (principal, action == Action::"vcs.push", resource)
when { context.target like "backup *" };
"#;

#[test]
fn a_repository_may_forbid_what_else_was_allowed() {
    let policy = Policy::load(&[source(Layer::Repository, FORBIDS_MAKE)]).unwrap();
    let decision = judged(&policy, "make all");
    assert_eq!(decision.verdict, Verdict::Deny);
    let finding = &decision.findings[0];
    assert_eq!(finding.rules, ["team.make"]);
    assert_eq!(finding.instead.as_deref(), Some("just build"));
    assert_eq!(judged(&policy, "cargo build").verdict, Verdict::Allow);
}

#[test]
fn g4_a_repository_that_permits_is_refused_as_a_whole() {
    let text = format!("{FORBIDS_MAKE}\n{LIFTS_PUSH}");
    let problems = problems(Layer::Repository, &text);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].what.contains("may only forbid"), "{problems:?}");
    assert_eq!(problems[0].line, 11, "{problems:?}");
}

#[test]
fn a_user_lifts_a_default_rule_where_their_own_applies_and_nowhere_else() {
    let policy = Policy::load(&[source(Layer::User, LIFTS_PUSH)]).unwrap();
    assert_eq!(
        judged(&policy, "git push backup main").verdict,
        Verdict::Allow
    );
    assert_eq!(
        judged(&policy, "git push origin main").verdict,
        Verdict::Ask
    );
    // Other rules hold all the same.
    assert_eq!(
        judged(&policy, "git push -f backup main").verdict,
        Verdict::Deny
    );
    assert_eq!(
        judged(&policy, "git push backup main; sudo ls").verdict,
        Verdict::Deny
    );
}

#[test]
fn g4_a_lower_layer_lifts_no_rule_of_a_higher_one() {
    let admin = r#"
@id("admin.push")
@reason("Nothing is pushed from here.")
forbid (principal, action == Action::"vcs.push", resource);
"#;
    let both = [source(Layer::Admin, admin), source(Layer::User, LIFTS_PUSH)];
    let policy = Policy::load(&both).unwrap();
    let decision = judged(&policy, "git push backup main");
    assert_eq!(decision.verdict, Verdict::Deny);
    assert_eq!(decision.findings[0].rules, ["admin.push"]);
    let lifts_admin = LIFTS_PUSH.replace("git.push", "admin.push");
    let both = [
        source(Layer::Admin, admin),
        source(Layer::User, &lifts_admin),
    ];
    let error = Policy::load(&both).unwrap_err().to_string();
    assert!(error.contains("no rule of a lower layer"), "{error}");
}

#[test]
fn g4_a_rule_that_cannot_be_evaluated_denies() {
    let overflows = r#"
@id("mine.overflow")
@reason("It counts too far.")
forbid (principal, action == Action::"exec.run", resource)
when { 9223372036854775807 + 1 == 0 };
"#;
    let policy = Policy::load(&[source(Layer::User, overflows)]).unwrap();
    let decision = judged(&policy, "ls");
    assert_eq!(decision.verdict, Verdict::Deny);
    assert_eq!(decision.findings[0].rules, ["policy.error"]);
}

#[test]
fn g4_what_no_rule_permits_is_denied() {
    let policy = Policy::builtin().unwrap();
    let mut effect = stockade_types::Effect::new(stockade_types::EffectKind::ExecRun, "x")
        .known(stockade_types::Confidence::Guessed);
    effect.outward = true;
    let decision = policy.decide(&[effect]);
    assert_eq!(decision.verdict, Verdict::Deny);
    assert_eq!(decision.findings[0].rules, ["policy.nothing-permits"]);
}

#[test]
fn what_is_wrong_with_a_rule_is_told_with_its_file_its_line_and_the_fix() {
    let good = FORBIDS_MAKE;
    for (text, line, what, fix) in [
        (
            "forbid (principal,\naction, resource",
            2,
            "unexpected end",
            "",
        ),
        ("forbid (principal, action, resource);", 1, "no name", "@id"),
        (
            &good.replace("@instead", "@insted"),
            2,
            "@insted",
            "instead",
        ),
        (
            &good.replace("@reason(\"Use just.\")", ""),
            2,
            "no reason",
            "@reason",
        ),
        (
            &good.replace("@instead(\"just build\")", "@verdict(\"aks\")"),
            2,
            "`aks`",
            "ask",
        ),
        (
            &good.replace("exec.run", "exec.rnu"),
            7,
            "exec.rnu",
            "exec.run",
        ),
        (
            &good.replace("context.program", "context.progrm"),
            8,
            "progrm",
            "program",
        ),
        (
            &good.replace("program == \"make\"", "scope == Scope::\"sytem\""),
            8,
            "sytem",
            "",
        ),
        (
            &good.replace("make all", "just all"),
            2,
            "does not apply",
            "exec.run",
        ),
        (
            &good.replace("@not_match(\"just build\")", "@not_match(\"make\")"),
            2,
            "should not",
            "narrow",
        ),
        (
            &good.replace("make all", "effect exec.eat"),
            2,
            "exec.eat",
            "effect KIND",
        ),
        (
            &good.replace("team.make", "git.push"),
            2,
            "as well",
            "another name",
        ),
    ] {
        let problems = problems(Layer::User, text);
        let problem = &problems[0];
        assert_eq!(problem.file, "user.cedar");
        assert!(problem.what.contains(what), "{text}\n{problem}");
        assert!(problem.fix.contains(fix), "{text}\n{problem}");
        assert_eq!(problem.line, line, "{text}\n{problem}");
    }
}

#[test]
fn a_folder_of_rules_is_read_in_order_and_only_what_ends_in_cedar() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("b.cedar"), FORBIDS_MAKE).unwrap();
    std::fs::write(folder.path().join("a.cedar"), LIFTS_PUSH).unwrap();
    std::fs::write(folder.path().join("readme.md"), "not a rule").unwrap();
    let sources = Source::of_folder(Layer::User, folder.path()).unwrap();
    let names: Vec<_> = sources
        .iter()
        .map(|source| source.name.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(names, ["a.cedar", "b.cedar"]);
    assert!(Policy::load(&sources).is_ok());
    assert!(
        Source::of_folder(Layer::User, &folder.path().join("none"))
            .unwrap()
            .is_empty()
    );
    std::fs::write(folder.path().join("c.cedar"), vec![b'x'; (1 << 20) + 1]).unwrap();
    let error = Source::of_folder(Layer::User, folder.path())
        .unwrap_err()
        .to_string();
    assert!(error.contains("more bytes"), "{error}");
}
