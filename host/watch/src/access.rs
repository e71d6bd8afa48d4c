//! Where the API server is, and the credentials for it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use http::{HeaderValue, Uri, header::USER_AGENT};
use kube::config::{
    AuthInfo, Cluster, Config, InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError,
};

mod transport;

pub(crate) use transport::is_of_an_authority;

/// How to reach the API server: the command line's `--kubeconfig` and `--master`, or their absence.
///
/// With neither, weir has to run in a pod and uses the service account's files. All files are read again for every
/// new client, and a client that is older than a minute is replaced before the next request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// A kubeconfig file; its current context is used.
    pub kubeconfig: Option<PathBuf>,
    /// The server's URL. It overrides the kubeconfig's server. Without a kubeconfig, it is used without credentials.
    pub master: Option<String>,
}

/// Why the API server cannot be contacted. Each message contains a fix.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The kubeconfig cannot be read or parsed.
    #[error("the kubeconfig {} cannot be used (correct it, or give another one with --kubeconfig)", .file.display())]
    Kubeconfig {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        source: KubeconfigError,
    },
    /// The kubeconfig gets credentials from a program.
    #[error(
        "the kubeconfig {} gets credentials from a program (`{field}`), but weir does not run programs; use \
         `tokenFile`, `token` or a client certificate for this user instead",
        .file.display()
    )]
    Program {
        /// The file.
        file: PathBuf,
        /// The user's field that names the program.
        field: &'static str,
    },
    /// The kubeconfig disables verification of the server's certificate.
    #[error(
        "the kubeconfig {} sets `insecure-skip-tls-verify`, but weir always verifies the server; remove this field \
         and set `certificate-authority`",
        .file.display()
    )]
    Unverified {
        /// The file.
        file: PathBuf,
    },
    /// The kubeconfig sets a proxy.
    #[error(
        "the kubeconfig {} sets `proxy-url`, which weir does not support; remove this field, and set `server` to an \
         address that this node reaches directly",
        .file.display()
    )]
    Proxy {
        /// The file.
        file: PathBuf,
    },
    /// The service account's files are missing.
    #[error(
        "no kubeconfig or server was given, and this is not a pod with a service account (use --kubeconfig FILE or \
         --master URL, or set automountServiceAccountToken to true in the pod)"
    )]
    InCluster(#[source] InClusterError),
    /// The token file cannot be read.
    #[error("the token file {} cannot be read (mount it, or name another one)", .file.display())]
    Token {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// The given server is not a URL.
    #[error("the server `{url}` is not a URL; give --master as `https://HOST:PORT`")]
    Server {
        /// What was given.
        url: String,
    },
    /// The credentials or certificates cannot be used.
    #[error(
        "the credentials for {server} cannot be used (check the certificates, keys and tokens {})",
        .file.as_deref().map_or("of the pod's service account".to_owned(), named_in)
    )]
    Credentials {
        /// The server they are for.
        server: String,
        /// The kubeconfig; `None` for the service account's credentials.
        file: Option<PathBuf>,
        /// What is wrong.
        source: Box<kube::Error>,
    },
}

fn named_in(file: &Path) -> String {
    format!("that {} names", file.display())
}

impl Access {
    /// A client for the server, using the files as they are now, and the server's host and port. Must be called
    /// inside a tokio runtime, which runs the client's connections.
    pub(crate) fn client(&self) -> Result<(kube::Client, String), AccessError> {
        let mut config = self.config()?;
        // kube uses a token as it is, including an editor's final newline, and then sends nothing.
        if let Some(file) = config.auth_info.token_file.take().map(PathBuf::from) {
            let token = fs::read_to_string(&file);
            let token = token.map_err(|source| AccessError::Token { file, source })?;
            config.auth_info.token = Some(token.trim().to_owned().into());
        }
        let agent = concat!("weir/", env!("CARGO_PKG_VERSION"));
        config.headers.push((USER_AGENT, HeaderValue::from_static(agent)));
        // Without TLS, nothing is verified, so a container image needs no CA certificates.
        if config.cluster_url.scheme_str() == Some("http") {
            config.root_cert.get_or_insert_default();
        }
        let client = transport::client(&config).map_err(|error| AccessError::Credentials {
            server: config.cluster_url.to_string(),
            file: self.kubeconfig.clone(),
            source: Box::new(error),
        })?;
        let host = config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
        Ok((client, host))
    }

    fn config(&self) -> Result<Config, AccessError> {
        match (&self.kubeconfig, &self.master) {
            (Some(file), master) => from_kubeconfig(file, master.as_deref()),
            (None, Some(master)) => Ok(Config::new(server(master)?)),
            (None, None) => Config::incluster_env().map_err(AccessError::InCluster),
        }
    }
}

fn from_kubeconfig(file: &Path, master: Option<&str>) -> Result<Config, AccessError> {
    let unusable = |source| AccessError::Kubeconfig { file: file.to_owned(), source };
    let mut kubeconfig = Kubeconfig::read_from(file).map_err(unusable)?;
    if let Some(master) = master {
        let url = server(master)?.to_string();
        for cluster in kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
            cluster.server = Some(url.clone());
        }
    }
    let (cluster, user) = current(&kubeconfig);
    if cluster.insecure_skip_tls_verify == Some(true) {
        return Err(AccessError::Unverified { file: file.to_owned() });
    }
    if cluster.proxy_url.as_ref().is_some_and(|url| !url.is_empty()) {
        return Err(AccessError::Proxy { file: file.to_owned() });
    }
    for (field, is_set) in [("exec", user.exec.is_some()), ("auth-provider", user.auth_provider.is_some())] {
        if is_set {
            return Err(AccessError::Program { file: file.to_owned(), field });
        }
    }
    let made = futures_util::FutureExt::now_or_never(Config::from_custom_kubeconfig(
        kubeconfig,
        &KubeConfigOptions::default(),
    ));
    // The function is async but never waits, so its result is there at once.
    let mut config = made.unwrap_or(Err(KubeconfigError::CurrentContextNotSet)).map_err(unusable)?;
    // A proxy from the process's environment is meant for other traffic: the node's own networking depends on the API
    // server.
    config.proxy_url = None;
    Ok(config)
}

/// The cluster and the user of the current context; empty ones if they are not named, which is detected later.
fn current(kubeconfig: &Kubeconfig) -> (Cluster, AuthInfo) {
    let name = kubeconfig.current_context.as_deref().unwrap_or_default();
    let context = kubeconfig.contexts.iter().find(|named| named.name == name);
    let Some(context) = context.and_then(|named| named.context.as_ref()) else {
        return (Cluster::default(), AuthInfo::default());
    };
    let cluster = kubeconfig.clusters.iter().find(|named| named.name == context.cluster);
    let user = kubeconfig.auth_infos.iter().find(|named| Some(&named.name) == context.user.as_ref());
    (
        cluster.and_then(|named| named.cluster.clone()).unwrap_or_default(),
        user.and_then(|named| named.auth_info.clone()).unwrap_or_default(),
    )
}

/// Parses the value of `--master`: as in client-go, a server without a scheme means `http`.
fn server(url: &str) -> Result<Uri, AccessError> {
    let whole = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let uri = whole.parse::<Uri>().ok();
    uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
        .ok_or_else(|| AccessError::Server { url: url.to_owned() })
}

#[cfg(test)]
mod tests;
