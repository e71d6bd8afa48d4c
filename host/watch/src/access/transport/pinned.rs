//! Certificates that a kubeconfig lists as authorities and that a server also uses as its own.
//!
//! `openssl req -x509` creates such certificates. Go accepts a server's certificate that is itself in the list of
//! authorities; webpki refuses it, because it is a CA certificate or because its signer is not in the list.

use std::error::Error as StdError;
use std::sync::Arc;

use kube::client::ConfigExt as _;
use kube::config::Config;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

/// The TLS settings of a configuration. A client lives for a minute, so authorities are reloaded often enough.
pub(super) fn tls(config: &Config) -> Result<ClientConfig, kube::Error> {
    let mut tls = config.rustls_client_config()?;
    let Some(listed) = config.root_cert.as_ref().filter(|listed| !listed.is_empty()) else { return Ok(tls) };
    let listed: Vec<CertificateDer<'static>> = listed.iter().cloned().map(CertificateDer::from).collect();
    let mut roots = RootCertStore::empty();
    // The first line of this function has already refused unusable certificates.
    roots.add_parsable_certificates(listed.iter().cloned());
    let usual = WebPkiServerVerifier::builder_with_provider(roots.into(), tls.crypto_provider().clone());
    if let Ok(usual) = usual.build() {
        tls.dangerous().set_certificate_verifier(Arc::new(Pinned { usual, listed }));
    }
    Ok(tls)
}

/// Verifies as webpki does, and also accepts a certificate that is itself listed as an authority, as Go does.
#[derive(Debug)]
struct Pinned {
    usual: Arc<WebPkiServerVerifier>,
    listed: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.usual.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // webpki checks the times before these two errors, and the name after them.
            Err(error) if is_about_the_signer(&error) && self.listed.contains(certificate) => {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// Whether the signer is the only thing wrong with a certificate up to this point.
fn is_about_the_signer(error: &Error) -> bool {
    match error {
        // `BadSignature` if a different authority with the signer's name is listed.
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => true,
        Error::InvalidCertificate(error) => is_of_an_authority(error),
        _ => false,
    }
}

/// Whether a certificate is refused because it is a CA certificate.
pub(crate) fn is_of_an_authority(error: &CertificateError) -> bool {
    let CertificateError::Other(OtherError(error)) = error else { return false };
    let error: &(dyn StdError + 'static) = error.as_ref();
    matches!(error.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

#[cfg(test)]
mod tests;
