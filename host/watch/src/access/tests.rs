//! Kubeconfig files and the messages about them.

use std::error::Error as _;
use std::fs;

use super::*;

/// A kubeconfig with these lines for the cluster and the user.
fn kubeconfig(cluster: &str, user: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
         contexts: [{{name: here, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
    );
    fs::write(&file, text).unwrap();
    (folder, file)
}

fn config(cluster: &str, user: &str, master: Option<&str>) -> Result<Config, AccessError> {
    let (_folder, file) = kubeconfig(cluster, user);
    Access { kubeconfig: Some(file), master: master.map(str::to_owned) }.config()
}

#[test]
fn the_current_context_of_a_kubeconfig_is_used() {
    let config = config("server: 'https://10.0.0.1:6443'", "token: secret", None).unwrap();
    assert_eq!(config.cluster_url.to_string(), "https://10.0.0.1:6443/");
    assert!(config.auth_info.token.is_some());
    assert!(!config.accept_invalid_certs);
}

#[test]
fn a_named_server_replaces_that_of_the_kubeconfig() {
    for cluster in ["server: 'https://10.0.0.1:6443'", ""] {
        let config = config(cluster, "token: secret", Some("https://10.0.0.2:6443")).unwrap();
        assert_eq!(config.cluster_url.to_string(), "https://10.0.0.2:6443/");
        assert!(config.auth_info.token.is_some());
    }
}

#[test]
fn a_named_server_alone_is_asked_without_credentials() {
    let asked = |master: &str| Access { kubeconfig: None, master: Some(master.to_owned()) }.config();
    let config = asked("https://10.0.0.2:6443").unwrap();
    assert_eq!(config.cluster_url.to_string(), "https://10.0.0.2:6443/");
    assert!(config.auth_info.token.is_none() && config.auth_info.token_file.is_none());
    assert_eq!(asked("localhost:8080").unwrap().cluster_url.to_string(), "http://localhost:8080/");
    for wrong in ["", "ftp://a", "https://", "a b"] {
        let error = asked(wrong).unwrap_err().to_string();
        assert_eq!(error, format!("the server `{wrong}` is not a URL; give --master as `https://HOST:PORT`"));
    }
}

/// The error for a client with this cluster and user, in a runtime as it requires.
fn client_error(cluster: &str, user: &str) -> AccessError {
    let (_folder, file) = kubeconfig(cluster, user);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    let Err(error) = (Access { kubeconfig: Some(file), master: None }).client() else { panic!("no error") };
    error
}

#[test]
fn credentials_that_are_invalid_are_reported_with_the_file() {
    let error = client_error("server: 'https://a'", "tokenFile: nowhere");
    assert!(error.to_string().contains("/nowhere cannot be read (mount it"), "{error}");
    let error = client_error("server: 'https://a'", "client-certificate-data: eA==, client-key-data: eA==");
    assert!(error.to_string().starts_with("the credentials for https://a/ cannot be used"), "{error}");
}

#[test]
fn what_weir_does_not_do_for_a_kubeconfig_is_an_error_that_says_what_helps() {
    let server = "server: 'https://a'";
    let cases = [
        (format!("{server}, insecure-skip-tls-verify: true"), "", "always verifies the server"),
        (format!("{server}, proxy-url: 'http://p'"), "", "sets `proxy-url`"),
        (server.to_owned(), "exec: {command: touch, args: [/tmp/x]}", "from a program (`exec`)"),
        (server.to_owned(), "auth-provider: {name: gcp, config: {}}", "from a program (`auth-provider`)"),
    ];
    for (cluster, user, expected) in cases {
        let error = config(&cluster, user, None).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("kubeconfig"), "the file is named: {error}");
    }
}

#[test]
fn an_unusable_kubeconfig_is_named_with_the_reason() {
    let file = PathBuf::from("/nonexistent/kubeconfig");
    let error = Access { kubeconfig: Some(file), master: None }.config().unwrap_err();
    assert!(error.to_string().starts_with("the kubeconfig /nonexistent/kubeconfig cannot be used"));
    assert!(error.source().unwrap().to_string().contains("No such file"));

    let (_folder, file) = kubeconfig("", "");
    let error = Access { kubeconfig: Some(file), master: None }.config().unwrap_err();
    assert!(error.source().unwrap().to_string().contains("cluster url is missing"));
}

#[test]
fn a_missing_service_account_is_reported_with_what_helps() {
    // A pod's variables are not set where tests run; if they were, the files would be missing.
    let error = Access::default().config().unwrap_err();
    assert!(error.to_string().contains("--kubeconfig FILE or --master URL"), "{error}");
}
