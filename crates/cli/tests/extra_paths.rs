//! Paths of the host that a person shows a task beyond the usual.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use self::host::Host;

/// A folder that every user may write, as a task of root's has a user id of
/// its own.
fn open_folder(host: &Host, name: &str) -> String {
    let folder = host.path(name);
    fs::create_dir_all(&folder).unwrap();
    for path in [host.path(""), folder.clone()] {
        let mode = if path == folder { 0o777 } else { 0o755 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::write(folder.join("data.txt"), "public\n").unwrap();
    folder.to_str().unwrap().to_owned()
}

#[test]
fn g1_extra_paths_are_readable_or_writable_as_asked_and_remembered_for_the_repository() {
    let host = Host::new();
    let (read, write) = (open_folder(&host, "a"), open_folder(&host, "b"));
    fs::create_dir(Path::new(&read).join(".ssh")).unwrap();
    fs::write(Path::new(&read).join(".ssh/id"), "decoy\n").unwrap();
    let script = format!(
        "cat {read}/data.txt {write}/data.txt; ls -A {read}/.ssh 2>/dev/null; \
         (echo x > {read}/new) 2>/dev/null && echo WROTE; touch $(mktemp -u {write}/new-XXXX); true"
    );
    let asked = [
        "run", "--ro", &read, "--rw", &write, "--", "bash", "-c", &script,
    ];
    let outcome = host.stockade(&asked);
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (0, "public\npublic\n"),
        "{outcome:?}"
    );
    assert!(!Path::new(&read).join("new").exists());
    assert_eq!(fs::read_dir(&write).unwrap().count(), 2);
    for line in [
        format!("reads       {read} (1 secret paths hidden)"),
        format!("writes      {write}"),
    ] {
        assert!(outcome.stderr.contains(&line), "{line}: {outcome:?}");
    }

    // The next task sees the same, and its contract says so.
    let again = host.stockade(&["run", "--", "bash", "-c", &script]);
    assert_eq!(again.stdout, "public\npublic\n", "{again:?}");
    assert!(
        again.stderr.contains(&format!("writes      {write}")),
        "{again:?}"
    );
    let narrower = host.stockade(&[
        "run",
        "--ro",
        &write,
        "--",
        "bash",
        "-c",
        &format!("touch {write}/more"),
    ]);
    assert_ne!(narrower.code, 0, "{narrower:?}");
    let forgotten = host.stockade(&[
        "run",
        "--forget-paths",
        "--",
        "bash",
        "-c",
        &format!("ls {read}"),
    ]);
    assert_ne!(forgotten.code, 0, "{forgotten:?}");
    let last = host.stockade(&["run", "--", "bash", "-c", &format!("ls {read}")]);
    assert_ne!(last.code, 0, "{last:?}");
}

#[test]
fn g3_secrets_in_a_folder_that_may_be_changed_are_hidden_and_why_names_the_rule() {
    let mut host = Host::new();
    let settings = host.path("config/stockade");
    fs::create_dir_all(&settings).unwrap();
    fs::write(
        settings.join("config.toml"),
        "[hide]\npaths = [\".mytool/key\"]\n",
    )
    .unwrap();
    host.set("XDG_CONFIG_HOME", host.path("config"));
    let folder = open_folder(&host, "box");
    // Put together here, so that no script holds what it looks for.
    let planted = ["decoy", "of", "the", "box"].join("-");
    let secrets = [
        (".ssh/id", ".ssh"),
        (".aws/credentials", ".aws"),
        (".gnupg/private-keys-v1.d/one.key", ".gnupg"),
        (".netrc", ".netrc"),
        (".npmrc", ".npmrc"),
        ("alice/.kube/config", ".kube"),
        (".mytool/key", ".mytool/key"),
    ];
    for (name, _) in secrets {
        let path = Path::new(&folder).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &planted).unwrap();
    }
    fs::write(Path::new(&folder).join(".mytool/colours"), &planted).unwrap();
    let script = format!(
        "cd {folder}; grep -rlF $(echo decoy of the box | tr ' ' -) . 2>/dev/null; \
         for name in .ssh/id .netrc .mytool/key; do (echo x > $name) 2>/dev/null && echo wrote $name; done; \
         mv .ssh moved 2>/dev/null && echo moved; rm -rf .aws .netrc 2>/dev/null; true"
    );
    let run = ["run", "--rw", &folder, "--", "bash", "-c", &script];
    let outcome = host.stockade(&run);
    let told = (outcome.code, outcome.stdout.as_str());
    assert_eq!(told, (0, "./.mytool/colours\n"), "{outcome:?}");
    for (name, pattern) in secrets {
        let path = Path::new(&folder).join(name);
        assert_eq!(fs::read_to_string(&path).unwrap(), planted, "{name}");
        let why = host.json(&["why", path.to_str().unwrap()]);
        assert_eq!(why["is"], "hidden", "{why}");
        assert_eq!(why["denial"]["rule"], "files.hidden", "{why}");
        let reason = why["denial"]["reason"].as_str().unwrap();
        assert!(reason.contains(&format!("`{pattern}`")), "{why}");
    }
    let own = host.stockade(&["why", &format!("{folder}/.mytool/key")]);
    assert!(own.stdout.contains("config.toml"), "{own:?}");
}

