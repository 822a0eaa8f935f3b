//! Merges are signed as the user's own git would sign a commit.

#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod host;

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use serde_json::Value;
use stockade_audit::RecordKind;
use stockade_types::EventKind;

use crate::host::{Host, Outcome, finish, has, skip};

/// A task that left one file.
fn worked(host: &Host) {
    let script = "echo 1 > one.txt; echo -n \"$SSH_AUTH_SOCK\"; \
                  find / -not -path '/proc/*' \\( -name 'id_of_*' -o -name .ssh -o -name .gnupg \\) 2>/dev/null; true";
    let words = ["run", "--name", "work", "--", "bash", "-c", script];
    let outcome = host.stockade(&words);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    // Neither the key nor the way to it is inside.
    assert_eq!(outcome.stdout, "", "{outcome:?}");
}

fn configure(host: &Host, text: &str) {
    fs::write(host.home().join(".gitconfig"), text).unwrap();
}

fn ran(host: &Host, program: &str, arguments: &[&str]) -> Outcome {
    let mut command = host.other_command(program);
    command.args(arguments).stdin(std::process::Stdio::null());
    let outcome = finish(command);
    assert_eq!(outcome.code, 0, "{program} {arguments:?}: {outcome:?}");
    outcome
}

/// A new SSH key of the user's, without passphrase.
fn ssh_key(host: &Host, name: &str) -> PathBuf {
    let folder = host.home().join(".ssh");
    let _ = fs::DirBuilder::new().mode(0o700).create(&folder);
    let key = folder.join(name);
    let path = key.to_str().unwrap();
    ran(
        host,
        "ssh-keygen",
        &["-q", "-t", "ed25519", "-N", "", "-f", path],
    );
    key
}

fn public_half(key: &Path) -> String {
    let text = fs::read_to_string(key.with_extension("pub")).unwrap();
    text.trim().to_owned()
}

/// What the user's git says of the newest commit's SSH signature by `key`.
fn ssh_verifies(host: &Host, key: &Path) {
    let signers = host.path("signers");
    let line = format!("person@example.org {}\n", public_half(key));
    fs::write(&signers, line).unwrap();
    let setting = format!("gpg.ssh.allowedSignersFile={}", signers.display());
    host.git(&["-c", &setting, "verify-commit", "HEAD"]);
}

/// Whether the newest commit carries a signature.
fn is_signed(host: &Host) -> bool {
    host.git(&["cat-file", "commit", "HEAD"])
        .contains("\ngpgsig ")
}

fn approval(host: &Host) -> Value {
    let record = host.only_task().record();
    let mut found = record.into_iter().rev();
    let is = |kind| kind == RecordKind::Event(EventKind::Approved);
    found.find(|record| is(record.kind)).unwrap().body
}

/// A merge that is refused with these words and changes nothing.
fn refused(host: &Host, words: &str) {
    let before = host.git(&["for-each-ref", "refs/heads"]);
    let outcome = host.stockade(&["merge", "work", "--yes"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains(words), "{words}: {outcome:?}");
    assert!(outcome.stderr.contains("--no-sign"), "{outcome:?}");
    assert_eq!(host.git(&["for-each-ref", "refs/heads"]), before);
    assert_eq!(host.git(&["status", "--porcelain", "-uno"]), "");
    assert!(!host.repository().join("one.txt").exists());
}

#[test]
fn g6_the_approved_commit_is_signed_with_the_users_ssh_key_and_the_key_is_never_inside() {
    if !has("ssh-keygen") {
        return skip("SSH signatures", "there is no ssh-keygen");
    }
    let host = Host::new();
    let key = ssh_key(&host, "id_of_a_person");
    configure(
        &host,
        "[commit]\n\tgpgSign\n[gpg]\n\tformat = ssh\n[user]\n\tname = A Person\n\t\
         email = person@example.org\n\tsigningKey = ~/.ssh/id_of_a_person\n",
    );
    worked(&host);
    let merged = host.json(&["merge", "work", "--yes"]);
    ssh_verifies(&host, &key);
    let head = host.git(&["rev-parse", "HEAD"]);
    let approved = approval(&host);
    assert_eq!(merged["landed"]["commit"], head.trim());
    assert_eq!(approved["approval"]["new_commit"], head.trim());
    assert_eq!(approved["signature"]["format"], "ssh");
    assert_eq!(approved["no_sign"], false);
    // Nothing of it stays behind, and another key would not do.
    assert!(!host.only_task().folder.join("signing").exists());
    let trailer = "--format=%(trailers:key=Stockade-Task,valueonly)";
    assert_eq!(
        host.git(&["log", "-1", trailer]).trim(),
        host.only_task().id
    );
    let other = ssh_key(&host, "id_of_another");
    let line = format!("person@example.org {}\n", public_half(&other));
    fs::write(host.path("signers"), line).unwrap();
    let setting = format!(
        "gpg.ssh.allowedSignersFile={}",
        host.path("signers").display()
    );
    let mut verify = host.other_command("git");
    verify.args(["-c", &setting, "verify-commit", "HEAD"]);
    assert_ne!(finish(verify).code, 0);
}

/// Ends the programs that GnuPG left running for this home.
struct Keyring<'a>(&'a Host);

