//! Removing tasks without losing work.

use std::{fs, time::Duration, time::SystemTime};

use stockade_types::TaskId;
use stockade_workspace::{BackEnd, MergedBy, Purged, TaskSpace, Trash};

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
    let removed = trash.remove(&space, "done", None).unwrap();
    assert_eq!(trash.list().unwrap(), [removed]);
    assert!(TaskSpace::open(&bench.state(), space.id()).is_err());
    trash.restore(space.id()).unwrap();
    let again = TaskSpace::open(&bench.state(), space.id()).unwrap();
    assert_eq!(
        fs::read_to_string(again.upper().join("README.md")).unwrap(),
        "work\n"
    );

    let reviewed = import(&bench, &again);
    let references = || bench.user_git(&["for-each-ref", "refs/stockade/"]);
    assert!(references().contains(&reviewed.reference));
    trash.remove(&again, "done", None).unwrap();
    assert_eq!(
        trash.purge(&bench.git, days(29)).unwrap(),
        Purged::default()
    );
    assert!(references().contains(&reviewed.reference));
    let purged = trash.purge(&bench.git, days(31)).unwrap();
    assert_eq!(purged.gone, [TaskId::from_random(1)]);
    assert!(trash.restore(&TaskId::from_random(1)).is_err());
    assert_eq!(references(), "");
}

fn days(days: u64) -> SystemTime {
    SystemTime::now() + Duration::from_hours(days * 24)
}

#[test]
fn of_work_that_is_provably_merged_only_the_record_is_kept_for_more_than_a_week() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    put(&space.upper(), "README.md", "work\n");
    let record = space.folder().join("record");
    fs::create_dir(&record).unwrap();
    fs::write(record.join("log"), "what happened\n").unwrap();
    let branches = ["refs/heads/none".to_owned(), "refs/heads/main".to_owned()];
    let merged = || {
        let repository = bench.repository();
        space.merged(&bench.git, &repository, &branches)
    };
    // Nothing was brought into the repository, so nothing of it can be there.
    assert_eq!(merged().unwrap(), None);
    import(&bench, &space);
    assert_eq!(merged().unwrap(), None);
    bench.write("README.md", "work\n");
    bench.commit("squashed by somebody");
    let proof = merged().unwrap().unwrap();
    assert_eq!(
        (proof.branch.as_str(), proof.by),
        ("refs/heads/main", MergedBy::SameTree)
    );

    let (trash, id) = (Trash::new(&bench.state()), space.id());
    let place = bench.state().join("trash").join(id.as_str());
    trash.remove(&space, "done", Some(proof)).unwrap();
    assert_eq!(trash.purge(&bench.git, days(6)).unwrap(), Purged::default());
    trash.restore(id).unwrap();
    let again = TaskSpace::open(&bench.state(), id).unwrap();
    let proof = again.merged(&bench.git, &bench.repository(), &branches);
    trash.remove(&again, "done", proof.unwrap()).unwrap();
    let week = trash.purge(&bench.git, days(8)).unwrap();
    assert_eq!((week.only_record.len(), week.gone.len()), (1, 0));
    assert_eq!(bench.user_git(&["for-each-ref", "refs/stockade/"]), "");
    assert_eq!(
        fs::read_to_string(place.join("record/log")).unwrap(),
        "what happened\n"
    );
    assert!(!place.join("upper").exists() && !place.join("shadow.git").exists());
    let refused = trash.restore(id).unwrap_err().to_string();
    assert!(refused.contains("refs/heads/main"), "{refused}");
    assert_eq!(trash.purge(&bench.git, days(9)).unwrap(), Purged::default());
    let month = trash.purge(&bench.git, days(31)).unwrap();
    assert_eq!(month.gone, std::slice::from_ref(id));
    assert!(!place.exists());
}

#[test]
fn work_of_which_something_is_not_in_the_branch_is_not_merged() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    put(&space.upper(), "README.md", "work\n");
    import(&bench, &space);
    bench.write("README.md", "work\n");
    bench.commit("squashed by somebody");
    let main = ["refs/heads/main".to_owned()];
    let merged = || {
        space
            .merged(&bench.git, &bench.repository(), &main)
            .unwrap()
    };
    assert!(merged().is_some());
    // The agent went on after the review.
    put(&space.upper(), "more", "later\n");
    bench.snapshot(&space);
    assert_eq!(merged(), None);
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
