//! The API server's identity, and the key it signs tokens with.

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// Keys and certificates of one cluster, in PEM.
pub(crate) struct Certificates {
    /// The certificate authority that clients trust.
    pub(crate) authority: String,
    /// The API server's certificate and key.
    pub(crate) server: String,
    pub(crate) server_key: String,
    /// The key that signs service account tokens.
    pub(crate) tokens: KeyPair,
}

impl Certificates {
    /// Creates new ones for a server with these addresses.
    pub(crate) fn new(addresses: &[&str]) -> Result<Certificates> {
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "weir tests");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let making = "cannot create a certificate";
        let authority_key = KeyPair::generate().context(making)?;
        let certificate = authority.self_signed(&authority_key).context(making)?;

        let names: Vec<String> = addresses.iter().map(|&address| address.to_owned()).collect();
        let mut server = CertificateParams::new(names).context(making)?;
        server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        let server_key = KeyPair::generate().context(making)?;
        let issuer = Issuer::from_params(&authority, &authority_key);
        Ok(Certificates {
            authority: certificate.pem(),
            server: server.signed_by(&server_key, &issuer).context(making)?.pem(),
            server_key: server_key.serialize_pem(),
            tokens: KeyPair::generate().context(making)?,
        })
    }
}