impl<'a> Keyring<'a> {
    fn new(host: &'a Host) -> Self {
        let folder = host.home().join(".gnupg");
        fs::DirBuilder::new().mode(0o700).create(folder).unwrap();
        Self(host)
    }
}

impl Drop for Keyring<'_> {
    fn drop(&mut self) {
        let mut kill = self.0.other_command("gpgconf");
        kill.args(["--kill", "all"]);
        finish(kill);
    }
}

#[test]
fn g6_a_merge_is_signed_with_the_users_openpgp_key() {
    if !has("gpg") {
        return skip("OpenPGP signatures", "there is no gpg");
    }
    let host = Host::new();
    let _keyring = Keyring::new(&host);
    let user = "A Person <person@example.org>";
    let make = [
        "--batch",
        "--quiet",
        "--passphrase",
        "",
        "--quick-generate-key",
    ];
    ran(
        &host,
        "gpg",
        &[&make[..], &[user, "ed25519", "sign"]].concat(),
    );
    // No key is named: it is the one of the name and address.
    configure(
        &host,
        "[commit]\n\tgpgSign = true\n[user]\n\tname = A Person\n\temail = person@example.org\n",
    );
    worked(&host);
    host.json(&["merge", "work", "--yes"]);
    let verified = ran(&host, "git", &["verify-commit", "--raw", "HEAD"]);
    assert!(verified.stderr.contains("GOODSIG"), "{verified:?}");
    assert_eq!(approval(&host)["signature"]["format"], "openpgp");
}

#[test]
fn g6_a_merge_is_signed_with_the_users_certificate() {
    if !has("gpgsm") {
        return skip("X.509 signatures", "there is no gpgsm");
    }
    let host = Host::new();
    let _keyring = Keyring::new(&host);
    let folder = host.home().join(".gnupg");
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let wish = "Key-Type: RSA\nKey-Length: 2048\nKey-Usage: sign\nSerial: random\n\
                Name-DN: CN=A Person\nName-Email: person@example.org\nNot-After: 20630101T000000\n";
    fs::write(file("wish"), wish).unwrap();
    fs::write(file("gpgsm.conf"), "disable-crl-checks\n").unwrap();
    let (wish, certificate) = (file("wish"), file("certificate"));
    let quiet = ["--batch", "--quiet", "--no-tty"];
    let make = [
        "--pinentry-mode",
        "loopback",
        "--passphrase-fd",
        "0",
        "--generate-key",
    ];
    let words = [&quiet[..], &make, &["--output", &certificate, &wish]].concat();
    ran(&host, "gpgsm", &words);
    ran(
        &host,
        "gpgsm",
        &[&quiet[..], &["--import", &certificate]].concat(),
    );
    let listed = ran(&host, "gpgsm", &["--list-keys", "--with-colons"]).stdout;
    let mut lines = listed
        .lines()
        .filter_map(|line| line.strip_prefix("fpr:::::::::"));
    let fingerprint = lines.next().unwrap().split(':').next().unwrap();
    fs::write(file("trustlist.txt"), format!("{fingerprint} S relax\n")).unwrap();
    configure(
        &host,
        &format!(
            "[commit]\n\tgpgSign = 1\n[gpg]\n\tformat = x509\n[user]\n\tsigningKey = {fingerprint}\n"
        ),
    );
    worked(&host);
    host.json(&["merge", "work", "--yes"]);
    let verified = ran(&host, "git", &["verify-commit", "--raw", "HEAD"]);
    assert!(verified.stderr.contains("GOODSIG"), "{verified:?}");
    assert_eq!(approval(&host)["signature"]["format"], "x509");
}

#[test]
fn g6_a_signature_that_fails_stops_the_merge_and_going_without_stands_in_the_record() {
    if !has("ssh-keygen") {
        return skip("SSH signatures", "there is no ssh-keygen");
    }
    let host = Host::new();
    let key = ssh_key(&host, "id_of_a_person");
    let ssh = "[commit]\n\tgpgSign = true\n[gpg]\n\tformat = ssh\n";
    worked(&host);
    configure(&host, ssh);
    refused(&host, "`user.signingKey` names no key");
    configure(
        &host,
        &format!("{ssh}[user]\n\tsigningKey = ~/.ssh/id_missing\n"),
    );
    refused(&host, "id_missing");
    fs::write(host.home().join(".ssh/id_broken"), "not a key\n").unwrap();
    let broken = format!("{ssh}[user]\n\tsigningKey = ~/.ssh/id_broken\n");
    configure(&host, &broken);
    refused(&host, "made no signature");
    configure(
        &host,
        &format!("{broken}[gpg \"ssh\"]\n\tprogram = /bin/true\n"),
    );
    refused(&host, "commit.sig");
    configure(&host, "[commit]\n\tgpgSign = perhaps\n");
    refused(&host, "`commit.gpgsign` is `perhaps`");
    configure(&host, "[commit]\n\tgpgSign = true\n[gpg]\n\tformat = wax\n");
    refused(&host, "`gpg.format` is `wax`");
    configure(&host, "[commit\n");
    refused(&host, "git config");
    fs::remove_file(key).unwrap();

    assert_eq!(
        host.json(&["merge", "work", "--yes", "--no-sign"])["merged"],
        true
    );
    assert!(!is_signed(&host));
    let approved = approval(&host);
    assert_eq!(approved["no_sign"], true);
    assert_eq!(approved["signature"], Value::Null);
}

