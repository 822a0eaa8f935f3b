//! What is asked of the executable that makes attempts, and what it answers:
//! the vocabulary between it and the suite that judges.
//!
//! The executable runs as `stockade-attempt MARKER ORDER`: a word by which the
//! suite finds processes that were left behind, and an [`Order`] in JSON. It
//! prints one [`Line`] for each step. It judges nothing, and nothing that it
//! does harms a machine on which no sandbox stands in its way.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// A path that begins with this lies in the repository's git directory,
/// wherever `.git` of the current folder says that it is.
pub const GIT: &str = "{git}/";

/// A variable that names a resolver, as address and port, in place of those that
/// the machine has.
pub const RESOLVER: &str = "STOCKADE_ATTEMPT_RESOLVER";

/// What to try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Nothing: shows that the executable runs, and that it may write here.
    Hello,
    /// To read these files.
    Read(Vec<String>),
    /// To learn of these files that they are there.
    Stat(Vec<String>),
    /// To list these folders.
    List(Vec<String>),
    /// To create a file at each of these paths.
    Create(Vec<String>),
    /// To change each of these files in every way: content, length, mode,
    /// times, attributes, another name, another link to it, removal.
    Change(Vec<String>),
    /// To open these files for writing; nothing is written.
    OpenForWriting(Vec<String>),
    /// To change the tree of the current folder, one act after the other.
    Arrange(Vec<Act>),
    /// To make these system calls, each in a process of its own.
    Calls(Vec<Call>),
    /// To mount a file system of each type in namespaces of its own.
    Mount(Vec<String>),
    /// To make these sockets.
    Sockets(Vec<Socket>),
    /// To reach unix sockets, as streams and by datagrams.
    Unix {
        /// Those with a path.
        paths: Vec<String>,
        /// Those with an abstract name.
        names: Vec<String>,
    },
    /// To reach addresses by TCP and send something.
    Connect(Vec<Message>),
    /// To send datagrams.
    Send(Vec<Message>),
    /// To send something to the proxy that the environment names, if any.
    Proxied(Vec<String>),
    /// To have names looked up, and to send something to what they are said to be.
    Ask(Vec<Named>),
    /// To change routes, addresses and interfaces; none of those named exists.
    Netlink,
    /// To be something else than this in `/proc/self/status`.
    Status(Vec<Wanted>),
    /// To see which namespaces this is in.
    Namespaces,
    /// To find words that begin with this.
    Search {
        /// The beginning.
        prefix: String,
        /// Whether in its own environment.
        environment: bool,
        /// Whether in the environments and arguments of other processes.
        processes: bool,
        /// In files below these folders.
        folders: Vec<String>,
    },
    /// To use descriptors that nobody meant to hand over.
    Descriptors(Vec<Lent>),
    /// To type on the terminal that is standard input, and on the controlling one.
    Terminal,
    /// To read what a process of the host has and does.
    Process {
        /// The process.
        process: i32,
        /// Where it has memory: nobody inside has to be told by `/proc`.
        address: u64,
    },
    /// To trace it and change its memory.
    Trace(i32),
    /// To end it.
    Kill(i32),
    /// To stop it; it may go on at once.
    Stop(i32),
    /// To change the caps of any control group that can be found.
    Groups,
    /// Nothing, for a while.
    Wait,
    /// To leave a process behind.
    Daemon,
    /// To make a call as programs of 32 bits do.
    Foreign,
    /// To use this many bytes of memory.
    Memory(u64),
    /// To have this many threads.
    Threads(u32),
    /// To have this many files open.
    Files(u32),
    /// To take this many bytes in a folder.
    Fill {
        /// The folder.
        folder: String,
        /// How many.
        bytes: u64,
    },
    /// To run these programs; each must end well.
    Programs(Vec<Vec<String>>),
    /// To run these programs and show what they print.
    Shows(Vec<Vec<String>>),
    /// What programs need: pairs of sockets, and sockets in these folders.
    OwnSockets(Vec<String>),
    /// What programs need: a port of loopback, and somebody who reaches it.
    OwnPort,
}

/// A change of the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Make a folder, with those above it.
    Folder(String),
    /// Make or replace a file.
    File {
        /// Where.
        path: String,
        /// What it says.
        text: String,
        /// Its mode.
        mode: u32,
    },
    /// Add to a file.
    Append {
        /// Where.
        path: String,
        /// What.
        text: String,
    },
    /// Make a symbolic link.
    Link {
        /// Where.
        path: String,
        /// What it says.
        to: String,
    },
    /// Give another name.
    Rename {
        /// The old one.
        from: String,
        /// The new one.
        to: String,
    },
    /// Exchange two names at once.
    Exchange {
        /// One.
        one: String,
        /// The other.
        other: String,
    },
    /// Remove a file or a folder with everything in it.
    Remove(String),
    /// Copy this executable, and let it run as its owner.
    Setuid(String),
}

/// A system call with numbers for arguments; `None` of them points anywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its name, for people.
    pub name: String,
    /// Its number.
    pub number: i64,
    /// Its arguments; those that are missing are 0.
    pub arguments: Vec<i64>,
}

/// A kind of socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// Its name, for people.
    pub name: String,
    /// The family.
    pub family: i32,
    /// The type.
    pub kind: i32,
    /// The protocol.
    pub protocol: i32,
}

/// An open descriptor, by what it refers to: numbers may change on the way in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lent {
    /// What it is called.
    pub name: String,
    /// The device.
    pub device: u64,
    /// The inode.
    pub inode: u64,
}

/// Something to send somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Where.
    pub to: SocketAddr,
    /// What.
    pub text: String,
}

/// Something to send to a host by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The name.
    pub name: String,
    /// The port.
    pub port: u16,
    /// What.
    pub text: String,
}

/// A line of `/proc/self/status` as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The name before the colon.
    pub field: String,
    /// The value after it.
    pub value: String,
}

/// What became of one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The marker that the executable was started with.
    pub marker: String,
    /// What was tried.
    pub step: String,
    /// How it ended.
    pub end: End,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It went through, or reached what must judge its arguments.
    Worked,
    /// It showed this.
    Saw(String),
    /// It was refused with this error number.
    Refused(i32),
    /// The process that made it was ended by this signal.
    Killed(i32),
    /// It could not be tried, for this reason.
    Unable(String),
}
