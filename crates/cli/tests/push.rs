//! Reviewed work leaves by `stockade push`, and nothing else does.

#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod host;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use stockade_audit::RecordKind;
use stockade_types::EventKind;

use crate::host::{
    Host, Outcome,
    failure::{FAILED, NOT_FOUND, REFUSED, USAGE},
    finish,
    git_server::GitServer,
    has,
    rules::host_with_rules,
    skip,
    terminal::Terminal,
};

/// The result does not fit what is there.
const CONFLICT: i32 = 5;

/// A task called `work` that ran `script` to its end.
fn worked(host: &Host, script: &str) {
    let words = ["run", "--yes", "--name", "work", "--", "bash", "-c", script];
    let outcome = host.stockade(&words);
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

/// A bare repository of its own, which the user's repository calls `name`.
fn remote(host: &Host, name: &str) -> PathBuf {
    let bare = bare(host, name);
    host.git(&["remote", "add", name, bare.to_str().unwrap()]);
    bare
}

/// The same, which nobody calls anything. It has the user's `main`.
fn bare(host: &Host, name: &str) -> PathBuf {
    let bare = host.path(&format!("served/{name}.git"));
    let path = bare.to_str().unwrap();
    host.git(&["init", "-q", "--bare", "-b", "main", path]);
    host.git(&["push", "-q", path, "main"]);
    bare
}

/// The branches of a repository, with the commits that they are at.
fn branches(host: &Host, bare: &Path) -> String {
    host.git_in(bare, &["for-each-ref", "--format=%(refname) %(objectname)"])
}

fn id(host: &Host, bare: &Path, name: &str) -> String {
    let id = host.git_in(bare, &["rev-parse", name]);
    id.trim().to_owned()
}

/// The files of a commit, with their content.
fn files(host: &Host, bare: &Path, commit: &str) -> Vec<(String, String)> {
    let names = host.git_in(bare, &["ls-tree", "-r", "--name-only", commit]);
    let content = |name: &str| host.git_in(bare, &["show", &format!("{commit}:{name}")]);
    let names = names.lines();
    names.map(|name| (name.to_owned(), content(name))).collect()
}

fn named(list: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(name, content): &(&str, &str)| ((*name).to_owned(), (*content).to_owned());
    list.iter().map(own).collect()
}

/// A push that ends so and says this; what its denial says is in the record too.
fn stopped(host: &Host, words: &[&str], code: i32, expected: &[&str]) -> Outcome {
    let all = [&["push", "work", "--yes"], words].concat();
    let outcome = host.stockade(&all);
    assert_eq!(outcome.code, code, "{words:?}: {outcome:?}");
    for text in expected {
        assert!(outcome.stderr.contains(text), "{text}: {outcome:?}");
    }
    outcome
}

/// What `why` says of the last refusal.
fn why(host: &Host) -> String {
    host.stockade(&["why", "--task", "work"]).stdout
}

/// What was recorded of the work's pushes.
fn events(host: &Host, kind: EventKind) -> Vec<serde_json::Value> {
    let records = host.only_task().record().into_iter();
    let records = records.filter(|record| record.kind == RecordKind::Event(kind));
    records.map(|record| record.body).collect()
}

#[test]
fn g6_a_new_branch_arrives_with_exactly_the_reviewed_tree_and_the_next_push_moves_it() {
    let host = Host::new();
    let bare = remote(&host, "origin");
    worked(
        &host,
        "echo 1 > one.txt; echo 2 > two.txt; echo more >> README.md",
    );
    let before = host.git(&["for-each-ref", "refs/heads", "refs/remotes"]);
    let pushed = host.json(&["push", "work", "--yes"]);
    assert_eq!(pushed["pushed"], true, "{pushed}");
    let first = id(&host, &bare, "stockade/work");
    assert_eq!(pushed["push"]["new"], first);
    let all = [
        ("README.md", "a project\nmore\n"),
        ("one.txt", "1\n"),
        ("two.txt", "2\n"),
    ];
    assert_eq!(files(&host, &bare, "stockade/work"), named(&all));
    // One commit on the base, which says where it comes from.
    let log = host.git_in(&bare, &["log", "--format=%H %P", "stockade/work"]);
    let base = host.git(&["rev-parse", "main"]);
    assert_eq!(
        log.lines().next().unwrap(),
        format!("{first} {}", base.trim())
    );
    let trailer = "--format=%(trailers:key=Stockade-Task,valueonly)";
    let task = host.git_in(&bare, &["log", "-1", trailer, "stockade/work"]);
    assert_eq!(task.trim(), host.only_task().id);
    // The user's branches and checkout know nothing of it.
    assert_eq!(
        host.git(&["for-each-ref", "refs/heads", "refs/remotes"]),
        before
    );
    assert_eq!(host.git(&["status", "--porcelain"]), "");
    let again = host.json(&["push", "work", "--yes"]);
    assert_eq!(again["pushed"], false, "{again}");

    // Another decision is another tree, on top of what is there.
    assert_eq!(
        host.stockade(&["review", "work", "--reject", "two.txt"])
            .code,
        0
    );
    let second = host.json(&["push", "work", "--yes"]);
    assert_eq!(second["push"]["old"], first, "{second}");
    assert_eq!(files(&host, &bare, "stockade/work"), named(&all[..2]));
    let parent = id(&host, &bare, "stockade/work^");
    assert_eq!(parent, first);
    assert_eq!(
        host.only_task().last_events(2),
        [EventKind::PushStarted, EventKind::PushEnded]
    );
}

#[test]
fn g5_a_push_stands_in_the_record_before_it_leaves_and_its_commit_leads_back_to_it() {
    let host = Host::new();
    let bare = remote(&host, "origin");
    worked(&host, "echo 1 > one.txt");
    host.json(&["push", "work", "--yes"]);
    let new = id(&host, &bare, "stockade/work");
    let started = &events(&host, EventKind::PushStarted)[0];
    assert_eq!(started["push"]["new"], new);
    assert_eq!(started["push"]["remote"], "origin");
    assert!(
        started["by"].as_str().unwrap().contains("local process"),
        "{started}"
    );
    let ended = &events(&host, EventKind::PushEnded)[0];
    assert_eq!(ended["outcome"]["end"], "arrived");
    assert_eq!(ended["action"], started["action"]);
    let told = host.json(&["verify-commit", &new]);
    assert_eq!(told["pushed"], true, "{told}");
    assert_eq!(told["branch"], "origin refs/heads/stockade/work");
    assert_eq!(told["manifest"], started["push"]["manifest"]);
    let shown = host.stockade(&["verify-commit", &new]).stdout;
    assert!(shown.contains("pushed    to origin"), "{shown}");
    assert_eq!(host.stockade(&["audit", "verify", "--all"]).code, 0);

    // What a remote does not take is in the record too.
    let hook = bare.join("hooks/pre-receive");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "#!/bin/sh\necho not today >&2\nexit 1\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let declined = stopped(
        &host,
        &["--branch", "stockade/two"],
        FAILED,
        &["not pushed"],
    );
    assert!(declined.stderr.contains("not today"), "{declined:?}");
    let ended = events(&host, EventKind::PushEnded);
    assert_eq!(ended[1]["outcome"]["end"], "refused", "{ended:?}");
}

