use super::attributes::{IPSET_ATTR_ADT, IPSET_ATTR_DATA, IPSET_ATTR_SETNAME};
use super::{Element, Set};
use crate::{DecodeError, netfilter};

/// A set with its elements, in the kernel's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The set.
    pub set: Set,
    /// Its elements.
    pub elements: Vec<Element>,
}

/// Decodes one part of a dump into `listings`. A large set spans several consecutive parts; only the first one
/// describes it.
pub fn decode_part(body: &[u8], listings: &mut Vec<Listing>) -> Result<(), DecodeError> {
    if let Some(set) = Set::decode_part(body)? {
        listings.push(Listing { set, elements: Vec::new() });
    }
    let attributes = netfilter::attributes(body, "set listing")?;
    let name = attributes.require(IPSET_ATTR_SETNAME)?.text()?;
    let Some(container) = attributes.find(IPSET_ATTR_ADT)? else {
        return Ok(());
    };
    let listing = listings
        .last_mut()
        .filter(|listing| listing.set.name == name)
        .ok_or(DecodeError::Value { what: "set listing: elements of a set without a head", value: 0 })?;
    for element in container.nested("set elements") {
        let element = element?;
        if element.kind == IPSET_ATTR_DATA {
            listing.elements.push(Element::decode(&listing.set.set_type, element)?);
        }
    }
    Ok(())
}
