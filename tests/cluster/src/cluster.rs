//! etcd and an API server, from start to stop.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::Agent;

use crate::certificates::Certificates;
use crate::client::Client;
use crate::kubeconfig::{self, Credentials};
use crate::nodes::{self, Nodes};
use crate::programs::Programs;
use crate::server::{self, Server};
use crate::token::{self, ISSUER, ServiceAccount};

/// The role that Kubernetes has for service proxies. In every cluster, the user `system:kube-proxy` has it.
pub const NODE_PROXIER: &str = "system:node-proxier";

/// The address by which a guest of `cargo xtask` reaches the API server, if permitted.
pub const GUEST_ADDRESS: &str = "10.0.2.100";
/// The port for a guest.
pub const GUEST_PORT: u16 = 6443;

/// All names of the API server in its certificate. 10.0.2.2 is the host in QEMU's user network. 10.96.0.1 is the
/// Service `kubernetes`, for pods.
const ADDRESSES: &[&str] =
    &["127.0.0.1", "localhost", "10.0.2.2", GUEST_ADDRESS, "10.96.0.1", "kubernetes.default.svc"];

/// Both families, as in the recorded scenarios.
const SERVICE_NETWORKS: &str = "10.96.0.0/16,fd00:96::/112";

/// The API server's arguments for a cluster without nodes.
const ALONE: &[&str] = &[
    "--bind-address=127.0.0.1",
    // From a documentation network; it is not used, because the Service `kubernetes` gets no endpoints.
    "--advertise-address=192.0.2.1",
    "--endpoint-reconciler-type=none",
    "--authorization-mode=RBAC",
    // There is no controller to create the accounts that pods must have.
    "--disable-admission-plugins=ServiceAccount",
];

/// A running cluster, without nodes unless started for some; its processes are killed and its files removed on
/// drop.
#[derive(Debug)]
pub struct Cluster {
    // Dropped in this order.
    controllers: Vec<Server>,
    api_server: Option<Server>,
    _etcd: Server,
    folder: TempDir,
    programs: Programs,
    etcd_url: String,
    port: u16,
    authority: String,
    token_key: String,
    proxy_token: String,
    nodes: Option<Nodes>,
    client: Client,
}

impl Cluster {
    /// Starts etcd and an API server and waits until it is ready.
    ///
    /// # Errors
    /// When programs are missing or do not start; contains their output.
    pub fn start() -> Result<Cluster> {
        Cluster::start_with(None)
    }

