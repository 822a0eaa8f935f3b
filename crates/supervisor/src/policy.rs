//! The rules by which a task's commands and requests are judged: where they come
//! from, and the copy that the task keeps of them.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stockade_policy::{Layer, Policy, PolicyError, Source};
use stockade_workspace::{Git, ObjectId, Repository};

use crate::{contract::PolicyLine, error::SupervisorError, state::TaskDirectory, task::FORMAT};

/// Where whoever administers the machine puts rules.
const ADMIN: &str = "/etc/stockade/policy";
/// Where a repository has its rules.
const OF_REPOSITORY: &str = ".stockade/policy";
/// The most bytes of a file of a repository's rules that are read.
const LARGEST: u64 = 1 << 20;
/// The name of the file that holds a [`TaskPolicy`].
pub(crate) const POLICY: &str = "policy.json";

/// The rules of the administrator and of the user whose configuration is in
/// `config`.
pub fn rules_of_people(config: Option<&Path>) -> Result<Vec<Source>, PolicyError> {
    let mut sources = Source::of_folder(Layer::Admin, Path::new(ADMIN))?;
    if let Some(config) = config {
        sources.extend(Source::of_folder(Layer::User, &config.join("policy"))?);
    }
    Ok(sources)
}

/// The rules of a repository, as they are at `commit`: what is only in a checkout
/// counts for nothing.
pub fn rules_of_repository(
    git: &Git,
    repository: &Repository,
    commit: &ObjectId,
) -> Result<Vec<Source>, SupervisorError> {
    let files = repository
        .files_in(git, commit, OF_REPOSITORY, LARGEST)
        .map_err(|error| SupervisorError::Refused(error.to_string()))?;
    let cedar = files
        .into_iter()
        .filter(|(path, _)| path.as_bytes().ends_with(b".cedar"));
    cedar
        .map(|(path, content)| {
            let name = path.as_path().display().to_string();
            let text = String::from_utf8(content).map_err(|_| {
                SupervisorError::Refused(format!("{name} is no text; write it in UTF-8"))
            })?;
            Ok(Source {
                layer: Layer::Repository,
                name,
                text,
            })
        })
        .collect()
}

/// The rules of a task, Stockade's own among them: what is agreed to is what
/// judges, whatever becomes of the files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TaskPolicy {
    format: u32,
    sources: Vec<Source>,
}

impl TaskPolicy {
    /// Stockade's rules, and those of people and of the repository.
    pub(crate) fn new(people: &[Source], repository: Vec<Source>) -> Self {
        let mut sources = stockade_policy::defaults();
        sources.extend_from_slice(people);
        sources.extend(repository);
        Self {
            format: FORMAT,
            sources,
        }
    }

    /// The rules of a new task: those of people and of the repository at `commit`,
    /// whose tree is at `tree`. All of them can stand.
    pub(crate) fn of_commit(
        people: &[Source],
        git: &Git,
        repository: &Repository,
        commit: &ObjectId,
        tree: &Path,
    ) -> Result<Self, SupervisorError> {
        // Most have none, which is known without git.
        let has_rules = tree.join(OF_REPOSITORY).symlink_metadata().is_ok();
        let own = if has_rules {
            rules_of_repository(git, repository, commit)?
        } else {
            Vec::new()
        };
        let policy = Self::new(people, own);
        if !policy.is_stockades_own() {
            policy.compile()?;
        }
        Ok(policy)
    }

    /// As the task keeps them. One from before tasks kept rules has Stockade's own.
    pub(crate) fn of_task(
        task: &TaskDirectory,
        agreed: &PolicyLine,
    ) -> Result<Self, SupervisorError> {
        if agreed.is_unknown() {
            return Ok(Self::new(&[], Vec::new()));
        }
        let kept: Self = task.read(POLICY)?;
        if kept.digest() != agreed.digest {
            return Err(SupervisorError::Refused(format!(
                "{POLICY} of the task is not what was agreed to; start a new task, or bring the \
                 file back"
            )));
        }
        Ok(kept)
    }

    /// The same with other rules of people.
    pub(crate) fn with_people(&self, people: Vec<Source>) -> Self {
        let is_of_people = |source: &&Source| matches!(source.layer, Layer::Admin | Layer::User);
        let (_, others): (Vec<_>, Vec<_>) = self.sources.iter().partition(is_of_people);
        Self {
            format: FORMAT,
            sources: others.into_iter().cloned().chain(people).collect(),
        }
    }

    /// The rules, ready to judge.
    pub(crate) fn compile(&self) -> Result<Policy, PolicyError> {
        Policy::of(&self.sources)
    }

    /// Whether all of them come with Stockade, whose tests have tried them.
    pub(crate) fn is_stockades_own(&self) -> bool {
        let mut sources = self.sources.iter();
        sources.all(|source| source.layer == Layer::Default)
    }

    /// SHA-256 over layer and text of every source: the same rules have the same
    /// digest on each machine, whatever their files are called.
    pub(crate) fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for source in &self.sources {
            for part in [source.layer.name(), &source.text] {
                digest.update((part.len() as u64).to_be_bytes());
                digest.update(part);
            }
        }
        format!("sha256:{}", hex::encode(digest.finalize()))
    }

    /// What a contract says of them.
    pub(crate) fn line(&self) -> PolicyLine {
        let files = |layer| {
            let of = self
                .sources
                .iter()
                .filter(move |source| source.layer == layer);
            of.map(|source| source.name.clone())
        };
        PolicyLine {
            digest: self.digest(),
            people: files(Layer::Admin).chain(files(Layer::User)).collect(),
            repository: files(Layer::Repository).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(layer: Layer, name: &str, text: &str) -> Source {
        Source {
            layer,
            name: name.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn the_digest_is_of_layers_and_texts_and_not_of_names() {
        let digest = |layer, name, text| {
            let people = [source(layer, name, text)];
            TaskPolicy::new(&people, Vec::new()).digest()
        };
        let one = digest(Layer::User, "/home/a/x.cedar", "// a");
        assert_eq!(one, digest(Layer::User, "/home/b/y.cedar", "// a"));
        assert_ne!(one, digest(Layer::Admin, "/home/a/x.cedar", "// a"));
        assert_ne!(one, digest(Layer::User, "/home/a/x.cedar", "// b"));
    }

    #[test]
    fn other_rules_of_people_leave_the_repositorys_and_stockades_own() {
        let before = TaskPolicy::new(
            &[source(Layer::User, "old", "// old")],
            vec![source(Layer::Repository, "ours", "// ours")],
        );
        let after = before.with_people(vec![source(Layer::User, "new", "// new")]);
        assert_eq!(after.line().people, ["new"]);
        assert_eq!(after.line().repository, ["ours"]);
        assert_eq!(after.sources.len(), before.sources.len());
    }
}