#[test]
fn g4_without_a_person_or_a_yes_nothing_leaves_and_neither_while_the_task_runs() {
    let host = Host::new();
    let bare = remote(&host, "origin");
    worked(&host, "echo 1 > one.txt");
    let before = branches(&host, &bare);
    let mut command = host.command(&["push", "work"]);
    command.stdin(Stdio::null());
    let refused = finish(command);
    assert_eq!(refused.code, REFUSED, "{refused:?}");
    assert!(refused.stderr.contains("--yes"), "{refused:?}");
    let told = why(&host);
    assert!(told.contains("push.approval"), "{told}");
    assert!(told.contains("stockade push work --yes"), "{told}");
    let mut terminal = Terminal::start(host.command(&["push", "work"]));
    terminal.answer("Type `yes` to push this to origin stockade/work", 1, "no");
    assert_eq!(terminal.finish().code, REFUSED);
    assert_eq!(branches(&host, &bare), before);
    assert!(events(&host, EventKind::PushStarted).is_empty());

    let running = host.start("sleep 600");
    let refused = host.stockade(&["push", &running.id, "--yes"]);
    assert_eq!(refused.code, REFUSED, "{refused:?}");
    assert!(refused.stderr.contains("still runs"), "{refused:?}");

    let mut terminal = Terminal::start(host.command(&["push", "work"]));
    terminal.answer("Type `yes` to push this to origin stockade/work", 1, "yes");
    let shown = terminal.finish();
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.stdout.contains("one.txt"), "{shown:?}");
    assert!(branches(&host, &bare).contains("stockade/work"));
}