    /// Like [`Cluster::start`], for nodes with kubelets, including controllers and a scheduler.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_for(nodes: Nodes) -> Result<Cluster> {
        let mut cluster = Cluster::start_with(Some(nodes))?;
        cluster.controllers = nodes::start_controllers(&cluster.kubeconfig(), cluster.folder.path())?;
        Ok(cluster)
    }

    fn start_with(nodes: Option<Nodes>) -> Result<Cluster> {
        let programs = Programs::find()?;
        let folder = tempfile::Builder::new()
            .prefix("weir-cluster-")
            .tempdir()
            .context("cannot create a directory for the cluster")?;
        let certificates = Certificates::new(ADDRESSES)?;
        let [admin_token, proxy_token] = [token::random()?, token::random()?];
        let write = |name: &str, text: &str| write_private(&folder.path().join(name), text);
        write("ca.crt", &certificates.authority)?;
        write("server.crt", &certificates.server)?;
        write("server.key", &certificates.server_key)?;
        write("tokens.key", &certificates.tokens.serialize_pem())?;
        write("tokens.pub", &certificates.tokens.public_key_pem())?;
        let mut users = format!(
            "{admin_token},admin,admin,\"system:masters\"\n{proxy_token},system:kube-proxy,system:kube-proxy\n"
        );
        let mut node_tokens = Vec::new();
        for name in nodes.iter().flat_map(|nodes| &nodes.names) {
            let token = token::random()?;
            users.push_str(&format!("{token},system:node:{name},{name},\"system:nodes\"\n"));
            node_tokens.push((name.clone(), token));
        }
        write("tokens.csv", &users)?;

        let (etcd, etcd_url) = server::until_ports_are_ours(|| start_etcd(&programs, folder.path()))?;
        let (api_server, port, client) = server::until_ports_are_ours(|| {
            let [port] = server::free_ports()?;
            let client =
                Client::new(&format!("https://127.0.0.1:{port}"), &certificates.authority, &admin_token)?;
            let server =
                start_api_server(&programs, folder.path(), &etcd_url, port, nodes.as_ref(), &client)?;
            Ok((server, port, client))
        })?;
        let cluster = Cluster {
            controllers: Vec::new(),
            api_server: Some(api_server),
            _etcd: etcd,
            folder,
            programs,
            etcd_url,
            port,
            authority: certificates.authority,
            token_key: certificates.tokens.serialize_pem(),
            proxy_token,
            nodes,
            client,
        };
        let admin = Credentials::Token(&admin_token);
        cluster.write_kubeconfig("admin", &cluster.server(), admin)?;
        let proxy = Credentials::Token(&cluster.proxy_token);
        cluster.write_kubeconfig("kube-proxy", &cluster.server(), proxy)?;
        let from_guest = format!("https://{GUEST_ADDRESS}:{GUEST_PORT}");
        cluster.write_kubeconfig("guest-admin", &from_guest, admin)?;
        cluster.write_kubeconfig("guest-kube-proxy", &from_guest, proxy)?;
        for (name, token) in &node_tokens {
            cluster.write_kubeconfig(name, &cluster.server_for_nodes()?, Credentials::Token(token))?;
        }
        if cluster.nodes.is_some() {
            cluster.write_kubeconfig("node-kube-proxy", &cluster.server_for_nodes()?, proxy)?;
        }
        Ok(cluster)
    }

    /// `https://127.0.0.1:PORT`
    pub fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The address by which nodes reach the API server.
    ///
    /// # Errors
    /// When the cluster was started without nodes.
    pub fn server_for_nodes(&self) -> Result<String> {
        let nodes = self.nodes.as_ref().context("the cluster has no nodes")?;
        Ok(format!("https://{}:{}", nodes.address, self.port))
    }

    /// The API server's loopback port; it stays the same across restarts of the API server.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A client with all permissions.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The kubeconfig of a user with all permissions.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_of("admin")
    }

    /// The kubeconfig of the user `system:kube-proxy`, which only has the permissions of service proxies.
    pub fn proxy_kubeconfig(&self) -> PathBuf {
        self.kubeconfig_of("kube-proxy")
    }

    /// [`Cluster::kubeconfig`] for a guest.
    pub fn guest_kubeconfig(&self) -> PathBuf {
        self.kubeconfig_of("guest-admin")
    }

    /// [`Cluster::proxy_kubeconfig`] for a guest.
    pub fn guest_proxy_kubeconfig(&self) -> PathBuf {
        self.kubeconfig_of("guest-kube-proxy")
    }

    /// The kubeconfig of a node's kubelet.
    pub fn node_kubeconfig(&self, name: &str) -> PathBuf {
        self.kubeconfig_of(name)
    }

    /// [`Cluster::proxy_kubeconfig`] for a node.
    pub fn node_proxy_kubeconfig(&self) -> PathBuf {
        self.kubeconfig_of("node-kube-proxy")
    }

    /// The servers' log files.
    pub fn logs(&self) -> Vec<PathBuf> {
        ["etcd", "kube-apiserver", nodes::CONTROLLER_MANAGER, nodes::SCHEDULER]
            .map(|name| self.folder.path().join(format!("{name}.log")))
            .into_iter()
            .filter(|path| path.is_file())
            .collect()
    }

    fn kubeconfig_of(&self, user: &str) -> PathBuf {
        self.folder.path().join(format!("{user}.kubeconfig"))
    }

    fn write_kubeconfig(&self, user: &str, server: &str, credentials: Credentials<'_>) -> Result<PathBuf> {
        let path = self.kubeconfig_of(user);
        write_private(&path, &kubeconfig::text(server, &self.authority, credentials))?;
        Ok(path)
    }

    /// A kubeconfig with `tokenFile`, for clients that read their token again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn kubeconfig_with_token_file(&self, name: &str, token_file: &Path) -> Result<PathBuf> {
        self.write_kubeconfig(name, &self.server(), Credentials::TokenFile(token_file))
    }

    /// `kubectl` with all permissions.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(&self.programs.kubectl);
        command.arg("--kubeconfig").arg(self.kubeconfig());
        // Otherwise it caches what it learns about this server in the home directory.
        command.arg("--cache-dir").arg(self.folder.path().join("kubectl"));
        command
    }

    /// [`Client::apply`]
    ///
    /// # Errors
    /// The first object that is refused.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        self.client.apply(manifests)
    }

    /// [`Client::delete`]
    ///
    /// # Errors
    /// When it does not exist.
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) -> Result<()> {
        self.client.delete(kind, namespace, name)
    }

    /// Creates a service account with a ClusterRole.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn service_account(&self, namespace: &str, name: &str, role: &str) -> Result<ServiceAccount> {
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "namespace": namespace, "name": name },
        });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": format!("{namespace}:{name}") },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "kind": "ServiceAccount", "namespace": namespace, "name": name }],
        });
        self.client.apply_value(&account)?;
        self.client.apply_value(&binding)?;
        let made = self.client.get(&format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}"))?;
        let uid = made["metadata"]["uid"].as_str().context("the service account has no uid")?.to_owned();
        Ok(ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned(), uid })
    }

    /// Creates a token for a service account that is accepted for this time, and up to 10 s longer, because the
    /// API server caches tokens. If the account is deleted, its token is refused equally late.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn token(&self, account: &ServiceAccount, lifetime: Duration) -> Result<String> {
        account.token(&rcgen::KeyPair::from_pem(&self.token_key).context("invalid key for tokens")?, lifetime)
    }

    /// Kills the API server: connections break, as when its machine fails. The data stay.
    pub fn stop(&mut self) {
        self.api_server = None;
    }

    /// Starts the API server again, at the same address, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&mut self) -> Result<()> {
        self.stop();
        let (folder, nodes) = (self.folder.path(), self.nodes.as_ref());
        let server =
            start_api_server(&self.programs, folder, &self.etcd_url, self.port, nodes, &self.client)?;
        self.api_server = Some(server);
        Ok(())
    }

    /// Makes etcd forget all but the last version of each object, and returns the revision up to which it did. A
    /// running API server answers from its cache, so a watch from an older version only gets 410 Gone after
    /// [`Cluster::start_again`].
    ///
    /// # Errors
    /// When etcd refuses.
    pub fn compact(&self) -> Result<u64> {
        let status = self.ask_etcd("maintenance/status", &json!({}))?;
        // 64-bit numbers are strings in etcd's JSON.
        let revision = status["header"]["revision"].as_str().context("etcd returned no revision")?;
        self.ask_etcd("kv/compaction", &json!({ "revision": revision, "physical": true }))?;
        revision.parse().context("invalid revision from etcd")
    }

    fn ask_etcd(&self, what: &str, body: &Value) -> Result<Value> {
        let mut response = agent()
            .post(format!("{}/v3/{what}", self.etcd_url))
            .send_json(body)
            .with_context(|| format!("cannot ask etcd: {what}"))?;
        response.body_mut().read_json().context("invalid response from etcd")
    }
}

