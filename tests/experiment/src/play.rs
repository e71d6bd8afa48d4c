//! Runs one arm: its pods answer and its clients connect, all on one thread.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use weir_lab::arrivals::{Arrival, Arrivals};
use weir_lab::load::Load;

use crate::pod::{Moment, Pod, refuses};
use crate::stage::Stage;

/// How many connections may wait to be accepted; they are accepted immediately, and wait in the pod.
const BACKLOG: u32 = 1024;

/// A planned connection.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Record {
    /// When it was planned.
    pub(crate) wanted: Moment,
    /// The pod that accepted it, by index in the load.
    pub(crate) endpoint: Option<usize>,
    /// When the pod received the request.
    pub(crate) reached: Option<Moment>,
    /// When the answer is due.
    pub(crate) due: Option<Moment>,
    /// When the client received the answer, or the error.
    pub(crate) end: Option<Result<Moment, io::ErrorKind>>,
}

struct Shared {
    start: Instant,
    records: RefCell<Vec<Record>>,
    pods: Vec<RefCell<Pod>>,
}

impl Shared {
    fn now(&self) -> Moment {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn at(&self, moment: Moment) -> tokio::time::Instant {
        (self.start + Duration::from_nanos(moment)).into()
    }
}

/// Runs a load to its end; returns every planned connection, sorted by time.
///
/// # Errors
/// When a socket cannot be created. A failed connection is a record, not an error.
pub(crate) fn play(
    stage: &Stage,
    server: SocketAddr,
    load: &Load,
    seed: u64,
    start: Instant,
) -> Result<Vec<Record>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot create a runtime")?;
    let pods = load.behaviours.iter().map(|behaviour| RefCell::new(Pod::new(behaviour))).collect();
    let shared = Rc::new(Shared { start, records: RefCell::default(), pods });
    let local = LocalSet::new();
    local.block_on(&runtime, connect_all(stage, server, load, seed, &shared))?;
    Ok(shared.records.take())
}

async fn connect_all(
    stage: &Stage,
    server: SocketAddr,
    load: &Load,
    seed: u64,
    shared: &Rc<Shared>,
) -> Result<()> {
    let end = (load.warm_up + load.duration).as_nanos();
    let mut doors = BTreeMap::new();
    for (id, Arrival { at, node, client, work, .. }) in Arrivals::new(load, seed).enumerate() {
        if u128::from(at) > end {
            break;
        }
        open_and_close(stage, load, shared, &mut doors)?;
        tokio::time::sleep_until(shared.at(at)).await;
        stage.nodes[node].namespace.enter()?;
        let socket = TcpSocket::new_v4().context("cannot create a socket")?;
        socket
            .bind(SocketAddr::new(client.address, 0))
            .with_context(|| format!("no free port at {}", client.address))?;
        shared.records.borrow_mut().push(Record { wanted: at, ..Record::default() });
        let shared = Rc::clone(shared);
        spawn_local(async move {
            let result = ask(socket, server, id, work).await;
            let result = result.map(|()| shared.now()).map_err(|error| error.kind());
            shared.records.borrow_mut()[id].end = Some(result);
        });
    }
    tokio::time::sleep_until((shared.start + load.warm_up + load.duration).into()).await;
    Ok(())
}

/// Lets each pod listen or not, according to the description for now.
fn open_and_close(
    stage: &Stage,
    load: &Load,
    shared: &Rc<Shared>,
    doors: &mut BTreeMap<usize, JoinHandle<()>>,
) -> Result<()> {
    let now = shared.now();
    for (endpoint, behaviour) in load.behaviours.iter().enumerate() {
        match (refuses(behaviour, now), doors.contains_key(&endpoint)) {
            (true, true) => doors.remove(&endpoint).into_iter().for_each(|door| door.abort()),
            (false, false) => {
                stage.pods.enter()?;
                let listener = listen(load.addresses[endpoint])?;
                doors.insert(endpoint, spawn_local(accept(listener, endpoint, Rc::clone(shared))));
            }
            _ => {}
        }
    }
    Ok(())
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = TcpSocket::new_v4().context("cannot create a socket")?;
    socket.set_reuseaddr(true).context("cannot configure a socket")?;
    socket.bind(address).with_context(|| format!("cannot start a pod at {address}"))?;
    socket.listen(BACKLOG).with_context(|| format!("cannot start a pod at {address}"))
}

async fn accept(listener: TcpListener, endpoint: usize, shared: Rc<Shared>) {
    loop {
        // A client that gave up is no reason to stop.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = Rc::clone(&shared);
        spawn_local(async move {
            // A disconnected client has its own record.
            let _ = answer(stream, endpoint, &shared).await;
        });
    }
}

/// A request is the connection's number and its amount of work; an answer is one byte.
async fn answer(mut stream: TcpStream, endpoint: usize, shared: &Shared) -> io::Result<()> {
    let id = stream.read_u64().await?;
    let work = stream.read_f64().await?;
    let now = shared.now();
    let done = shared.pods[endpoint].borrow_mut().done(now, work);
    if let Some(record) = shared.records.borrow_mut().get_mut(id as usize) {
        (record.endpoint, record.reached, record.due) = (Some(endpoint), Some(now), Some(done));
    }
    tokio::time::sleep_until(shared.at(done)).await;
    stream.write_all(&[1]).await
}

async fn ask(socket: TcpSocket, server: SocketAddr, id: usize, work: f64) -> io::Result<()> {
    let mut stream = socket.connect(server).await?;
    let mut request = [0; 16];
    request[..8].copy_from_slice(&(id as u64).to_be_bytes());
    request[8..].copy_from_slice(&work.to_be_bytes());
    stream.write_all(&request).await?;
    stream.read_u8().await.map(drop)
}
