//! Certificates that a kubeconfig lists as authorities and that a server shows as its own.
//!
//! `openssl req -x509` makes certificates that are both. Go takes a server's certificate that is itself in the list of
//! authorities; webpki refuses it, because it is an authority's, or because who signed it is not in the list.

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

/// What TLS needs of a configuration. A client lives for a minute, so that authorities are read anew often enough.
pub(super) fn tls(config: &Config) -> Result<ClientConfig, kube::Error> {
    let mut tls = config.rustls_client_config()?;
    let Some(listed) = config.root_cert.as_ref().filter(|listed| !listed.is_empty()) else { return Ok(tls) };
    let listed: Vec<CertificateDer<'static>> = listed.iter().cloned().map(CertificateDer::from).collect();
    let mut roots = RootCertStore::empty();
    // One that cannot be used was an error above.
    roots.add_parsable_certificates(listed.iter().cloned());
    let usual = WebPkiServerVerifier::builder_with_provider(roots.into(), tls.crypto_provider().clone());
    if let Ok(usual) = usual.build() {
        tls.dangerous().set_certificate_verifier(Arc::new(Pinned { usual, listed }));
    }
    Ok(tls)
}

/// Verifies as webpki does, and takes a certificate that is itself listed as an authority, as Go does.
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
            // webpki looks at the times before it gets to these two, and at the name after it.
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

/// Whether nothing else is wrong so far than who signed a certificate.
fn is_about_the_signer(error: &Error) -> bool {
    match error {
        // The second, where an authority of the signer's name is listed that is another.
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => true,
        Error::InvalidCertificate(error) => is_of_an_authority(error),
        _ => false,
    }
}

/// Whether a certificate is refused because it is that of an authority.
pub(crate) fn is_of_an_authority(error: &CertificateError) -> bool {
    let CertificateError::Other(OtherError(error)) = error else { return false };
    let error: &(dyn StdError + 'static) = error.as_ref();
    matches!(error.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

#[cfg(test)]
mod tests;
