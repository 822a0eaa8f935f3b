//! Proxies of others, found on `PATH`, each with files of its own.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    failure::Failure,
    job::{Job, Told, Way, Work},
    origin::Origin,
    place::finish,
    processes::Processes,
};

/// How long a peer may take to listen.
const STARTED: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// A name that the origin's certificate has.
pub(crate) const HOST: &str = "kept.bench.test";

/// A proxy that runs. Dropping it ends it.
pub(crate) struct Peer {
    child: Child,
    way: Way,
    trust: PathBuf,
}

/// A peer, or why there is none.
pub(crate) type Found = Result<Peer, String>;

impl Peer {
    /// nginx as a relay with TLS on both sides.
    pub(crate) fn nginx(origin: &Origin, folder: &Path) -> Result<Found, Failure> {
        let Some(program) = on_path("nginx") else {
            return Ok(Err("nginx is not on PATH".to_owned()));
        };
        let folder = own_folder(folder, "nginx")?;
        let (at, port) = (folder.display(), free_port()?);
        let user = if rustix::process::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let text = format!(
            "{user} daemon off; worker_processes 1; pid {at}/pid; error_log {at}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log {at}/access.log;
  client_body_temp_path {at}/a; proxy_temp_path {at}/b; fastcgi_temp_path {at}/c;
  uwsgi_temp_path {at}/d; scgi_temp_path {at}/e;
  upstream origin {{ server {}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port} ssl; keepalive_requests 1000000;
    ssl_certificate {}; ssl_certificate_key {};
    location / {{
      proxy_pass https://origin; proxy_http_version 1.1; proxy_set_header Connection \"\";
      proxy_set_header Host $host; proxy_ssl_verify on; proxy_ssl_trusted_certificate {};
      proxy_ssl_server_name on; proxy_ssl_name {HOST}; proxy_max_temp_file_size 0;
    }}
  }}
}}\n",
            origin.address,
            origin.chain.display(),
            origin.key.display(),
            origin.authority.display(),
        );
        let file = write(&folder, "nginx.conf", &text)?;
        let mut command = program_at(&program);
        command.arg("-c").arg(file).arg("-p").arg(&folder);
        let trust = origin.authority.clone();
        Self::start("nginx", command, &folder, port, Way::At, trust).map(Ok)
    }

    /// squid, which makes certificates for the hosts that it connects to.
    pub(crate) fn squid(
        origin: &Origin,
        folder: &Path,
        names: &[String],
    ) -> Result<Found, Failure> {
        let Some(program) = on_path("squid") else {
            return Ok(Err("squid (squid-openssl) is not on PATH".to_owned()));
        };
        let Some(prefix) = program.parent().and_then(Path::parent) else {
            return Ok(Err("squid is nowhere".to_owned()));
        };
        let helpers = prefix.join("lib/squid");
        let maker = helpers.join("security_file_certgen");
        let above = folder;
        let folder = own_folder(above, "squid")?;
        let database = folder.join("certificates");
        let mut make = program_at(&maker);
        make.arg("-c").arg("-s").arg(&database).args(["-M", "16MB"]);
        match finish(make) {
            Err(Failure::Start { .. }) => {
                return Ok(Err(format!("{} is not there", maker.display())));
            }
            made => made?,
        };
        // As root it works as another user.
        open_to_all(&folder)?;
        fs::set_permissions(above, PermissionsExt::from_mode(0o755))
            .map_err(Failure::file(above))?;
        let names = names.iter().map(String::as_str).chain([HOST]);
        let hosts: String = names
            .map(|name| ["127.0.0.1 ", name, "\n"].concat())
            .collect();
        let hosts = write(&folder, "hosts", &hosts)?;
        let types = write(&folder, "mime.conf", "")?;
        let (at, port) = (folder.display(), free_port()?);
        let text = format!(
            "http_port 127.0.0.1:{port} ssl-bump tls-cert={} generate-host-certificates=on dynamic_cert_mem_cache_size=16MB
sslcrtd_program {} -s {} -M 16MB
sslcrtd_children 1 startup=1 idle=1
acl first at_step SslBump1
ssl_bump peek first
ssl_bump bump all
tls_outgoing_options cafile={}
http_access allow all
cache deny all
hosts_file {}
access_log stdio:{at}/access.log
cache_log {at}/cache.log
pid_filename {at}/pid
coredump_dir {at}
pinger_enable off
visible_hostname localhost
unlinkd_program {helpers}/unlinkd
mime_table {types}
icon_directory {at}
error_directory {at}
shutdown_lifetime 0 seconds
",
            origin.authority_with_key.display(),
            maker.display(),
            database.display(),
            origin.authority.display(),
            hosts.display(),
            helpers = helpers.display(),
            types = types.display(),
        );
        let file = write(&folder, "squid.conf", &text)?;
        let mut command = program_at(&program);
        command.arg("-N").arg("-f").arg(file);
        let to = origin.address.port();
        let way = |address| Way::Proxy(address, to);
        let trust = origin.authority.clone();
        Self::start("squid", command, &folder, port, way, trust).map(Ok)
    }

    /// mitmproxy, which makes certificates for the hosts that clients name.
    pub(crate) fn mitmproxy(origin: &Origin, folder: &Path) -> Result<Found, Failure> {
        let Some(program) = on_path("mitmdump") else {
            return Ok(Err("mitmdump (mitmproxy) is not on PATH".to_owned()));
        };
        let folder = own_folder(folder, "mitmproxy")?;
        let port = free_port()?;
        let mut command = program_at(&program);
        let setting = |name: &str, value: &Path| format!("{name}={}", value.display());
        command
            .args(["-q", "--listen-host", "127.0.0.1", "--listen-port"])
            .arg(port.to_string())
            .arg("--mode")
            .arg(format!(
                "reverse:https://localhost:{}",
                origin.address.port()
            ))
            .arg("--set")
            .arg(setting("confdir", &folder))
            .arg("--set")
            .arg(setting("ssl_verify_upstream_trusted_ca", &origin.authority));
        let trust = folder.join("mitmproxy-ca-cert.pem");
        Self::start("mitmproxy", command, &folder, port, Way::At, trust).map(Ok)
    }

    fn start(
        name: &'static str,
        mut command: Command,
        folder: &Path,
        port: u16,
        way: impl Fn(SocketAddr) -> Way,
        trust: PathBuf,
    ) -> Result<Self, Failure> {
        let log = folder.join("output.log");
        let output = File::create(&log).map_err(Failure::file(&log))?;
        let errors = output.try_clone().map_err(Failure::file(&log))?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = command.spawn().map_err(|source| Failure::Start {
            program: name.to_owned(),
            source,
        })?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut peer = Self {
            child,
            way: way(address),
            trust,
        };
        let deadline = Instant::now() + STARTED;
        while TcpStream::connect(address).is_err() {
            let ended = peer.child.try_wait().map_err(Failure::file(&log))?;
            if ended.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(&log).unwrap_or_default();
                return Err(Failure::InVain(format!("{name} listened: {said}")));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(peer)
    }

    /// All of it.
    pub(crate) fn processes(&self) -> Processes {
        Processes::below(self.child.id())
    }

    /// Has a client work through it.
    pub(crate) fn run(&self, work: Work) -> Result<Told, Failure> {
        on_host(&Job {
            host: HOST.to_owned(),
            way: self.way,
            trust: Some(self.trust.clone()),
            work,
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let id = rustix::process::Pid::from_child(&self.child);
        // Its own children end with it.
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        let deadline = Instant::now() + STARTED;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(PAUSE);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Has a client on the host do a job.
pub(crate) fn on_host(job: &Job) -> Result<Told, Failure> {
    let own = std::env::current_exe().map_err(Failure::file("/proc/self/exe"))?;
    let mut client = program_at(&own);
    client.arg(serde_json::to_string(job).map_err(|error| Failure::InVain(error.to_string()))?);
    let answer = finish(client)?.stdout;
    told(&answer)
}

/// What a client printed.
pub(crate) fn told(answer: &[u8]) -> Result<Told, Failure> {
    serde_json::from_slice(answer).map_err(|_| Failure::Answer {
        words: "a client".to_owned(),
        answer: String::from_utf8_lossy(answer).into_owned(),
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "peers, and clients of the bench's own"
)]
fn program_at(path: &Path) -> Command {
    Command::new(path)
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut all = std::env::split_paths(&path).map(|folder| folder.join(name));
    all.find(|file| file.is_file())
}

fn own_folder(folder: &Path, name: &str) -> Result<PathBuf, Failure> {
    let folder = folder.join(name);
    fs::create_dir(&folder).map_err(Failure::file(&folder))?;
    Ok(folder)
}

fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf, Failure> {
    let path = folder.join(name);
    fs::write(&path, text).map_err(Failure::file(&path))?;
    Ok(path)
}

fn open_to_all(path: &Path) -> Result<(), Failure> {
    let failed = |path: &Path| Failure::file(path.to_owned());
    fs::set_permissions(path, PermissionsExt::from_mode(0o777)).map_err(failed(path))?;
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(failed(path))?.flatten() {
            open_to_all(&entry.path())?;
        }
    }
    Ok(())
}

/// A port that nobody listens at.
fn free_port() -> Result<u16, Failure> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(Failure::file("127.0.0.1"))
}
