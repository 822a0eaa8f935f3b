use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SerialNumber,
};
use rustls::{ServerConfig, crypto::ring};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use stockade_types::{HostName, TaskId};
use time::{Duration, OffsetDateTime};

use crate::error::GatewayError;

/// How long a task's authority and its leaves are valid.
const VALIDITY: Duration = Duration::hours(72);
/// For clocks inside that run behind.
const BACKDATE: Duration = Duration::minutes(5);
/// Leaves kept in memory; beyond, the cache starts over.
const LEAVES_MAX: usize = 128;

/// The certificate authority of one task. Its keys (P-256) are made here,
/// live in this process only and end with it.
pub struct CertificateAuthority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// One key for all leaves: whoever holds it holds this process anyway.
    leaf_key: KeyPair,
    /// Subject and validity of leaves; the name and serial are filled in.
    leaf: CertificateParams,
    serial: AtomicU64,
    configurations: Mutex<HashMap<Subject, Arc<ServerConfig>>>,
}

/// Whom a leaf is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// A name that was looked up.
    Name(HostName),
    /// An address that a rule allows and that was dialled without a name.
    Address(IpAddr),
}

impl std::fmt::Display for Subject {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => name.fmt(formatter),
            Self::Address(address) => address.fmt(formatter),
        }
    }
}

impl std::fmt::Debug for CertificateAuthority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("CertificateAuthority")
            .finish_non_exhaustive()
    }
}

impl CertificateAuthority {
    /// Makes the authority of `task`, valid for 72 hours from now.
    pub fn new(task: &TaskId) -> Result<Self, GatewayError> {
        let failed = |source| GatewayError::Certificate {
            name: format!("task {task}"),
            source,
        };
        let now = OffsetDateTime::now_utc();
        let (not_before, not_after) = (now - BACKDATE, now + VALIDITY);

        let mut root = CertificateParams::default();
        root.not_before = not_before;
        root.not_after = not_after;
        root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // The task stands in the name: clients that meet two tasks' authorities
        // must not take one for the other.
        root.distinguished_name
            .push(DnType::CommonName, format!("Stockade task {task}"));
        root.distinguished_name
            .push(DnType::OrganizationName, "Stockade");
        let key = KeyPair::generate().map_err(failed)?;
        let issuer = CertifiedIssuer::self_signed(root, key).map_err(failed)?;

        let mut leaf = CertificateParams::default();
        leaf.not_before = not_before;
        leaf.not_after = not_after;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        Ok(Self {
            issuer,
            leaf_key: KeyPair::generate().map_err(failed)?,
            leaf,
            serial: AtomicU64::new(1),
            configurations: Mutex::default(),
        })
    }

    /// The authority's certificate, for the trust stores inside the sandbox.
    pub fn certificate_pem(&self) -> String {
        self.issuer.pem()
    }

    /// A TLS configuration whose certificate is for exactly `name`: never a
    /// wildcard and never two names, so that clients do not reuse one host's
    /// connection for another.
    pub(crate) fn configuration(
        &self,
        subject: &Subject,
    ) -> Result<Arc<ServerConfig>, GatewayError> {
        let cached = self
            .configurations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(configuration) = cached.get(subject) {
            return Ok(Arc::clone(configuration));
        }
        drop(cached);
        let configuration = Arc::new(self.mint(subject)?);
        let mut cached = self
            .configurations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if cached.len() >= LEAVES_MAX {
            cached.clear();
        }
        cached.insert(subject.clone(), Arc::clone(&configuration));
        Ok(configuration)
    }

    fn mint(&self, subject: &Subject) -> Result<ServerConfig, GatewayError> {
        let failed = |source| GatewayError::Certificate {
            name: subject.to_string(),
            source,
        };
        let mut leaf = self.leaf.clone();
        leaf.subject_alt_names = vec![match subject {
            Subject::Name(name) => {
                rcgen::SanType::DnsName(name.as_str().try_into().map_err(failed)?)
            }
            Subject::Address(address) => rcgen::SanType::IpAddress(*address),
        }];
        // The common name is left out: it holds at most 64 characters.
        leaf.distinguished_name = rcgen::DistinguishedName::new();
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        leaf.serial_number = Some(SerialNumber::from(serial));
        let certificate = leaf
            .signed_by(&self.leaf_key, &self.issuer)
            .map_err(failed)?;
        let chain = vec![certificate.der().clone(), self.issuer.der().clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.leaf_key.serialize_der()));
        let refused = |source| GatewayError::Tls {
            name: subject.to_string(),
            source,
        };
        let mut configuration =
            ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
                .map_err(refused)?;
        configuration.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(configuration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_is_minted_once_and_the_cache_is_bounded() {
        let authority = CertificateAuthority::new(&TaskId::from_random(7)).unwrap();
        let name = Subject::Name("api.example.com".parse().unwrap());
        let first = authority.configuration(&name).unwrap();
        assert!(Arc::ptr_eq(
            &first,
            &authority.configuration(&name).unwrap()
        ));
        for index in 0..LEAVES_MAX + 5 {
            authority
                .configuration(&Subject::Name(format!("n{index}.test").parse().unwrap()))
                .unwrap();
        }
        assert!(authority.configurations.lock().unwrap().len() <= LEAVES_MAX);
        assert!(
            authority
                .certificate_pem()
                .starts_with("-----BEGIN CERTIFICATE-----")
        );
        assert!(!format!("{authority:?}").contains("KeyPair"));
    }

    #[test]
    fn a_name_longer_than_a_common_name_may_be_gets_a_leaf() {
        let authority = CertificateAuthority::new(&TaskId::from_random(8)).unwrap();
        let long = format!("{}.{}.test", "a".repeat(63), "b".repeat(63));
        let long = Subject::Name(long.parse().unwrap());
        authority.configuration(&long).unwrap();
    }
}
