//! Requests to Amazon: signed anew with the real key, and replies in Amazon's
//! own framing.

mod event_stream;
mod signature;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, header, request::Parts};
use http_body_util::Full;
use stockade_types::Redacted;
use time::{OffsetDateTime, macros::format_description};

pub(crate) use self::event_stream::EventStream;
use self::signature::{ALGORITHM, Signed, SigningKey, encoded};
use crate::{
    credential::{credential_parameter, foreign, refuse_foreign},
    reply::{MALFORMED, Refusal},
    settings::{ModelRoute, SecretText, Signing},
};

/// When a request was signed.
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
/// What goes with a temporary key.
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
/// What is signed of the body.
const CONTENT: HeaderName = HeaderName::from_static("x-amz-content-sha256");

/// Signs the requests of one route in place of the agent, whose own signature
/// is made with a key that opens nothing.
///
/// It signs for one service in one region, and only what the route's endpoints
/// let through.
pub(crate) struct Signer {
    signing: Signing,
    secret: Redacted<String>,
    /// The id of the key that the agent holds.
    placeholder: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Signer").finish_non_exhaustive()
    }
}

impl Signer {
    pub(crate) fn new(route: &ModelRoute, signing: &Signing) -> Self {
        Self {
            signing: signing.clone(),
            secret: route.secret.clone(),
            placeholder: route.placeholder.clone(),
        }
    }

    /// Refuses what is not signed by the agent's own key, for this service in
    /// this region, in the `Authorization` header.
    pub(crate) fn check(&self, parts: &Parts) -> Result<(), Refusal> {
        refuse_foreign(parts, &[], &[&header::AUTHORIZATION])?;
        if let Some(name) = credential_parameter(&parts.uri) {
            return Err(foreign(&format!("the query parameter `{name}`")));
        }
        let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            let reason = "the `authorization` header with a signature by the task's placeholder \
                          is missing.";
            return Err(Refusal::forbidden("secrets.placeholder-missing", reason));
        };
        let scope = value.to_str().ok().and_then(scope);
        let Some((id, region, service)) = scope.filter(|_| values.next().is_none()) else {
            return Err(foreign("the `authorization` header"));
        };
        if id != self.placeholder {
            return Err(foreign("the `authorization` header"));
        }
        if (region, service) != (&*self.signing.region, &*self.signing.service) {
            let reason = format!(
                "this task's key signs for the service `{}` in the region `{}` only.",
                self.signing.service, self.signing.region
            );
            return Err(Refusal::forbidden("secrets.signature-scope", reason));
        }
        let content = parts.headers.get(CONTENT).map(HeaderValue::as_bytes);
        if content.is_some_and(|content| content.starts_with(b"STREAMING-")) {
            let reason = "a body that is signed in pieces cannot be signed anew; send it whole.";
            return Err(Refusal::malformed(MALFORMED, reason));
        }
        Ok(())
    }

    /// Signs a request that is otherwise complete, at `now`.
    pub(crate) fn sign(
        &self,
        request: &mut Request<Full<Bytes>>,
        body: &[u8],
        now: OffsetDateTime,
    ) -> Result<(), Refusal> {
        let unfit = || Refusal::malformed(MALFORMED, "it cannot be signed anew.");
        let form = format_description!("[year][month][day]T[hour][minute][second]Z");
        let time = now.format(form).map_err(|_| unfit())?;
        let headers = request.headers_mut();
        headers.remove(CONTENT);
        headers.remove(header::DATE);
        headers.insert(DATE, HeaderValue::from_str(&time).map_err(|_| unfit())?);
        headers.remove(TOKEN);
        if let Some(SecretText(token)) = &self.signing.session_token {
            let mut token = HeaderValue::from_str(token.expose()).map_err(|_| unfit())?;
            token.set_sensitive(true);
            headers.insert(TOKEN, token);
        }
        let mut signed = HeaderMap::new();
        let authority = request.uri().authority().ok_or_else(unfit)?.as_str();
        let host = HeaderValue::from_str(authority).map_err(|_| unfit())?;
        signed.insert(header::HOST, host);
        for (name, value) in request.headers() {
            if name == header::CONTENT_TYPE || name.as_str().starts_with("x-amz") {
                signed.append(name, value.clone());
            }
        }
        let key = SigningKey {
            id: self.signing.key_id.0.expose(),
            secret: self.secret.expose(),
            region: &self.signing.region,
            service: &self.signing.service,
        };
        let value = key.authorization(
            &time,
            &Signed {
                method: request.method().as_str(),
                path: request.uri().path(),
                query: request.uri().query().unwrap_or_default(),
                headers: &signed,
                body,
            },
        );
        let mut value = HeaderValue::from_str(&value).map_err(|_| unfit())?;
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
        Ok(())
    }
}

/// A path in canonical form, as Amazon's own clients escape it.
pub(crate) fn escaped(path: &str) -> String {
    encoded(path.as_bytes(), b"/")
}

