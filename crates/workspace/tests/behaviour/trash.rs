//! Removing tasks without losing work.

use std::{fs, time::Duration, time::SystemTime};

use stockade_types::TaskId;
use stockade_workspace::{BackEnd, MergedBy, TaskSpace, Trash};

use crate::support::{Bench, import, put, with_each_git};

#[test]
fn a_removed_task_can_be_restored_and_is_purged_only_after_thirty_days() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    put(&space.upper(), "README.md", "work\n");
    fs::create_dir(space.work().join("work")).unwrap();
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    fs::set_permissions(space.work().join("work"), permissions).unwrap();
    let trash = Trash::new(&bench.state());
    let removed = trash.remove(&space, "done").unwrap();
    assert_eq!(trash.list().unwrap(), [removed]);
    assert!(TaskSpace::open(&bench.state(), space.id()).is_err());
    trash.restore(space.id()).unwrap();
    let again = TaskSpace::open(&bench.state(), space.id()).unwrap();
    assert_eq!(
        fs::read_to_string(again.upper().join("README.md")).unwrap(),
        "work\n"
    );

    trash.remove(&again, "done").unwrap();
    let days = |days: u64| SystemTime::now() + Duration::from_hours(days * 24);
    assert_eq!(trash.purge(days(29)).unwrap(), []);
    assert_eq!(trash.purge(days(31)).unwrap().len(), 1);
    assert!(trash.restore(&TaskId::from_random(1)).is_err());
}

#[test]
fn merged_work_is_recognised_however_it_got_there() {
    with_each_git(|bench| {
        bench.start();
        let space = bench.task(1, BackEnd::Overlay);
        put(&space.upper(), "README.md", "work\n");
        let imported = import(&bench, &space);
        let how = || {
            space
                .merged_into(&bench.git, &bench.repository(), &imported, "main")
                .unwrap()
        };
        assert_eq!(how(), None);
        bench.write("README.md", "work\n");
        bench.commit("the same by hand");
        assert_eq!(how(), Some(MergedBy::SameTree));
        bench.write("later", "x");
        bench.commit("later");
        assert_eq!(how(), Some(MergedBy::SameChange));
        bench.write("README.md", "undone\n");
        bench.commit("over it");
        bench.user_git(&[
            "merge",
            "-q",
            "-s",
            "ours",
            "-m",
            "merge",
            imported.commit.as_str(),
        ]);
        assert_eq!(how(), Some(MergedBy::Ancestor));
    });
}
