//! Which certificates are accepted or refused, and the messages about them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use http::Request;
use kube::client::Body;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::access::transport;
use crate::connection::{Cause, RequestError};

const HERE: &str = "127.0.0.1";

/// A certificate for this machine; for `is_ca`, as `openssl req -x509` creates it.
fn parameters(is_ca: IsCa) -> CertificateParams {
    let mut parameters = CertificateParams::new(vec![HERE.to_owned(), "kubernetes".to_owned()]).unwrap();
    parameters.is_ca = is_ca;
    parameters
}

fn authority() -> CertificateParams {
    parameters(IsCa::Ca(BasicConstraints::Unconstrained))
}

/// A self-signed certificate and its key.
fn own(parameters: &CertificateParams) -> (Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    (parameters.self_signed(&key).unwrap(), key)
}

/// The verifier's result for a certificate, with these authorities in the kubeconfig.
fn verdict(certificate: &Certificate, listed: &[&Certificate], name: &str) -> Result<(), Error> {
    let mut config = Config::new("https://a".parse().unwrap());
    config.root_cert = Some(listed.iter().map(|listed| listed.der().to_vec()).collect());
    let tls = tls(&config).unwrap();
    let mut roots = RootCertStore::empty();
    let listed: Vec<_> = listed.iter().map(|listed| listed.der().clone()).collect();
    roots.add_parsable_certificates(listed.iter().cloned());
    let usual = WebPkiServerVerifier::builder_with_provider(roots.into(), tls.crypto_provider().clone());
    let pinned = Pinned { usual: usual.build().unwrap(), listed };
    let name = ServerName::try_from(name.to_owned()).unwrap();
    pinned.verify_server_cert(certificate.der(), &[], &name, &[], UnixTime::now()).map(|_| ())
}

#[test]
fn a_certificate_that_is_its_own_authority_is_taken_if_it_is_listed() {
    let (certificate, _) = own(&authority());
    let (other, _) = own(&authority());
    assert_eq!(verdict(&certificate, &[&other, &certificate], HERE), Ok(()));
    assert_eq!(verdict(&certificate, &[&certificate], "kubernetes"), Ok(()));
    // A certificate with the same name and key is still a different one.
    let error = verdict(&certificate, &[&other], HERE).unwrap_err();
    assert!(is_about_the_signer(&error), "{error}");
    let key = KeyPair::generate().unwrap();
    let [first, second] = [authority(), authority()].map(|mut parameters| {
        parameters.serial_number = Some(rcgen::SerialNumber::from(
            KeyPair::generate().unwrap().public_key_raw().to_vec()[..8].to_vec(),
        ));
        parameters.self_signed(&key).unwrap()
    });
    assert!(verdict(&first, &[&second], HERE).is_err());
    assert_eq!(verdict(&first, &[&second, &first], HERE), Ok(()));
}

#[test]
fn a_listed_certificate_that_another_authority_signed_is_taken() {
    let (_, key) = own(&authority());
    let signer = authority();
    let issuer = Issuer::from_params(&signer, &key);
    for is_ca in [IsCa::NoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
        let mut parameters = parameters(is_ca);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "server");
        let certificate = parameters.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        assert_eq!(verdict(&certificate, &[&certificate], HERE), Ok(()));
        // Same name as the signer.
        let (other, _) = own(&authority());
        assert_eq!(verdict(&certificate, &[&other, &certificate], HERE), Ok(()));
        assert!(verdict(&certificate, &[&other], HERE).is_err());
    }
}

#[test]
fn names_and_times_of_a_listed_certificate_count() {
    let (certificate, _) = own(&authority());
    for name in ["192.0.2.1", "example.com"] {
        let error = verdict(&certificate, &[&certificate], name).unwrap_err();
        assert!(matches!(error, Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })));
    }
    for is_ca in [IsCa::NoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
        let mut old = parameters(is_ca);
        old.not_after = date_time_ymd(2000, 1, 1);
        let (old, _) = own(&old);
        let error = verdict(&old, &[&old], HERE).unwrap_err();
        assert!(
            matches!(error, Error::InvalidCertificate(CertificateError::ExpiredContext { .. })),
            "{error}"
        );
        let mut early = parameters(is_ca);
        early.not_before = date_time_ymd(4000, 1, 1);
        let (early, _) = own(&early);
        let error = verdict(&early, &[&early], HERE).unwrap_err();
        assert!(
            matches!(error, Error::InvalidCertificate(CertificateError::NotValidYetContext { .. })),
            "{error}"
        );
    }
    let mut client = parameters(IsCa::NoCa);
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let (client, _) = own(&client);
    assert!(verdict(&client, &[&client], HERE).is_err());
}

