use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};

use super::{MAX_BATCH_BYTES, MAX_BATCH_REQUESTS, Request};

/// Requests encoded for one send.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) first: u32,
    pub(super) count: usize,
    pub(super) dump: bool,
}

impl Batch {
    /// Packs as many of `requests` as one send may carry, at least one.
    pub(super) fn pack(requests: &[Request], first: u32) -> Self {
        let mut size = 0;
        let count = requests
            .iter()
            .take(MAX_BATCH_REQUESTS)
            .take_while(|request| {
                size += request.encoded_len();
                size <= MAX_BATCH_BYTES
            })
            .count()
            .max(1);
        let mut bytes = Vec::with_capacity(size.min(MAX_BATCH_BYTES));
        for (index, request) in requests[..count].iter().enumerate() {
            let acknowledge = if index + 1 == count { NLM_F_ACK } else { 0 };
            request.encode(first.wrapping_add(index as u32), acknowledge, &mut bytes);
        }
        Self { bytes, first, count, dump: false }
    }

    /// One change between the two marks of a transaction. All three have the change's sequence number, so that any
    /// answer to one of them settles it. Only the change requests an acknowledgement, because older kernels do not
    /// acknowledge marks.
    pub(super) fn transaction(marks: &[Request; 2], change: &Request, first: u32) -> Self {
        let [begin, end] = marks;
        let parts = [(begin, 0), (change, NLM_F_ACK), (end, 0)];
        let mut bytes = Vec::with_capacity(parts.iter().map(|(request, _)| request.encoded_len()).sum());
        for (request, acknowledge) in parts {
            request.encode(first, acknowledge, &mut bytes);
        }
        Self { bytes, first, count: 1, dump: false }
    }

    /// One dump, alone: a socket has at most one at a time.
    pub(super) fn dump(request: &Request, first: u32) -> Self {
        let mut bytes = Vec::with_capacity(request.encoded_len());
        request.encode(first, NLM_F_DUMP, &mut bytes);
        Self { bytes, first, count: 1, dump: true }
    }
}