#[test]
fn g4_what_changed_since_it_was_shown_is_not_pushed() {
    let host = Host::new();
    let bare = remote(&host, "origin");
    worked(&host, "echo 1 > one.txt; echo 2 > two.txt");
    let question = "Type `yes` to push this to origin stockade/work";

    // Somebody else makes the branch meanwhile.
    let mut terminal = Terminal::start(host.command(&["push", "work"]));
    terminal.wait_for(question);
    let path = bare.to_str().unwrap();
    host.git(&["push", "-q", path, "main:refs/heads/stockade/work"]);
    let theirs = branches(&host, &bare);
    terminal.answer(question, 1, "yes");
    let outcome = terminal.finish();
    assert_eq!(outcome.code, CONFLICT, "{outcome:?}");
    assert!(outcome.stdout.contains("moved there"), "{outcome:?}");
    assert_eq!(branches(&host, &bare), theirs);
    let ended = events(&host, EventKind::PushEnded);
    assert_eq!(ended[0]["outcome"]["end"], "moved", "{ended:?}");

    // Somebody decides otherwise about a file meanwhile.
    let mut terminal = Terminal::start(host.command(&["push", "work"]));
    terminal.wait_for(question);
    host.json(&["review", "work", "--reject", "two.txt"]);
    terminal.answer(question, 1, "yes");
    let outcome = terminal.finish();
    assert_eq!(outcome.code, REFUSED, "{outcome:?}");
    assert!(why(&host).contains("push.changed"), "{}", why(&host));
    assert_eq!(branches(&host, &bare), theirs);

    // The branch is at the task's base, so that the work fits on it.
    assert_eq!(host.json(&["push", "work", "--yes"])["pushed"], true);
    // What others put there is not overridden, nor built on.
    let clone = host.path("clone");
    host.git(&["clone", "-q", path, clone.to_str().unwrap()]);
    host.git_in(&clone, &["checkout", "-q", "stockade/work"]);
    host.git_in(&clone, &["commit", "-q", "--allow-empty", "-m", "theirs"]);
    host.git_in(&clone, &["push", "-q", "origin", "stockade/work"]);
    let theirs = branches(&host, &bare);
    host.json(&["review", "work", "--accept", "two.txt"]);
    stopped(&host, &[], CONFLICT, &["neither of this task", "--branch"]);
    assert_eq!(branches(&host, &bare), theirs);
}

#[test]
fn g4_protected_branches_tags_deletions_and_places_are_refused_by_name() {
    let host = Host::new();
    let bare = remote(&host, "origin");
    worked(&host, "echo 1 > one.txt");
    host.git_in(&bare, &["symbolic-ref", "HEAD", "refs/heads/own"]);
    host.git_in(&bare, &["branch", "own", "main"]);
    let before = branches(&host, &bare);
    for (words, rule) in [
        (["--branch", "main"], "push.protected"),
        (["--branch", "refs/heads/Master"], "push.protected"),
        (["--branch", "release/2"], "push.protected"),
        // The remote's own, whatever it is called.
        (["--branch", "own"], "push.protected"),
        (["--branch", "refs/tags/v1"], "push.tag"),
        (["--branch", ":own"], "push.delete"),
        (["--branch", "+own"], "push.force"),
        (["--remote", "https://example.org/x.git"], "push.remote"),
        (["--remote", "/srv/x.git"], "push.remote"),
    ] {
        stopped(&host, &words, REFUSED, &[]);
        let told = why(&host);
        assert!(told.contains(rule), "{words:?}: {told}");
    }
    for branch in ["HEAD", "a..b", "-x", "", &"1".repeat(40)] {
        stopped(
            &host,
            &["--branch", branch],
            USAGE,
            &["no name for a branch"],
        );
    }
    stopped(&host, &["--remote", "other"], NOT_FOUND, &["git remote -v"]);
    let lease = ["--force-with-lease", &"1".repeat(40)];
    stopped(&host, &lease, CONFLICT, &["leave out"]);
    assert_eq!(branches(&host, &bare), before);
    assert!(events(&host, EventKind::PushStarted).is_empty());
}

/// Everything by which a repository of the agent's could act on the host.
const PLANTS: &str = r#"
git config core.sshCommand "touch $C"; git config core.fsmonitor "touch $C"
git config credential.helper "!touch $C"; git config core.hooksPath "$PWD/hooks"
git config remote.origin.url "ext::sh -c touch% $C"
git config remote.origin.pushurl "ext::sh -c touch% $C"
git config url."ext::sh -c touch% $C".insteadOf /
git config protocol.ext.allow always; git config alias.push "!touch $C"
git config filter.evil.clean "touch $C"; git config filter.evil.smudge "touch $C"
git config push.gpgSign true; git config gpg.program "touch $C"
mkdir -p hooks /agent.git/hooks
for hook in pre-push reference-transaction post-update; do
  printf '#!/bin/sh\ntouch %s\n' "$C" > hooks/$hook; chmod +x hooks/$hook
  cp hooks/$hook /agent.git/hooks/$hook
