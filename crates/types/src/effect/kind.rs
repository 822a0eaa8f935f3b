use serde::{Deserialize, Serialize};

use super::Reversible;

/// Words of a vocabulary: an enumeration, the list of all its members, and
/// their names, which are the same in JSON, in policies and on the command line.
macro_rules! vocabulary {
    ($(#[$about:meta])* $kind:ident { $($(#[$doc:meta])+ $member:ident = $name:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $kind { $($(#[$doc])+ #[serde(rename = $name)] $member,)+ }

        impl $kind {
            /// Every member.
            pub const ALL: &'static [Self] = &[$(Self::$member,)+];

            /// The name that policies, records and programs use.
            pub fn name(self) -> &'static str {
                match self { $(Self::$member => $name,)+ }
            }
        }

        impl std::str::FromStr for $kind {
            type Err = $crate::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|member| member.name() == text).ok_or_else(|| {
                    $crate::UnknownWord {
                        word: text.to_owned(),
                        known: Self::ALL.iter().map(|member| member.name()).collect(),
                    }
                })
            }
        }

        impl std::fmt::Display for $kind {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.pad(self.name())
            }
        }
    };
}
pub(super) use vocabulary;

vocabulary! {
    /// What an action does. Policies name these as actions.
    EffectKind {
        /// Reads a file.
        FsRead = "fs.read",
        /// Makes or changes a file.
        FsWrite = "fs.write",
        /// Deletes a file.
        FsDelete = "fs.delete",
        /// Changes who may use a file.
        FsPermission = "fs.permission",
        /// Makes a link to a file.
        FsLink = "fs.link",
        /// Records a commit, a branch or a tag in the task's own repository.
        VcsCommit = "vcs.commit",
        /// Rewrites history in the task's own repository.
        VcsRewrite = "vcs.rewrite",
        /// Throws away work that is not committed, or a branch.
        VcsDiscard = "vcs.discard",
        /// Sends commits to a remote.
        VcsPush = "vcs.push",
        /// Changes where commits go to or come from, or how one logs in there.
        VcsRemote = "vcs.remote",
        /// Goes past the checks of a repository.
        VcsBypass = "vcs.bypass",
        /// Changes what git runs.
        VcsHooks = "vcs.hooks",
        /// Asks a host for something.
        NetConnect = "net.connect",
        /// Sends data to a host.
        NetUpload = "net.upload",
        /// Opens a connection that can carry anything.
        NetSession = "net.session",
        /// Waits for connections.
        NetListen = "net.listen",
        /// Installs packages.
        PkgInstall = "pkg.install",
        /// Publishes a package, or takes one back.
        PkgPublish = "pkg.publish",
        /// Runs a program of which no other effect is known.
        ExecRun = "exec.run",
        /// Runs something that cannot be told from the text.
        ExecOpaque = "exec.opaque",
        /// Runs what was just fetched from elsewhere.
        ExecRemote = "exec.remote",
        /// Takes more rights.
        ProcPrivilege = "proc.privilege",
        /// Arranges to run later, or after the task.
        ProcPersist = "proc.persist",
        /// Ends processes.
        ProcKill = "proc.kill",
        /// Looks into other processes.
        ProcDebug = "proc.debug",
        /// Changes the machine's kernel, mounts, namespaces, clock or network.
        ProcSystem = "proc.system",
        /// Reads a secret.
        SecretRead = "secret.read",
        /// Uses a credential, or makes one.
        SecretUse = "secret.use",
        /// Lists or shows what runs elsewhere, or what a change would do.
        InfraRead = "infra.read",
        /// Changes what runs elsewhere.
        InfraApply = "infra.apply",
        /// Deletes what runs elsewhere.
        InfraDestroy = "infra.destroy",
        /// Changes who may do what elsewhere.
        InfraAccess = "infra.access",
        /// Changes what a tool believes to run elsewhere.
        InfraState = "infra.state",
        /// Starts a container.
        ContainerRun = "container.run",
        /// Deletes containers, images or volumes.
        ContainerDelete = "container.delete",
        /// Reads from a database.
        DbRead = "db.read",
        /// Writes to a database.
        DbWrite = "db.write",
        /// Changes the form of a database.
        DbSchema = "db.schema",
        /// Deletes a database, a table or all its rows.
        DbDrop = "db.drop",
        /// Sends a message to people.
        MsgSend = "msg.send",
        /// Spends money, or orders something.
        Pay = "pay",
        /// Opens or changes a pull request.
        RepoPropose = "repo.propose",
        /// Merges a pull request.
        RepoMerge = "repo.merge",
        /// Makes, changes or removes a release.
        RepoRelease = "repo.release",
        /// Changes a hosted repository's settings, secrets or people.
        RepoSettings = "repo.settings",
        /// Deletes a hosted repository, branch, issue or run.
        RepoDelete = "repo.delete",
        /// Starts a workflow of a hosted repository.
        RepoWorkflow = "repo.workflow",
        /// Starts another agent.
        AgentSpawn = "agent.spawn",
        /// Changes what an agent is told or allowed.
        AgentConfig = "agent.config",
        /// Goes around what guards the agent.
        AgentBypass = "agent.bypass",
        /// Uses the screen, the clipboard or another part of the host's desktop.
        HostDesktop = "host.desktop",
        /// Removes traces of what was done.
        EvidenceErase = "evidence.erase",
        /// Installs an MCP server.
        McpInstall = "mcp.install",
        /// Calls a tool of an MCP server.
        McpCall = "mcp.call",
        /// An MCP server asks the person.
        McpElicit = "mcp.elicit",
        /// An MCP server asks the model, or for the person's folders.
        McpSample = "mcp.sample",
        /// Changes what a person granted a program elsewhere.
        AuthGrant = "auth.grant",
        /// Spends from the task's budget.
        CostSpend = "cost.spend",
    }
}

