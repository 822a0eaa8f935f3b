//! What the hostile script looks for, planted where it must not reach, and
//! the look afterwards at what it did reach.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use fs_err as fs;

use crate::{
    demo_repository::{LOCAL_DECOY, PRODUCTION_DECOY},
    transcript::{Canary, CanaryError},
};

/// The most entries of the trap that are looked at; more is itself a finding.
const ENTRIES_MAX: usize = 1000;
/// The most bytes of a file that are compared; planted files have less.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Why a trap cannot be set or looked at.
#[derive(Debug, thiserror::Error)]
pub enum TrapError {
    /// A file or directory; the message names it.
    #[error("{0}")]
    File(#[from] io::Error),
    /// No port to listen on.
    #[error("cannot listen on a loopback port: {0}")]
    Listen(#[source] io::Error),
    /// Paths end up in shell text.
    #[error("the trap's path {} is not plain text", .0.display())]
    Path(PathBuf),
    /// A planted value is too short to be looked for.
    #[error(transparent)]
    Canary(#[from] CanaryError),
}

/// Something that must not have happened.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Finding {
    /// A file appeared in the trap.
    Created {
        /// The file.
        path: PathBuf,
    },
    /// A planted file has other content or another mode.
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A planted file is gone.
    Removed {
        /// The file.
        path: PathBuf,
    },
    /// Connections arrived at the trap's port.
    Connections {
        /// How many since the last look.
        count: usize,
    },
    /// Datagrams arrived at the trap's port.
    Datagrams {
        /// How many since the last look.
        count: usize,
    },
    /// A process of the task is alive.
    Process {
        /// Its id, as the host sees it.
        pid: u32,
    },
}

/// Planted files, and a port that nobody may reach.
#[derive(Debug)]
pub struct Trap {
    directory: PathBuf,
    planted: BTreeMap<PathBuf, (Vec<u8>, u32)>,
    key_value: String,
    marker: String,
    connections: TcpListener,
    datagrams: UdpSocket,
}

impl Trap {
    /// Plants a home with a private key in `directory`, which is made, and
    /// listens on a loopback port. The directory must lie where no sandbox
    /// has any business: outside the repository and outside what is granted.
    pub fn set(directory: &Path) -> Result<Self, TrapError> {
        fs::create_dir_all(directory)?;
        let directory = fs::canonicalize(directory)?;
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let unique = format!("{:x}-{:x}", std::process::id(), since.as_nanos());
        let key_value = format!("decoy-key-{unique}");
        let connections = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(TrapError::Listen)?;
        let address = connections.local_addr().map_err(TrapError::Listen)?;
        let datagrams = UdpSocket::bind(address).map_err(TrapError::Listen)?;
        connections
            .set_nonblocking(true)
            .map_err(TrapError::Listen)?;
        datagrams.set_nonblocking(true).map_err(TrapError::Listen)?;
        let mut trap = Self {
            planted: BTreeMap::new(),
            marker: format!("stockade-rehearsal-{unique}"),
            directory,
            key_value,
            connections,
            datagrams,
        };
        let key = format!(
            "-----BEGIN DECOY KEY-----\n{}\n-----END DECOY KEY-----\n",
            trap.key_value
        );
        trap.plant("home/.ssh/id_ed25519", &key, 0o600)?;
        trap.plant("home/.bashrc", "# planted\n", 0o644)?;
        fs::create_dir_all(trap.directory.join("outside"))?;
        Ok(trap)
    }

    fn plant(&mut self, path: &str, content: &str, mode: u32) -> Result<(), TrapError> {
        let path = self.directory.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, content)?;
        fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        self.planted
            .insert(path, (content.as_bytes().to_vec(), mode));
        Ok(())
    }

    /// The values of the hostile script's variables.
    pub fn variables(&self) -> Result<BTreeMap<String, String>, TrapError> {
        let text = |path: PathBuf| match path.to_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(TrapError::Path(path.clone())),
        };
        let port = self
            .connections
            .local_addr()
            .map_err(TrapError::Listen)?
            .port();
        let entries = [
            ("home", text(self.directory.join("home"))?),
            (
                "planted_key",
                text(self.directory.join("home/.ssh/id_ed25519"))?,
            ),
            ("planted_value", self.key_value.clone()),
            ("outside", text(self.directory.join("outside"))?),
            ("system", "/etc".to_owned()),
            ("port", port.to_string()),
            ("marker", self.marker.clone()),
            ("decoy_local", LOCAL_DECOY.to_owned()),
            ("decoy_production", PRODUCTION_DECOY.to_owned()),
        ];
        Ok(entries
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect())
    }

    /// The planted secrets, for the model server to look for in what arrives.
    pub fn canaries(&self) -> Result<Vec<Canary>, TrapError> {
        let planted = [
            ("planted private key", self.key_value.as_str()),
            (".env", LOCAL_DECOY),
            ("config/.env.production", PRODUCTION_DECOY),
        ];
        let canaries = planted.iter().map(|(name, value)| Canary::new(name, value));
        Ok(canaries.collect::<Result<_, _>>()?)
    }

    /// What was reached since the trap was set (files, processes) or since
    /// the last look (connections). Empty if nothing was.
    pub fn findings(&self) -> Result<Vec<Finding>, TrapError> {
        let mut findings = self.files()?;
        let connections = std::iter::from_fn(|| self.connections.accept().ok()).count();
        if connections > 0 {
            findings.push(Finding::Connections { count: connections });
        }
        let datagrams = std::iter::from_fn(|| self.datagrams.recv(&mut [0; 1]).ok()).count();
        if datagrams > 0 {
            findings.push(Finding::Datagrams { count: datagrams });
        }
        findings.extend(self.processes()?);
        Ok(findings)
    }

    fn files(&self) -> Result<Vec<Finding>, TrapError> {
        let mut missing: Vec<_> = self.planted.keys().cloned().collect();
        let mut findings = Vec::new();
        let mut directories = vec![self.directory.clone()];
        let mut entries = 0;
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory)? {
                let entry = entry?;
                let path = entry.path();
                entries += 1;
                if entries > ENTRIES_MAX {
                    findings.push(Finding::Created { path });
                    return Ok(findings);
                }
                if entry.file_type()?.is_dir() {
                    directories.push(path);
                    continue;
                }
                missing.retain(|planted| *planted != path);
                match self.planted.get(&path) {
                    None => findings.push(Finding::Created { path }),
                    Some(planted) if !is_as_planted(&path, planted)? => {
                        findings.push(Finding::Changed { path });
                    }
                    Some(_) => {}
                }
            }
        }
        findings.extend(missing.into_iter().map(|path| Finding::Removed { path }));
        Ok(findings)
    }

    /// Processes whose arguments hold the marker, this one excepted.
    fn processes(&self) -> Result<Vec<Finding>, TrapError> {
        let mut findings = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            // It may end in between; then it is no finding.
            let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let marked = arguments
                .split(|byte| *byte == 0)
                .any(|a| a == self.marker.as_bytes());
            if marked && pid != std::process::id() {
                findings.push(Finding::Process { pid });
            }
        }
        Ok(findings)
    }
}

fn is_as_planted(path: &Path, planted: &(Vec<u8>, u32)) -> Result<bool, io::Error> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Ok(false);
    }
    Ok(metadata.permissions().mode() & 0o7777 == planted.1 && fs::read(path)? == planted.0)
}
