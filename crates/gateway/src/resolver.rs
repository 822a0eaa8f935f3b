use std::{future::Future, net::IpAddr, pin::Pin};

use hickory_resolver::TokioResolver;
use stockade_types::HostName;

use crate::error::{GatewayError, ResolveError};

/// How names become addresses. It is asked only after a request was allowed.
pub trait Resolver: Send + Sync {
    /// All addresses of `host`; they are vetted by the caller.
    fn resolve<'a>(
        &'a self,
        host: &'a HostName,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, ResolveError>> + Send + 'a>>;
}

/// The host's DNS servers and `/etc/hosts`, read once when it is made.
pub struct SystemResolver(TokioResolver);

impl std::fmt::Debug for SystemResolver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SystemResolver")
            .finish_non_exhaustive()
    }
}

impl SystemResolver {
    /// Reads the host's settings; call it before the process is sealed.
    pub fn new() -> Result<Self, GatewayError> {
        let failed = |source: hickory_resolver::ResolveError| GatewayError::ResolverSettings {
            detail: source.to_string(),
        };
        Ok(Self(
            TokioResolver::builder_tokio().map_err(failed)?.build(),
        ))
    }
}

impl Resolver for SystemResolver {
    fn resolve<'a>(
        &'a self,
        host: &'a HostName,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, ResolveError>> + Send + 'a>> {
        Box::pin(async move {
            // The dot at the end keeps the search list out of it.
            let answer = self
                .0
                .lookup_ip(format!("{host}."))
                .await
                .map_err(|source| ResolveError::Lookup {
                    host: host.to_string(),
                    detail: source.to_string(),
                })?;
            Ok(answer.iter().collect())
        })
    }
}