done
echo '* filter=evil diff=evil' > .gitattributes
printf '[submodule "x"]\n\tpath = x\n\turl = ext::sh -c touch%% %s\n' "$C" > x.gitmodules
echo 1 > one.txt; git add -A; git commit -q -m planted --no-verify; true
"#;

#[test]
fn g6_nothing_that_an_agent_plants_runs_at_a_push() {
    let host = Host::new();
    let bare = remote(&host, "origin");
    let canary = host.path("canary");
    worked(&host, &format!("C={}; {PLANTS}", canary.display()));
    // The attributes arrive with the work, because somebody wants them.
    let review = host.json(&["review", "work"]);
    let held = review["files"].as_array().unwrap().iter();
    let held: Vec<&str> = held
        .filter(|file| file["held_back"] == true)
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    assert!(held.contains(&".gitattributes"), "{held:?}");
    for path in held {
        assert_eq!(host.stockade(&["review", "work", "--accept", path]).code, 0);
    }
    // The user's own hooks do not run either, as at a merge.
    let hook = host.repository().join(".git/hooks/pre-push");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", canary.display())).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    // Nor do variables of the caller's that would make it another git.
    let mut push = host.command(&["push", "work", "--yes"]);
    push.env("GIT_DIR", host.path("nowhere"))
        .env("GIT_CONFIG_COUNT", "1")
        .env(
            "GIT_CONFIG_KEY_0",
            format!("url.ext::sh -c touch% {}.insteadOf", canary.display()),
        )
        .env("GIT_CONFIG_VALUE_0", "/");
    let pushed = finish(push);
    assert_eq!(pushed.code, 0, "{pushed:?}");
    let arrived = files(&host, &bare, "stockade/work");
    assert!(arrived.iter().any(|(name, _)| name == ".gitattributes"));
    assert!(!canary.exists());
    // The trap is real: any other push of the user's runs it.
    host.git(&["push", "-q", "origin", "main:refs/heads/other"]);
    assert!(canary.exists());
}

#[test]
fn g6_a_remote_that_would_run_a_program_is_refused_and_so_is_what_a_checkout_says() {
    let host = Host::new();
    let bare = remote(&host, "origin");
    let canary = host.path("canary");
    let canary = canary.to_str().unwrap();
    worked(&host, "echo 1 > one.txt");
    let before = branches(&host, &bare);
    let place = format!("ext::sh -c touch% {canary}");
    host.git(&["config", "remote.evil.url", &place]);
    host.git(&["config", "protocol.ext.allow", "always"]);
    stopped(
        &host,
        &["--remote", "evil"],
        REFUSED,
        &["https, http and ssh"],
    );
    assert!(why(&host).contains("push.remote"));
    // By a rewrite, too, and where a push alone goes elsewhere.
    host.git(&["config", "remote.other.url", "https://a.test/x"]);
    let key = format!("url.{place}.pushInsteadOf");
    host.git(&["config", &key, "https://a.test/"]);
    stopped(
        &host,
        &["--remote", "other"],
        REFUSED,
        &["https, http and ssh"],
    );
    host.git(&["config", "remote.both.url", "/srv/one.git"]);
    host.git(&["config", "--add", "remote.both.url", "/srv/two.git"]);
    stopped(&host, &["--remote", "both"], REFUSED, &["several places"]);
    // Into what an agent can write, where its hooks would receive it.
    let own = host.only_task().folder.join("agent.git");
    host.git(&["config", "remote.agent.url", own.to_str().unwrap()]);
    stopped(
        &host,
        &["--remote", "agent"],
        REFUSED,
        &["agent work can change"],
    );

    // A program that one repository names, and a file of the checkout that decides.
    let runs = format!("touch {canary}; false");
    for key in ["core.sshCommand", "core.askPass", "credential.helper"] {
        host.git(&["config", key, &runs]);
        stopped(&host, &[], REFUSED, &["git config --global"]);
        host.git(&["config", "--unset", key]);
    }
    fs::write(
        host.repository().join("shared.gitconfig"),
        "[http]\n\tproxy = http://127.0.0.1:1\n",
    )
    .unwrap();
    host.git(&["config", "include.path", "../shared.gitconfig"]);
    stopped(&host, &[], REFUSED, &["agent work can change"]);
    host.git(&["config", "--unset", "include.path"]);
    assert_eq!(branches(&host, &bare), before);
    // A path from the checkout is a path.
    host.git(&["remote", "set-url", "origin", "../served/origin.git"]);
    assert_eq!(host.json(&["push", "work", "--yes"])["pushed"], true);
    assert!(branches(&host, &bare).contains("stockade/work"));
    assert!(!Path::new(canary).exists());
    // The trap is real: git itself would have run it.
    let mut plain = host.other_command("git");
    plain.args(["push", "evil", "main"]);
    finish(plain);
    assert!(Path::new(canary).exists());
}

