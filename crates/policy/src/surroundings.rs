/// Where a command would run: what relative names, `~` and variables mean.
///
/// All paths are absolute and compared as text; what links make of them is for
/// the sandbox's mounts, which hold whatever is said here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// The folder that the task may change.
    pub workspace: String,
    /// The home folder.
    pub home: String,
    /// The current folder.
    pub folder: String,
}

impl Surroundings {
    /// Inside a sandbox, at the top of a workspace.
    pub fn inside(workspace: &str) -> Self {
        Self {
            workspace: workspace.to_owned(),
            home: "/home/agent".to_owned(),
            folder: workspace.to_owned(),
        }
    }
}
