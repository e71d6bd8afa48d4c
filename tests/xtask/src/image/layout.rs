//! The image in the OCI image layout (opencontainers/image-spec, image-layout.md, manifest.md, config.md).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tar::Builder;

use super::layer::{Layer, digest, file};
use crate::architecture::Architecture;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Path of the program, and the alias that kubeadm's DaemonSet calls.
pub(super) const PROGRAM: &str = "usr/local/bin/weir";
pub(super) const ALIAS: &str = "usr/local/bin/kube-proxy";

/// A complete image for one architecture.
#[derive(Debug)]
pub(super) struct Image {
    name: String,
    architecture: Architecture,
    layers: Vec<Rc<Layer>>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

/// What a container runs. A pod's `args` replace only the arguments.
#[derive(Clone, Copy)]
pub(super) struct Start<'a> {
    pub(super) entrypoint: &'a [&'a str],
    pub(super) arguments: &'a [&'a str],
}

impl Image {
    /// Labels are also used as annotations.
    pub(super) fn new(
        name: &str,
        architecture: Architecture,
        start: Start<'_>,
        labels: &Value,
        layers: Vec<Rc<Layer>>,
    ) -> Image {
        let config = config(architecture, start, labels, &layers).to_string().into_bytes();
        let manifest = manifest(&config, labels, &layers).to_string().into_bytes();
        Image { name: name.to_owned(), architecture, layers, config, manifest }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn layers(&self) -> &[Rc<Layer>] {
        &self.layers
    }

    pub(super) fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The image's entry in an index.
    fn descriptor(&self) -> Value {
        let mut manifest = descriptor(MANIFEST, &self.manifest);
        manifest["platform"] = json!({"architecture": self.architecture.name(), "os": "linux"});
        manifest
    }
}

/// The manifest of a single image, or an index of several, with its entry in the layout's index.
fn named(images: &[&Image]) -> (Value, Vec<u8>) {
    match images {
        [image] => (image.descriptor(), image.manifest.clone()),
        _ => {
            let index = index(&images.iter().map(|image| image.descriptor()).collect::<Vec<_>>());
            (descriptor(INDEX, &index), index)
        }
    }
}

/// The digest by which a registry identifies these images, which have the same name.
pub(super) fn registry_digest(images: &[Image]) -> String {
    digest(&named(&images.iter().collect::<Vec<_>>()).1)
}

fn index(manifests: &[Value]) -> Vec<u8> {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string().into_bytes()
}

/// All files of a layout with these images, in the order of their names' first occurrence; shared files occur once.
fn files(images: &[Image]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut add = |data: &Vec<u8>| {
        let path = format!("blobs/{}", digest(data).replace(':', "/"));
        files.entry(path).or_insert_with(|| data.clone());
    };
    let mut entries = Vec::new();
    for (place, image) in images.iter().enumerate() {
        let layers = image.layers.iter().map(|layer| &layer.blob);
        layers.chain([&image.config, &image.manifest]).for_each(&mut add);
        if images[..place].iter().any(|earlier| earlier.name == image.name) {
            continue;
        }
        let same: Vec<&Image> = images[place..].iter().filter(|other| other.name == image.name).collect();
        let (mut entry, content) = named(&same);
        add(&content);
        let tag = image.name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        // containerd reads the full name from its own annotation; other runtimes use the tag.
        entry["annotations"] = json!({
            "io.containerd.image.name": image.name,
            "org.opencontainers.image.ref.name": tag,
        });
        entries.push(entry);
    }
    files.insert("index.json".to_owned(), index(&entries));
    files.insert("oci-layout".to_owned(), json!({"imageLayoutVersion": "1.0.0"}).to_string().into_bytes());
    files
}

/// Writes a layout as a directory.
pub(super) fn write_directory(images: &[Image], directory: &Path) -> Result<()> {
    for (path, content) in files(images) {
        let place = directory.join(path);
        let writing = || format!("cannot write {}", place.display());
        fs::create_dir_all(place.parent().unwrap_or(directory)).with_context(writing)?;
        fs::write(&place, content).with_context(writing)?;
    }
    Ok(())
}

/// Writes a layout as one archive.
pub(super) fn write_archive(images: &[Image], path: &Path) -> Result<()> {
    let writing = || format!("cannot write {}", path.display());
    let mut builder = Builder::new(BufWriter::new(File::create(path).with_context(writing)?));
    for (name, content) in files(images) {
        file(&mut builder, &name, 0o644, &content)?;
    }
    builder.into_inner().and_then(|output| output.into_inner().map_err(Into::into)).with_context(writing)?;
    Ok(())
}

fn descriptor(media_type: &str, data: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(data), "size": data.len()})
}

