use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

/// A folder of manifests with a scanner.
struct Lab {
    dir: TempDir,
    folder: Folder,
}

impl Lab {
    fn new() -> Lab {
        let dir = TempDir::new().unwrap();
        let folder = Folder::new(dir.path(), "n");
        Lab { dir, folder }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.dir.path().join(name)).unwrap();
    }

    /// The events in short form, and problems without the folder's path.
    fn scan(&mut self) -> (Vec<String>, Vec<String>) {
        let (events, problems) = self.folder.scan();
        let prefix = format!("{}/", self.dir.path().display());
        let problems = problems.into_iter().map(|p| p.to_string().replace(&prefix, "")).collect();
        (events.iter().map(short).collect(), problems)
    }

    fn events(&mut self) -> Vec<String> {
        let (events, problems) = self.scan();
        assert_eq!(problems, [""; 0]);
        events
    }
}

fn short(event: &Event) -> String {
    match event {
        Event::Service(service) => {
            let ip = service.cluster_ips.v4.map(|ip| ip.to_string()).unwrap_or_default();
            format!("+{} {ip}", service.name.name)
        }
        Event::ServiceGone(name) => format!("-{}", name.name),
        Event::Slice(slice) => format!("+slice {}", slice.name.name),
        Event::SliceGone(name) => format!("-slice {}", name.name),
        Event::Endpoints(name) => format!("+endpoints {}", name.name),
        Event::EndpointsGone(name) => format!("-endpoints {}", name.name),
        Event::Node(node) => format!("+node {}", node.name),
        Event::NodeGone => "-node".to_owned(),
        Event::AnyNode(node) => format!("+any node {}", node.name),
        Event::AnyNodeGone(name) => format!("-any node {name}"),
        Event::Namespace(namespace) => format!("+namespace {}", namespace.name),
        Event::NamespaceGone(name) => format!("-namespace {name}"),
    }
}

fn service(name: &str, ip: &str) -> String {
    format!("---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{clusterIP: {ip}}}}}\n")
}

fn slice(name: &str) -> String {
    format!(
        "---\n{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, \
         metadata: {{name: {name}, labels: {{kubernetes.io/service-name: a}}}}}}\n"
    )
}

#[test]
fn only_real_changes_are_announced() {
    let mut lab = Lab::new();
    lab.write("1.yaml", &(service("a", "10.0.0.1") + &service("b", "10.0.0.2") + &slice("s")));
    assert_eq!(lab.events(), ["+a 10.0.0.1", "+b 10.0.0.2", "+slice s"]);
    assert_eq!(lab.events(), [""; 0]);
    lab.write(
        "1.yaml",
        &("# a comment\n".to_owned() + &service("a", "10.0.0.1") + &service("b", "10.0.0.3")),
    );
    assert_eq!(lab.events(), ["+b 10.0.0.3", "-slice s"]);
    lab.remove("1.yaml");
    assert_eq!(lab.events(), ["-a", "-b"]);
}

#[test]
fn a_write_that_leaves_the_size_as_it_was_is_seen() {
    let mut lab = Lab::new();
    for round in 0..50 {
        let ip = format!("10.0.0.{}", round % 2 + 1);
        lab.write("1.yaml", &service("a", &ip));
        assert_eq!(lab.events(), [format!("+a {ip}")], "round {round}");
    }
}

#[test]
fn files_are_chosen_by_name() {
    let mut lab = Lab::new();
    for (i, name) in ["a.yaml", "b.yml", "c.json"].iter().enumerate() {
        let json = serde_json::json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"clusterIP": format!("10.0.0.{i}")}});
        lab.write(name, &json.to_string());
    }
    for name in [".hidden.yaml", ".#a.yaml", "a.yaml~", "#a.yaml#", "a.yaml.swp", "4913", "readme.md"] {
        lab.write(name, "not: [yaml");
    }
    fs::create_dir(lab.dir.path().join("folder.yaml")).unwrap();
    lab.write("folder.yaml/x.yaml", &service("x", "10.0.0.9"));
    symlink("nowhere", lab.dir.path().join("dangling.yaml")).unwrap();
    assert_eq!(lab.events(), ["+a.yaml 10.0.0.0", "+b.yml 10.0.0.1", "+c.json 10.0.0.2"]);
}

