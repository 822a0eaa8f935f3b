//! All payloads at once, then one verb after another.

use std::fs;

use serde_json::Value;

use crate::{
    host::{Host, Task, eventually, files::Outside, finish},
    verbs::{Canary, MERGED, Verb, quiet},
};

/// Leaves everything behind that makes git, an editor or a shell run `$C`: in
/// commits, in the tree, and in the agent's own repository.
const PLANT: &str = r#"
set -e
mkdir -p hooks .husky nested/.git .vscode .git.d 'we
ird'
for n in pre-commit post-checkout post-merge post-index-change reference-transaction pre-push fsmonitor-watchman post-rewrite pre-auto-gc; do
  printf '#!/bin/sh\n%s\n' "$C" > hooks/$n; chmod +x hooks/$n; cp hooks/$n .husky/$n
done
printf '* filter=x diff=x merge=x\n' > .gitattributes
echo "$C" > .envrc; echo '{}' > .vscode/tasks.json; echo x > 'we
ird/f'; printf 'x' > "$(printf 'bad\377name')"; echo more >> README.md; echo new > new.txt
ln -s /etc/passwd link-out; ln -s ../../.. up; ln -s .git dotgit; echo x > nested/.git/x
git init -q sub; echo s > sub/s; git -C sub add s; git -C sub -c user.name=a -c user.email=a@b commit -qm s
git init -q --bare bare; touch bare/objects/file bare/refs/file
git add -A; git commit -qm 'Stockade-Task: forged'

