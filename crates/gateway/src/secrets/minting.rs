//! Requests that a server answers with a new credential, or by which it lets
//! somebody in who brings a key of his own.
//!
//! Whoever may only use a secret could hold one of his own afterwards. Such requests
//! are refused at every host to which a secret of the task goes, whatever else
//! allows them. The table follows what the services document; it is one of known
//! ways, and no proof that a service has no other.

use std::sync::LazyLock;

use crate::{
    credential::unescaped,
    reply::Refusal,
    rules::{Asked, HostRule},
};

/// What is made, and the requests that make it. `**` stands for whoever runs such a
/// server.
const TABLE: &[(&str, &[&str])] = &[
    (
        "a token of a GitHub App, or an App's own keys",
        &[
            "POST **/app/installations/*/access_tokens",
            "POST **/api/v3/app/installations/*/access_tokens",
            "POST api.github.com/app-manifests/*/conversions",
            "POST,PATCH api.github.com/applications/*/token",
            "POST api.github.com/applications/*/token/scoped",
        ],
    ),
    (
        "a key by which others get into GitHub",
        &[
            "POST **/repos/*/*/keys",
            "POST **/api/v3/repos/*/*/keys",
            "POST api.github.com/user/keys",
            "POST api.github.com/user/gpg_keys",
            "POST api.github.com/user/ssh_signing_keys",
            "POST **/api/v3/user/keys",
        ],
    ),
    (
        "a token with which a machine becomes a runner",
        &[
            "POST **/repos/*/*/actions/runners/*",
            "POST **/orgs/*/actions/runners/*",
            "POST **/enterprises/*/actions/runners/*",
            "POST **/api/v3/repos/*/*/actions/runners/*",
            "POST **/api/v3/orgs/*/actions/runners/*",
            "POST **/api/v4/user/runners",
            "POST **/api/v4/runners",
        ],
    ),
    (
        "a token or key of GitLab",
        &[
            "POST **/api/v4/user/personal_access_tokens",
            "POST **/api/v4/personal_access_tokens/*/rotate",
            "POST **/api/v4/users/*/personal_access_tokens",
            "POST **/api/v4/users/*/impersonation_tokens",
            "POST **/api/v4/projects/**/access_tokens",
            "POST **/api/v4/projects/**/access_tokens/*/rotate",
            "POST **/api/v4/projects/**/deploy_tokens",
            "POST **/api/v4/projects/**/deploy_keys",
            "POST **/api/v4/projects/**/triggers",
            "POST **/api/v4/groups/**/access_tokens",
            "POST **/api/v4/groups/**/access_tokens/*/rotate",
            "POST **/api/v4/groups/**/deploy_tokens",
            "POST **/api/v4/user/keys",
            "POST **/api/v4/user/gpg_keys",
        ],
    ),
    (
        "a key or token of Bitbucket",
        &[
            "POST api.bitbucket.org/2.0/repositories/*/*/deploy-keys",
            "POST api.bitbucket.org/2.0/users/*/ssh-keys",
            "POST bitbucket.org/site/oauth2/access_token",
        ],
    ),
    (
        "a token, as OAuth 2.0 gives it",
        &[
            "POST **/oauth/token",
            "POST **/oauth2/token",
            "POST **/oauth/access_token",
            "POST **/login/oauth/access_token",
            "POST **/login/device/code",
            "POST **/v1/oauth/token",
            "POST **/oauth/authorizations",
            "POST **/oauth2/v2.0/token",
            "POST login.microsoftonline.com/*/oauth2/token",
            "POST login.microsoftonline.com/*/oauth2/v2.0/token",
            "POST **/realms/*/protocol/openid-connect/token",
        ],
    ),
    (
        "a token, key or signature of a Google account",
        &[
            "POST oauth2.googleapis.com/token",
            "POST sts.googleapis.com/v1/token",
            "POST iamcredentials.googleapis.com/v1/projects/*/serviceAccounts/**",
            "POST iam.googleapis.com/v1/projects/*/serviceAccounts/**",
            "POST apikeys.googleapis.com/**",
            "POST identitytoolkit.googleapis.com/**",
            "POST generativelanguage.googleapis.com/v1alpha/auth_tokens",
        ],
    ),
    (
        "credentials of AWS",
        &["ANY sts.amazonaws.com", "POST iam.amazonaws.com"],
    ),
    (
        "keys of Azure",
        &[
            "POST management.azure.com/**/listKeys",
            "POST management.azure.com/**/regenerateKey",
            "POST management.azure.com/**/listCredentials",
            "POST management.azure.com/**/listClusterAdminCredential",
            "POST management.azure.com/**/listClusterUserCredential",
        ],
    ),
    (
        "a token for publishing packages",
        &[
            "POST **/-/npm/v1/tokens",
            "POST **/**/-/npm/v1/tokens",
            "POST **/-/v1/login",
            "PUT **/-/user/*",
            "PUT,POST crates.io/api/v1/me/tokens",
            "POST,PUT crates.io/api/v1/trusted_publishing/tokens",
            "POST **/_/oidc/mint-token",
            "POST rubygems.org/api/v1/api_key",
            "GET rubygems.org/api/v1/api_key",
        ],
    ),
    (
        "a token for images of containers",
        &[
            "POST hub.docker.com/v2/users/login",
            "POST hub.docker.com/v2/auth/token",
            "POST hub.docker.com/v2/access-tokens",
            "GET,POST auth.docker.io/token",
            "GET,POST ghcr.io/token",
            "GET api.digitalocean.com/v2/registry/docker-credentials",
        ],
    ),
    (
        "a credential out of Vault",
        &[
            "POST,PUT **/v1/auth/token/create",
            "POST,PUT **/v1/auth/token/create-orphan",
            "POST,PUT **/v1/auth/token/create/*",
            "POST,PUT **/v1/auth/**/login",
            "POST,PUT **/v1/auth/**/login/*",
            "POST,PUT **/v1/auth/**/secret-id",
            "GET,POST,PUT **/v1/*/creds/*",
            "GET,POST,PUT **/v1/*/sts/*",
        ],
    ),
    (
        "a token of Kubernetes, or a certificate",
        &[
            "POST **/api/v1/namespaces/*/serviceaccounts/*/token",
            "POST **/apis/certificates.k8s.io/*/certificatesigningrequests",
            "GET api.digitalocean.com/v2/kubernetes/clusters/*/kubeconfig",
            "GET api.digitalocean.com/v2/kubernetes/clusters/*/credentials",
        ],
    ),
    (
        "a key of a model provider",
        &[
            "POST api.openai.com/v1/organization/admin_api_keys",
            "POST api.openai.com/v1/organization/projects/*/service_accounts",
            "POST api.openai.com/v1/realtime/client_secrets",
            "POST api.openai.com/v1/realtime/sessions",
            "POST api.openai.com/v1/realtime/transcription_sessions",
            "POST api.openai.com/v1/chatkit/sessions",
            "POST openrouter.ai/api/v1/keys",
            "POST openrouter.ai/api/v1/auth/keys",
        ],
    ),
    (
        "a key or token of this service",
        &[
            "POST,PUT api.cloudflare.com/client/v4/user/tokens",
            "PUT api.cloudflare.com/client/v4/user/tokens/*/value",
            "POST api.cloudflare.com/client/v4/accounts/*/tokens",
            "PUT api.cloudflare.com/client/v4/accounts/*/tokens/*/value",
            "POST api.digitalocean.com/v2/account/keys",
            "POST api.heroku.com/oauth/**",
            "POST api.vercel.com/v3/user/tokens",
            "POST slack.com/api/oauth.access",
            "POST slack.com/api/oauth.v2.access",
            "POST slack.com/api/tooling.tokens.rotate",
            "POST slack.com/api/apps.connections.open",
            "POST api.stripe.com/v1/ephemeral_keys",
            "POST api.stripe.com/v1/terminal/connection_tokens",
            "POST api.sendgrid.com/v3/api_keys",
            "POST api.twilio.com/2010-04-01/Accounts/*/Keys.json",
            "POST api.twilio.com/2010-04-01/Accounts/*/Tokens.json",
        ],
    ),
];