/// A program that leaves a mark when it runs.
fn trap(path: &Path, mark: &Path) {
    let _ = fs::create_dir_all(path.parent().unwrap());
    fs::write(
        path,
        format!("#!/bin/sh\ntouch {}\nexit 1\n", mark.display()),
    )
    .unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn g6_nothing_that_agent_work_can_change_chooses_what_signs() {
    let mut host = Host::new();
    let mark = host.path("mark");
    let tool = host.repository().join("tools/gpg");
    trap(&tool, &mark);
    fs::write(
        host.repository().join("settings"),
        "[user]\n\tsigningKey = k\n",
    )
    .unwrap();
    host.git(&["add", "--all"]);
    host.git(&["commit", "--quiet", "--message", "A tool"]);
    worked(&host);
    let sign = "[commit]\n\tgpgSign = true\n";
    let program = |path: &str| format!("{sign}[gpg]\n\tprogram = {path}\n");

    // The trap is real: the user's own git would run it.
    configure(&host, &program(tool.to_str().unwrap()));
    let mut commit = host.other_command("git");
    commit.args([
        "-c",
        "user.name=x",
        "-c",
        "user.email=x",
        "commit",
        "--allow-empty",
        "-qm",
        "x",
    ]);
    assert_ne!(finish(commit).code, 0);
    assert!(mark.exists());
    fs::remove_file(&mark).unwrap();

    refused(&host, "a file that agent work can change");
    configure(&host, &program("tools/gpg"));
    refused(&host, "give the whole path");
    let link = host.home().join("gpg");
    symlink(&tool, &link).unwrap();
    configure(&host, &program("~/gpg"));
    refused(&host, "a file that agent work can change");
    let upper = host.only_task().folder.join("upper/gpg");
    trap(&upper, &mark);
    configure(&host, &program(upper.to_str().unwrap()));
    refused(&host, "a file that agent work can change");
    fs::remove_file(upper).unwrap();

    // By way of the search path.
    configure(&host, sign);
    let path = format!(
        "{}:{}",
        tool.parent().unwrap().display(),
        host::search_path()
    );
    host.set("PATH", path);
    refused(&host, "a file that agent work can change");
    host.set("PATH", host::search_path());

    // By the repository's own configuration, or a file of the tree.
    let own = host.home().join("own-gpg");
    trap(&own, &mark);
    host.git(&["config", "gpg.program", own.to_str().unwrap()]);
    refused(&host, "the configuration of one repository");
    host.git(&["config", "--unset", "gpg.program"]);
    let settings = host.repository().join("settings");
    configure(
        &host,
        &format!("{sign}[include]\n\tpath = {}\n", settings.display()),
    );
    refused(
        &host,
        "which agent work can change; set it in a file outside",
    );

    // And the key.
    fs::write(host.repository().join("id_tree"), "a key\n").unwrap();
    let key = host.repository().join("id_tree");
    configure(
        &host,
        &format!(
            "{sign}[gpg]\n\tformat = ssh\n[user]\n\tsigningKey = {}\n",
            key.display()
        ),
    );
    refused(&host, "`user.signingkey` means");
    assert!(!mark.exists());
}

#[test]
fn a_repositorys_configuration_chooses_the_key_and_whether_to_sign() {
    if !has("ssh-keygen") {
        return skip("SSH signatures", "there is no ssh-keygen");
    }
    let host = Host::new();
    ssh_key(&host, "id_of_a_person");
    let key = ssh_key(&host, "id_for_this_project");
    // The user's settings are in a file that theirs includes.
    configure(&host, "[include]\n\tpath = more/git\n");
    fs::create_dir(host.home().join("more")).unwrap();
    fs::write(
        host.home().join("more/git"),
        "[commit]\n\tgpgSign = true\n[gpg]\n\tformat = ssh\n\
         [user]\n\tsigningKey = ~/.ssh/id_of_a_person\n",
    )
    .unwrap();
    worked(&host);
    host.git(&["config", "user.signingKey", key.to_str().unwrap()]);
    host.json(&["merge", "work", "--yes"]);
    ssh_verifies(&host, &key);

    host.git(&["config", "commit.gpgSign", "false"]);
    let words = [
        "run",
        "--name",
        "more",
        "--",
        "bash",
        "-c",
        "echo 2 > two.txt",
    ];
    assert_eq!(host.stockade(&words).code, 0);
    host.json(&["merge", "more", "--yes"]);
    assert!(host.repository().join("two.txt").exists() && !is_signed(&host));
}
