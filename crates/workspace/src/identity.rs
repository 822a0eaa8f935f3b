//! Who the user is, as their own git configuration says.

use std::path::Path;

use crate::{git::Git, merge::Identity, repository::Repository};

/// Where git looks for a user's own configuration, below their home.
const PLACES: [&str; 2] = [".gitconfig", ".config/git/config"];

impl Repository {
    /// The name and address for commits that the user makes here: from the
    /// repository's configuration, else from that below `home`. Empty where
    /// neither says.
    pub fn identity(&self, git: &Git, home: Option<&Path>) -> Identity {
        let global = home.and_then(|home| {
            PLACES
                .map(|place| home.join(place))
                .into_iter()
                .find(|path| path.is_file())
        });
        let ask = |key: &str| {
            let mut call = git
                .call(self.checkout(), "config")
                .args(["--get", key])
                .or_exit(1);
            if let Some(global) = &global {
                call = call.variable("GIT_CONFIG_GLOBAL", global).reads(global);
            }
            // A configuration that cannot be read here must not stop a merge.
            call.line().unwrap_or_default()
        };
        Identity {
            name: ask("user.name"),
            email: ask("user.email"),
        }
    }
}
