//! Git inside a task, and what an agent leaves for git on the host.

#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod host;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::host::{Host, finish, has, skip};

#[test]
fn every_usual_git_command_works_inside() {
    let host = Host::new();
    let printed = host.look(
        "set -e; [ -z \"$(git status --porcelain)\" ]; \
         git checkout -q -b side; echo 1 > one; git add one; git commit -qm one; \
         echo 2 >> one; git stash -q; git stash pop -q; git commit -qam two; \
         git checkout -q -; echo 3 > three; git add three; git commit -qm three; \
         git rebase -q side; git branch -q -D side; git pack-refs --all; git gc -q --prune=now; \
         git fsck --no-dangling; git log --format=%s; git tag -m t v1; git config user.name Somebody",
    );
    assert_eq!(printed, "three\ntwo\none\none\n");
    let printed = host.look(
        "set -e; exec 2>/dev/null; echo 1 > a; git add a; git commit -qm a; git checkout -q -b topic HEAD~1; echo 2 > b; git add b; git commit -qm b; \
         git checkout -q -; git cherry-pick topic >/dev/null; git revert --no-edit HEAD >/dev/null; git merge -q --no-edit topic >/dev/null; \
         git reset -q --hard HEAD~1; git mv a c; git commit -qm moved; git blame c >/dev/null; git bisect start HEAD HEAD~1 >/dev/null; git bisect reset >/dev/null; \
         git worktree add -q --detach /tmp/w HEAD; git -C /tmp/w log -1 --format=%s; git worktree remove /tmp/w; git clone -q . /tmp/clone; git -C /tmp/clone status --short; \
         git format-patch -q -1 -o /tmp >/dev/null; git reflog >/dev/null; git fsck --strict; git status --porcelain; git branch --list",
    );
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 3, "{printed}");
    assert_eq!(lines[0], "moved");
    assert!(lines[1].starts_with("* stockade/"), "{printed}");
    assert_eq!(lines[2], "  topic");
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
fn g1_inside_there_are_exactly_the_objects_of_the_base_and_no_path_to_others() {
    let host = Host::new();
    let repository = host.repository();
    let base = host.git(&["rev-parse", "HEAD"]).trim().to_owned();
    let own: BTreeSet<String> = host
        .git(&["rev-list", "--objects", "--no-object-names", "HEAD"])
        .lines()
        .map(str::to_owned)
        .collect();
    fs::write(repository.join("gone.txt"), "decoy-unreachable").unwrap();
    let blob = host
        .git(&["hash-object", "-w", "gone.txt"])
        .trim()
        .to_owned();
    host.git(&["checkout", "--quiet", "-b", "other"]);
    host.git(&["add", "--all"]);
    host.git(&["commit", "--quiet", "--message", "Elsewhere"]);
    let other = host.git(&["rev-parse", "HEAD"]).trim().to_owned();
    host.git(&["checkout", "--quiet", "main"]);

    let task = host.start("sleep 1000");
    let (_, printed) = host.exec(
        &task,
        "git cat-file --batch-all-objects --batch-check='%(objectname) %(objecttype)'; git rev-parse HEAD",
    );
    let mut lines: Vec<&str> = printed.lines().collect();
    assert_eq!(
        lines.pop().unwrap(),
        base,
        "the agent's HEAD is the user's commit"
    );
    let seen: BTreeSet<String> = lines
        .iter()
        .filter_map(|line| line.split(' ').next().map(str::to_owned))
        .collect();
    assert_eq!(seen, own);

    // Neither by name, nor by borrowing, nor by naming the user's repository.
    let git = repository.join(".git");
    let (git, pool) = (git.display(), host.state().join("pool"));
    let script = format!(
        "for o in {blob} {other}; do git cat-file -p $o && echo READ; git fetch -q {git} $o && echo FETCHED; done; \
         echo {git}/objects >> /agent.git/objects/info/alternates; git cat-file -p {blob} && echo BORROWED; \
         for g in {git} {} ../.git /proc/1/root{git}; do git --git-dir=$g cat-file -p {blob} && echo OPENED; git --git-dir=$g log -1 && echo LOGGED; done; \
         for f in /pool.git/x /pool.git/objects/x /pool.git/config; do (echo x > $f) && echo WROTE $f; done; \
         git -C /pool.git update-ref refs/heads/x HEAD && echo UPDATED; git show main~1 && echo DEEPER",
        pool.display(),
    );
    let (_, printed) = host.exec(&task, &format!("{{ {script}; }} 2>/dev/null"));
    assert_eq!(printed, "");
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

    if !has("perl") {
        return skip(
            "the errors and the exchange",
            "there is no perl to ask for them",
        );
    }
    // The number of renameat2 is 316 on x86-64 and 276 on others; 2 exchanges.
    let printed = host.look(
        "mkdir decoy; chmod 666 .git 2>/dev/null && echo MODE; touch .git 2>/dev/null && echo TOUCHED; \
         perl -MErrno -e 'for (sub { rename q(.git), q(moved) }, sub { rename q(decoy), q(.git) }, sub { unlink q(.git) }, \
           sub { open my $f, q(>), q(.git) }, sub { open my $f, q(>>), q(.git) }, sub { symlink q(/tmp), q(.git) }, sub { mkdir q(.git) }, \
           sub { my ($from, $to) = qw(decoy .git); syscall((`uname -m` =~ /x86_64/ ? 316 : 276), -100, $from, -100, $to, 2) == 0 }) \
         { if ($_->()) { print \"DONE \" } else { my ($name) = grep { $!{$_} } qw(EBUSY EROFS EACCES EEXIST ENOTDIR EXDEV); print $name // $!, \" \" } }'; \
         cat .git; git rev-parse --git-dir",
    );
    let (errors, rest) = printed.split_once("gitdir: ").unwrap();
    assert_eq!(rest, "/agent.git\n/agent.git\n", "{printed}");
    let errors: Vec<&str> = errors.split_whitespace().collect();
    assert_eq!(errors.len(), 8, "{printed}");
    assert_eq!(errors[0], "EBUSY", "mv .git: {printed}");
    for error in errors {
        assert!(error.starts_with('E'), "{printed}");
    }
}