G=/agent.git
mkdir -p $G/hooks; cp hooks/* $G/hooks/; cp -r $G/hooks sub/.git/; chmod 4755 hooks/pre-push; chmod 000 hooks/post-merge; mkfifo pipe
for k in core.fsmonitor core.sshCommand core.pager core.editor core.gitProxy diff.external gpg.program core.askPass core.alternateRefsCommand gc.recentObjectsHook uploadpack.packObjectsHook interactive.diffFilter sequence.editor credential.helper; do
  for r in $G sub/.git bare; do git config -f $r/config $k "sh -c '$C'"; done
done
for k in filter.x.clean filter.x.smudge filter.x.process diff.x.command diff.x.textconv merge.x.driver; do git config -f $G/config $k "sh -c '$C; cat'"; done
for v in 'core.hooksPath hooks' 'protocol.ext.allow always' 'commit.gpgSign true' 'extensions.worktreeConfig true' 'include.path /workspace/project/evil.config'; do git config -f $G/config $v; done
git config -f $G/config remote.origin.url "ext::sh -c ${C// /% }"; git config -f $G/config remote.origin.uploadpack "sh -c '$C'"
git config -f bare/config core.bare false; git config -f bare/config core.worktree ..
printf '* filter=x diff=x\n' > $G/info/attributes; printf '/\n%s\n' "$PWD" >> $G/objects/info/alternates
echo "0000000000000000000000000000000000000000 x" > $G/info/grafts
touch ~/planted
"#;

fn script(canary: &Canary) -> String {
    format!("C='{}'\n{PLANT}", canary.command())
}

/// Runs `script` as a task with this name, to its end.
fn task(host: &Host, name: &str, script: &str) -> Task {
    let outcome = host.stockade(&["run", "--name", name, "--", "bash", "-c", script]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let tasks = host.json(&["ls"]);
    let mut tasks = tasks.as_array().unwrap().iter();
    let found = tasks.find(|task| task["slug"] == name).unwrap();
    host.task(found["id"].as_str().unwrap())
}

fn paths<'a>(review: &'a Value, list: &str) -> Vec<&'a str> {
    let entries = review[list].as_array().unwrap().iter();
    entries
        .map(|entry| entry["path"].as_str().unwrap())
        .collect()
}

/// That the payloads are where the reviewer's verbs meet them.
fn all_is_planted(host: &Host, task: &Task) -> Value {
    let review = host.json(&["review", &task.id]);
    let files = paths(&review, "files");
    for path in [
        ".envrc",
        ".gitattributes",
        ".husky/pre-commit",
        "README.md",
        "bare/config",
        "hooks/pre-commit",
        "new.txt",
    ] {
        assert!(files.contains(&path), "{path}: {review}");
    }
    let refused = [paths(&review, "refused"), paths(&review, "left_out")].concat();
    for path in ["link-out", "up", "dotgit", "sub", "nested/.git", "pipe"] {
        let named = |refused: &&str| refused.starts_with(path);
        assert!(refused.iter().any(named), "{path}: {review}");
    }
    review
}

#[test]
fn g6_no_verb_of_the_host_runs_anything_that_an_agent_left() {
    let host = Host::new();
    let canary = Canary::new(&host);
    // What the machine lacks is not the agent's doing.
    let doctor = quiet(&["doctor"], host.stockade(&["doctor"]).code);
    let before = Outside::of(&host);
    let evil = task(&host, "evil", &script(&canary));
    let outside = before.changed(&Outside::of(&host));
    assert!(outside.is_empty(), "{outside:?}");
    let review = all_is_planted(&host, &evil);
    let branch = host.git(&["rev-parse", "main"]);

    let (elsewhere, copied) = (host.path("elsewhere"), host.path("copied"));
    let (elsewhere, copied) = (elsewhere.to_str().unwrap(), copied.to_str().unwrap());
    let on_host = ["checkout", "evil", "--acknowledge-risks", "--on-host"];
    let on_host = [&on_host[..], &[elsewhere]].concat();
    let into = ["cp", "evil:hooks/pre-commit", copied];
    for words in [
        &["ls"][..],
        &["logs", "evil"],
        &["diff", "evil"],
        &["diff", "evil", "--risk"],
        &["review", "evil"],
        &["exec", "evil", "--", "true"],
        &["undo", "evil", "--to", "1"],
    ] {
        canary.survives(&host, &quiet(words, 0));
    }
    canary.survives(&host, &doctor);
    canary.survives(&host, &quiet(&["why"], 3));
    for (words, changes) in [(&on_host[..], "elsewhere"), (&into, "copied")] {
        let changes = &[changes];
        let code = 0;
        canary.survives(
            &host,
            &Verb {
                words,
                code,
                changes,
            },
        );
    }
    canary.survives_typing(
        &host,
        &quiet(&["shell", "evil"], 7),
        "$ ",
        "git status; exit 7\n",
    );

    // What would run by itself is held back, and a folder's own repository
    // does not come back at all.
    canary.survives(&host, &quiet(&["merge", "evil", "--yes"], 4));
    canary.survives(
        &host,
        &quiet(&["merge", "evil", "--yes", "--keep-commits"], 4),
    );
    assert_eq!(host.git(&["rev-parse", "main"]), branch);

    canary.survives(&host, &quiet(&["rm", "evil"], 0));
    canary.survives(&host, &quiet(&["restore"], 0));
    canary.survives(&host, &quiet(&["restore", &evil.id], 0));

    // A reader who accepts all of it, each by its name, gets all of it.
    let held = review["files"].as_array().unwrap().iter();
    let held = held.filter(|file| file["held_back"] == true);
    let mut accept = vec!["review", "evil", "--accept-all"];
    for file in held {
        accept.extend(["--accept", file["path"].as_str().unwrap()]);
    }
    canary.survives(&host, &quiet(&accept, 0));
    let changes: Vec<String> = paths(&review, "files")
        .into_iter()
        .map(|path| format!("project/{path}"))
        .collect();
    // Two have names that are no plain text.
    let odd = ["project/bad", "project/we"];
    let plain = changes.iter().map(String::as_str);
    let changes: Vec<&str> = plain.chain(MERGED).chain(odd).collect();
    let (words, code) = (&["merge", "evil", "--yes"][..], 0);
    canary.survives(
        &host,
        &Verb {
            words,
            code,
            changes: &changes,
        },
    );
    assert_ne!(host.git(&["rev-parse", "main"]), branch);
    assert!(host.repository().join(".husky/pre-commit").exists());
    assert_eq!(host.git(&["status", "--porcelain"]), "");
    for words in [&["ls"][..], &["diff", "evil"], &["audit", "verify"]] {
        canary.survives(&host, &quiet(words, 0));
    }
    let verified = ["verify-commit", "HEAD"];
    canary.survives(&host, &quiet(&verified, 0));
    let (words, code) = (&["uninstall", "--yes"][..], 0);
    canary.survives(&host, &quiet(words, code));
}

#[test]
fn g6_no_verb_on_a_running_task_runs_anything_that_an_agent_left() {
    let host = Host::new();
    let canary = Canary::new(&host);
    // It is resumed with all planted.
    let script = format!(
        "test -e ~/planted || {{ {}\n}}; sleep 1000",
        script(&canary)
    );
    let task = host.start_with(&["--name", "evil"], &script);
    eventually("all is planted", || {
        host.exec(&task, "test -e ~/planted").0 == 0
    });
    for words in [
        &["ls"][..],
        &["logs", "evil"],
        &["exec", "evil", "--", "true"],
        &["pause", "evil"],
        &["resume", "evil"],
        &["stop", "evil"],
        &["resume", "evil", "--detach"],
        &["stop", "--all"],
    ] {
        canary.survives(&host, &quiet(words, 0));
    }
    // Nothing was refused.
    canary.survives(&host, &quiet(&["why"], 3));
    task.wait_until_settled();
    all_is_planted(&host, &task);
    assert!(canary.is_alive());

    // The control: whoever opens the agent's repository with plain git on the
    // host does run what it left.
    let copy = host.path("copy");
    let mut cp = host.other_command("cp");
    cp.args(["-r", "--no-preserve=ownership"])
        .arg(task.folder.join("agent.git"))
        .arg(&copy);
    assert_eq!(finish(cp).code, 0);
    let mut git = host.other_command("git");
    git.arg("--git-dir")
        .arg(&copy)
        .args(["--work-tree", ".", "status"]);
    finish(git);
    assert!(!canary.is_alive(), "the payloads are blunt");
}

#[test]
fn g6_a_gitmodules_that_git_refuses_stays_out_and_the_rest_can_be_merged() {
    let host = Host::new();
    let canary = Canary::new(&host);
    let script = format!(
        "C='{}'; for k in 'path sub' 'url u'; do git config -f .gitmodules submodule.m.$k; done; \
         git config -f .gitmodules submodule.m.update \"!$C\"; echo new > new.txt; \
         git add -A; git commit -qm all",
        canary.command()
    );
    task(&host, "evil", &script);
    for words in [&["diff", "evil"][..], &["review", "evil"]] {
        canary.survives(&host, &quiet(words, 0));
    }
    let review = host.json(&["review", "evil"]);
    assert_eq!(paths(&review, "files"), ["new.txt"], "{review}");
    assert_eq!(paths(&review, "refused"), [".gitmodules"], "{review}");
    let reason = review["refused"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("git refuses it: "), "{reason}");
    // The commit that holds it was refused as a whole.
    let keep = ["merge", "evil", "--yes", "--keep-commits"];
    canary.survives(&host, &quiet(&keep, 4));
    let changes = &[&MERGED[..], &["project/new.txt"]].concat();
    let (words, code) = (&["merge", "evil", "--yes"][..], 0);
    canary.survives(
        &host,
        &Verb {
            words,
            code,
            changes,
        },
    );
    let folder = host.repository();
    assert!(folder.join("new.txt").exists() && !folder.join(".gitmodules").exists());
    host.git(&["fsck", "--strict"]);
    host.git(&["submodule", "update", "--init"]);
    assert!(canary.is_alive());
    assert_eq!(fs::read_to_string(folder.join("new.txt")).unwrap(), "new\n");
}
