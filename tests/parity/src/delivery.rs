//! Takes the API server from one state to the next.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use weir_cluster::Client;

use crate::world::{Key, World};

/// What the API server has received.
#[derive(Debug)]
pub struct Delivery {
    client: Client,
    told: BTreeMap<Key, Value>,
}

/// The result of a delivery.
#[derive(Debug, Default)]
pub struct Receipt {
    /// Number of changed objects.
    pub changed: usize,
    /// What the API server refused: a mistake of the generator, as a refused change has no effect.
    pub refused: Vec<String>,
}

impl Delivery {
    /// Delivers to an empty API server.
    ///
    /// # Errors
    /// When it refuses the namespace of some Services.
    pub fn new(client: Client) -> Result<Delivery> {
        client.apply_value(
            &json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } }),
        )?;
        Ok(Delivery { client, told: BTreeMap::new() })
    }

    /// Replaces the objects by those of this world; the mark comes last.
    ///
    /// # Errors
    /// When removed objects cannot be deleted.
    pub fn deliver(&mut self, world: &World) -> Result<Receipt> {
        let mut receipt = Receipt::default();
        let objects = world.objects();
        let stays = |key: &Key, old: &Value| {
            objects.iter().any(|(other, new)| other == key && fixed(new) == fixed(old))
        };
        let gone: Vec<Key> =
            self.told.iter().filter(|(key, old)| !stays(key, old)).map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.told.remove(&key);
            let (kind, namespace, name) = key;
            self.client.delete(kind, &namespace, &name)?;
            receipt.changed += 1;
        }
        for (key, object) in objects {
            if self.told.get(&key) == Some(&object) {
                continue;
            }
            receipt.changed += 1;
            match self.client.apply_value(&object) {
                Ok(()) => drop(self.told.insert(key, object)),
                Err(error) => receipt.refused.push(format!("{error:#}: {object}")),
            }
        }
        Ok(receipt)
    }

    /// Returns all objects as stored by the API server, in the form of a manifest directory for programs without
    /// one.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn manifests(&self) -> Result<(Value, Value)> {
        let mut items = Vec::new();
        for kind in ["Service", "EndpointSlice"] {
            items.extend(self.client.list(kind)?);
        }
        let mut nodes = self.client.list("Node")?;
        for object in items.iter_mut().chain(&mut nodes) {
            // Longer than the object, and irrelevant.
            object["metadata"].as_object_mut().and_then(|metadata| metadata.remove("managedFields"));
        }
        let node = nodes.pop().context("no node found")?;
        Ok((node, json!({ "apiVersion": "v1", "kind": "List", "items": items })))
    }
}

/// The fields an object keeps for its lifetime; if one differs, it is another object with the same name.
fn fixed(object: &Value) -> [&Value; 3] {
    [&object["addressType"], &object["spec"]["clusterIPs"], &object["spec"]["ipFamilies"]]
}