#[test]
fn a_broken_file_keeps_what_it_gave() {
    let mut lab = Lab::new();
    lab.write("1.yaml", &service("a", "10.0.0.1"));
    lab.write("2.yaml", &service("b", "10.0.0.2"));
    assert_eq!(lab.events(), ["+a 10.0.0.1", "+b 10.0.0.2"]);
    for broken in ["a: [", "a: \u{0}"] {
        lab.write("1.yaml", broken);
        lab.write("2.yaml", &service("b", "10.0.0.3"));
        let (events, problems) = lab.scan();
        assert!(events.len() <= 1 && !events.contains(&"-a".to_owned()), "{events:?}");
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with("1.yaml: "), "{problems:?}");
        assert!(problems[0].ends_with("; its last good version stays in use"), "{problems:?}");
        // The problem remains until it is fixed.
        assert_eq!(lab.scan(), (vec![], problems));
    }
    for broken in [b"a: \xff\n".as_slice(), b"a: {{ x }}\n", b"\xff\xfea\0"] {
        fs::write(lab.dir.path().join("1.yaml"), broken).unwrap();
        let (events, problems) = lab.scan();
        assert_eq!(events, [""; 0]);
        assert!(problems.last().unwrap().ends_with("; its last good version stays in use"), "{problems:?}");
    }
    lab.write("1.yaml", &service("a", "10.0.0.4"));
    assert_eq!(lab.events(), ["+a 10.0.0.4"]);
}

#[test]
fn a_byte_that_is_not_utf8_takes_nothing_away() {
    let mut lab = Lab::new();
    let text = service("a", "10.0.0.1").into_bytes();
    fs::write(lab.dir.path().join("1.yaml"), [text.as_slice(), b"--- # caf\xe9\n"].concat()).unwrap();
    let (events, problems) = lab.scan();
    assert_eq!(events, ["+a 10.0.0.1"]);
    let expected =
        "1.yaml: line 3: not UTF-8 text; invalid bytes are read as \u{fffd}; save the file as UTF-8";
    assert_eq!(problems, [expected]);
    fs::write(lab.dir.path().join("1.yaml"), b"\xff\xfek\0").unwrap();
    let expected =
        "1.yaml: cannot be read: it is UTF-16 text; save it as UTF-8; its last good version stays in use";
    assert_eq!(lab.scan(), (vec![], vec![expected.to_owned()]));
}

#[test]
fn a_broken_document_keeps_what_it_may_have_held() {
    let mut lab = Lab::new();
    lab.write("1.yaml", &(service("a", "10.0.0.1") + "---\na: [\n" + &service("b", "10.0.0.2")));
    let (events, problems) = lab.scan();
    assert_eq!(events, ["+a 10.0.0.1", "+b 10.0.0.2"]);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("1.yaml: not readable: "), "{problems:?}");
    assert!(
        problems[0].ends_with(" at line 4, column 4; the other documents of the file are used"),
        "{problems:?}"
    );
    lab.write("1.yaml", &(service("c", "10.0.0.3") + "---\na: [\n" + &service("b", "10.0.0.4")));
    let (events, problems) = lab.scan();
    assert_eq!(events, ["+b 10.0.0.4", "+c 10.0.0.3"]);
    assert!(problems[0].ends_with("; its last good version stays in use"), "{problems:?}");
    lab.write("1.yaml", &service("c", "10.0.0.3"));
    assert_eq!(lab.events(), ["-a", "-b"]);
    lab.write("2.json", "{\"kind\": \"Pod\"} {\"kind\": ");
    assert_eq!(lab.scan().1.len(), 1);
}