/// Key id, region and service of an `Authorization` header, if it is in this
/// form exactly.
fn scope(value: &str) -> Option<(&str, &str, &str)> {
    let parts = value.strip_prefix(ALGORITHM)?.strip_prefix(' ')?;
    let mut parts = parts.split(',').map(str::trim);
    let credential = parts.next()?.strip_prefix("Credential=")?;
    let _ = parts.next()?.strip_prefix("SignedHeaders=")?;
    let _ = parts.next()?.strip_prefix("Signature=")?;
    let words: Vec<_> = credential.split('/').collect();
    match (words.as_slice(), parts.next()) {
        ([id, _, region, service, "aws4_request"], None) => Some((id, region, service)),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) use self::event_stream::tests::message;

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use time::macros::datetime;

    use super::*;
    use crate::settings::{ModelApi, Upstream};

    const PLACEHOLDER: &str = "AKIAPLACEHOLDER12345";

    fn signer() -> Signer {
        let host: stockade_types::HostName =
            "bedrock-runtime.us-east-1.amazonaws.com".parse().unwrap();
        let signing = Signing {
            region: "us-east-1".into(),
            service: "bedrock".into(),
            key_id: SecretText(Redacted::new("AKIDEXAMPLE".into())),
            session_token: Some(SecretText(Redacted::new("decoy-token".into()))),
        };
        let route = ModelRoute {
            api: ModelApi::Bedrock,
            upstream: Upstream::https(host.clone()),
            host,
            header: "authorization".into(),
            placeholder: PLACEHOLDER.into(),
            secret: Redacted::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into()),
            secret_name: "AWS_SECRET_ACCESS_KEY".into(),
            signing: Some(signing.clone()),
            endpoints: Vec::new(),
            provider_fetch: false,
        };
        Signer::new(&route, &signing)
    }

    fn rule(uri: &str, headers: &[(&str, &str)]) -> Option<&'static str> {
        let request = headers
            .iter()
            .fold(Request::post(uri), |request, (name, value)| {
                request.header(*name, *value)
            });
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let refusal = signer().check(&parts).err()?;
        match refusal.rule {
            Cow::Borrowed(rule) => Some(rule),
            Cow::Owned(rule) => panic!("a rule of a policy: {rule}"),
        }
    }

    fn authorization(id: &str, region: &str, service: &str) -> String {
        format!(
            "AWS4-HMAC-SHA256 Credential={id}/20260101/{region}/{service}/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature=00"
        )
    }

    #[test]
    fn g3_only_the_agents_own_key_for_one_service_in_one_region_is_signed_for() {
        let own = authorization(PLACEHOLDER, "us-east-1", "bedrock");
        assert_eq!(rule("/", &[("authorization", &own)]), None);
        let foreign = Some("secrets.foreign-credential");
        for value in [
            authorization("AKIAATTACKER12345678", "us-east-1", "bedrock"),
            own.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
            format!("{own}, Credential=x"),
            format!("Bearer {PLACEHOLDER}"),
        ] {
            assert_eq!(rule("/", &[("authorization", &value)]), foreign, "{value}");
        }
        let token = [
            ("authorization", &*own),
            ("x-amz-security-token", "attacker"),
        ];
        assert_eq!(rule("/", &token), foreign);
        let twice = [("authorization", &*own), ("authorization", &*own)];
        assert_eq!(rule("/", &twice), foreign);
        let presigned = "/?X-Amz-Credential=x&X-Amz-Signature=y";
        assert_eq!(rule(presigned, &[("authorization", &own)]), foreign);
        assert_eq!(rule("/", &[]), Some("secrets.placeholder-missing"));
        for (region, service) in [("eu-west-1", "bedrock"), ("us-east-1", "s3")] {
            let other = authorization(PLACEHOLDER, region, service);
            let scope = Some("secrets.signature-scope");
            assert_eq!(rule("/", &[("authorization", &other)]), scope);
        }
        let pieces = [
            ("authorization", &*own),
            ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        ];
        assert_eq!(rule("/", &pieces), Some(MALFORMED));
    }

    #[test]
    fn a_signed_request_carries_the_real_id_and_token_and_nothing_of_the_agents() {
        let mut request =
            Request::post("https://bedrock-runtime.us-east-1.amazonaws.com/model/m/invoke")
                .header("x-amz-date", "20200101T000000Z")
                .header("x-amz-content-sha256", "00")
                .header("x-amzn-bedrock-trace", "ENABLED")
                .body(Full::default())
                .unwrap();
        let now = datetime!(2015-08-30 12:36:00 UTC);
        signer().sign(&mut request, b"{}", now).unwrap();
        let headers = request.headers();
        assert_eq!(headers["x-amz-date"], "20150830T123600Z");
        assert_eq!(headers["x-amz-security-token"], "decoy-token");
        assert!(!headers.contains_key("x-amz-content-sha256"));
        let value = headers["authorization"].to_str().unwrap();
        let start = "AWS4-HMAC-SHA256 \
            Credential=AKIDEXAMPLE/20150830/us-east-1/bedrock/aws4_request, \
            SignedHeaders=host;x-amz-date;x-amz-security-token;x-amzn-bedrock-trace, Signature=";
        assert!(value.starts_with(start), "{value}");
        assert!(headers["authorization"].is_sensitive());
    }

    #[test]
    fn the_version_of_a_model_is_escaped_as_amazons_clients_do() {
        assert_eq!(
            escaped("/model/us.a-v1:0/invoke"),
            "/model/us.a-v1%3A0/invoke"
        );
    }
}
