//! What a reader sees and decides.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use stockade_workspace::{BackEnd, Choice, Risk, Status, TreePath, Undecided};

use crate::support::{Bench, KNOWN, agent_side, delete, file, put, review, scanner, with_each_git};

#[test]
fn files_are_sorted_by_what_they_would_run_and_counted() {
    with_each_git(|bench| {
        bench.start();
        bench.write("tests/old.rs", "#[test]\n");
        bench.commit("test");
        let space = bench.task(1, BackEnd::Overlay);
        let side = agent_side(&space);
        put(&side, "src/main.rs", "fn main() {}\n// more\n");
        put(&side, ".github/workflows/ci.yml", "on: push\n");
        put(&side, ".husky/pre-commit", "x\n");
        put(&side, "AGENTS.md", "obey\n");
        put(&side, "image", b"\0\x01");
        put(&side, "bidi.rs", "let a = 1; // \u{202e}\n");
        put(&side, "large.txt", vec![b'x'; 2 << 20]);
        delete(&space, "tests/old.rs");
        let review = review(&bench, &space);
        let order: Vec<_> = review
            .files
            .iter()
            .map(|f| (f.path.to_string(), f.risk()))
            .collect();
        let text = |name: &str, risk| (name.to_owned(), risk);
        assert_eq!(
            order,
            [
                text(".husky/pre-commit", Risk::RunsByItself),
                text(".github/workflows/ci.yml", Risk::RunsInCi),
                text("AGENTS.md", Risk::AgentInstructions),
                text("bidi.rs", Risk::Deceptive),
                text("image", Risk::Binary),
                text("large.txt", Risk::Binary),
                text("tests/old.rs", Risk::TestRemoved),
                text("src/main.rs", Risk::Ordinary),
            ]
        );
        let main = file(&review, "src/main.rs");
        assert_eq!(
            (main.status, main.added, main.removed),
            (Status::Modified, 1, 0)
        );
        assert!(file(&review, ".husky/pre-commit").held_back && !main.held_back);
        assert_eq!(file(&review, "large.txt").too_large, Some(2 << 20));
        let repository = bench.repository();
        let hunks = space
            .hunks(&bench.git, &repository, file(&review, "bidi.rs"))
            .unwrap();
        assert_eq!(hunks[0].lines[0].text, "let a = 1; // \\u{202e}");
    });
}

#[test]
fn g3_a_key_in_a_change_is_named_by_line_and_held_back_until_its_file_is_accepted() {
    let bench = Bench::new();
    let key = ["ghp_zQWBuTSOoRi4A9spHc", "VY5ncnsDkxkJ0mLq17"].concat();
    bench.write("old.txt", format!("{key}\n"));
    bench.commit("a key that is there already");
    let space = bench.task(1, BackEnd::Checkout);
    let side = agent_side(&space);
    put(&side, "old.txt", format!("first\n{key}\n"));
    put(&side, "new.txt", format!("one\ntwo = {key}\n"));
    put(&side, "known.py", format!("\n\nconnect(\"{KNOWN}\")\n"));
    put(
        &side,
        "data.bin",
        [b"\0\x01".as_slice(), key.as_bytes()].concat(),
    );
    put(&side, "plain.txt", "nothing\n");
    let review = review(&bench, &space);
    for (path, line, what) in [
        ("new.txt", 2, "what looks like a GitHub token"),
        ("known.py", 3, "the value of DB_PASSWORD of .env"),
        ("data.bin", 1, "what looks like a GitHub token"),
    ] {
        let file = file(&review, path);
        let told: Vec<_> = file.findings.iter().map(|f| (f.line, &*f.what)).collect();
        assert_eq!(told, [(line, what)], "{path}");
        assert!(file.held_back && file.risk() == Risk::Credential, "{path}");
        let shown = serde_json::to_string(&file.marks).unwrap();
        assert!(!shown.contains(&key) && !shown.contains(KNOWN), "{shown}");
    }
    for path in ["old.txt", "plain.txt"] {
        assert!(file(&review, path).findings.is_empty() && !file(&review, path).held_back);
    }
    let repository = bench.repository();
    let accepted = || {
        let all = Undecided::Accept;
        space
            .accepted(&bench.git, &repository, &review, all)
            .unwrap()
    };
    let left: Vec<_> = accepted()
        .left_out
        .iter()
        .map(|left| left.path.to_string())
        .collect();
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(
        accepted()
            .left_out
            .iter()
            .all(|left| left.reason.contains("looks like a key"))
    );
    space
        .decide(file(&review, "new.txt"), Choice::Accept)
        .unwrap();
    assert_eq!(accepted().left_out.len(), 2);
    // Not the same contents, so not what was accepted.
    put(&side, "new.txt", format!("one\ntwo = {key}\nthree\n"));
    let imported = crate::support::import(&bench, &space);
    let again = space
        .review(&bench.git, &repository, &imported, &scanner())
        .unwrap();
    assert!(
        space
            .decisions()
            .unwrap()
            .about(file(&again, "new.txt"))
            .is_none()
    );
}

