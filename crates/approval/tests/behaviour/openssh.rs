//! OpenSSH's own programs agree with ours.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use stockade_approval::{Action, AskId, Decision, LocalKey, NAMESPACE, Scope, Signed, Statement};
use stockade_audit::{Hash, TreeHead};
use stockade_types::TaskId;

fn statement() -> Statement {
    let task = TaskId::from_random(1);
    let action = Action::Request {
        method: "GET".to_owned(),
        scheme: "https".to_owned(),
        host: "a.test".parse().unwrap(),
        port: 443,
        path: None,
    };
    Statement {
        ask: AskId::random().unwrap(),
        action: action.digest(&task),
        task,
        decision: Decision::Approve,
        scope: Some(Scope {
            uses: Some(1),
            bytes: 1,
            until: 2,
        }),
        reason: None,
        expires: 1,
        record: TreeHead {
            size: 1,
            root: Hash::of(b""),
        },
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "OpenSSH is what the signatures are compared with"
)]
fn ssh_keygen(words: &[&str], input: &str) -> Option<Output> {
    let child = Command::new("ssh-keygen")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        println!("SKIP signatures of OpenSSH: ssh-keygen is not installed");
        return None;
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    Some(child.wait_with_output().unwrap())
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

#[test]
fn g4_what_ssh_keygen_signs_is_an_answer_whichever_kind_of_key_it_has() {
    let folder = tempfile::tempdir().unwrap();
    for kind in ["ed25519", "ecdsa"] {
        let file = path(folder.path(), kind);
        let words = ["-q", "-t", kind, "-b", "256", "-N", "", "-f", &file];
        let Some(made) = ssh_keygen(&words, "") else {
            return;
        };
        assert!(made.status.success(), "{made:?}");
        let public = fs::read_to_string(format!("{file}.pub")).unwrap();
        let text = statement();
        let signed = ssh_keygen(
            &["-q", "-Y", "sign", "-f", &file, "-n", NAMESPACE],
            &text.text(),
        );
        let signature = String::from_utf8(signed.unwrap().stdout).unwrap();
        let mut signed = Signed {
            statement: text,
            key: public.parse().unwrap(),
            signature,
        };
        let verified = signed.verify().unwrap();
        assert!(!verified.presence, "a file shows no presence");
        signed.statement.expires += 1;
        assert!(signed.verify().is_err());
    }
}

#[test]
fn g4_what_this_machines_own_key_signs_can_be_checked_without_stockade() {
    let folder = tempfile::tempdir().unwrap();
    let local = LocalKey::open_or_make(folder.path()).unwrap();
    let text = statement().text();
    let signature = path(folder.path(), "signature");
    fs::write(&signature, local.sign(NAMESPACE, text.as_bytes())).unwrap();
    let allowed = path(folder.path(), "allowed");
    fs::write(&allowed, format!("me {}\n", local.public())).unwrap();
    let words = [
        "-Y", "verify", "-f", &allowed, "-I", "me", "-n", NAMESPACE, "-s", &signature,
    ];
    let Some(checked) = ssh_keygen(&words, &text) else {
        return;
    };
    assert!(checked.status.success(), "{checked:?}");
    let other = ssh_keygen(&words, &text.replace("uses", "usez")).unwrap();
    assert!(!other.status.success());
}
