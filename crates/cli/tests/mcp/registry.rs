//! A registry of packages on this machine, as npm's and PyPI's are.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use sha2::{Digest as _, Sha512};

use crate::host::Host;

/// What stands at each path.
type Pages = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// A registry, which ends with the test.
pub(super) struct Registry {
    pages: Pages,
    seen: Arc<Mutex<Vec<String>>>,
    /// Where it is.
    pub(super) url: String,
}

impl Registry {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (pages, seen) = (Pages::default(), Arc::default());
        let (all, keep) = (Arc::clone(&pages), Arc::clone(&seen));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (all, keep) = (Arc::clone(&all), Arc::clone(&keep));
                // Clients may hold a connection that they do not use.
                std::thread::spawn(move || answer(&stream, &all, &keep));
            }
        });
        Self { pages, seen, url }
    }

    /// The paths that were asked for since this was asked last.
    pub(super) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    pub(super) fn set(&self, path: &str, content: impl Into<Vec<u8>>) {
        self.pages
            .lock()
            .unwrap()
            .insert(path.to_owned(), content.into());
    }

    /// Publishes a package of npm's, whose program `run` is `script`, as the newest.
    pub(super) fn publish(&self, host: &Host, name: &str, version: &str, script: &str) {
        let folder = host.path("published").join(version);
        let package = folder.join("package");
        fs::create_dir_all(&package).unwrap();
        let asks = "node -e \"fetch('https://registry.npmjs.org/ran')\"";
        let manifest = json!({
            "name": name, "version": version, "bin": { "run": "run.sh" },
            "scripts": { "preinstall": asks, "install": asks, "postinstall": asks, "prepare": asks },
        });
        fs::write(package.join("package.json"), manifest.to_string()).unwrap();
        fs::write(package.join("run.sh"), script).unwrap();
        let mut tar = host.other_command("tar");
        let tar = tar.arg("czf").arg(folder.join("it.tgz"));
        let tar = tar.arg("-C").arg(&folder).arg("package");
        assert!(tar.status().unwrap().success());
        let archive = fs::read(folder.join("it.tgz")).unwrap();
        let short = name.rsplit('/').next().unwrap();
        let place = format!("/{name}/-/{short}-{version}.tgz");
        let integrity = format!("sha512-{}", STANDARD.encode(Sha512::digest(&archive)));
        let mut one = manifest;
        one["hasInstallScript"] = json!(true);
        one["dist"] = json!({
            "tarball": format!("https://registry.npmjs.org{place}"), "integrity": integrity,
        });
        let path = format!("/{}", name.replace('/', "%2f"));
        let mut document = self.pages.lock().unwrap().get(&path).map_or_else(
            || json!({ "name": name, "versions": {} }),
            |page| serde_json::from_slice(page).unwrap(),
        );
        document["versions"][version] = one;
        document["dist-tags"] = json!({ "latest": version });
        self.set(&place, archive);
        self.set(&path, document.to_string());
    }
}

fn answer(stream: &TcpStream, pages: &Mutex<BTreeMap<String, Vec<u8>>>, seen: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut head, mut line) = (String::new(), String::new());
        while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
            if head.is_empty() {
                head.clone_from(&line);
            }
            line.clear();
        }
        let Some(path) = head.split(' ').nth(1) else {
            return;
        };
        seen.lock().unwrap().push(path.to_owned());
        let page = pages.lock().unwrap().get(path).cloned();
        let status = if page.is_some() { "200 OK" } else { "404 none" };
        let page = page.unwrap_or_default();
        let kind = match path {
            path if path.starts_with("/simple") => "text/html",
            path if path.ends_with("gz") || path.ends_with("whl") => "application/octet-stream",
            _ => "application/json",
        };
        let length = page.len();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
        );
        let mut stream = stream;
        if stream
            .write_all(&[head.as_bytes(), &page].concat())
            .is_err()
        {
            return;
        }
    }
}
