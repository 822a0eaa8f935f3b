//! What commands would do, what rules decide, and rules that cannot stand.

mod host;

use std::fs;

use self::host::{
    Host,
    failure::{FAILED, NOT_FOUND, REFUSED, USAGE},
    rules::{NO_MAKE, host_with_rules},
};

#[test]
fn what_tasks_did_is_judged_again_by_other_rules_and_nothing_is_run() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    let run = |words: &[&str]| {
        let words = [&["exec", &task.id], words].concat();
        host.judged(&words).code
    };
    assert_eq!(run(&["--", "touch", "made"]), 0);
    assert_eq!(run(&["--", "cat", "made"]), 0);
    assert_eq!(
        run(&["--", "git", "push", "--force", "origin", "main"]),
        REFUSED
    );
    let same = host.json(&["policy", "replay"]);
    assert_eq!(same["judged"]["commands"], 3, "{same}");
    assert_eq!(same["differences"].as_array().unwrap().len(), 0, "{same}");

    let file = host.path("mine.cedar");
    fs::write(
        &file,
        "@id(\"mine.no-touch\")\n@reason(\"Nothing is touched.\")\n@match(\"touch x\")\n\
         @not_match(\"ls\")\nforbid (principal, action == Action::\"fs.write\", resource)\n\
         when { context.program == \"touch\" };\n\
         @id(\"mine.push\")\n@reason(\"Mine.\")\n@lifts(\"git.push-force-protected git.push-force git.push\")\n\
         @match(\"git push --force origin main\")\n@not_match(\"git fetch\")\n\
         permit (principal, action == Action::\"vcs.push\", resource);\n",
    )
    .unwrap();
    let path = file.to_str().unwrap();
    for verb in ["replay", "diff"] {
        let found = host.json(&["policy", verb, path]);
        let differences = found["differences"].as_array().unwrap();
        let differ: Vec<_> = differences
            .iter()
            .map(|found| ["what", "before", "after"].map(|name| found[name].as_str().unwrap()))
            .collect();
        assert_eq!(
            differ,
            [
                ["touch made", "allow", "deny"],
                ["git push --force origin main", "deny", "allow"],
            ],
            "{found}"
        );
        assert_eq!(differences[0]["rule"], "mine.no-touch");
    }
    let rules = &host.json(&["policy", "diff", path])["rules"];
    assert_eq!(
        rules["added"],
        serde_json::json!(["mine.no-touch", "mine.push"])
    );
    assert_eq!(rules["removed"].as_array().unwrap().len(), 0, "{rules}");
    let recent = host.json(&["policy", "replay", path, "--since", "1h"]);
    assert_eq!(recent["judged"]["commands"], 3, "{recent}");
    let wrong = host.stockade(&["policy", "replay", path, "--since", "soon"]);
    assert_eq!(wrong.code, USAGE, "{wrong:?}");
    assert!(wrong.stderr.contains("such as 7d or 12h"), "{wrong:?}");
    // Later than everything: nothing is judged.
    let none = host.json(&["policy", "replay", path, "--since", "9999"]);
    assert_eq!(none["judged"]["commands"], 0, "{none}");
    assert_eq!(
        host.exec(&task, "cat made; ls"),
        (0, "README.md\nmade\n".to_owned())
    );
}

