//! Changes that others may make to our part of a kernel. Only changes a kernel allows: a rule never names a
//! missing set.

use std::collections::BTreeMap;

use proptest::prelude::*;
use weir_core::net::Family;
use weir_core::rule::{Chain, Ownership, Rule, Table, Target};
use weir_core::set::{SetKind, SetName};
use weir_core::state::{KernelState, RealServer, VirtualServer, Weight};

/// One change, and the index of the object it affects.
#[derive(Clone, Copy, Debug)]
pub struct Tamper {
    deed: Deed,
    index: usize,
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    DeleteEntry,
    DeleteVirtualServer,
    DeleteRealServer,
    ChangeWeight,
    ChangeScheduling,
    DeleteAddress,
    DeleteDevice,
    DeleteRule,
    ReverseRules,
    RepeatRule,
    AddForeignRule,
    AddStrayJump,
    FlushTable,
    FlushFamily,
    GrowSet,
    ReplaceSetByForeign,
    CountSet,
    ForgetSettings,
}

/// Generates up to `most` changes.
pub fn tampering(most: usize) -> impl Strategy<Value = Vec<Tamper>> {
    use Deed::{
        AddForeignRule, AddStrayJump, ChangeScheduling, ChangeWeight, CountSet, DeleteAddress, DeleteDevice,
        DeleteEntry, DeleteRealServer, DeleteRule, DeleteVirtualServer, FlushFamily, FlushTable,
        ForgetSettings, GrowSet, RepeatRule, ReplaceSetByForeign, ReverseRules,
    };
    const ALL: &[Deed] = &[
        DeleteEntry,
        DeleteVirtualServer,
        DeleteRealServer,
        ChangeWeight,
        ChangeScheduling,
        DeleteAddress,
        DeleteDevice,
        DeleteRule,
        ReverseRules,
        RepeatRule,
        AddForeignRule,
        AddStrayJump,
        FlushTable,
        FlushFamily,
        GrowSet,
        ReplaceSetByForeign,
        CountSet,
        ForgetSettings,
    ];
    let deed = (prop::sample::select(ALL), any::<u16>())
        .prop_map(|(deed, index)| Tamper { deed, index: usize::from(index) });
    prop::collection::vec(deed, 0..=most)
}

impl Tamper {
    /// Applies the change.
    pub fn apply(self, state: &mut KernelState) {
        match self.deed {
            Deed::DeleteEntry => remove(&mut state.entries, self.index),
            Deed::DeleteRealServer => {
                if let Some((server, real)) = self.real_server(state)
                    && let Some(behind) = state.virtual_servers.get_mut(&server)
                {
                    behind.real_servers.remove(&real);
                }
            }
            Deed::DeleteAddress => remove(&mut state.addresses, self.index),
            Deed::DeleteVirtualServer => remove(&mut state.virtual_servers, self.index),
            Deed::DeleteDevice => {
                state.devices.clear();
                state.addresses.clear();
            }
            Deed::ForgetSettings => {
                state.sysctls.clear();
                state.timeouts.clear();
            }
            Deed::ChangeWeight => {
                if let Some((server, real)) = self.real_server(state)
                    && let Some(behind) = state.virtual_servers.get_mut(&server)
                {
                    behind.real_servers.insert(real, Weight((self.index % 3) as u16));
                }
            }
            Deed::ChangeScheduling => {
                if let Some(server) = pick(&mut state.virtual_servers, self.index) {
                    server.scheduling.scheduler = "lc".to_owned();
                }
            }
            Deed::GrowSet | Deed::ReplaceSetByForeign | Deed::CountSet => self.change_set(state),
            _ => self.change_rules(state),
        }
    }

    fn real_server(self, state: &KernelState) -> Option<(VirtualServer, RealServer)> {
        let all: Vec<_> = state.real_servers().map(|(server, real, _)| (server, real)).collect();
        all.get(self.index.checked_rem(all.len())?).copied()
    }

    fn change_set(self, state: &mut KernelState) {
        let Some(name) = nth(&state.sets, self.index) else { return };
        let kind = match (self.deed, name.kind()) {
            (Deed::ReplaceSetByForeign, _) => {
                unname(state, name);
                state.entries.retain(|(of, _), ()| *of != name);
                SetKind::Foreign("hash:mac".to_owned())
            }
            (Deed::GrowSet, SetKind::Hash { set_type, family, .. }) => {
                SetKind::Hash { set_type, family, max_elements: 131_072 }
            }
            (_, kind) => SetKind::Foreign(format!("{kind} counters")),
        };
        state.sets.insert(name, kind);
    }

    fn change_rules(self, state: &mut KernelState) {
        let Some((family, table, chain)) = nth(&state.rules, self.index) else { return };
        match self.deed {
            Deed::FlushTable => state.rules.retain(|(f, t, _), _| (*f, *t) != (family, table)),
            Deed::FlushFamily => state.rules.retain(|(f, ..), _| *f != family),
            _ => {}
        }
        let Some(rules) = state.rules.get_mut(&(family, table, chain)) else { return };
        let own = chain.ownership() == Ownership::Own;
        match self.deed {
            Deed::DeleteRule if !rules.is_empty() => {
                rules.remove(self.index % rules.len());
            }
            Deed::ReverseRules => rules.reverse(),
            Deed::RepeatRule => rules.extend(rules.first().cloned()),
            Deed::AddForeignRule if own => {
                let text = match strange_set(&state.sets, family) {
                    Some(name) => format!("-p tcp -m tcp --dport 22 -m set --match-set {name} src -j ACCEPT"),
                    None => "-p tcp -m tcp --dport 22 -j ACCEPT".to_owned(),
                };
                rules.insert(0, Rule::Foreign(text));
            }
            Deed::AddStrayJump => rules.push(Rule::always(Target::Jump(leaf(table)))),
            _ => {}
        }
        if rules.is_empty() && !own {
            state.rules.remove(&(family, table, chain));
        }
    }
}

/// A chain of ours without jumps, so that a jump to it creates no loop.
fn leaf(table: Table) -> Chain {
    match table {
        Table::Filter => Chain::KubeIpvsOutFilter,
        Table::Nat => Chain::KubeMarkMasq,
    }
}

/// A set that must be recreated, which a rule that names it prevents.
fn strange_set(sets: &BTreeMap<SetName, SetKind>, family: Family) -> Option<SetName> {
    let strange = |(name, kind): &(&SetName, &SetKind)| name.family == family && **kind != name.kind();
    sets.iter().find(strange).map(|(name, _)| *name)
}

/// Removes every rule that names a set.
fn unname(state: &mut KernelState, name: SetName) {
    let text = name.to_string();
    for rules in state.rules.values_mut() {
        rules.retain(|rule| !rule.sets().any(|set| set == text));
    }
}

fn nth<K: Clone + Ord, V>(map: &BTreeMap<K, V>, index: usize) -> Option<K> {
    map.keys().nth(index.checked_rem(map.len())?).cloned()
}

fn pick<K: Ord, V>(map: &mut BTreeMap<K, V>, index: usize) -> Option<&mut V> {
    let place = index.checked_rem(map.len())?;
    map.values_mut().nth(place)
}

fn remove<K: Clone + Ord, V>(map: &mut BTreeMap<K, V>, index: usize) {
    if let Some(key) = nth(map, index) {
        map.remove(&key);
    }
}
