//! TLS: whom to trust and who we are, a host at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::error::{Error, Result};

/// Certificates that one host needs beside those of the system: `certs.d`.
#[derive(Debug, Default)]
pub struct Certificates {
    roots: Vec<CertificateDer<'static>>,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Certificates {
    /// Trusts the authorities in a PEM file; `name` is for messages.
    ///
    /// # Errors
    ///
    /// It has no certificate, or something else is wrong with it.
    pub fn trust(&mut self, name: &str, pem: &[u8]) -> Result<()> {
        self.roots.extend(certificates(name, pem)?);
        Ok(())
    }

    /// Shows itself with the certificate chain and the key of two PEM files.
    ///
    /// # Errors
    ///
    /// One of them has not what it should have.
    pub fn identify(&mut self, name: &str, chain: &[u8], key: &[u8]) -> Result<()> {
        let chain = certificates(name, chain)?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| configuration(name, format!("it has no usable key: {error}")))?;
        self.identity = Some((chain, key));
        Ok(())
    }

    /// True if there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty() && self.identity.is_none()
    }
}

fn certificates(name: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|error| configuration(name, error.to_string()))?;
    if found.is_empty() {
        return Err(configuration(name, "it has no certificate".to_owned()));
    }
    Ok(found)
}

fn configuration(name: &str, why: String) -> Error {
    Error::Configuration {
        what: format!("cannot use the certificate file `{name}`"),
        why,
    }
}

/// How to speak TLS with a host. Connections are shared only within one of these.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    id: u64,
    pub(crate) config: Arc<ClientConfig>,
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Tls {}

impl std::hash::Hash for Tls {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl Tls {
    /// `verify` off takes any certificate: for registries that the person called insecure.
    pub(crate) fn new(certificates: &Certificates, verify: bool) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let wrong = |error: rustls::Error| Error::Configuration {
            what: "cannot set up TLS".to_owned(),
            why: error.to_string(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(wrong)?;
        let builder = if verify {
            builder.with_root_certificates(roots(certificates))
        } else {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        };
        let mut config = match &certificates.identity {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .map_err(wrong)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            config: Arc::new(config),
        })
    }
}

/// The system's authorities and the host's own. Those of the system that cannot be read are left out, as everybody does.
fn roots(certificates: &Certificates) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    store.add_parsable_certificates(certificates.roots.iter().cloned());
    store
}

/// Takes every certificate, but still checks that the other side has its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::ServerConfig;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::super::connect::{self, Place, Way};
    use super::super::error::Cause;
    use super::super::proxy::Proxies;
    use super::super::url::Origin;
    use super::*;

    const AUTHORITY: &[u8] = include_bytes!("../../tests/data/tls/ca.crt");
    const CHAIN: &[u8] = include_bytes!("../../tests/data/tls/server.crt");
    const KEY: &[u8] = include_bytes!("../../tests/data/tls/server.key");

    /// A server with the test certificate that takes `count` connections; its port.
    async fn serve(host: &str, count: usize) -> u16 {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                certificates("chain", CHAIN).unwrap(),
                PrivateKeyDer::from_pem_slice(KEY).unwrap(),
            )
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            for _ in 0..count {
                let (stream, _) = listener.accept().await.unwrap();
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    stream.read_u8().await.ok();
                }
            }
        });
        port
    }

    async fn connects(
        port: u16,
        host: &str,
        certificates: &Certificates,
        verify: bool,
    ) -> Result<()> {
        let place = Place {
            origin: Origin::parse(true, &format!("{host}:{port}")).unwrap(),
            way: Way::Network {
                tls: Tls::new(certificates, verify).unwrap(),
                led_from: None,
            },
        };
        let proxies = Proxies::default();
        let connected = connect::connect(&place, &proxies, Duration::from_secs(60));
        connected.await.map(drop)
    }

    fn cause(error: &Error) -> Option<Cause> {
        match error {
            Error::Connect { cause, .. } => Some(*cause),
            _ => None,
        }
    }

    #[tokio::test]
    async fn who_does_not_speak_tls_is_told_from_who_has_a_bad_certificate() {
        for answer in [&b""[..], b"HTTP/1.0 400 Bad Request\r\n\r\n"] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut hello = [0; 16];
                stream.read_exact(&mut hello).await.unwrap();
                stream.write_all(answer).await.unwrap();
                // What is unread would reset the connection before the answer is seen.
                stream.shutdown().await.ok();
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await.ok();
            });
            let nobody = Certificates::default();
            let error = connects(port, "127.0.0.1", &nobody, true)
                .await
                .unwrap_err();
            assert_eq!(cause(&error), Some(Cause::NoTls), "{error}");
        }
    }

    #[tokio::test]
    async fn who_is_not_vouched_for_is_not_spoken_to() {
        let port = serve("127.0.0.1", 3).await;
        let mut trusting = Certificates::default();
        trusting.trust("ca.crt", AUTHORITY).unwrap();
        connects(port, "127.0.0.1", &trusting, true).await.unwrap();
        let nobody = Certificates::default();
        let error = connects(port, "127.0.0.1", &nobody, true)
            .await
            .unwrap_err();
        assert_eq!(cause(&error), Some(Cause::Untrusted), "{error}");
        // The certificate is for this machine's first address and name only.
        let other = serve("127.0.0.2", 1).await;
        let error = connects(other, "127.0.0.2", &trusting, true)
            .await
            .unwrap_err();
        assert_eq!(cause(&error), Some(Cause::OtherName), "{error}");
        connects(port, "127.0.0.1", &nobody, false).await.unwrap();
    }

    #[test]
    fn files_without_certificates_are_named() {
        let mut certificates = Certificates::default();
        let error = certificates.trust("ca.crt", b"hello").unwrap_err();
        assert!(error.to_string().contains("ca.crt"), "{error}");
        let error = certificates
            .identify("me.cert", CHAIN, b"hello")
            .unwrap_err();
        assert!(error.to_string().contains("me.cert"), "{error}");
        assert!(certificates.is_empty());
    }
}