#[test]
fn a_key_that_is_there_twice_takes_nothing_away() {
    let mut lab = Lab::new();
    lab.write("1.yaml", &(service("a", "10.0.0.1, clusterIP: 10.0.0.2") + &service("b", "10.0.0.3")));
    let (events, problems) = lab.scan();
    assert_eq!(events, ["+a 10.0.0.2", "+b 10.0.0.3"]);
    let expected = "1.yaml: Service default/a: spec.clusterIP: occurs more than once; the last one is used";
    assert_eq!(problems, [expected]);
}

#[test]
fn an_invalid_object_keeps_its_last_good_version() {
    let mut lab = Lab::new();
    lab.write("1.yaml", &(service("a", "10.0.0.1") + &service("b", "10.0.0.2")));
    assert_eq!(lab.events().len(), 2);
    lab.write("1.yaml", &(service("a", "nonsense") + &service("b", "10.0.0.3") + &service("c", "nonsense")));
    let (events, problems) = lab.scan();
    assert_eq!(events, ["+b 10.0.0.3"]);
    let address = "spec.clusterIP: `nonsense`: must be an IPv4 or IPv6 address; it is left out";
    assert_eq!(
        problems,
        [
            format!("1.yaml: Service default/a: {address}"),
            format!("1.yaml: Service default/c: {address}"),
            "1.yaml: Service default/a: invalid; its last good version stays in use".to_owned(),
            "1.yaml: Service default/c: invalid; it is left out".to_owned(),
        ]
    );
    lab.write("1.yaml", &service("b", "10.0.0.3"));
    assert_eq!(lab.events(), ["-a"]);
}

#[test]
fn the_last_file_counts_and_the_other_steps_in() {
    let mut lab = Lab::new();
    lab.write("1.yaml", &service("a", "10.0.0.1"));
    lab.write("2.yaml", &service("a", "10.0.0.2"));
    let (events, problems) = lab.scan();
    assert_eq!(events, ["+a 10.0.0.2"]);
    assert_eq!(problems, ["2.yaml: Service default/a: is also in 1.yaml; the object in this file is used"]);
    lab.remove("2.yaml");
    assert_eq!(lab.events(), ["+a 10.0.0.1"]);
    lab.write("2.yaml", &service("a", "10.0.0.1"));
    assert_eq!(lab.scan().0, [""; 0]);
    lab.remove("1.yaml");
    assert_eq!(lab.events(), [""; 0]);
}

#[test]
fn a_replaced_file_is_read_again() {
    let mut lab = Lab::new();
    lab.write("1.yaml", &service("a", "10.0.0.1"));
    lab.scan();
    lab.scan();
    lab.write("new.tmp", &service("a", "10.0.0.2"));
    fs::rename(lab.dir.path().join("new.tmp"), lab.dir.path().join("1.yaml")).unwrap();
    assert_eq!(lab.events(), ["+a 10.0.0.2"]);
}

#[test]
fn a_mounted_config_map_is_followed() {
    let mut lab = Lab::new();
    let root = lab.dir.path().to_owned();
    for (version, ip) in [("..v1", "10.0.0.1"), ("..v2", "10.0.0.2")] {
        fs::create_dir(root.join(version)).unwrap();
        lab.write(&format!("{version}/a.yaml"), &service("a", ip));
    }
    symlink("..v1", root.join("..data")).unwrap();
    symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
    assert_eq!(lab.events(), ["+a 10.0.0.1"]);
    symlink("..v2", root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    assert_eq!(lab.events(), ["+a 10.0.0.2"]);
}

#[test]
fn a_missing_folder_takes_nothing_away() {
    let outer = TempDir::new().unwrap();
    let path = outer.path().join("manifests");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("1.yaml"), service("a", "10.0.0.1")).unwrap();
    let mut folder = Folder::new(&path, "n");
    assert_eq!(folder.scan().0.len(), 1);
    fs::rename(&path, outer.path().join("away")).unwrap();
    let (events, problems) = folder.scan();
    assert_eq!(events, []);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].message.contains("its last known content stays in use"), "{problems:?}");
    fs::rename(outer.path().join("away"), &path).unwrap();
    assert_eq!(folder.scan(), (vec![], vec![]));
}