fn start_etcd(programs: &Programs, folder: &Path) -> Result<(Server, String)> {
    let [clients, peers] = server::free_ports()?.map(|port| format!("http://127.0.0.1:{port}"));
    let data = folder.join("etcd");
    if data.exists() {
        // Left by an attempt that lost its ports; it contains their addresses.
        fs::remove_dir_all(&data).context("cannot remove etcd's old data")?;
    }
    let arguments = [
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=default={peers}"),
        // Nothing needs to survive a crash of the machine.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    let etcd = Server::start("etcd", &programs.etcd, &arguments, folder.join("etcd.log"))?;
    etcd.await_answer(|| {
        let mut response = agent().get(format!("{clients}/health")).call()?;
        let health: Value = response.body_mut().read_json()?;
        ensure!(health["health"] == "true", "etcd is not healthy: {health}");
        Ok(())
    })?;
    Ok((etcd, clients))
}

fn start_api_server(
    programs: &Programs,
    folder: &Path,
    etcd_url: &str,
    port: u16,
    nodes: Option<&Nodes>,
    client: &Client,
) -> Result<Server> {
    let file = |name: &str| folder.join(name).display().to_string();
    let mut arguments = vec![
        format!("--etcd-servers={etcd_url}"),
        format!("--secure-port={port}"),
        format!("--tls-cert-file={}", file("server.crt")),
        format!("--tls-private-key-file={}", file("server.key")),
        format!("--token-auth-file={}", file("tokens.csv")),
        format!("--service-account-issuer={ISSUER}"),
        format!("--service-account-signing-key-file={}", file("tokens.key")),
        format!("--service-account-key-file={}", file("tokens.pub")),
        format!("--service-cluster-ip-range={SERVICE_NETWORKS}"),
        // Service proxies and test pods are.
        "--allow-privileged=true".to_owned(),
    ];
    match nodes {
        Some(nodes) => arguments.extend(nodes.api_server_arguments()),
        None => arguments.extend(ALONE.iter().map(|&argument| argument.to_owned())),
    }
    let log = folder.join("kube-apiserver.log");
    let server = Server::start("kube-apiserver", &programs.kube_apiserver, &arguments, log)?;
    server.await_answer(|| {
        let answer = client.request("GET", "/readyz", "", "")?;
        ensure!(answer.status == 200, "/readyz: {} {}", answer.status, answer.body);
        // Created some time after the server is ready. Many objects go to that namespace, and watchers would
        // receive this Service among other objects.
        client.get("/api/v1/namespaces/default")?;
        client.get("/api/v1/namespaces/default/services/kubernetes").map(drop)
    })?;
    Ok(server)
}

/// For etcd: without TLS.
fn agent() -> Agent {
    Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).proxy(None).build().into()
}

/// Keys and tokens must be readable by their owner only.
fn write_private(path: &Path, text: &str) -> Result<()> {
    let writing = || format!("cannot write {}", path.display());
    fs::write(path, text).with_context(writing)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).with_context(writing)
}
