//! Why a connection failed, without the client layers that the error came through.

use std::error::Error;
use std::fmt;
use std::io;

use rustls::CertificateError;
use weir_core::causes::with_causes;

use crate::access::is_of_an_authority;

/// The error of the client's outermost layer. It is displayed as one sentence about the cause.
#[derive(Debug)]
pub(crate) struct Cause(pub(crate) Box<dyn Error + Send + Sync>);

impl Error for Cause {}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause: &(dyn Error + 'static) = self.0.as_ref();
        let cause = below_layers(cause);
        match cause.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::InvalidCertificate(error)) => f.write_str(&about_certificate(error)),
            Some(rustls::Error::InvalidMessage(_)) => {
                f.write_str("the server does not speak TLS; check that the address is the API server's")
            }
            _ => f.write_str(&with_causes(cause)),
        }
    }
}

/// The first error that says more than "an inner error happened".
fn below_layers<'e>(error: &'e (dyn Error + 'static)) -> &'e (dyn Error + 'static) {
    let inner = if let Some(error) = error.downcast_ref::<io::Error>() {
        error.get_ref().map(|inner| inner as &(dyn Error + 'static))
    } else if matches!(error.downcast_ref(), Some(kube::Error::Service(_) | kube::Error::HyperError(_)))
        || error.is::<hyper_util::client::legacy::Error>()
    {
        error.source()
    } else {
        None
    };
    inner.map_or(error, below_layers)
}

/// What is wrong with the server's certificate, and the fix.
fn about_certificate(error: &CertificateError) -> String {
    let fix = match error {
        // `BadSignature` if an authority of the same name is trusted, such as that of an earlier cluster.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            return "no trusted authority signed the server's certificate; check that `certificate-authority-data` of the \
                    kubeconfig belongs to this cluster"
                .to_owned();
        }
        error if is_of_an_authority(error) => {
            return "the server's certificate is a CA certificate (CA:TRUE) that the kubeconfig does not list; add it to \
                    `certificate-authority-data`, or issue the server a certificate without CA:TRUE"
                .to_owned();
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "renew the certificate, or correct this node's clock"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "correct this node's clock"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "use one of the certificate's names as the server's address, or as `tls-server-name` in the kubeconfig"
        }
        _ => "check the certificate that the API server uses",
    };
    format!("the server's certificate is refused: {error}; {fix}")
}
