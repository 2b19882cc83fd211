//! Encryption, and clients that have to show a certificate.

use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// Files in PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The server's certificate, and those between it and a root.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Whose certificates clients have to show, if they have to.
    pub clients: Option<PathBuf>,
}

impl Tls {
    /// Errors name the file.
    pub fn acceptor(&self) -> Result<TlsAcceptor> {
        let provider = Arc::new(ring::default_provider());
        let unusable = |file: &Path, e: &dyn std::fmt::Display| Error::Invalid(format!("{}: {e}", file.display()));
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|e| unusable(&self.key, &e))?;
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::Invalid(format!("TLS: {e}")))?;
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(file)? {
                    roots.add(certificate).map_err(|e| unusable(file, &e))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|e| unusable(file, &e))?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|e| unusable(&self.certificate, &e))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let all: Vec<_> = all.map_err(|e| Error::Invalid(format!("{}: {e}", file.display())))?;
    if all.is_empty() {
        return Err(Error::Invalid(format!("{}: holds no certificate, expected one in PEM", file.display())));
    }
    Ok(all)
}
