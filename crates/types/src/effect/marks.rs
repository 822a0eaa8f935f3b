use serde::{Deserialize, Serialize};

use super::kind::vocabulary;

vocabulary! {
    /// What else matters to a rule.
    Mark {
        /// A package is new to the project.
        Added = "added",
        /// Files by the hundred, or a pattern that may match as many.
        Bulk = "bulk",
        /// Text of a programming language, given on the command line or as input.
        Code = "code",
        /// A name is deleted on the other side.
        Delete = "delete",
        /// A tool says of itself that it destroys.
        Destructive = "destructive",
        /// Still a draft.
        Draft = "draft",
        /// Something changed since it was approved.
        Drifted = "drifted",
        /// The other side's history or answer is overridden.
        Force = "force",
        /// For the whole machine or user, not the project.
        Global = "global",
        /// A part of the machine is shown inside.
        HostMount = "host-mount",
        /// From another index or registry.
        Index = "index",
        /// A connection to the machine itself.
        Loopback = "loopback",
        /// Beyond a limit.
        Over = "over",
        /// Everything is made the same as here, deletions too.
        Mirror = "mirror",
        /// A tool says of itself that it reaches the world.
        OpenWorld = "open-world",
        /// Data that a program put together goes out with a request.
        Payload = "payload",
        /// Words that are not known may be more than one, and anything.
        Unresolved = "unresolved",
        /// Not held by a lock, a version or a digest.
        Unpinned = "unpinned",
        /// An address of a private network, a link or a cloud's metadata.
        Private = "private",
        /// With rights over the machine.
        Privileged = "privileged",
        /// What users rely on.
        Production = "production",
        /// A branch that others work on.
        Protected = "protected",
        /// For everybody to see or reach.
        Public = "public",
        /// A tool says of itself that it only reads.
        ReadOnly = "read-only",
        /// Folders with all in them.
        Recursive = "recursive",
        /// The name of another, or nearly.
        Lookalike = "lookalike",
        /// A shell that somebody elsewhere types into.
        ReverseShell = "reverse-shell",
        /// Scripts of packages run at install.
        Scripts = "scripts",
        /// Something that looks like a secret is in it.
        Secret = "secret",
        /// A file that lets others run as its owner.
        Setuid = "setuid",
        /// The socket of a service that has rights over the machine.
        Socket = "socket",
        /// A tag.
        Tag = "tag",
        /// After text that nobody vouches for was read.
        Tainted = "tainted",
        /// A place is named in the command itself.
        Url = "url",
        /// Flags that switch an agent's own guards off.
        Weakened = "weakened",
        /// All of it.
        Whole = "whole",
    }
}

impl Mark {
    /// Whether an effect with this mark cannot be taken back.
    pub fn cannot_be_undone(self) -> bool {
        matches!(
            self,
            Self::Force | Self::Mirror | Self::Delete | Self::Whole
        )
    }
}

impl Mark {
    /// Whether an effect without this mark may be worse than one with it.
    pub fn lessens(self) -> bool {
        matches!(self, Self::Draft | Self::ReadOnly | Self::Loopback)
    }
}

vocabulary! {
    /// Where a file is.
    Scope {
        /// The target is no file.
        None = "none",
        /// In the workspace.
        Workspace = "workspace",
        /// The workspace itself.
        WorkspaceRoot = "workspace-root",
        /// In a folder for temporary files.
        Temporary = "temporary",
        /// In the home folder, outside the workspace.
        Home = "home",
        /// A cache in the home folder, which tools fill again.
        Cache = "cache",
        /// Elsewhere on the machine.
        System = "system",
        /// A device.
        Device = "device",
        /// Not known.
        Unknown = "unknown",
    }
}

vocabulary! {
    /// What sort of file it is, where that matters.
    FileClass {
        /// Nothing special.
        Plain = "plain",
        /// Hooks of git.
        GitHook = "git-hook",
        /// Settings of git that can name programs.
        GitConfig = "git-config",
        /// Other parts of a repository's own folder.
        GitInternal = "git-internal",
        /// What an agent is told or allowed.
        AgentConfig = "agent-config",
        /// Stockade's own files.
        Stockade = "stockade",
        /// What a build service runs.
        Automation = "automation",
        /// What an editor runs.
        Editor = "editor",
        /// What a shell runs when it starts.
        ShellStartup = "shell-startup",
        /// What the machine runs at start or at a time.
        Autostart = "autostart",
        /// What a build runs.
        Build = "build",
        /// Which packages are installed.
        Lockfile = "lockfile",
        /// A secret.
        Secret = "secret",
        /// What a process is or has.
        Process = "process",
        /// A record of what was done.
        Evidence = "evidence",
        /// The socket of a service that has rights over the machine.
        Socket = "socket",
    }
}
