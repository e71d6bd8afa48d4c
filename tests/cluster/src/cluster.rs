//! etcd and an API server, from start to end.

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

/// The role that Kubernetes has for service proxies. The user `system:kube-proxy` has it in every cluster.
pub const NODE_PROXIER: &str = "system:node-proxier";

/// How a guest of `cargo xtask` reaches the API server, if it is allowed to.
pub const GUEST_ADDRESS: &str = "10.0.2.100";
/// Its port there.
pub const GUEST_PORT: u16 = 6443;

/// All that the API server's certificate is for. 10.0.2.2 is the host in QEMU's user network.
/// 10.96.0.1 is the Service `kubernetes`, for pods.
const ADDRESSES: &[&str] =
    &["127.0.0.1", "localhost", "10.0.2.2", GUEST_ADDRESS, "10.96.0.1", "kubernetes.default.svc"];

/// Both families, as the recorded scenarios have them.
const SERVICE_NETWORKS: &str = "10.96.0.0/16,fd00:96::/112";

/// What the API server is told where there are no nodes.
const ALONE: &[&str] = &[
    "--bind-address=127.0.0.1",
    // For documentation; nobody asks for it, because the Service `kubernetes` gets no endpoints.
    "--advertise-address=192.0.2.1",
    "--endpoint-reconciler-type=none",
    "--authorization-mode=RBAC",
    // There is no controller that would make the accounts which pods must have.
    "--disable-admission-plugins=ServiceAccount",
];

/// A running cluster, without nodes unless it was started for some; its processes are killed and its files removed when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    // In this order they are dropped.
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
    /// When the programs are not there, or do not start; with what they said.
    pub fn start() -> Result<Cluster> {
        Cluster::start_with(None)
    }

    /// The same for nodes with kubelets, together with controllers and a scheduler.
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
        let folder = tempfile::Builder::new().prefix("weir-cluster-").tempdir().context("no folder")?;
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
        let nodes = self.nodes.as_ref().context("a cluster without nodes")?;
        Ok(format!("https://{}:{}", nodes.address, self.port))
    }

    /// The API server's port on loopback; it stays when the API server is restarted.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Somebody who may do everything.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The kubeconfig of somebody who may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_of("admin")
    }

    /// The kubeconfig of the user `system:kube-proxy`, who may do what service proxies need, and nothing else.
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

    /// What the servers said so far.
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

    /// `kubectl` with everything allowed.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(&self.programs.kubectl);
        command.arg("--kubeconfig").arg(self.kubeconfig());
        // Else it keeps what it learns about this server in the home directory.
        command.arg("--cache-dir").arg(self.folder.path().join("kubectl"));
        command
    }

    /// [`Client::apply`]
    ///
    /// # Errors
    /// With the first object that is refused.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        self.client.apply(manifests)
    }

    /// [`Client::delete`]
    ///
    /// # Errors
    /// When it is not there.
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) -> Result<()> {
        self.client.delete(kind, namespace, name)
    }

    /// Makes a service account with a ClusterRole.
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
        let uid = made["metadata"]["uid"].as_str().context("a service account without uid")?.to_owned();
        Ok(ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned(), uid })
    }

    /// A token of a service account that is accepted for this time, and up to 10 s more: so long the API server keeps
    /// what it knows of tokens. One whose account is deleted is refused as late.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn token(&self, account: &ServiceAccount, lifetime: Duration) -> Result<String> {
        account.token(&rcgen::KeyPair::from_pem(&self.token_key).context("the key for tokens")?, lifetime)
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

    /// Lets etcd forget all but the last version of each object, and returns the revision until which it did. An API
    /// server that runs answers from its own memory, so that only after [`Cluster::start_again`] a watch of an older
    /// version gets 410 Gone.
    ///
    /// # Errors
    /// When etcd refuses.
    pub fn compact(&self) -> Result<u64> {
        let status = self.ask_etcd("maintenance/status", &json!({}))?;
        // Numbers of 64 bits are texts in etcd's JSON.
        let revision = status["header"]["revision"].as_str().context("etcd tells no revision")?;
        self.ask_etcd("kv/compaction", &json!({ "revision": revision, "physical": true }))?;
        revision.parse().context("etcd's revision")
    }

    fn ask_etcd(&self, what: &str, body: &Value) -> Result<Value> {
        let mut response = agent()
            .post(format!("{}/v3/{what}", self.etcd_url))
            .send_json(body)
            .with_context(|| format!("asking etcd: {what}"))?;
        response.body_mut().read_json().context("etcd's answer")
    }
}

fn start_etcd(programs: &Programs, folder: &Path) -> Result<(Server, String)> {
    let [clients, peers] = server::free_ports()?.map(|port| format!("http://127.0.0.1:{port}"));
    let data = folder.join("etcd");
    if data.exists() {
        // Of an attempt that lost its ports, whose addresses are in it.
        fs::remove_dir_all(&data).context("cannot start etcd anew")?;
    }
    let arguments = [
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=default={peers}"),
        // Nothing of this is to survive the machine.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    let etcd = Server::start("etcd", &programs.etcd, &arguments, folder.join("etcd.log"))?;
    etcd.await_answer(|| {
        let mut response = agent().get(format!("{clients}/health")).call()?;
        let health: Value = response.body_mut().read_json()?;
        ensure!(health["health"] == "true", "etcd says {health}");
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
        // Made in its own time after the server is ready: many objects go to that namespace, and who watches would be
        // told of the Service in the midst of others.
        client.get("/api/v1/namespaces/default")?;
        client.get("/api/v1/namespaces/default/services/kubernetes").map(drop)
    })?;
    Ok(server)
}

/// For etcd: without TLS.
fn agent() -> Agent {
    Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).proxy(None).build().into()
}

/// Keys and tokens are nobody else's.
fn write_private(path: &Path, text: &str) -> Result<()> {
    let writing = || format!("cannot write {}", path.display());
    fs::write(path, text).with_context(writing)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).with_context(writing)
}
