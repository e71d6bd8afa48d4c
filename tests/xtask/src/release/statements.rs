//! The statements of a release: its components (CycloneDX 1.5) and its provenance (in-toto statement 1 with SLSA
//! provenance 1).

use std::env;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::image;
use crate::packages::Package;

/// A signing configuration of cosign without any service.
pub(super) const NO_SERVICES: &str =
    r#"{"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json"}"#;

/// The builder for the provenance: the workflow if there is one, as named by GitHub's variables.
pub(super) fn builder() -> String {
    match (env::var("GITHUB_SERVER_URL"), env::var("GITHUB_WORKFLOW_REF")) {
        (Ok(server), Ok(workflow)) => format!("{server}/{workflow}"),
        _ => "urn:weir:local-build".to_owned(),
    }
}

/// The SHA-256 of some content, in hexadecimal.
pub(super) fn sha256(content: &[u8]) -> String {
    image::digest(content).trim_start_matches("sha256:").to_owned()
}

/// The package URL of a Debian package.
fn package_url(package: &Package) -> String {
    let version = package.version.replace('+', "%2B").replace(':', "%3A").replace('~', "%7E");
    let (name, architecture) = (package.name.replace('+', "%2B"), package.architecture());
    format!("pkg:deb/debian/{name}@{version}?arch={architecture}")
}

/// Adds the image's digest and its Debian packages to the list of cargo-cyclonedx.
pub(super) fn with_packages(components: &str, digest: &str, packages: &[Package]) -> Result<String> {
    let mut bom: Value = serde_json::from_str(components).context("cargo-cyclonedx wrote no JSON")?;
    let list = bom["components"].as_array_mut().context("cargo-cyclonedx listed no components")?;
    list.extend(packages.iter().map(|package| {
        let (url, Package { name, version, .. }) = (package_url(package), package);
        json!({"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url})
    }));
    let properties = json!([{"name": "weir:image", "value": digest}]);
    bom["metadata"]["properties"] = properties;
    Ok(format!("{bom:#}\n"))
}

/// The inputs of a release.
pub(super) struct Made<'a> {
    pub(super) commit: &'a str,
    pub(super) lock: &'a [u8],
    pub(super) compiler: &'a str,
    pub(super) digest: &'a str,
}

impl Made<'_> {
    /// Contains no times or machine names, so that another build produces the same text.
    pub(super) fn provenance(&self, builder: &str, packages: &[Package]) -> String {
        let mut dependencies = vec![
            json!({"uri": "git+urn:weir", "digest": {"gitCommit": self.commit}}),
            json!({"name": "Cargo.lock", "digest": {"sha256": sha256(self.lock)}}),
            json!({"name": self.compiler}),
        ];
        dependencies.extend(packages.iter().map(|package| json!({"uri": package_url(package)})));
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{
                "name": "weir",
                "digest": {"sha256": self.digest.trim_start_matches("sha256:")},
            }],
            "predicateType": "https://slsa.dev/provenance/v1",
            "predicate": {
                "buildDefinition": {
                    "buildType": "urn:weir:cargo-xtask-release:1",
                    "externalParameters": {"commit": self.commit},
                    "resolvedDependencies": dependencies,
                },
                "runDetails": {"builder": {"id": builder}},
            },
        });
        format!("{statement:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> Package {
        Package { name: name.into(), version: version.into(), file: format!("{name}_{version}_arm64.deb") }
    }

    #[test]
    fn packages_join_the_crates() {
        let crates = r#"{"metadata": {"timestamp": "x"}, "components": [{"name": "anyhow"}]}"#;
        let packages = [package("libc6", "2.36-9+deb12u13"), package("libgmp10", "2:6.2.1+dfsg1-1.1")];
        let bom: Value =
            serde_json::from_str(&with_packages(crates, "sha256:1", &packages).unwrap()).unwrap();
        let names: Vec<_> = bom["components"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
        assert_eq!(names, ["anyhow", "libc6", "libgmp10"]);
        assert_eq!(bom["components"][2]["purl"], "pkg:deb/debian/libgmp10@2%3A6.2.1%2Bdfsg1-1.1?arch=arm64");
        assert_eq!(bom["metadata"]["properties"][0]["value"], "sha256:1");
        assert!(with_packages("{}", "", &[]).is_err());
    }

    #[test]
    fn provenance_names_the_image_and_its_sources() {
        let made = Made { commit: "c0ffee", lock: b"", compiler: "rustc 1", digest: "sha256:12" };
        let text = made.provenance("https://builder.example", &[package("kmod", "30")]);
        let statement: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(statement["subject"][0]["digest"]["sha256"], "12");
        let definition = &statement["predicate"]["buildDefinition"];
        assert_eq!(definition["resolvedDependencies"][0]["digest"]["gitCommit"], "c0ffee");
        assert_eq!(definition["resolvedDependencies"][3]["uri"], "pkg:deb/debian/kmod@30?arch=arm64");
        assert_eq!(statement["predicate"]["runDetails"]["builder"]["id"], "https://builder.example");
    }
}
