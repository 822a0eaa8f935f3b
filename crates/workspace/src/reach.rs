use std::path::{Path, PathBuf};

use crate::{
    git::{Git, GitError},
    repository::Repository,
    settings::Setting,
};

/// What agent work can change on this machine: the checkouts, in which merged
/// work lands, and Stockade's own folder. Nothing that runs as the user may
/// rest on a file there.
#[derive(Debug)]
pub(crate) struct Reach {
    /// Git's own folders of this repository: they may lie in its checkout,
    /// but no merge reaches them.
    own: Vec<PathBuf>,
    /// Folders whose files agent work can change.
    folders: Vec<PathBuf>,
}

impl Reach {
    /// That of `repository`'s tasks, which `state` has.
    pub(crate) fn of(git: &Git, repository: &Repository, state: &Path) -> Result<Self, GitError> {
        let checkouts = repository.checkouts(git)?;
        let mut folders: Vec<_> = checkouts.iter().map(|checkout| &*checkout.folder).collect();
        folders.extend([repository.worktree(), state]);
        let folders = folders
            .iter()
            .map(|place| place.canonicalize().unwrap_or_else(|_| place.to_path_buf()));
        let own = [repository.common_dir(), repository.checkout().path()];
        Ok(Self {
            own: own.map(Path::to_owned).into(),
            folders: folders.collect(),
        })
    }

    /// Whether agent work can change what is at `path`, or where it leads.
    pub(crate) fn holds(&self, path: &Path) -> bool {
        let target = path.canonicalize();
        let folder = path.parent().and_then(|parent| parent.canonicalize().ok());
        let places = [Some(path.to_owned()), target.ok(), folder];
        places.iter().flatten().any(|place| {
            let mut folders = self.folders.iter();
            folders.any(|folder| place.starts_with(folder))
        })
    }

    /// Whether agent work can change the file that makes `setting`.
    pub(crate) fn makes(&self, setting: &Setting) -> bool {
        let origin = &setting.origin;
        let gits_own = origin
            .canonicalize()
            .is_ok_and(|origin| self.own.iter().any(|own| origin.starts_with(own)));
        !gits_own && self.holds(origin)
    }
}
