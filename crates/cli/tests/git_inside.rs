//! Git inside a task, and what an agent leaves for git on the host.

#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod host;

use std::fs;

use crate::host::Host;

#[test]
fn every_usual_git_command_works_inside() {
    let host = Host::new();
    let printed = host.look(
        "set -e; [ -z \"$(git status --porcelain)\" ]; \
         git checkout -q -b side; echo 1 > one; git add one; git commit -qm one; \
         echo 2 >> one; git stash -q; git stash pop -q; git commit -qam two; \
         git checkout -q -; echo 3 > three; git add three; git commit -qm three; \
         git rebase -q side; git branch -D side; git pack-refs --all; git gc -q --prune=now; \
         git fsck --no-dangling; git log --format=%s; git tag -m t v1; git config user.name Somebody",
    );
    assert!(
        printed.ends_with("three\ntwo\none\nstart\n") || printed.contains("three\ntwo\none\n"),
        "{printed}"
    );
}

#[test]
fn g1_no_object_but_those_of_the_base_can_be_read_inside() {
    let host = Host::new();
    let repository = host.repository();
    let secret = |name: &str| format!("decoy-of-{name}");
    // Another branch, a stash, an amended commit, and a hidden file.
    host.git(&["checkout", "--quiet", "-b", "other"]);
    fs::write(repository.join("other.txt"), secret("branch")).unwrap();
    host.git(&["add", "--all"]);
    host.git(&["commit", "--quiet", "--message", "Other"]);
    host.git(&["checkout", "--quiet", "main"]);
    fs::write(repository.join("README.md"), secret("amended")).unwrap();
    host.git(&[
        "commit",
        "--quiet",
        "--all",
        "--amend",
        "--message",
        "Amended away",
    ]);
    fs::write(repository.join("README.md"), "a project\n").unwrap();
    fs::write(
        repository.join(".env"),
        format!("KEY={}\n", secret("hidden")),
    )
    .unwrap();
    host.git(&["add", "--all"]);
    host.git(&[
        "commit",
        "--quiet",
        "--amend",
        "--message",
        "With a secret file",
    ]);
    fs::write(repository.join("README.md"), secret("stash")).unwrap();
    host.git(&["stash", "--quiet"]);

    let printed = host.look(
        "git cat-file --batch-all-objects --batch | cat; git show HEAD:.env; cat .env; \
         git log --all --format=%s; git stash list; ls -R /pool.git /agent.git; \
         cat $(find /pool.git /agent.git -type f ! -name '*.idx' ! -name '*.pack') 2>/dev/null | strings -a 2>/dev/null; true",
    );
    for name in ["branch", "amended", "hidden", "stash"] {
        assert!(
            !printed.contains(&secret(name)),
            "{name} can be read inside"
        );
    }
    assert!(printed.contains("KEY=stockade-hidden"), "{printed}");
    assert!(printed.contains("a project"), "the base itself can be read");
}

#[test]
fn the_users_amend_and_gc_do_not_break_a_running_task() {
    let host = Host::new();
    let task = host.start("until [ -e go ]; do sleep 0.05; done; git log --format=%s; git fsck; echo late > late.txt; git add late.txt; git commit -qm late");
    fs::write(host.repository().join("README.md"), "amended\n").unwrap();
    host.git(&[
        "commit",
        "--quiet",
        "--all",
        "--amend",
        "--message",
        "Amended",
    ]);
    host.git(&["reflog", "expire", "--expire=now", "--all"]);
    host.git(&["gc", "--quiet", "--prune=now"]);
    host.exec(&task, "touch go");
    let state = host.wait_for_state(&task, "done");
    assert_eq!(state["exit"], 0);
}

#[test]
fn the_pinned_git_file_cannot_be_changed_moved_or_replaced() {
    let host = Host::new();
    let printed = host.look(
        "echo x > .git && echo WROTE; mv .git g && echo MOVED; unlink .git && echo UNLINKED; \
         ln -sf /tmp .git && echo LINKED; mkdir g2 && mv -T g2 .git && echo REPLACED; cat .git; git status --short; true",
    );
    for word in ["WROTE", "MOVED", "UNLINKED", "LINKED", "REPLACED"] {
        assert!(!printed.contains(word), "{printed}");
    }
    assert!(printed.contains("gitdir: /agent.git"), "{printed}");
}