#[test]
fn g1_a_key_in_the_work_stops_a_push_even_if_somebody_accepted_the_file() {
    let host = Host::new();
    let bare = remote(&host, "origin");
    // In pieces, so that the words of the command hold none.
    worked(
        &host,
        "printf 'key = %s%s\\n' ghp_zQWBuTSOoRi4A9spHc VY5ncnsDkxkJ0mLq17 > key.txt; \
         mkdir big; (head -c 2000000 /dev/zero | tr '\\0' 'a'; cat key.txt) > big/file.txt; \
         echo 1 > one.txt",
    );
    let before = branches(&host, &bare);
    // Beyond what a review compares, and no less searched.
    let found = stopped(&host, &[], REFUSED, &["must not leave", "big/file.txt"]);
    assert!(!found.stderr.contains("ghp_"), "{found:?}");
    assert!(why(&host).contains("push.secret"));
    for (file, choice) in [("big/file.txt", "--reject"), ("key.txt", "--accept")] {
        assert_eq!(host.stockade(&["review", "work", choice, file]).code, 0);
    }
    let found = stopped(&host, &[], REFUSED, &["key.txt, line 1", "GitHub token"]);
    assert!(!found.stderr.contains("ghp_"), "{found:?}");
    assert_eq!(branches(&host, &bare), before);
    host.json(&["review", "work", "--reject", "key.txt"]);
    host.json(&["push", "work", "--yes"]);
    let arrived = files(&host, &bare, "stockade/work");
    assert_eq!(
        arrived,
        named(&[("README.md", "a project\n"), ("one.txt", "1\n")])
    );
}

#[test]
fn g6_a_file_that_is_held_back_stays_out_until_it_is_accepted_by_name() {
    let host = Host::new();
    let bare = remote(&host, "origin");
    worked(&host, "echo 1 > one.txt; echo 'echo hi' > .envrc");
    let hint = "stockade review work";
    stopped(&host, &[], REFUSED, &["1 files are held back", hint]);
    assert!(why(&host).contains("push.held-back"));
    let mut terminal = Terminal::start(host.command(&["push", "work"]));
    terminal.answer("Type `yes` to push this to origin stockade/work", 1, "yes");
    let shown = terminal.finish();
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.stdout.contains(".envrc: held back"), "{shown:?}");
    let without = [("README.md", "a project\n"), ("one.txt", "1\n")];
    assert_eq!(files(&host, &bare, "stockade/work"), named(&without));
    host.json(&["review", "work", "--accept", ".envrc"]);
    host.json(&["push", "work", "--yes"]);
    let arrived = files(&host, &bare, "stockade/work");
    assert!(arrived.contains(&(".envrc".to_owned(), "echo hi\n".to_owned())));
}

