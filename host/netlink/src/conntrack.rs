//! Connection tracking: reading flows and deleting them.
//!
//! Constants and attribute layouts are from include/uapi/linux/netfilter/nfnetlink_conntrack.h.

mod flow;

use crate::socket::{Counters, KernelTransport, NetlinkError, Protocol, Request, Socket, Transport};
use crate::{Family, TransportProtocol, netfilter};

pub use flow::{Flow, FlowStatus, Tuple};

/// `NFNL_SUBSYS_CTNETLINK` of include/uapi/linux/netfilter/nfnetlink.h.
const NFNL_SUBSYS_CTNETLINK: u8 = 1;
const IPCTNL_MSG_CT_GET: u8 = 1;
const IPCTNL_MSG_CT_DELETE: u8 = 2;

/// A client for the kernel's connection tracking.
#[derive(Debug)]
pub struct Client<T = KernelTransport> {
    socket: Socket<T>,
}

impl Client<KernelTransport> {
    /// Opens a socket.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self::over(Socket::open(Protocol::Netfilter)?))
    }
}

impl<T: Transport> Client<T> {
    /// Uses a socket of the netfilter protocol.
    pub fn over(socket: Socket<T>) -> Self {
        Self { socket }
    }

    /// The traffic of this client's socket.
    pub fn counters(&self) -> Counters {
        self.socket.counters()
    }

    /// The flows of one family, optionally of one protocol. Before Linux 5.8, the kernel sends the flows of all
    /// protocols, and this function drops the others.
    pub fn flows(
        &mut self,
        family: Family,
        protocol: Option<TransportProtocol>,
    ) -> Result<Vec<Flow>, NetlinkError> {
        let mut flows = Vec::new();
        let kind = netfilter::kind(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET);
        let request = Request::dump("list flows", kind, flow::filter(family, protocol));
        self.socket.dump(&request, &mut |_, body| {
            if let Some(flow) = Flow::decode(body)?
                && protocol.is_none_or(|protocol| protocol == flow.original.protocol)
            {
                flows.push(flow);
            }
            Ok(())
        })?;
        Ok(flows)
    }

    /// Deletes flows, many per send; returns one result per flow. `ENOENT` means that the flow is already gone, or
    /// that another flow took its addresses after it was read.
    pub fn delete(&mut self, flows: &[Flow]) -> Vec<Result<(), NetlinkError>> {
        let kind = netfilter::kind(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE);
        let requests = flows.iter().map(|flow| Request::new("delete flow", kind, flow.encode()));
        self.socket.execute(&requests.collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests;