#[test]
fn why_tells_of_each_kind_of_path_what_a_task_may_do_with_it() {
    let host = Host::new();
    let (read, write) = (open_folder(&host, "a"), open_folder(&host, "b"));
    fs::write(host.repository().join(".env"), "KEY=decoy\n").unwrap();
    host.git(&["add", "--all", "--force"]);
    host.git(&["commit", "--quiet", "--message", "A secret"]);
    let run = ["run", "--ro", &read, "--rw", &write, "--", "true"];
    assert_eq!(host.stockade(&run).code, 0);
    let [env, code] = [".env", "src/main.rs"].map(|name| host.repository().join(name));
    let home = host.home().join("diary");
    fs::write(&home, "of nobody else").unwrap();
    let deny = Some("files.default-deny");
    for (path, is, rule) in [
        (format!("{read}/data.txt"), "read-only", None),
        (format!("{read}/../b/data.txt"), "read-write", None),
        ("/usr/bin/env".to_owned(), "read-only", None),
        ("/tmp/anything".to_owned(), "scratch", None),
        ("/home/agent/.bashrc".to_owned(), "own", None),
        ("/etc/passwd".to_owned(), "made", None),
        (code.display().to_string(), "workspace", None),
        (env.display().to_string(), "masked", Some("files.masked")),
        (home.display().to_string(), "scratch", deny),
        ("/nonexistent".to_owned(), "absent", deny),
    ] {
        let why = host.json(&["why", &path]);
        assert_eq!(why["is"], is, "{path}: {why}");
        assert_eq!(why["denial"]["rule"].as_str(), rule, "{path}: {why}");
    }
    let offered = host.stockade(&["why", home.to_str().unwrap()]).stdout;
    let command = format!("allow   stockade run --ro {} …", home.display());
    assert!(offered.contains(&command), "{offered}");
}

#[test]
fn g1_a_wider_path_asks_and_places_that_open_everything_are_refused() {
    let host = Host::new();
    let folder = open_folder(&host, "a");
    assert_eq!(host.stockade(&["run", "--", "true"]).code, 0);
    let wider = host.stockade(&["run", "--rw", &folder, "--", "true"]);
    assert_eq!(wider.code, 4, "{wider:?}");
    assert!(
        wider.stderr.contains(&format!("writes {folder}")),
        "{wider:?}"
    );

    let home = host.home();
    let link = host.path("link");
    std::os::unix::fs::symlink("/", &link).unwrap();
    let state = host.state().join("tasks");
    let repository = host.repository();
    for path in [
        Path::new("/"),
        Path::new("/proc/self"),
        Path::new("/dev/null"),
        Path::new("/nonexistent"),
        &link,
        &home,
        home.parent().unwrap(),
        &state,
        &repository,
    ] {
        for flag in ["--ro", "--rw"] {
            let outcome =
                host.stockade(&["run", "--yes", flag, path.to_str().unwrap(), "--", "true"]);
            assert_eq!(outcome.code, 4, "{path:?} {outcome:?}");
            assert!(
                outcome.stderr.contains("cannot be shown inside"),
                "{outcome:?}"
            );
        }
    }
    assert_eq!(host.json(&["ls"]).as_array().unwrap().len(), 1);
}

#[test]
fn g3_files_hidden_by_a_pattern_stay_hidden_in_the_next_task() {
    let host = Host::new();
    fs::write(
        host.repository().join("site.conf"),
        "password = decoy-secret-value\n",
    )
    .unwrap();
    host.git(&["add", "-A"]);
    host.git(&["commit", "-q", "-m", "a setting"]);
    let look = "grep -c decoy-secret-value site.conf; true";
    let open = host.stockade(&["run", "--", "bash", "-c", look]);
    assert_eq!(open.stdout, "1\n", "{open:?}");
    let hidden = host.stockade(&["run", "--hide", "*.conf", "--", "bash", "-c", look]);
    assert_eq!(hidden.stdout, "0\n", "{hidden:?}");
    let next = host.stockade(&["run", "--", "bash", "-c", look]);
    assert_eq!(next.stdout, "0\n", "{next:?}");
}

#[test]
fn g1_a_file_that_may_be_changed_and_has_another_name_outside_lowers_the_level() {
    let host = Host::new();
    let write = open_folder(&host, "b");
    let outside = host.path("outside.txt");
    fs::write(&outside, "kept\n").unwrap();
    fs::hard_link(&outside, Path::new(&write).join("inside.txt")).unwrap();
    let words = ["run", "--rw", &write, "--", "true"];
    let refused = host.stockade(&[&["run", "--require", "full"], &words[1..]].concat());
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.stderr.contains("hard links"), "{refused:?}");
    let told = host.stockade(&[&["run", "--yes"], &words[1..]].concat());
    let line = format!("{write}/inside.txt: other names elsewhere (hard links) change too");
    assert!(told.stderr.contains(&line), "{told:?}");
}
