//! The messages between the supervisor and process 1 of a sandbox.
//!
//! Requests go in and may carry descriptors; replies come out, have one
//! fixed size and carry none. The supervisor therefore parses nothing of
//! variable length that comes from inside.

/// The largest request, in bytes; one `SOCK_SEQPACKET` datagram.
pub const REQUEST_MAX: usize = 180 * 1024;
/// The size of every reply, in bytes.
pub const REPLY_SIZE: usize = 48;

/// What process 1 is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Start a command. Its standard input, output and error come along, and
    /// perhaps a fourth descriptor that becomes its number 3; or nothing does
    /// and all three are the sandbox's `/dev/null`.
    Exec(Exec),
    /// Send `signal` to the process group of an exec.
    Signal {
        /// The exec's id.
        id: u32,
        /// The signal's number.
        signal: i32,
    },
    /// End a command that is a [`tree`](Exec::tree), with everything that it
    /// started, wherever that went.
    Kill {
        /// The exec's id.
        id: u32,
    },
    /// End every process but process 1 itself.
    EndAll,
    /// Stop every process but process 1 itself.
    Freeze,
    /// Let every stopped process go on.
    Thaw,
}

/// A command to start.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Exec {
    /// Chosen by the supervisor; replies name it.
    pub id: u32,
    /// Whether the descriptors are a terminal that becomes the controlling one.
    pub terminal: bool,
    /// Whether it can be ended with everything it starts. It may then signal
    /// nothing but that.
    pub tree: bool,
    /// Caps on each process that it starts.
    pub limits: ExecLimits,
    /// The working directory.
    pub cwd: Vec<u8>,
    /// The program and its arguments; the program is looked up on the `PATH`
    /// of `env` unless it holds a slash.
    pub argv: Vec<Vec<u8>>,
    /// The whole environment, `NAME=value` each.
    pub env: Vec<Vec<u8>>,
}

/// Caps on each process of a command, kept by the kernel; [`u64::MAX`] where
/// there is none beyond the sandbox's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecLimits {
    /// Seconds of processor time.
    pub cpu_seconds: u64,
    /// Bytes of address space.
    pub address_bytes: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Open files.
    pub open_files: u64,
}

impl ExecLimits {
    /// No caps beyond the sandbox's own.
    pub const NONE: Self = Self {
        cpu_seconds: u64::MAX,
        address_bytes: u64::MAX,
        file_bytes: u64::MAX,
        open_files: u64::MAX,
    };
}

impl Default for ExecLimits {
    fn default() -> Self {
        Self::NONE
    }
}

/// What process 1 tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Process 1 runs and waits for requests.
    Ready,
    /// The exec could not start.
    Failed {
        /// The exec's id.
        id: u32,
        /// The system's error number.
        errno: i32,
    },
    /// The exec's first process ended.
    Exited {
        /// The exec's id.
        id: u32,
        /// How.
        status: ExitStatus,
        /// User and system time of it and its waited-for children, µs.
        cpu_micros: u64,
        /// Its largest resident set, KiB.
        peak_kib: u64,
        /// Whether [`Request::Kill`] would have reached what left its process
        /// group: it was asked for, and the kernel can (Linux 6.12).
        tree: bool,
    },
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It returned this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

/// A message that does not have the agreed form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl core::fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("a message between supervisor and sandbox is malformed")
    }
}

impl core::error::Error for Malformed {}

const EXEC: u8 = 1;
const SIGNAL: u8 = 2;
const FREEZE: u8 = 3;
const THAW: u8 = 4;
const KILL: u8 = 5;
const END_ALL: u8 = 6;

impl Request {
    /// The bytes of this request.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Exec(exec) => {
                bytes.push(EXEC);
                bytes.extend(exec.id.to_le_bytes());
                bytes.push(u8::from(exec.terminal));
                bytes.push(u8::from(exec.tree));
                let limits = &exec.limits;
                for limit in [
                    limits.cpu_seconds,
                    limits.address_bytes,
                    limits.file_bytes,
                    limits.open_files,
                ] {
                    bytes.extend(limit.to_le_bytes());
                }
                put(&mut bytes, &exec.cwd);
                put_list(&mut bytes, &exec.argv);
                put_list(&mut bytes, &exec.env);
            }
            Self::Signal { id, signal } => {
                bytes.push(SIGNAL);
                bytes.extend(id.to_le_bytes());
                bytes.extend(signal.to_le_bytes());
            }
            Self::Kill { id } => {
                bytes.push(KILL);
                bytes.extend(id.to_le_bytes());
            }
            Self::EndAll => bytes.push(END_ALL),
            Self::Freeze => bytes.push(FREEZE),
            Self::Thaw => bytes.push(THAW),
        }
        bytes
    }

    /// Reads a request back.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader { rest: bytes };
        let request = match reader.byte()? {
            EXEC => Self::Exec(Exec {
                id: reader.u32()?,
                terminal: reader.byte()? != 0,
                tree: reader.byte()? != 0,
                limits: ExecLimits {
                    cpu_seconds: reader.u64()?,
                    address_bytes: reader.u64()?,
                    file_bytes: reader.u64()?,
                    open_files: reader.u64()?,
                },
                cwd: reader.string()?,
                argv: reader.list()?,
                env: reader.list()?,
            }),
            SIGNAL => Self::Signal {
                id: reader.u32()?,
                signal: reader.i32()?,
            },
            KILL => Self::Kill { id: reader.u32()? },
            END_ALL => Self::EndAll,
            FREEZE => Self::Freeze,
            THAW => Self::Thaw,
            _ => return Err(Malformed),
        };
        if reader.rest.is_empty() {
            Ok(request)
        } else {
            Err(Malformed)
        }
    }
}

