//! Secrets of sandboxes that programs start.

use serde_json::json;

use crate::{
    Server,
    host::{Host, has, skip, tls_server::TlsServer},
    sandboxes::{agreed, start},
};

const REAL: &str = "ghp_decoy-0123456789-of-a-program";

#[test]
fn g3_a_sandbox_of_a_program_uses_a_bound_secret_and_holds_a_placeholder() {
    if !has("curl") {
        return skip("requests with secrets", "curl is not installed");
    }
    let mut host = Host::new();
    let certificate = host.path("certificate.pem");
    let site = TlsServer::start(&certificate);
    host.set("SSL_CERT_FILE", certificate);
    host.set("GITHUB", REAL);
    host.json(&["secret", "add", "github", "--from", "env:GITHUB"]);
    let bind = [
        "secret", "bind", "github", "--host", "api.test", "--env", "GH_TOKEN",
    ];
    let header = ["--header", "Authorization=Bearer {}"];
    host.json(&[&bind[..], &header].concat());
    let wish = json!({
        "repository": host.repository(), "allow": ["GET api.test"],
        "services": [format!("api.test={}", site.url)],
    });

    let server = Server::start(&host);
    let (contract, _) = agreed(&server, wish.clone());
    let text = contract["text"].as_str().unwrap();
    assert!(text.contains("github from the variable GITHUB"), "{text}");
    let task = start(&host, &server, wish.clone());
    let asks = "curl -sS -H \"Authorization: Bearer $GH_TOKEN\" https://api.test/ && env";
    let done = server.exec(&task, asks);
    let printed = done.to_string();
    assert!(
        done["exit"] == 0 && printed.contains("GH_TOKEN=") && !printed.contains(REAL),
        "{done}"
    );
    let seen = site.seen();
    assert_eq!(
        seen[0].header("authorization"),
        Some(&*format!("Bearer {REAL}"))
    );

    let mut without = wish.clone();
    without["secrets"] = json!([]);
    let (contract, _) = agreed(&server, without.clone());
    let text = contract["text"].as_str().unwrap();
    assert!(!text.contains("github"), "{text}");
    without["secrets"] = json!(["other"]);
    let unknown = server.post("/v1/sandboxes", &without);
    assert!(unknown.body.contains("other"), "{}", unknown.body);

    // Where the server has no value of it, nothing starts.
    host.unset("GITHUB");
    drop(server);
    let server = Server::start(&host);
    let (_, wish) = agreed(&server, wish);
    let refused = server.post("/v1/sandboxes", &wish);
    let problem = refused.problem(403, "refused");
    assert!(
        problem["detail"].as_str().unwrap().contains("GITHUB"),
        "{problem}"
    );
}
