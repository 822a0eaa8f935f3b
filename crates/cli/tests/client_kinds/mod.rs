//! Programs and libraries that speak HTTPS, each with the words by which it
//! asks, and where the package managers have those that a machine lacks.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::host::{Host, cache, skip};

/// A client that knows nothing of proxies, and of the sandbox's authority only
/// what it is told by the environment or by files where it looks anyway.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    /// Its name, and the first part of the path that it asks for.
    pub(crate) name: &'static str,
    /// What succeeds where it is installed.
    pub(crate) installed: &'static str,
    /// Asks for `$U/NAME`, in a shell.
    pub(crate) asks: &'static str,
}

const fn client(name: &'static str, installed: &'static str, asks: &'static str) -> Client {
    Client {
        name,
        installed,
        asks,
    }
}

/// A library of Python by its import.
macro_rules! python {
    ($name:literal, $library:literal, $code:literal) => {
        client(
            $name,
            concat!("python3 -c 'import ", $library, "'"),
            concat!("python3 -c '", $code, "'"),
        )
    };
}

/// A package of node.
macro_rules! node {
    ($name:literal, $package:literal, $code:literal) => {
        client(
            $name,
            concat!("test -d $C/js/node_modules/", $package),
            concat!("cd $C/js && node --input-type=module -e '", $code, "'"),
        )
    };
}