const READY: u8 = 1;
const FAILED: u8 = 2;
const EXITED: u8 = 3;
const BY_SIGNAL: u8 = 1;

impl Reply {
    /// The bytes of this reply.
    pub fn encode(&self) -> [u8; REPLY_SIZE] {
        let mut bytes = Vec::with_capacity(REPLY_SIZE);
        match *self {
            Self::Ready => bytes.push(READY),
            Self::Failed { id, errno } => {
                bytes.push(FAILED);
                bytes.extend(id.to_le_bytes());
                bytes.extend(errno.to_le_bytes());
            }
            Self::Exited {
                id,
                status,
                cpu_micros,
                peak_kib,
                tree,
            } => {
                let (kind, number) = match status {
                    ExitStatus::Code(code) => (0, code),
                    ExitStatus::Signal(signal) => (BY_SIGNAL, signal),
                };
                bytes.push(EXITED);
                bytes.extend(id.to_le_bytes());
                bytes.push(kind);
                bytes.extend(number.to_le_bytes());
                bytes.extend(cpu_micros.to_le_bytes());
                bytes.extend(peak_kib.to_le_bytes());
                bytes.push(u8::from(tree));
            }
        }
        bytes.resize(REPLY_SIZE, 0);
        let mut fixed = [0; REPLY_SIZE];
        fixed.copy_from_slice(&bytes);
        fixed
    }

    /// Reads a reply back.
    pub fn decode(bytes: &[u8; REPLY_SIZE]) -> Result<Self, Malformed> {
        let mut reader = Reader { rest: bytes };
        match reader.byte()? {
            READY => Ok(Self::Ready),
            FAILED => Ok(Self::Failed {
                id: reader.u32()?,
                errno: reader.i32()?,
            }),
            EXITED => {
                let id = reader.u32()?;
                let kind = reader.byte()?;
                let number = reader.i32()?;
                let status = match kind {
                    0 => ExitStatus::Code(number),
                    BY_SIGNAL => ExitStatus::Signal(number),
                    _ => return Err(Malformed),
                };
                Ok(Self::Exited {
                    id,
                    status,
                    cpu_micros: reader.u64()?,
                    peak_kib: reader.u64()?,
                    tree: reader.byte()? != 0,
                })
            }
            _ => Err(Malformed),
        }
    }
}

fn put(bytes: &mut Vec<u8>, string: &[u8]) {
    let length = u32::try_from(string.len()).unwrap_or(u32::MAX);
    bytes.extend(length.to_le_bytes());
    bytes.extend(string);
}

fn put_list(bytes: &mut Vec<u8>, list: &[Vec<u8>]) {
    let length = u32::try_from(list.len()).unwrap_or(u32::MAX);
    bytes.extend(length.to_le_bytes());
    for string in list {
        put(bytes, string);
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], Malformed> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or(Malformed)?;
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.u32()?).map_err(|_| Malformed)
    }

    fn string(&mut self) -> Result<Vec<u8>, Malformed> {
        let length = self.length()?;
        Ok(self.take(length)?.to_vec())
    }

    fn list(&mut self) -> Result<Vec<Vec<u8>>, Malformed> {
        // The count is not trusted for an allocation: each string consumes
        // at least its length prefix, so a lie ends in `Malformed` early.
        let count = self.length()?;
        let mut strings = Vec::new();
        for _ in 0..count {
            strings.push(self.string()?);
        }
        Ok(strings)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn strings() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..6)
    }

    proptest! {
        #[test]
        fn an_exec_arrives_as_it_was_sent(
            id: u32, terminal: bool, tree: bool, caps: [u64; 4],
            cwd: Vec<u8>, argv in strings(), env in strings(),
        ) {
            let [cpu_seconds, address_bytes, file_bytes, open_files] = caps;
            let limits = ExecLimits { cpu_seconds, address_bytes, file_bytes, open_files };
            let request = Request::Exec(Exec { id, terminal, tree, limits, cwd, argv, env });
            prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
        }

        #[test]
        fn no_bytes_make_the_decoders_panic(bytes: Vec<u8>, fixed: [u8; 24]) {
            let _ = Request::decode(&bytes);
            let mut reply = [0; REPLY_SIZE];
            reply[..24].copy_from_slice(&fixed);
            let _ = Reply::decode(&reply);
        }

        #[test]
        fn an_exit_arrives_as_it_was_sent(
            id: u32, code: i32, cpu_micros: u64, peak_kib: u64, tree: bool,
        ) {
            let status = ExitStatus::Signal(code);
            let reply = Reply::Exited { id, status, cpu_micros, peak_kib, tree };
            prop_assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
        }
    }

    #[test]
    fn a_request_with_bytes_left_over_is_malformed() {
        let mut bytes = Request::Freeze.encode();
        bytes.push(0);
        assert_eq!(Request::decode(&bytes), Err(Malformed));
    }
}