#[test]
fn a_commands_effects_and_verdict_are_shown_with_rule_and_reason() {
    let host = Host::new();
    let test = |words: &[&str]| {
        let outcome = host.stockade(&[&["policy", "test"], words].concat());
        assert_eq!(outcome.stderr, "");
        (outcome.code, outcome.stdout)
    };
    let (code, text) = test(&["--shell", "env X=1 sh -c \"git push --force origin main\""]);
    assert_eq!(code, REFUSED);
    insta::assert_snapshot!(text, @r"
    deny  it may not run

    deny     vcs.push by git on origin main +force +protected
             rule     git.push-force-protected
             why      The history of a branch that others work on is not overridden.
             instead  Push to a new branch.
    ");
    let (code, text) = test(&["--", "cargo", "test"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!(text, @r"
    allow  it may run

    allow    exec.run by cargo
    ");
    let (code, text) = test(&["--shell", "$TOOL --all && npm publish"]);
    assert_eq!(code, REFUSED);
    insta::assert_snapshot!(text, @r"
    ask  a person is asked first

    ask      pkg.publish by npm
             rule     packages.publish
             why      This publishes something, which cannot be taken back.
             instead  Let a person or the build service publish.

    contain  exec.opaque by …
             rule     exec.opaque
             why      What this runs cannot be told from its text, so nothing outward is granted to it.
             instead  Write the program and its words out.
    ");
    let (code, text) = test(&["--shell", "eval \"$CODE\""]);
    assert_eq!(code, 0);
    insta::assert_snapshot!(text, @r"
    contain  it may run, with nothing outward granted to it

    contain  exec.opaque by sh
             rule     exec.opaque
             why      What this runs cannot be told from its text, so nothing outward is granted to it.
             instead  Write the program and its words out.
    ");
}

#[test]
fn programs_get_effects_and_verdict_as_json() {
    let host = Host::new();
    let mut decision = host.json(&["policy", "test", "--", "rm", "-rf", "target"]);
    let target = decision["findings"][0]["effect"]["target"].take();
    assert!(
        target.as_str().unwrap().ends_with("/project/target"),
        "{target}"
    );
    insta::assert_json_snapshot!(decision, @r#"
    {
      "verdict": "allow",
      "findings": [
        {
          "effect": {
            "kind": "fs.delete",
            "target": null,
            "scope": "workspace",
            "class": "plain",
            "marks": [
              "recursive"
            ],
            "program": "rm",
            "reversible": "undo",
            "outward": false,
            "confidence": "certain"
          },
          "verdict": "allow",
          "rules": [
            "base.known"
          ],
          "reason": ""
        }
      ]
    }
    "#);
    let outcome = host.stockade(&["--json", "policy", "test", "--", "rm", "-rf", "/"]);
    assert_eq!(outcome.code, REFUSED);
    let decision: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(decision["verdict"], "deny");
    assert_eq!(decision["findings"][0]["rules"][0], "files.delete-outside");
}

#[test]
fn what_hides_in_a_commands_words_is_spelled_out() {
    let host = Host::new();
    let outcome = host.stockade(&["policy", "test", "--", "rm", "a\u{202e}b\u{1b}[2Jc"]);
    assert!(
        !outcome.stdout.contains(['\u{202e}', '\u{1b}']),
        "{outcome:?}"
    );
}

#[test]
fn the_users_rule_counts_and_is_explained_with_its_place() {
    let (host, file) = host_with_rules(NO_MAKE);
    let outcome = host.stockade(&["policy", "test", "--", "make", "all"]);
    assert_eq!(outcome.code, REFUSED, "{outcome:?}");
    assert!(outcome.stdout.contains("mine.make") && outcome.stdout.contains("just build"));
    let rule = host.json(&["policy", "explain", "mine.make"]);
    assert_eq!(rule["file"], file.to_str().unwrap());
    assert_eq!((&rule["line"], &rule["layer"]), (&1.into(), &"user".into()));
    let check = host.json(&["policy", "check"]);
    assert_eq!(check["layers"]["user"], 1);
    let rules = host.json(&["policy", "ls"]);
    let rules = rules["rules"].as_array().unwrap().clone();
    assert!(rules.iter().any(|rule| rule["id"] == "mine.make"));
    assert!(rules.len() > 100);
}

#[test]
fn a_rule_that_cannot_stand_is_told_with_file_and_line_and_no_command_is_judged() {
    let (host, file) = host_with_rules(&NO_MAKE.replace("context.program", "context.progrm"));
    for words in [
        &["check"][..],
        &["ls"],
        &["test", "--", "ls"],
        &["explain", "git.push"],
    ] {
        let outcome = host.stockade(&[&["policy"], words].concat());
        assert_eq!(outcome.code, FAILED, "{outcome:?}");
        assert_eq!(outcome.stdout, "");
        let place = format!("{}:7:", file.display());
        assert!(outcome.stderr.contains(&place), "{outcome:?}");
        assert!(outcome.stderr.contains("progrm"), "{outcome:?}");
    }
    fs::write(&file, NO_MAKE).unwrap();
    assert_eq!(host.stockade(&["policy", "check"]).code, 0);
    // A file that is only tried is in force for that alone.
    let tried = host.path("tried.cedar");
    fs::write(
        &tried,
        NO_MAKE
            .replace("mine.make", "tried.make")
            .replace("make all", "just all"),
    )
    .unwrap();
    let outcome = host.stockade(&["policy", "check", tried.to_str().unwrap()]);
    assert_eq!(outcome.code, FAILED, "{outcome:?}");
    assert!(
        outcome.stderr.contains("does not apply to its example"),
        "{outcome:?}"
    );
    assert_eq!(host.stockade(&["policy", "check"]).code, 0);
}

#[test]
fn g4_a_repository_may_only_forbid_and_only_by_what_is_committed() {
    let host = Host::new();
    let folder = host.repository().join(".stockade/policy");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("ours.cedar");
    let make = || host.stockade(&["policy", "test", "--", "make", "all"]).code;
    fs::write(&file, NO_MAKE).unwrap();
    assert_eq!(make(), 0, "it is not committed");
    host.git(&["add", "-A"]);
    host.git(&["commit", "-qm", "rules"]);
    assert_eq!(make(), REFUSED);
    fs::remove_file(&file).unwrap();
    assert_eq!(
        make(),
        REFUSED,
        "what is removed in the checkout still holds"
    );
    let permits = "@id(\"ours.all\")\n@reason(\"All.\")\npermit (principal, action, resource);\n";
    fs::write(&file, permits).unwrap();
    host.git(&["add", "-A"]);
    host.git(&["commit", "-qm", "permits"]);
    let outcome = host.stockade(&["policy", "test", "--", "make", "all"]);
    assert_eq!(outcome.code, FAILED, "{outcome:?}");
    assert!(outcome.stderr.contains("may only forbid"), "{outcome:?}");
    assert!(outcome.stderr.contains("ours.cedar:1:"), "{outcome:?}");
}

#[test]
fn words_that_name_no_rule_or_no_command_are_told() {
    let host = Host::new();
    let outcome = host.stockade(&["policy", "explain", "git.push-forced"]);
    assert_eq!(outcome.code, NOT_FOUND, "{outcome:?}");
    assert!(outcome.stderr.contains("git.push"), "{outcome:?}");
    assert_eq!(host.stockade(&["policy", "test"]).code, USAGE);
    let both = ["policy", "test", "--shell", "ls", "--", "ls"];
    assert_eq!(host.stockade(&both).code, USAGE);
    let schema = host.stockade(&["policy", "schema"]);
    assert!(
        schema.stdout.contains("action \"vcs.push\" in"),
        "{schema:?}"
    );
}