/// The kinds of clients that were measured before this was built, and more.
pub(crate) const CLIENTS: &[Client] = &[
    client("curl", "curl -V", "curl -sS $U/curl"),
    client("git", "git -v", "git ls-remote $U/git"),
    client("wget", "wget -V", "wget -q -O - $U/wget"),
    client(
        "openssl",
        "openssl version",
        "printf 'GET /openssl HTTP/1.0\\r\\nhost: web.test\\r\\n\\r\\n' | openssl s_client -quiet -verify_return_error -connect web.test:443",
    ),
    python!(
        "python-urllib",
        "ssl",
        "import urllib.request as r; r.urlopen(\"https://web.test/python-urllib\")"
    ),
    python!(
        "requests",
        "requests",
        "import requests; requests.get(\"https://web.test/requests\")"
    ),
    python!(
        "httpx",
        "httpx",
        "import httpx; httpx.get(\"https://web.test/httpx\")"
    ),
    python!(
        "aiohttp",
        "aiohttp",
        "import aiohttp, asyncio\nasync def f():\n  async with aiohttp.ClientSession() as s: await s.get(\"https://web.test/aiohttp\")\nasyncio.run(f())"
    ),
    python!(
        "boto3",
        "boto3",
        "import boto3; from botocore.config import Config as C; boto3.client(\"s3\", endpoint_url=\"https://web.test\", region_name=\"x\", aws_access_key_id=\"x\", aws_secret_access_key=\"x\", config=C(s3={\"addressing_style\": \"path\"})).get_object(Bucket=\"boto3\", Key=\"x\")"
    ),
    python!(
        "grpcio",
        "grpc",
        "import grpc; grpc.secure_channel(\"web.test:443\", grpc.ssl_channel_credentials()).unary_unary(\"/grpcio/x\")(b\"\", timeout=20)"
    ),
    python!(
        "urllib3",
        "urllib3",
        "import urllib3; urllib3.request(\"GET\", \"https://web.test/urllib3\")"
    ),
    python!(
        "httplib2",
        "httplib2",
        "import httplib2; httplib2.Http().request(\"https://web.test/httplib2\")"
    ),
    python!(
        "tornado",
        "tornado",
        "from tornado.httpclient import HTTPClient; HTTPClient().fetch(\"https://web.test/tornado\")"
    ),
    python!(
        "niquests",
        "niquests",
        "import niquests; niquests.get(\"https://web.test/niquests\")"
    ),
    python!(
        "pycurl",
        "pycurl",
        "import pycurl; c = pycurl.Curl(); c.setopt(c.URL, \"https://web.test/pycurl\"); c.perform()"
    ),
    python!(
        "curl_cffi",
        "curl_cffi",
        "from curl_cffi import requests; requests.get(\"https://web.test/curl_cffi\")"
    ),
    client(
        "httpie",
        "python3 -c 'import httpie'",
        "python3 -m httpie --ignore-stdin $U/httpie",
    ),
    client(
        "pip",
        "python3 -m pip -V",
        "python3 -m pip download --no-input --index-url $U/pip nothing",
    ),
    client(
        "uv",
        "uv -V",
        "echo nothing | uv pip compile --no-cache --index-url $U/uv -",
    ),
    client(
        "node-fetch-builtin",
        "node -v",
        "node -e 'fetch(\"https://web.test/node-fetch-builtin\")'",
    ),
    client(
        "node-https",
        "node -v",
        "node -e 'require(\"https\").get(\"https://web.test/node-https\")'",
    ),
    node!(
        "undici",
        "undici",
        "import { request } from \"undici\"; await request(\"https://web.test/undici\")"
    ),
    node!(
        "got",
        "got",
        "import got from \"got\"; await got(\"https://web.test/got\")"
    ),
    node!(
        "axios",
        "axios",
        "import axios from \"axios\"; await axios.get(\"https://web.test/axios\")"
    ),
    node!(
        "node-fetch",
        "node-fetch",
        "import f from \"node-fetch\"; await f(\"https://web.test/node-fetch\")"
    ),
    node!(
        "superagent",
        "superagent",
        "import s from \"superagent\"; await s.get(\"https://web.test/superagent\")"
    ),
    node!(
        "ky",
        "ky",
        "import ky from \"ky\"; await ky(\"https://web.test/ky\")"
    ),
    node!(
        "grpc-js",
        "@grpc/grpc-js",
        "import g from \"@grpc/grpc-js\"; new g.Client(\"web.test:443\", g.credentials.createSsl()).makeUnaryRequest(\"/grpc-js/x\", x => x, x => x, Buffer.alloc(0), () => process.exit())"
    ),
    client(
        "npm",
        "npm -v",
        "npm view nothing --registry $U/npm --fetch-retries 0 --cache /tmp/npm",
    ),
    client(
        "yarn",
        "yarn -v",
        "mkdir -p /tmp/yarn && cd /tmp/yarn && echo {} > package.json && YARN_NPM_REGISTRY_SERVER=$U/yarn yarn npm info nothing",
    ),
    client(
        "pnpm",
        "pnpm -v",
        "cd /tmp && npm_config_fetch_retries=0 pnpm view nothing --registry $U/pnpm",
    ),
    client(
        "deno",
        "deno -V",
        "DENO_DIR=/tmp/deno deno eval 'await fetch(\"https://web.test/deno\")'",
    ),
    client(
        "bun",
        "bun -v",
        "bun -e 'await fetch(\"https://web.test/bun\")'",
    ),
    client(
        "cargo",
        "cargo -V",
        "CARGO_HOME=/tmp/cargo cargo search nothing --index sparse+$U/cargo/",
    ),
    client(
        "java-HttpClient",
        "java -version",
        "cd /tmp && echo 'import java.net.*; import java.net.http.*; class A { public static void main(String[] a) throws Exception { HttpClient.newHttpClient().send(HttpRequest.newBuilder(URI.create(\"https://web.test/java-HttpClient\")).build(), HttpResponse.BodyHandlers.ofString()); } }' > A.java && java A.java",
    ),
    client(
        "java-URLConnection",
        "java -version",
        "cd /tmp && echo 'class B { public static void main(String[] a) throws Exception { new java.net.URL(\"https://web.test/java-URLConnection\").openStream().read(); } }' > B.java && java B.java",
    ),
    client(
        "maven",
        "mvn -v",
        "mkdir -p /tmp/mvn && cd /tmp/mvn && echo '<settings><mirrors><mirror><id>m</id><mirrorOf>*</mirrorOf><url>https://web.test/maven</url></mirror></mirrors></settings>' > s.xml && echo '<project><modelVersion>4.0.0</modelVersion><groupId>a</groupId><artifactId>a</artifactId><version>1</version></project>' > pom.xml && mvn -B -s s.xml -Dmaven.repo.local=/tmp/mvn/r compile",
    ),
    client(
        "gh",
        "gh --version",
        "GH_TOKEN=x GH_HOST=web.test gh api /gh",
    ),
    client("w3m", "w3m -version", "w3m -dump_source $U/w3m"),
    client(
        "lynx",
        "lynx -version",
        "LYNX_LSS=/dev/null lynx -cfg=/dev/null -source $U/lynx",
    ),
    client("aria2", "aria2c -v", "aria2c -d /tmp -o aria2 $U/aria2"),
    client(
        "gnutls",
        "command -v gnutls-cli",
        "gnutls-cli web.test < <(printf 'GET /gnutls HTTP/1.0\\r\\nhost: web.test\\r\\n\\r\\n'; exec tail -f /dev/null)",
    ),
    client(
        "socat",
        "socat -V",
        "socat - OPENSSL:web.test:443 < <(printf 'GET /socat HTTP/1.0\\r\\nhost: web.test\\r\\n\\r\\n'; exec tail -f /dev/null)",
    ),
    client(
        "perl",
        "perl -MIO::Socket::SSL -e 1",
        "perl -MHTTP::Tiny -e 'HTTP::Tiny->new(verify_SSL => 1)->get(\"https://web.test/perl\")'",
    ),
    client(
        "ruby",
        "ruby3.1 -v",
        "ruby3.1 -rnet/http -e 'Net::HTTP.get(URI(\"https://web.test/ruby\"))'",
    ),
    client(
        "php",
        "php8.2 -v",
        "php8.2 -r 'file_get_contents(\"https://web.test/php\");'",
    ),
    client(
        "apt",
        "test -x /usr/lib/apt/methods/https",
        "mkdir -p /tmp/apt/lists/partial /tmp/apt/cache && echo 'deb [trusted=yes] https://web.test/apt x main' > /tmp/apt/list && apt-get -o Dir::Etc::SourceList=/tmp/apt/list -o Dir::Etc::SourceParts=- -o Dir::State=/tmp/apt -o Dir::Cache=/tmp/apt/cache -o Acquire::Retries=0 update",
    ),
    client(
        "dotnet",
        "dotnet --version",
        "dotnet nuget search nothing --source $U/dotnet",
    ),
    client("gradle", "gradle -v", "gradle --refresh-dependencies"),
];

