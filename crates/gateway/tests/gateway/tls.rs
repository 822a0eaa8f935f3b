//! An upstream behind TLS, as the real ones are.

use std::{future::Future, pin::Pin, sync::Arc};

use http::Request;
use hyper::body::Incoming;
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;

use crate::support::{Reply, serve_http};

/// A server for `localhost` and 127.0.0.1 with a certificate of its own: port,
/// certificate, and the task that serves.
pub(crate) async fn tls_upstream(
    answer: fn(Request<Incoming>) -> Reply,
) -> (u16, CertificateDer<'static>, JoinHandle<()>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = ["localhost", "127.0.0.1"].map(str::to_owned).to_vec();
    let certificate = rcgen::CertificateParams::new(names).unwrap();
    let certificate = certificate.self_signed(&key).unwrap().der().clone();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    // As the real hosts do.
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let answer = move |request| {
                    let reply = answer(request);
                    Box::pin(async move { reply }) as Pin<Box<dyn Future<Output = Reply> + Send>>
                };
                serve_http(stream, Arc::new(answer)).await;
            });
        }
    });
    (port, certificate, server)
}