fn config(architecture: Architecture, start: Start<'_>, labels: &Value, layers: &[Rc<Layer>]) -> Value {
    let epoch = "1970-01-01T00:00:00Z";
    let history: Vec<Value> = layers
        .iter()
        .map(|layer| json!({"created": epoch, "created_by": "cargo xtask image", "comment": layer.history}))
        .collect();
    let differences: Vec<&str> = layers.iter().map(|layer| layer.diff.as_str()).collect();
    json!({
        "created": epoch,
        "architecture": architecture.name(),
        "os": "linux",
        "config": {
            "Entrypoint": start.entrypoint,
            "Cmd": start.arguments,
            "Env": ["PATH=/usr/local/bin:/usr/sbin:/usr/bin"],
            "WorkingDir": "/",
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": differences},
        "history": history,
    })
}

fn manifest(config: &[u8], labels: &Value, layers: &[Rc<Layer>]) -> Value {
    let layers: Vec<Value> = layers.iter().map(|layer| descriptor(LAYER, &layer.blob)).collect();
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, config),
        "layers": layers,
        "annotations": labels,
    })
}

/// The labels of weir's image, with the keys defined by image-spec (annotations.md).
pub(super) fn labels() -> Value {
    json!({
        "org.opencontainers.image.title": "weir",
        "org.opencontainers.image.description": "A kube-proxy for IPVS nodes with pluggable policy",
        "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
        "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::layer::Effort;
    use crate::image::tree::Tree;

    fn sample(architecture: Architecture) -> Image {
        let mut tree = Tree::default();
        tree.text("hello", "hello\n");
        let layer = |title: &str| Rc::new(Layer::new(title, title, &tree, Effort::Smallest).unwrap());
        let (name, entrypoint) = ("registry.example:5000/team/weir:1", ["/usr/local/bin/weir"]);
        let start = Start { entrypoint: &entrypoint, arguments: &["run"] };
        Image::new(name, architecture, start, &labels(), vec![layer("a"), layer("b")])
    }

    fn read(files: &BTreeMap<String, Vec<u8>>, path: &str) -> Value {
        serde_json::from_slice(&files[path]).unwrap()
    }

    fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a Vec<u8> {
        let digest = descriptor["digest"].as_str().unwrap();
        let data = &files[&format!("blobs/{}", digest.replace(':', "/"))];
        assert_eq!(descriptor["size"], data.len());
        data
    }

    /// Follows the same path as a runtime: from the index to the manifest, the configuration and the layers.
    #[test]
    fn everything_is_found_by_its_digest() {
        let images = [sample(Architecture::Amd64)];
        let files = files(&images);
        assert_eq!(read(&files, "oci-layout"), json!({"imageLayoutVersion": "1.0.0"}));
        let index = read(&files, "index.json");
        let entry = &index["manifests"][0];
        assert_eq!(entry["digest"], registry_digest(&images));
        assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "1");
        let manifest: Value = serde_json::from_slice(blob(&files, entry)).unwrap();
        let config: Value = serde_json::from_slice(blob(&files, &manifest["config"])).unwrap();
        let layers = manifest["layers"].as_array().unwrap();
        let differences = config["rootfs"]["diff_ids"].as_array().unwrap();
        assert_eq!((layers.len(), differences.len(), config["history"].as_array().unwrap().len()), (2, 2, 2));
        for (layer, difference) in layers.iter().zip(differences) {
            let mut unpacked = Vec::new();
            let mut unpacker = flate2::read::GzDecoder::new(blob(&files, layer).as_slice());
            std::io::Read::read_to_end(&mut unpacker, &mut unpacked).unwrap();
            assert_eq!(*difference, digest(&unpacked));
        }
        assert_eq!(config["config"]["Entrypoint"], json!(["/usr/local/bin/weir"]));
        assert_eq!(config["config"]["Cmd"], json!(["run"]));
    }

    /// A runtime takes the image of its own architecture.
    #[test]
    fn one_name_leads_to_the_images_of_all_architectures() {
        let images = [Architecture::Amd64, Architecture::Arm64].map(sample);
        let files = files(&images);
        let outer = read(&files, "index.json");
        let entries = outer["manifests"].as_array().unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0]["digest"], registry_digest(&images));
        let inner: Value = serde_json::from_slice(blob(&files, &entries[0])).unwrap();
        for (entry, name) in inner["manifests"].as_array().unwrap().iter().zip(["amd64", "arm64"]) {
            assert_eq!(entry["platform"]["architecture"], name);
            let manifest: Value = serde_json::from_slice(blob(&files, entry)).unwrap();
            let config: Value = serde_json::from_slice(blob(&files, &manifest["config"])).unwrap();
            assert_eq!(config["architecture"], name);
        }
    }

    #[test]
    fn directory_and_archive_hold_the_same() {
        let place = tempfile::tempdir().unwrap();
        let (images, directory, archive) =
            ([sample(Architecture::Amd64)], place.path().join("oci"), place.path().join("x.tar"));
        write_directory(&images, &directory).unwrap();
        write_archive(&images, &archive).unwrap();
        let mut names = Vec::new();
        for entry in tar::Archive::new(File::open(&archive).unwrap()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            assert_eq!(fs::read(directory.join(&name)).unwrap(), content, "{name}");
            names.push(name);
        }
        assert_eq!(names, files(&images).into_keys().collect::<Vec<_>>());
    }
}
