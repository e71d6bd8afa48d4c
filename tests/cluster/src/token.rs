//! Tokens: random ones passed to the API server at its start, and signed ones of service accounts.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::KeyPair;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::json;

/// The issuer named in the API server's tokens.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc";

/// How long the API server accepts a token after its expiry, because clocks differ.
const LEEWAY: Duration = Duration::from_secs(60);

/// A service account in the API server.
#[derive(Clone, Debug)]
pub struct ServiceAccount {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID, which distinguishes it from others with the same name.
    pub uid: String,
}

/// An unguessable token: other users of this machine can also reach loopback.
pub(crate) fn random() -> Result<String> {
    let mut bytes = [0; 24];
    SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("cannot generate random numbers"))?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

impl ServiceAccount {
    /// A token that is accepted for a while. The API itself issues none for less than ten minutes.
    pub(crate) fn token(&self, key: &KeyPair, lifetime: Duration) -> Result<String> {
        let now =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("the clock is before 1970")?;
        let [made, end] = [now - 2 * LEEWAY, now + lifetime - LEEWAY].map(|time| time.as_secs());
        let claims = json!({
            "iss": ISSUER,
            "aud": [ISSUER],
            "sub": format!("system:serviceaccount:{}:{}", self.namespace, self.name),
            "iat": made,
            "nbf": made,
            "exp": end,
            "kubernetes.io": {
                "namespace": self.namespace,
                "serviceaccount": { "name": self.name, "uid": self.uid },
            },
        });
        let header = json!({ "alg": "ES256", "typ": "JWT" });
        let [header, claims] = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
        let text = format!("{header}.{claims}");
        let random = SystemRandom::new();
        let signer =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.serialized_der(), &random)
                .map_err(|error| anyhow!("invalid key for tokens: {error}"))?;
        let signature = signer.sign(&random, text.as_bytes()).map_err(|_| anyhow!("cannot sign a token"))?;
        Ok(format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }
}