/// A server with this certificate that answers one request; returns its port.
fn server(certificate: &Certificate, key: &KeyPair) -> u16 {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    // Without checking whether the two belong together.
    let shown = CertifiedKey::new(vec![certificate.der().clone()], any_supported_type(&key).unwrap());
    let config = ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_cert_resolver(Arc::new(SingleCertAndKey::from(shown))));
    let listener = TcpListener::bind((HERE, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut stream =
            StreamOwned::new(ServerConnection::new(config).unwrap(), listener.accept().unwrap().0);
        // A client that refuses the certificate hangs up.
        if stream.read(&mut [0; 4096]).is_ok() {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
        }
    });
    port
}

/// The result of a request to this port, with these authorities.
fn ask(port: u16, listed: &[&Certificate], change: impl Fn(&mut Config)) -> Result<u16, String> {
    let mut config = Config::new(format!("https://{HERE}:{port}").parse().unwrap());
    config.root_cert = Some(listed.iter().map(|listed| listed.der().to_vec()).collect());
    change(&mut config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = transport::client(&config).unwrap();
        let request = Request::get("/version").body(Body::empty()).unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(30), client.send(request)).await.unwrap();
        let answer = answer.map_err(|error| RequestError::Transport(Cause(error.into())));
        answer.map(|answer| answer.status().as_u16()).map_err(|error| weir_core::causes::with_causes(&error))
    })
}

#[test]
fn a_server_that_is_its_own_authority_is_asked() {
    let (certificate, key) = own(&authority());
    assert_eq!(ask(server(&certificate, &key), &[&certificate], |_| ()), Ok(200));
    let named = |config: &mut Config| config.tls_server_name = Some("kubernetes".to_owned());
    assert_eq!(ask(server(&certificate, &key), &[&certificate], named), Ok(200));
    // A certificate is public; the handshake must prove the key.
    let (_, other) = own(&authority());
    let told = ask(server(&certificate, &other), &[&certificate], |_| ()).unwrap_err();
    assert!(told.contains("no trusted authority signed"), "{told}");
}

#[test]
fn what_is_wrong_with_a_connection_is_one_sentence_without_layers() {
    let (certificate, key) = own(&authority());
    let (other, _) = own(&authority());
    let (plain, plain_key) = own(&parameters(IsCa::NoCa));
    let free = TcpListener::bind((HERE, 0)).unwrap().local_addr().unwrap().port();
    let no_tls = TcpListener::bind((HERE, 0)).unwrap();
    let no_tls_port = no_tls.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut stream: TcpStream = no_tls.accept().unwrap().0;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        let _ = stream.read(&mut [0; 4096]);
    });
    let wrong_name = |config: &mut Config| config.tls_server_name = Some("example.com".to_owned());
    for (told, expected) in [
        (
            ask(server(&certificate, &key), &[&other], |_| ()),
            "the server's certificate is a CA certificate (CA:TRUE) that the kubeconfig does not list; add it",
        ),
        (
            ask(server(&plain, &plain_key), &[&certificate], |_| ()),
            "no trusted authority signed the server's certificate; check that `certificate-authority-data`",
        ),
        (
            ask(server(&certificate, &key), &[&certificate], wrong_name),
            "the server's certificate is refused: certificate not valid for name \"example.com\"",
        ),
        (ask(free, &[&certificate], |_| ()), "tcp connect error: Connection refused (os error 111)"),
        (ask(no_tls_port, &[&certificate], |_| ()), "the server does not speak TLS"),
    ] {
        let told = told.unwrap_err();
        let start = format!("the connection to the API server failed: {expected}");
        assert!(told.starts_with(&start), "{told}");
        for layer in ["ServiceError", "client error", "Other(", "invalid peer"] {
            assert!(!told.contains(layer), "{told}");
        }
    }
}