struct Minting {
    rule: HostRule,
    what: &'static str,
}

/// The table as it is compared. A row that cannot be read is no row; that there is
/// none of these is tested.
static ROWS: LazyLock<Vec<Minting>> = LazyLock::new(|| {
    let rows = TABLE.iter().flat_map(|(what, rules)| {
        rules
            .iter()
            .filter_map(|text| text.parse().ok())
            .map(move |rule| Minting { rule, what })
    });
    rows.collect()
});

/// Refuses `asked`, whose path is `path`, at a host to which a secret goes, if its
/// answer would be a credential.
pub(crate) fn refuse(asked: &Asked<'_>, path: &str) -> Result<(), Refusal> {
    let path = lenient(path);
    let found = ROWS.iter().find(|row| {
        let (rule, method) = (&row.rule, asked.method);
        rule.covers(asked.destination)
            && rule.allowed_methods().contains(&method)
            && rule.path.as_ref().is_none_or(|rule| rule.denies(&path))
    });
    let Some(row) = found else {
        return Ok(());
    };
    let reason = format!(
        "the answer would be {}, and the task would hold it: secrets stay outside.",
        row.what
    );
    let instead = "let the person who runs this task make it on the host and bind it with \
                   `stockade secret add`"
        .to_owned();
    Err(Refusal::forbidden("secrets.minting", reason).with_instead(Some(instead)))
}