/// The number of the question that a push waits for.
fn waits_for(outcome: &Outcome) -> String {
    assert_eq!(outcome.code, REFUSED, "{outcome:?}");
    let (_, rest) = outcome.stderr.split_once("stockade approve ").unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn g4_a_push_that_the_policy_asks_about_waits_for_an_approval_that_is_used_once() {
    let host = Host::new();
    let bare = remote(&host, "backup");
    worked(&host, "echo 1 > one.txt");
    let before = branches(&host, &bare);
    let push = || host.stockade(&["push", "work", "--remote", "backup", "--yes"]);
    let first = waits_for(&push());
    assert_eq!(waits_for(&push()), first, "it is asked once");
    let card = host.stockade(&["inbox", "--list"]).stdout;
    for words in [
        "push to backup stockade/work",
        bare.to_str().unwrap(),
        "git.push: This sends commits to others.",
        "leaves the machine, and can be made up for",
        "nothing: it is new",
    ] {
        assert!(card.contains(words), "{words}: {card}");
    }
    let waiting = host.json(&["inbox"]);
    let planned = waiting[0]["question"]["action"]["new"].clone();
    assert_eq!(host.json(&["approve", &first])["needs"], 0);
    assert_eq!(branches(&host, &bare), before, "an approval pushes nothing");
    let pushed = push();
    assert_eq!(pushed.code, 0, "{pushed:?}");
    // Exactly the commit that was asked about.
    assert_eq!(planned, id(&host, &bare, "stockade/work"));
    let started = &events(&host, EventKind::PushStarted)[0];
    assert_eq!(started["by"], "local process");
    assert!(started["ask"].as_str().unwrap().starts_with(&first));
    assert_eq!(events(&host, EventKind::ApprovalUsed).len(), 1);

    // It is used up, also for the same thing at the same place.
    host.git_in(&bare, &["branch", "-q", "-D", "stockade/work"]);
    let second = waits_for(&push());
    assert_ne!(second, first);
    let before = branches(&host, &bare);
    // What was asked about is not what is there any more: it is asked again.
    host.json(&["approve", &second]);
    let path = bare.to_str().unwrap();
    host.git(&["push", "-q", path, "main:refs/heads/stockade/work"]);
    let third = waits_for(&push());
    assert_ne!(third, second);
    host.git_in(&bare, &["branch", "-q", "-D", "stockade/work"]);
    assert_eq!(branches(&host, &bare), before);
}

#[test]
fn g4_a_no_holds_and_an_approval_can_be_taken_back_before_it_is_used() {
    let host = Host::new();
    let bare = remote(&host, "backup");
    worked(&host, "echo 1 > one.txt; echo 2 > two.txt");
    let before = branches(&host, &bare);
    let push = || host.stockade(&["push", "work", "--remote", "backup", "--yes"]);
    let first = waits_for(&push());
    host.json(&["approve", &first]);
    host.json(&["deny", &first, "--reason", "not on a Friday"]);
    let refused = push();
    assert_eq!(refused.code, REFUSED, "{refused:?}");
    assert!(refused.stderr.contains("not on a Friday"), "{refused:?}");
    assert!(why(&host).contains("approval.refused"));
    // Other work is another question.
    host.json(&["review", "work", "--reject", "two.txt"]);
    let second = waits_for(&push());
    host.json(&["approve", &second]);
    // An approval of other work lets nothing of this leave.
    host.json(&["review", "work", "--accept", "two.txt"]);
    assert_eq!(push().code, REFUSED);
    assert_eq!(branches(&host, &bare), before);
    let verified = host.json(&["audit", "verify", &host.only_task().id]);
    let found = verified["found"].as_array().unwrap();
    let answers = found.iter().find_map(|one| one.get("answers")).unwrap();
    assert_eq!(answers.as_array().unwrap().len(), 3, "{verified}");
}

#[test]
fn g4_at_a_terminal_the_word_of_the_card_approves_a_push_that_the_policy_asks_about() {
    if !has("setsid") {
        return skip("answers at a terminal", "setsid is not installed");
    }
    let host = Host::new();
    let bare = remote(&host, "backup");
    worked(&host, "echo 1 > one.txt");
    let start = || {
        let mut command = host.other_command("setsid");
        let words = ["push", "work", "--remote", "backup"];
        command
            .args(["--ctty", env!("CARGO_BIN_EXE_stockade")])
            .args(words);
        Terminal::start(command)
    };
    let mut terminal = start();
    terminal.answer("to approve this push once", 1, "yes");
    let shown = terminal.finish();
    assert_eq!(shown.code, REFUSED, "{shown:?}");
    assert!(!branches(&host, &bare).contains("stockade/work"));
    let mut terminal = start();
    terminal.wait_for("to approve this push once");
    let shown = terminal.shown();
    let (_, rest) = shown.split_once("Type `").unwrap();
    let word = rest.split('`').next().unwrap().to_owned();
    terminal.answer("to approve this push once", 1, &word);
    let shown = terminal.finish();
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(branches(&host, &bare).contains("stockade/work"));
}

#[test]
fn g4_what_a_build_server_runs_is_pushed_after_two_people_approved_it() {
    if !has("ssh-keygen") {
        return skip("approvals by two people", "ssh-keygen is not installed");
    }
    let host = Host::new();
    let bare = remote(&host, "origin");
    worked(
        &host,
        "mkdir -p .github/workflows; echo 'on: push' > .github/workflows/ci.yml",
    );
    let ci = ".github/workflows/ci.yml";
    host.json(&["review", "work", "--accept", ci]);
    let before = branches(&host, &bare);
    stopped(
        &host,
        &[],
        REFUSED,
        &["two people", "stockade approver add"],
    );
    assert!(why(&host).contains("push.ci"));
    for name in ["ann", "bob"] {
        let key = host.path(name);
        let mut make = host.other_command("ssh-keygen");
        make.args(["-q", "-t", "ed25519", "-N", "", "-f", key.to_str().unwrap()]);
        assert_eq!(finish(make).code, 0);
        let public = key.with_extension("pub");
        host.json(&["approver", "add", name, public.to_str().unwrap()]);
    }
    let push = || host.stockade(&["push", "work", "--yes"]);
    let id = waits_for(&push());
    let card = host.stockade(&["inbox", "--list"]).stdout;
    assert!(card.contains(ci) && card.contains("2 people"), "{card}");
    assert_eq!(host.json(&["approve", &id, "--key", "ann"])["needs"], 1);
    let again = host.stockade(&["approve", &id, "--key", "ann"]);
    assert_eq!(again.code, REFUSED, "{again:?}");
    assert_eq!(waits_for(&push()), id);
    assert_eq!(branches(&host, &bare), before);
    assert_eq!(host.json(&["approve", &id, "--key", "bob"])["needs"], 0);
    let pushed = push();
    assert_eq!(pushed.code, 0, "{pushed:?}");
    let arrived = files(&host, &bare, "stockade/work");
    assert!(arrived.iter().any(|(name, _)| name == ci), "{arrived:?}");
    assert_eq!(events(&host, EventKind::PushStarted)[0]["by"], "ann, bob");
}

/// Rules of a user who lets pushes override, and forbids one branch.
const OWN: &str = r#"@id("mine.force")
@reason("These branches are mine.")
@lifts("git.push-force")
@match("git push --force-with-lease origin topic")
@not_match("git push origin topic")
permit (principal, action == Action::"vcs.push", resource)
when { context.marks.contains(Mark::"force") };

@id("mine.frozen")
@reason("Nothing goes there before the release.")
@instead("Wait for Monday.")
@match("git push origin stockade/frozen")
@not_match("git push origin stockade/other")
forbid (principal, action == Action::"vcs.push", resource)
when { context.target like "* stockade/frozen" };
"#;

#[test]
fn g4_the_users_policy_judges_a_push_and_a_branch_is_overridden_only_from_where_it_is_known_to_be()
{
    let (host, _rules) = host_with_rules(OWN);
    let bare = remote(&host, "origin");
    worked(&host, "echo 1 > one.txt; echo 2 > two.txt");
    let words = ["--branch", "stockade/frozen"];
    stopped(&host, &words, REFUSED, &["before the release", "Monday"]);
    assert!(why(&host).contains("mine.frozen"));
    host.json(&["push", "work", "--yes"]);
    let first = id(&host, &bare, "stockade/work");
    let clone = host.path("clone");
    let path = bare.to_str().unwrap();
    host.git(&["clone", "-q", path, clone.to_str().unwrap()]);
    host.git_in(&clone, &["checkout", "-q", "stockade/work"]);
    host.git_in(&clone, &["commit", "-q", "--allow-empty", "-m", "theirs"]);
    host.git_in(&clone, &["push", "-q", "origin", "stockade/work"]);
    let theirs = id(&host, &bare, "stockade/work");
    host.json(&["review", "work", "--reject", "two.txt"]);
    let stale = ["--force-with-lease", &first];
    stopped(&host, &stale, CONFLICT, &[&theirs]);
    assert_eq!(id(&host, &bare, "stockade/work"), theirs);
    stopped(&host, &["--force-with-lease", "main"], USAGE, &["whole id"]);
    let forced = host.json(&["push", "work", "--yes", "--force-with-lease", &theirs]);
    assert_eq!(forced["push"]["old"], theirs, "{forced}");
    let base = host.git(&["rev-parse", "main"]);
    assert_eq!(id(&host, &bare, "stockade/work^"), base.trim());
}

#[test]
fn g4_what_overrides_is_approved_by_a_security_key_and_by_nothing_less() {
    let host = Host::new();
    let bare = remote(&host, "origin");
    worked(&host, "echo 1 > one.txt");
    let path = bare.to_str().unwrap();
    host.git(&["push", "-q", path, "main:refs/heads/stockade/work"]);
    let old = id(&host, &bare, "stockade/work");
    let push = ["push", "work", "--yes", "--force-with-lease", &old];
    let waiting = waits_for(&host.stockade(&push));
    let refused = host.stockade(&["approve", &waiting]);
    assert_eq!(refused.code, REFUSED, "{refused:?}");
    assert!(refused.stderr.contains("security key"), "{refused:?}");
    assert_eq!(id(&host, &bare, "stockade/work"), old);
}

#[test]
fn g4_limits_approvable_branches_and_a_disclosure_are_the_users_to_set() {
    let (host, _rules) = host_with_rules("");
    let bare = remote(&host, "origin");
    let config = host.path("config/stockade/config.toml");
    worked(&host, "echo 1 > one.txt; echo 22 > two.txt");
    let before = branches(&host, &bare);
    fs::write(&config, "[push]\nfiles = 1\n").unwrap();
    stopped(
        &host,
        &[],
        REFUSED,
        &["changes 2 files; 1 may", "config.toml"],
    );
    assert!(why(&host).contains("push.size"));
    fs::write(&config, "[push]\nbytes = 4\n").unwrap();
    stopped(&host, &[], REFUSED, &["have 5 bytes; 4 may"]);
    fs::write(&config, "[push]\ndisclosure = \"Stockade-Task: x\"\n").unwrap();
    stopped(&host, &[], REFUSED, &["[push] disclosure"]);
    assert_eq!(branches(&host, &bare), before);
    fs::write(
        &config,
        "[push]\nby_approval = [\"main\"]\ndisclosure = \"Assisted-by: an agent\"\n",
    )
    .unwrap();
    // To a protected branch only if somebody approves exactly that.
    let push = || host.stockade(&["push", "work", "--branch", "main", "--yes"]);
    let asked = waits_for(&push());
    assert_eq!(branches(&host, &bare), before);
    host.json(&["approve", &asked]);
    let pushed = push();
    assert_eq!(pushed.code, 0, "{pushed:?}");
    let trailer = "--format=%(trailers:key=Assisted-by,valueonly)";
    let line = host.git_in(&bare, &["log", "-1", trailer, "main"]);
    assert_eq!(line.trim(), "an agent");
    let commit = id(&host, &bare, "main");
    assert_eq!(host.json(&["verify-commit", &commit])["pushed"], true);
}

#[test]
fn g6_a_push_over_http_logs_in_by_the_users_own_helper_and_shows_no_password() {
    let host = Host::new();
    let bare = bare(&host, "lib");
    host.git_in(&bare, &["config", "http.receivepack", "true"]);
    // `me:decoy`.
    let login = Some("Basic bWU6ZGVjb3k=");
    let Some(server) = GitServer::asking_for(&host, host.path("served"), login) else {
        return;
    };
    let url = format!("{}/lib.git", server.url);
    host.git(&["remote", "add", "origin", &url]);
    worked(&host, "echo 1 > one.txt");
    let mut helpless = host.command(&["push", "work", "--yes"]);
    helpless
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null());
    let helpless = finish(helpless);
    assert_eq!(helpless.code, FAILED, "{helpless:?}");
    assert!(
        helpless.stderr.contains("could not be asked"),
        "{helpless:?}"
    );
    let helper =
        "[credential]\n\thelper = \"!f() { echo username=me; echo password=decoy; }; f\"\n";
    fs::write(host.home().join(".gitconfig"), helper).unwrap();
    let pushed = host.json(&["push", "work", "--yes"]);
    assert_eq!(pushed["push"]["url"], url, "{pushed}");
    assert!(branches(&host, &bare).contains("stockade/work"));

    // A password in the address is used, and told nowhere.
    fs::remove_file(host.home().join(".gitconfig")).unwrap();
    let with = url.replace("http://", "http://me:decoy@");
    host.git(&["remote", "add", "other", &with]);
    let words = "push work --yes --remote other --branch stockade/two";
    let words: Vec<&str> = words.split(' ').collect();
    let asked = waits_for(&host.stockade(&words));
    let card = host.stockade(&["inbox", "--list"]).stdout;
    assert!(card.contains(&url) && !card.contains("decoy"), "{card}");
    host.json(&["approve", &asked]);
    let pushed = host.stockade(&words);
    assert_eq!(pushed.code, 0, "{pushed:?}");
    assert!(!format!("{pushed:?}").contains("decoy"), "{pushed:?}");
    let told = format!("{:?}", host.only_task().record());
    assert!(!told.contains("decoy"), "{told}");
}

#[test]
fn a_push_without_a_remote_or_without_work_says_so() {
    let host = Host::new();
    worked(&host, "true");
    stopped(&host, &[], NOT_FOUND, &["git remote add origin"]);
    let bare = remote(&host, "origin");
    let nothing = host.json(&["push", "work", "--yes"]);
    assert_eq!(nothing["reason"], "nothing to push", "{nothing}");
    assert!(!branches(&host, &bare).contains("stockade/work"));
    host.git(&["remote", "set-url", "origin", "/nowhere/x.git"]);
    stopped(&host, &[], FAILED, &["could not be asked", "origin"]);
}
