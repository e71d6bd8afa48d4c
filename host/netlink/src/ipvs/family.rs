//! Looking up the number of the `IPVS` generic netlink family.

use netlink_packet_core::Emitable;
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_generic::{GenlFamily, GenlMessage};

use super::Message;
use crate::DecodeError;
use crate::attribute;
use crate::socket::{NetlinkError, Request, Socket, Transport};

/// The operation's name in errors.
pub(super) const RESOLVE: &str = "look up the IPVS family";

/// `GENL_ID_CTRL` of include/uapi/linux/genetlink.h.
const CONTROLLER: u16 = 0x10;
/// `GENL_HDRLEN` of include/uapi/linux/genetlink.h.
const HEADER: usize = 4;
/// `CTRL_ATTR_FAMILY_ID` of include/uapi/linux/genetlink.h.
const CTRL_ATTR_FAMILY_ID: u16 = 1;

/// Queries the controller, which loads the module if it can; `ENOENT` if there is no such family.
pub(super) fn resolve<T: Transport>(socket: &mut Socket<T>) -> Result<u16, NetlinkError> {
    let answer = socket.get(&Request::new(RESOLVE, CONTROLLER, question()))?;
    decode(&answer).map_err(|source| NetlinkError::Decode { operation: RESOLVE, source })
}

fn question() -> Vec<u8> {
    let name = GenlCtrlAttrs::FamilyName(Message::family_name().to_owned());
    let message = GenlMessage::from_payload(GenlCtrl { cmd: GenlCtrlCmd::GetFamily, nlas: vec![name] });
    let mut body = vec![0; message.buffer_len()];
    message.emit(&mut body);
    body
}

/// Decodes only the attribute needed; the others (operations, policies) differ between kernels.
fn decode(body: &[u8]) -> Result<u16, DecodeError> {
    attribute::read_after(body, HEADER, "generic family")?.require(CTRL_ATTR_FAMILY_ID)?.u16()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_names_the_family() {
        assert_eq!(
            question(),
            [3, 2, 0, 0, 9, 0, 2, 0, b'I', b'P', b'V', b'S', 0, 0, 0, 0],
            "CTRL_CMD_GETFAMILY with CTRL_ATTR_FAMILY_NAME"
        );
    }

    #[test]
    fn the_answer_holds_the_number() {
        let mut writer = attribute::Writer::after(&[1, 2, 0, 0]);
        writer.text(2, "IPVS");
        writer.u16(CTRL_ATTR_FAMILY_ID, 0x21);
        assert_eq!(decode(&writer.into_bytes()), Ok(0x21));
        assert!(decode(&[1, 2]).is_err());
    }
}