/// What can be told of each file below `folder`: kind and mode, times, and
/// content or target.
fn state_of(folder: &Path) -> BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)> {
    fn walk(folder: &Path, found: &mut BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)>) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let content = if kind.is_file() {
                fs::read(&path).unwrap()
            } else if kind.is_symlink() {
                fs::read_link(&path)
                    .unwrap()
                    .into_os_string()
                    .into_encoded_bytes()
            } else {
                walk(&path, found);
                Vec::new()
            };
            let metadata = fs::symlink_metadata(&path).unwrap();
            let told = (
                metadata.mode(),
                metadata.mtime(),
                metadata.mtime_nsec(),
                content,
            );
            found.insert(path, told);
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, &mut found);
    found
}

#[test]
fn g6_a_dirty_checkout_is_the_same_to_the_byte_and_the_second_after_a_task() {
    let host = Host::new();
    let repository = host.repository();
    let write = |name: &str, text: &str| fs::write(repository.join(name), text).unwrap();
    for name in ["staged", "modified", "deleted", "stashed"] {
        write(name, "as committed\n");
    }
    write(".gitignore", "ignored\n");
    host.git(&["add", "--all"]);
    host.git(&["commit", "--quiet", "--message", "Files"]);
    host.git(&["tag", "--annotate", "--message", "A tag", "v1"]);
    host.git(&["branch", "other"]);
    write("stashed", "put away\n");
    host.git(&["stash", "--quiet"]);
    write("staged", "changed and staged\n");
    host.git(&["add", "staged"]);
    write("modified", "changed\n");
    fs::remove_file(repository.join("deleted")).unwrap();
    write("untracked", "new\n");
    write("ignored", "of no concern\n");
    std::os::unix::fs::symlink("modified", repository.join("link")).unwrap();
    // An index whose times are not fresh: who looks carelessly writes it anew.
    fs::File::open(repository.join("staged"))
        .and_then(|file| file.set_modified(std::time::SystemTime::UNIX_EPOCH))
        .unwrap();
    let before = state_of(&repository);
    for words in [&[][..], &["--with-dirty"]] {
        let task = host.start_with(
            words,
            "echo x > modified; rm -f untracked staged; echo y > new; git add --all; git commit -qm all; git gc -q; sleep 1000",
        );
        host.exec(&task, "git status; git stash; git checkout -q -b mine");
        for verb in ["logs", "pause", "resume", "stop"] {
            let outcome = host.stockade(&[verb, &task.id]);
            assert_eq!(outcome.code, 0, "{verb}: {outcome:?}");
        }
        host.json(&["ls"]);
    }
    let after = state_of(&repository);
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>()
    );
    for (path, was) in &before {
        assert!(after[path] == *was, "{} has changed", path.display());
    }
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

#[test]
fn g6_no_verb_on_a_running_task_runs_anything_that_an_agent_left() {
    let host = Host::new();
    let canary = host.path("canary");
    let script = format!(
        "CANARY={}\n{PAYLOADS}\ntouch ~/planted; sleep 1000",
        canary.display()
    );
    let task = host.start_with(&["--name", "evil"], &script);
    host::eventually("all is planted", || {
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
        &["why"],
        &["stop", "--all"],
    ] {
        let outcome = host.stockade(words);
        assert!(!canary.exists(), "{words:?} ran a payload");
        assert!(outcome.code < 100, "{words:?}: {outcome:?}");
    }
    task.wait_until_settled();
    assert!(!canary.exists());

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
    assert!(canary.exists(), "the payloads are blunt");
}