/// Libraries and programs of PyPI.
const PYPI: &[&str] = &[
    "requests",
    "httpx",
    "aiohttp",
    "boto3",
    "grpcio",
    "urllib3",
    "httplib2",
    "tornado",
    "niquests",
    "pycurl",
    "curl_cffi",
    "httpie",
    "uv",
];
/// Libraries and programs of npm.
const NPM: &[&str] = &[
    "undici",
    "got",
    "axios",
    "node-fetch",
    "superagent",
    "ky",
    "@grpc/grpc-js",
    "yarn",
    "pnpm",
    "deno",
    "bun",
];
/// Programs of Debian 12, with the libraries that a machine may lack.
const DEBIAN: &[&str] = &[
    "gh",
    "gnutls-bin",
    "libgnutls-dane0",
    "libunbound8",
    "libevent-2.1-7",
    "libopts25",
    "w3m",
    "libgc1",
    "lynx",
    "lynx-common",
    "aria2",
    "libaria2-0",
    "libc-ares2",
    "socat",
    "libwrap0",
    "libio-socket-ssl-perl",
    "libnet-ssleay-perl",
    "perl-openssl-defaults",
    "ruby3.1",
    "libruby3.1",
    "rubygems-integration",
    "php8.2-cli",
    "php8.2-common",
    "libsodium23",
    "libargon2-1",
];

/// Where an unpacked package finds its own, for the shell that asks.
pub(crate) const VARIABLES: &str = "export C U=https://web.test PATH=$PATH:$C/py/bin:$C/js/node_modules/.bin:$C/deb/usr/bin \
    PYTHONPATH=$C/py LD_LIBRARY_PATH=$C/deb/usr/lib/x86_64-linux-gnu \
    PERL5LIB=$C/deb/usr/share/perl5:$C/deb/usr/lib/x86_64-linux-gnu/perl5/5.36 \
    RUBYLIB=$C/deb/usr/lib/ruby/3.1.0:$C/deb/usr/lib/x86_64-linux-gnu/ruby/3.1.0:$C/deb/usr/lib/ruby/vendor_ruby \
    PHP_INI_SCAN_DIR=";

/// Installs packages of one registry in a folder.
type Installer = fn(&Host, &Path) -> Result<(), String>;

/// The folder with all that could be installed; what could not is said.
pub(crate) fn install(host: &Host) -> Option<PathBuf> {
    let kept = cache::kept("clients", "all", |folder| {
        let groups: [(&str, Installer); 3] = [("py", pypi), ("js", npm), ("deb", debian)];
        for (name, installer) in groups {
            let place = folder.join(name);
            fs::create_dir(&place).map_err(|error| error.to_string())?;
            if let Err(reason) = installer(host, &place) {
                skip(&format!("packages of {name}"), &reason);
            }
        }
        Ok(())
    });
    kept.map_err(|reason| skip("what the machine lacks", &reason))
        .ok()
}

fn pypi(host: &Host, folder: &Path) -> Result<(), String> {
    let words = ["-m", "pip", "install", "--quiet", "--target", "."];
    cache::install(
        host,
        folder,
        "/usr/bin/python3",
        &[&words[..], PYPI].concat(),
    )
}

fn npm(host: &Host, folder: &Path) -> Result<(), String> {
    let words = [
        "install",
        "--prefix",
        ".",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
    ];
    cache::install(host, folder, "npm", &[&words[..], NPM].concat())
}

fn debian(host: &Host, folder: &Path) -> Result<(), String> {
    cache::install(
        host,
        folder,
        "apt-get",
        &[&["-qq", "download"][..], DEBIAN].concat(),
    )?;
    let entries = fs::read_dir(folder).map_err(|error| error.to_string())?;
    for entry in entries.flatten() {
        let archive = entry.path();
        let words = ["-x", archive.to_str().unwrap_or_default(), "."];
        cache::install(host, folder, "dpkg-deb", &words)?;
    }
    Ok(())
}