impl EffectKind {
    /// Whether the effect is on something outside the machine.
    pub fn outward(self) -> bool {
        use EffectKind as Kind;
        matches!(
            self,
            Kind::VcsPush
                | Kind::NetUpload
                | Kind::NetSession
                | Kind::PkgPublish
                | Kind::InfraApply
                | Kind::InfraDestroy
                | Kind::InfraAccess
                | Kind::InfraState
                | Kind::DbWrite
                | Kind::DbSchema
                | Kind::DbDrop
                | Kind::MsgSend
                | Kind::Pay
                | Kind::RepoPropose
                | Kind::RepoMerge
                | Kind::RepoRelease
                | Kind::RepoSettings
                | Kind::RepoDelete
                | Kind::RepoWorkflow
                | Kind::AuthGrant
        )
    }

    /// Whether the effect can be taken back, if nothing makes it worse.
    pub fn reversible(self) -> Reversible {
        use EffectKind as Kind;
        match self {
            Kind::FsDelete
            | Kind::VcsRewrite
            | Kind::VcsDiscard
            | Kind::VcsPush
            | Kind::InfraApply
            | Kind::InfraAccess
            | Kind::RepoPropose
            | Kind::RepoSettings
            | Kind::AuthGrant
            | Kind::DbWrite
            | Kind::DbSchema => Reversible::Undo,
            Kind::NetUpload
            | Kind::NetSession
            | Kind::PkgPublish
            | Kind::ExecRemote
            | Kind::ProcKill
            | Kind::SecretRead
            | Kind::InfraDestroy
            | Kind::InfraState
            | Kind::ContainerDelete
            | Kind::DbDrop
            | Kind::MsgSend
            | Kind::Pay
            | Kind::RepoMerge
            | Kind::RepoRelease
            | Kind::RepoDelete
            | Kind::RepoWorkflow
            | Kind::EvidenceErase
            | Kind::CostSpend => Reversible::No,
            _ => Reversible::Yes,
        }
    }
}