/// A path as the most lenient server would read it.
fn lenient(path: &str) -> String {
    let mut text = path.to_owned();
    // What was escaped three times is not read by anybody.
    for _ in 0..3 {
        text = unescaped(&text);
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in text.split(['/', '\\']) {
        match segment.split(';').next().unwrap_or_default().trim() {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use stockade_types::HostName;

    use super::*;
    use crate::{rules::Destination, settings::Scheme};

    fn refused(host: &str, method: &str, path: &str) -> bool {
        let host: HostName = host.parse().unwrap();
        let asked = Asked {
            destination: Destination::Name(&host),
            scheme: Scheme::Https,
            port: 443,
            method,
            path: None,
        };
        refuse(&asked, path).is_err()
    }

    #[test]
    fn every_row_of_the_table_can_be_read() {
        for text in TABLE.iter().flat_map(|(_, rules)| *rules) {
            let read = text.parse::<HostRule>();
            assert!(read.is_ok(), "{text}: {}", read.unwrap_err());
        }
    }

    #[test]
    fn what_mints_a_credential_is_refused_in_every_spelling() {
        for (method, host, path) in [
            (
                "POST",
                "api.github.com",
                "/app/installations/1/access_tokens",
            ),
            (
                "POST",
                "ghe.example.com",
                "/api/v3/app/installations/1/access_tokens",
            ),
            ("POST", "api.github.com", "/repos/o/r/keys"),
            ("POST", "api.github.com", "/REPOS/o/r/Keys/"),
            ("POST", "api.github.com", "//repos/o/r/keys"),
            ("POST", "api.github.com", "/repos/o/x/../r/keys"),
            ("POST", "api.github.com", "/repos/o/r/%6b%65ys"),
            ("POST", "api.github.com", "/repos/o/r/%256beys"),
            ("POST", "api.github.com", "/repos/o/r/keys;v=1"),
            (
                "POST",
                "git.example.com",
                "/api/v4/projects/group%2Fproject/access_tokens",
            ),
            ("GET", "vault.example.com", "/v1/aws/creds/deploy"),
            (
                "POST",
                "iamcredentials.googleapis.com",
                "/v1/projects/-/serviceAccounts/a@b.c:generateAccessToken",
            ),
            ("GET", "sts.amazonaws.com", "/"),
            ("POST", "registry.example.com", "/npm/-/npm/v1/tokens"),
        ] {
            assert!(refused(host, method, path), "{method} {host}{path}");
        }
    }

    #[test]
    fn usual_work_with_a_secret_is_not_minting() {
        for (method, host, path) in [
            ("GET", "api.github.com", "/repos/o/r/keys"),
            ("POST", "api.github.com", "/repos/o/r/issues"),
            ("POST", "api.github.com", "/repos/o/keys/pulls"),
            ("GET", "git.example.com", "/api/v4/projects/1/access_tokens"),
            ("GET", "registry.npmjs.org", "/@scope%2fname"),
            ("PUT", "registry.npmjs.org", "/name"),
            ("GET", "vault.example.com", "/v1/secret/data/creds"),
            ("POST", "api.openai.com", "/v1/responses"),
        ] {
            assert!(!refused(host, method, path), "{method} {host}{path}");
        }
    }
}
