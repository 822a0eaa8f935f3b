//! Git inside a task.

mod host;

use std::{collections::BTreeSet, fs, path::Path};

use crate::host::{Host, files::state_of, has, skip};

#[test]
fn the_git_that_is_tried_is_stockades_own_and_the_one_inside() {
    let host = Host::new();
    let task = host.start("sleep 1000");
    let outside = host.git(&["--version"]);
    assert_eq!(host.exec(&task, "git --version"), (0, outside.clone()));
    let first = host::search_path();
    let first = first
        .split(':')
        .map(Path::new)
        .map(|folder| folder.join("git"));
    let first = first.into_iter().find(|program| program.exists()).unwrap();
    let plan = fs::read_to_string(task.folder.join("plan.json")).unwrap();
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    assert_eq!(plan["git"], *first.to_str().unwrap(), "{outside}");
}

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
fn what_changes_after_git_cached_what_is_untracked_is_seen() {
    let host = Host::new();
    let printed = host.look(
        "set -e; mkdir -p old/deep; echo 1 > old/deep/known; git add old; git commit -qm old; \
         git status --porcelain; sleep 1.1; git status --porcelain; \
         git ls-files --debug >/dev/null; grep -aq UNTR /agent.git/index; \
         echo 2 > old/deep/new; git status --porcelain -uall; rm old/deep/new; git status --porcelain; \
         mv old moved; git status --porcelain; mv moved old; \
         echo 'new*' > .gitignore; echo 3 > old/deep/new; git status --porcelain",
    );
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(
        lines,
        [
            "?? old/deep/new",
            " D old/deep/known",
            "?? moved/",
            "?? .gitignore"
        ],
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
