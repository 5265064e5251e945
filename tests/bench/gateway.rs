//! B15: events over HTTP, validated and on disk when they are answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::ensure;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tidewire_core::{Clock, SystemClock};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clocks::{Timing, Watch};
use crate::harness::rounds::{Class, Shape, Sides, Slice};
use crate::harness::stats::Random;
use crate::house::House;
use crate::orders::{KEYS, Orders, PAYLOAD_BYTES};
use crate::place::Place;
use crate::raw::{self, Table};

/// Connections that are kept, each with one request at a time.
pub const CONNECTIONS: usize = 64;
/// What the data of an event takes beside its note.
const FRAME_BYTES: usize = 80;
/// Events of one request of B15b.
pub const BATCH: usize = 100;
/// What happens in it.
const TYPE: &str = "activity.tracked.v2";

/// Ours: the whole gateway on a store. The limit of single events: hyper, which reads the same requests and answers; of
/// batches: the rows of the events in the plainest table.
pub struct Posting {
    pub place: Place,
    pub timing: Timing,
    pub orders: Orders,
    pub seed: u64,
    /// Events of one request.
    pub batch: usize,
}

impl Sides for Posting {
    async fn ours(&mut self) -> anyhow::Result<Slice> {
        let house = House::open(&self.place).await?;
        let class = house.store_class().await?;
        let (address, stop, server) = serve(&house).await?;
        let transactions = || house.store_transactions();
        let (slice, told) = self.post(address, class, transactions).await?;
        let head = house.ports.store.head().await?.0;
        ensure!(head == told, "{told} events were acknowledged, {head} are in the log");
        stop.cancel();
        server.await?;
        house.close().await;
        Ok(slice)
    }

    async fn limit(&mut self, shape: Shape) -> anyhow::Result<Slice> {
        if self.batch > 1 {
            return raw::append(&self.place, self.timing, Table::Bare, shape, self.orders.clone());
        }
        let (address, sink) = sink().await?;
        // It keeps nothing, which the line says; the class is ours, so that the two may stand on one line.
        let (_, class) = raw::open(&self.place.fresh()?.path().join("class.sqlite"))?;
        let (slice, _) = self.post(address, self.place.class(class), || Ok(0)).await?;
        sink.abort();
        Ok(slice)
    }

    fn probe(&mut self) -> anyhow::Result<Option<f64>> {
        self.place.probe()
    }
}

impl Posting {
    /// Posts for one slice; also answers how many events were acknowledged in all.
    async fn post(
        &self,
        address: SocketAddr,
        class: Class,
        transactions: impl Fn() -> anyhow::Result<u64>,
    ) -> anyhow::Result<(Slice, u64)> {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::with_capacity(CONNECTIONS);
        let note: Arc<str> = "x".repeat(PAYLOAD_BYTES.saturating_sub(FRAME_BYTES)).into();
        for n in 0..CONNECTIONS {
            let client = Client {
                sender: connect(address).await?,
                random: Random::new(self.seed + n as u64),
                batch: self.batch,
                note: note.clone(),
            };
            tasks.push(tokio::spawn(client.run(stop.clone(), done.clone())));
        }
        tokio::time::sleep(self.timing.settle).await;
        let (watch, events, before) = (Watch::start(), done.load(Ordering::Relaxed), transactions()?);
        tokio::time::sleep(self.timing.slice).await;
        let events = done.load(Ordering::Relaxed) - events;
        let ((seconds, cpu_seconds), after) = (watch.read(), transactions()?);
        stop.store(true, Ordering::Relaxed);
        for task in tasks {
            task.await??;
        }
        ensure!(events > 0, "nothing was answered within a slice");
        let slice = Slice { events, seconds, cpu_seconds, transactions: after - before, class, latency: None };
        Ok((slice, done.load(Ordering::Relaxed)))
    }
}

/// The gateway on a free port.
async fn serve(house: &House) -> anyhow::Result<(SocketAddr, CancellationToken, JoinHandle<()>)> {
    let (health, stop) = (gateway::Health::new(), CancellationToken::new());
    health.started();
    let operator = tidewire::operate::Operator::new(&house.ports, Vec::new(), Default::default());
    let parts = [gateway::Part::from(&gateway::service(&house.ports, operator))];
    let options = gateway::Options::default();
    let router = gateway::router(&house.ports, parts, &health, &options, stop.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    Ok((address, stop.clone(), tokio::spawn(gateway::serve(listener, router, options, stop))))
}

/// hyper and nothing else: reads each request to its end and answers as the gateway would.
async fn sink() -> anyhow::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let accept = async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let service = hyper::service::service_fn(|request: Request<Incoming>| async move {
                request.into_body().collect().await?;
                let answer = Response::builder().status(202).header("content-type", "application/json");
                let body = Full::new(Bytes::from_static(
                    br#"{"ids":["0198c2f0-0000-7000-8000-000000000000"],"duplicates":0}"#,
                ));
                Ok::<_, hyper::Error>(answer.body(body).unwrap_or_default())
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    };
    Ok((address, tokio::spawn(accept)))
}

async fn connect(address: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// One connection.
struct Client {
    sender: SendRequest<Full<Bytes>>,
    random: Random,
    batch: usize,
    note: Arc<str>,
}

impl Client {
    async fn run(mut self, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) -> anyhow::Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let body = self.body();
            let media_type = match self.batch {
                1 => "application/cloudevents+json",
                _ => "application/cloudevents-batch+json",
            };
            let request = Request::post("/v1/events").header("host", "localhost").header("content-type", media_type);
            let answer = self.sender.send_request(request.body(Full::new(body))?).await?;
            let status = answer.status();
            let text = answer.into_body().collect().await?.to_bytes();
            ensure!(status == 202, "{status}: {}", String::from_utf8_lossy(&text));
            done.fetch_add(self.batch as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn body(&mut self) -> Bytes {
        match self.batch {
            1 => self.event().into(),
            many => format!("[{}]", (0..many).map(|_| self.event()).collect::<Vec<_>>().join(",")).into(),
        }
    }

    /// An event of which the data is about as long as an order. Written by hand: the client's work is on the same
    /// processors, and no part of what is measured.
    fn event(&mut self) -> String {
        let (id, user, note) = (SystemClock.id(), self.random.below(KEYS), &self.note);
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/bench","type":"{TYPE}","datacontenttype":"application/json","data":{{"user_id":"{user}","action":"page.viewed","object":"/pricing","metadata":{{"note":"{note}"}}}}}}"#
        )
    }
}