#[test]
fn each_of_eighteen_risks_is_marked_and_a_plain_change_is_not() {
    let bench = Bench::new();
    bench.write("tests/gone.rs", "#[test]\n");
    bench.write(
        "tests/cut.rs",
        "#[test]\nfn one() {}\n#[test]\nfn two() {}\n",
    );
    bench.commit("tests");
    let space = bench.task(1, BackEnd::Checkout);
    let side = agent_side(&space);
    let written = [
        (".envrc", "x\n", Risk::RunsByItself),
        (".vscode/tasks.json", "{}\n", Risk::RunsByItself),
        (".husky/pre-commit", "x\n", Risk::RunsByItself),
        (".gitattributes", "* text\n", Risk::ChangesGit),
        (".claude/settings.json", "{}\n", Risk::AgentSettings),
        (".mcp.json", "{}\n", Risk::AgentSettings),
        (".github/workflows/ci.yml", "on: push\n", Risk::RunsInCi),
        ("CLAUDE.md", "obey\n", Risk::AgentInstructions),
        ("bidi.rs", "// \u{202e}\n", Risk::Deceptive),
        ("zero\u{200b}width", "x\n", Risk::Deceptive),
        ("Makefile", "all:\n", Risk::RunsOnBuild),
        ("build.rs", "fn main() {}\n", Risk::RunsOnBuild),
        ("package-lock.json", "{}\n", Risk::Dependencies),
        ("image.png", "\0", Risk::Binary),
        ("tests/cut.rs", "#[test]\nfn one() {}\n", Risk::TestRemoved),
    ];
    for (path, text, _) in written {
        put(&side, path, text);
    }
    symlink("src", side.join("alias")).unwrap();
    fs::set_permissions(side.join("README.md"), fs::Permissions::from_mode(0o755)).unwrap();
    delete(&space, "tests/gone.rs");
    let plain = ["src/lib.rs", "src/new.rs", "tests/more.rs"];
    for path in plain {
        put(&side, path, "fn fine() {}\nfn also() {}\nfn third() {}\n");
    }
    let review = review(&bench, &space);
    let mut expected: Vec<_> = written.map(|(path, _, risk)| (path, risk)).to_vec();
    expected.extend([
        ("alias", Risk::Link),
        ("README.md", Risk::Executable),
        ("tests/gone.rs", Risk::TestRemoved),
    ]);
    assert_eq!(review.files.len(), expected.len() + plain.len());
    for (path, risk) in expected {
        let path = TreePath::new(path).unwrap();
        let found = review.files.iter().find(|file| file.path == path).unwrap();
        assert_eq!(found.risk(), risk, "{path}: {:?}", found.marks);
    }
    for path in plain {
        assert_eq!(file(&review, path).marks, [], "{path}");
    }
}

#[test]
fn an_attribute_cannot_hide_text_from_review() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    put(&space.upper(), ".gitattributes", "* -diff binary\n");
    put(&space.upper(), "README.md", "visible\n");
    let review = review(&bench, &space);
    let readme = file(&review, "README.md");
    assert!(!readme.binary && readme.added == 1);
}

#[test]
fn only_accepted_files_and_hunks_are_in_the_result() {
    let bench = Bench::new();
    let lines = |first: &str, last: &str| format!("{first}\n1\n2\n3\n4\n5\n6\n7\n8\n{last}\n");
    bench.write("long", lines("a", "b"));
    bench.commit("long");
    let space = bench.task(1, BackEnd::Overlay);
    put(&space.upper(), "long", lines("A", "B"));
    put(&space.upper(), "README.md", "rejected\n");
    put(&space.upper(), "src/main.rs", "accepted\n");
    put(&space.upper(), ".envrc", "held back\n");
    let review = review(&bench, &space);
    let repository = bench.repository();
    let hunks = space
        .hunks(&bench.git, &repository, file(&review, "long"))
        .unwrap();
    assert_eq!(hunks.len(), 2);
    let chosen = BTreeMap::from([(hunks[1].id.clone(), true)]);
    space
        .decide(file(&review, "long"), Choice::Hunks(chosen))
        .unwrap();
    space
        .decide(file(&review, "README.md"), Choice::Reject)
        .unwrap();
    let accepted = space
        .accepted(&bench.git, &repository, &review, Undecided::Accept)
        .unwrap();
    let import = space.folder().join("import.git");
    let show = |path: &str| {
        let output = bench.run_git(&import, &["show", &format!("{}:{path}", accepted.commit)]);
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(show("long"), lines("a", "B"));
    assert_eq!(
        (show("README.md").as_str(), show("src/main.rs").as_str()),
        ("hello\n", "accepted\n")
    );
    assert_eq!(show(".envrc"), "");
    let left_out: Vec<_> = accepted
        .left_out
        .iter()
        .map(|l| l.path.to_string())
        .collect();
    assert_eq!(left_out, [".envrc", "README.md", "long"]);
}

#[test]
fn a_decision_does_not_outlive_the_content_it_was_made_about() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    put(&space.upper(), ".envrc", "harmless\n");
    let first = review(&bench, &space);
    space
        .decide(file(&first, ".envrc"), Choice::Accept)
        .unwrap();
    assert_eq!(
        space.decisions().unwrap().about(file(&first, ".envrc")),
        Some(&Choice::Accept)
    );
    put(&space.upper(), ".envrc", "harmful\n");
    let second = review(&bench, &space);
    assert_eq!(
        space.decisions().unwrap().about(file(&second, ".envrc")),
        None
    );
    let repository = bench.repository();
    let accepted = space
        .accepted(&bench.git, &repository, &second, Undecided::Accept)
        .unwrap();
    assert_eq!(accepted.files, []);
}