#[test]
fn an_unreadable_file_is_judged_anew_when_it_is_back() {
    let mut state = FileState::default();
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("1.yaml");
    fs::write(&path, service("a", "10.0.0.1")).unwrap();
    state.refresh(&path, "n");
    assert_eq!((state.objects.len(), state.problems.len()), (1, 0));
    fs::rename(&path, dir.path().join("away")).unwrap();
    state.refresh(&path, "n");
    assert_eq!((state.objects.len(), state.problems.len()), (1, 1));
    fs::rename(dir.path().join("away"), &path).unwrap();
    state.refresh(&path, "n");
    assert_eq!((state.objects.len(), state.problems.len()), (1, 0));
}

fn node(name: &str, spec: &str) -> String {
    format!("---\n{{apiVersion: v1, kind: Node, metadata: {{name: {name}}}, spec: {{{spec}}}}}\n")
}

fn namespace(name: &str, tier: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{tier: {tier}}}}}}}\n"
    )
}

#[test]
fn nodes_and_namespaces_come_change_and_go() {
    let mut lab = Lab::new();
    lab.write("1.yaml", &(namespace("shop", "a") + &node("n", "") + &node("other", "")));
    assert_eq!(lab.events(), ["+node n", "+any node n", "+any node other", "+namespace shop"]);
    lab.write(
        "1.yaml",
        &(namespace("shop", "b")
            + &node("n", "")
            + &node("other", "unschedulable: true")
            + &namespace("x", "a")),
    );
    assert_eq!(lab.events(), ["+any node other", "+namespace shop", "+namespace x"]);
    lab.write("1.yaml", &(node("n", "podCIDR: 10.1.0.0/24") + &node("other", "unschedulable: true")));
    assert_eq!(lab.events(), ["+node n", "+any node n", "-namespace shop", "-namespace x"]);
    lab.remove("1.yaml");
    assert_eq!(lab.events(), ["-node", "-any node n", "-any node other"]);
}

#[test]
fn what_is_wrong_with_nodes_and_namespaces_stops_nothing_and_is_reported_once() {
    let mut lab = Lab::new();
    lab.write("1.yaml", &(node("n", "") + &node("other", "") + &namespace("shop", "a")));
    assert_eq!(lab.events().len(), 4);
    let wrong = "unschedulable: sometimes";
    lab.write(
        "1.yaml",
        &(node("n", wrong) + &node("other", wrong) + &namespace("shop", "[]") + &service("a", "10.0.0.1")),
    );
    let (events, problems) = lab.scan();
    assert_eq!(events, ["+a 10.0.0.1"]);
    for object in ["Node n", "Node other", "Namespace shop"] {
        let stays = format!("1.yaml: {object}: invalid; its last good version stays in use");
        let named = problems.iter().filter(|problem| problem.starts_with(&format!("1.yaml: {object}: ")));
        assert_eq!(named.filter(|problem| **problem == stays).count(), 1, "{problems:?}");
    }
    assert_eq!(problems.len(), 6, "what is wrong, and what was done about it: {problems:?}");
    lab.write("1.yaml", &node("n", ""));
    lab.write("2.yaml", &node("n", ""));
    assert_eq!(lab.scan().1, ["2.yaml: Node n: is also in 1.yaml; the object in this file is used"]);
}

#[test]
fn a_single_file_may_have_any_name() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("objects");
    let text = service("a", "10.0.0.1")
        + "---\n{apiVersion: v1, kind: Node, metadata: {name: n}}\n---\n{apiVersion: v1, kind: Pod}\n";
    fs::write(&path, text).unwrap();
    let mut folder = Folder::new(&path, "n");
    let (events, problems) = folder.scan();
    assert_eq!(events.iter().map(short).collect::<Vec<_>>(), ["+node n", "+any node n", "+a 10.0.0.1"]);
    assert_eq!((problems, folder.ignored()), (vec![], 1));
    assert_eq!(crate::manifests::read(&path, "n").0, events);
}
