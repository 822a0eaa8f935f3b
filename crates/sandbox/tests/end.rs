//! How a sandbox ends when nobody ends it.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

use std::{
    os::unix::fs::{PermissionsExt, lchown},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use stockade_sandbox::{
    Identity, Limits, Sandbox, SandboxSpec, Tree, WORKSPACES, WorkspaceMount, files,
};
use stockade_types::TaskId;

/// `cargo test` builds examples beside the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap();
    folder.join("examples/anchor")
}

/// A sandbox over an empty folder.
fn spec(folder: &Path, limits: Limits) -> SandboxSpec {
    let root = rustix::process::geteuid().is_root();
    let identity = root.then_some(Identity {
        uid: 0x6fff_fffe,
        gid: 0x6fff_fffe,
    });
    if let Some(identity) = identity {
        lchown(folder, Some(identity.uid), Some(identity.gid)).unwrap();
    }
    let view = files::system();
    SandboxSpec {
        task: TaskId::from_random(7),
        identity,
        grants: view.grants,
        files: view.files,
        links: view.links,
        covers: Vec::new(),
        trust_stores: Vec::new(),
        workspace: WorkspaceMount {
            target: Path::new(WORKSPACES).join("empty"),
            tree: Tree::Directory(folder.to_owned()),
        },
        limits,
        nested: false,
        watch_execs: false,
        clients: Vec::new(),
    }
}

#[test]
fn g7_the_kernel_ends_a_sandbox_whose_time_is_up_though_nobody_asks_it_to() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let limits = Limits {
        seconds: Some(1),
        ..Limits::default()
    };
    let started = Instant::now();
    let (sandbox, listeners) = Sandbox::start(&program(), &spec(folder.path(), limits)).unwrap();
    let init = sandbox.init().clone();
    // Nobody listens, nobody asks for anything; the channel just closes.
    while init.receive().unwrap().is_some() {}
    let lived = started.elapsed();
    assert!(lived >= Duration::from_millis(900), "{lived:?}");
    assert!(lived < Duration::from_secs(20), "{lived:?}");
    drop((sandbox, listeners));
}