/// Leaves everything behind that makes git, an editor or a shell run
/// something, each of which would touch the canary.
const PAYLOADS: &str = r#"
C="touch $CANARY"
G=/agent.git
mkdir -p $G/hooks hooks .husky sub bare nested/.git
for n in pre-commit post-checkout post-merge post-index-change reference-transaction pre-push fsmonitor-watchman post-rewrite pre-auto-gc; do
  printf '#!/bin/sh\n%s\n' "$C" > $G/hooks/$n; chmod +x $G/hooks/$n; cp $G/hooks/$n hooks/$n; cp $G/hooks/$n .husky/$n
done
for k in core.fsmonitor core.sshCommand core.pager core.editor core.gitProxy diff.external gpg.program core.askPass core.alternateRefsCommand gc.recentObjectsHook uploadpack.packObjectsHook interactive.diffFilter sequence.editor credential.helper; do git config $k "sh -c '$C'"; done
git config core.hooksPath hooks; git config protocol.ext.allow always; git config commit.gpgSign true; git config extensions.worktreeConfig true
for d in filter.x.clean filter.x.smudge filter.x.process diff.x.command diff.x.textconv merge.x.driver; do git config $d "sh -c '$C; cat'"; done
printf '* filter=x diff=x merge=x\n' > .gitattributes; printf '* filter=x diff=x\n' > $G/info/attributes
git config remote.origin.url "ext::sh -c '$C'"; git config remote.origin.uploadpack "sh -c '$C'"; git config include.path /workspace/project/evil.config
git init -q sub; git -C sub config core.fsmonitor "sh -c '$C'"; cp -r $G/hooks sub/.git/; echo s > sub/s; git -C sub -c core.hooksPath=/dev/null -c core.fsmonitor=false -c commit.gpgSign=false add s; git -C sub -c user.name=a -c user.email=a@b -c core.hooksPath=/dev/null -c core.fsmonitor=false commit -qm s
git init -q --bare bare; git -C bare config core.fsmonitor "sh -c '$C'"; git -C bare config core.bare false; git -C bare config core.worktree ..
printf '[submodule "m"]\n path = sub\n url = ext::sh -c "%s"\n update = !%s\n' "$C" "$C" > .gitmodules
printf 'gitdir: ../bare\n' > nested/.git/x; ln -s /etc/passwd link-out; ln -s ../../.. up; mkfifo pipe; ln -s .git dotgit
echo / > $G/objects/info/alternates.more; printf '%s\n' "$CANARY" >> $G/objects/info/alternates; echo "0000000000000000000000000000000000000000 x" > $G/info/grafts
mkdir -p $G/refs/replace .vscode .git.d 'we
ird'; echo "$C" > .envrc; echo x > 'we
ird/f'; printf 'x' > "$(printf 'bad\377name')"; chmod 4755 hooks/pre-push; chmod 000 hooks/post-merge
git -c core.hooksPath=/dev/null -c core.fsmonitor=false -c commit.gpgSign=false add -A 2>/dev/null; git -c core.hooksPath=/dev/null -c core.fsmonitor=false -c commit.gpgSign=false commit -qm 'Stockade-Task: forged' 2>/dev/null; true
"#;

#[test]
fn g6_no_verb_of_the_host_runs_anything_that_an_agent_left() {
    let host = Host::new();
    let canary = host.path("canary");
    let script = format!("CANARY={}\n{PAYLOADS}", canary.display());
    let before = host.git(&["rev-parse", "HEAD"]);
    let outcome = host.stockade(&["run", "--name", "evil", "--", "bash", "-c", &script]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let elsewhere = host.path("elsewhere");
    let elsewhere = elsewhere.to_str().unwrap();
    for words in [
        &["ls"][..],
        &["logs", "evil"],
        &["diff", "evil"],
        &["diff", "evil", "--risk"],
        &["review", "evil"],
        &["review", "evil", "--accept-all"],
        &[
            "checkout",
            "evil",
            "--on-host",
            elsewhere,
            "--acknowledge-risks",
        ],
        &["merge", "evil", "--yes"],
        &["exec", "evil", "--", "true"],
        &["undo", "evil", "--to", "1"],
        &["rm", "evil"],
        &["restore"],
    ] {
        let outcome = host.stockade(words);
        assert!(!canary.exists(), "{words:?} ran a payload");
        assert!(outcome.code < 100, "{words:?}: {outcome:?}");
    }
    assert_eq!(
        host.git(&["rev-parse", "HEAD"]),
        before,
        "held back, so not merged"
    );
    assert_eq!(host.git(&["status", "--porcelain"]), "");
}
