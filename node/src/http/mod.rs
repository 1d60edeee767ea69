//! The node's endpoints: the live page, metrics, health, status, events. All of them only read.
//!
//! They run on a thread of their own and read what the library publishes; none of them asks an actor. So they answer
//! while any actor hangs, State included.
//!
//! | path | answers |
//! |---|---|
//! | `/` | the live page; everything it needs comes from here |
//! | `/metrics` | the registry, in the text format |
//! | `/livez` | 200 as long as this thread runs |
//! | `/readyz` | 200, or 503 with `{"reasons":[…]}` |
//! | `/api/v1/status` | the newest snapshot as JSON |
//! | `/events` | the same and the charts' newest point, as server-sent events, once a second |

mod events;
mod families;
mod history;
mod view;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use actix_web::dev::ServerHandle;
use actix_web::http::header;
use actix_web::web::{Data, get, head, route};
use actix_web::{App, HttpResponse, HttpServer, Route, guard, middleware};
use prometheus::process_collector::ProcessCollector;
use prometheus::{Registry, TextEncoder};
use roadbed::Roadbed;
use tokio::sync::oneshot;

use self::events::Events;
use self::view::View;
use crate::exit::NodeError;
use crate::output;

/// Where it listens when nothing else was asked for.
const DEFAULT_ADDR: &str = "127.0.0.1:9464";
/// Nothing comes from anywhere else, and nobody may frame the page.
const POLICY: &str = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// The running server. It ends when this is dropped.
pub(crate) struct Http {
    view: Arc<View>,
    addr: SocketAddr,
    server: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl Http {
    /// Listens as the flag says and serves what the registry has; `None` when it says `off`.
    ///
    /// Without the flag another port is taken should the default one be in use.
    ///
    /// # Errors
    /// When the address can't be listened on.
    pub(crate) async fn start(listen: Option<&str>, view: View) -> Result<Option<Self>, NodeError> {
        if listen == Some("off") {
            return Ok(None);
        }
        let (listener, addr) = bind(listen)?;
        let refused = |error| NodeError::io(format!("serve on {addr}"), error);
        let collector = ProcessCollector::for_self();
        view.registry.register(Box::new(collector)).map_err(|error| refused(io::Error::other(error)))?;
        let view = Arc::new(view);
        let (started, server) = oneshot::channel();
        let served = Arc::clone(&view);
        let thread = thread::Builder::new()
            .name("roadbed-http".to_owned())
            .spawn(move || serve(listener, served, started))
            .map_err(refused)?;
        let ended = || refused(io::Error::other("its thread has ended"));
        let server = server.await.map_err(|_| ended())?.map_err(refused)?;
        Ok(Some(Self { view, addr, server, thread: Some(thread) }))
    }

    /// From now on this data layer is shown; says where.
    pub(crate) fn show(&self, roadbed: &Roadbed) {
        // There is one for each run.
        let _ = self.view.roadbed.set(roadbed.clone());
        let addr = self.addr;
        output::note(&format!("live page: http://{addr}/  metrics: http://{addr}/metrics"));
        if !addr.ip().is_loopback() {
            output::note("anybody who can reach this address can read what the node does");
        }
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        // It stops without being waited for by this; its thread is.
        drop(self.server.stop(false));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the HTTP endpoints has panicked");
        }
    }
}

fn bind(listen: Option<&str>) -> Result<(TcpListener, SocketAddr), NodeError> {
    let asked = listen.unwrap_or(DEFAULT_ADDR);
    let bound = match TcpListener::bind(asked) {
        Err(error) if listen.is_none() && error.kind() == io::ErrorKind::AddrInUse => {
            output::note(&format!("{asked} is in use: taking another port (--listen ADDR chooses one)"));
            TcpListener::bind("127.0.0.1:0")
        }
        bound => bound,
    };
    let refused = |error: io::Error| match error.kind() {
        io::ErrorKind::InvalidInput => NodeError::Usage(format!(
            "--listen {asked}: give an address with a port, such as {DEFAULT_ADDR}, or off"
        )),
        _ => NodeError::io(format!("listen on {asked} (choose another --listen ADDR, or off)"), error),
    };
    let listener = bound.map_err(refused)?;
    let addr = listener.local_addr().map_err(refused)?;
    Ok((listener, addr))
}

/// The thread's body.
fn serve(listener: TcpListener, view: Arc<View>, started: oneshot::Sender<io::Result<ServerHandle>>) {
    let system = actix_web::rt::System::new();
    let served = system.block_on(async move {
        let events = Events::start(Arc::clone(&view));
        let app = move || {
            App::new()
                .app_data(Data::from(Arc::clone(&view)))
                .app_data(Data::new(events.clone()))
                .wrap(
                    middleware::DefaultHeaders::new()
                        .add((header::CONTENT_SECURITY_POLICY, POLICY))
                        .add((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
                        .add((header::CACHE_CONTROL, "no-store")),
                )
                .route("/", asset("text/html; charset=utf-8", include_bytes!("page/index.html")))
                .route("/page.css", asset("text/css", include_bytes!("page/page.css")))
                .route("/page.js", asset("text/javascript", include_bytes!("page/page.js")))
                .route("/parts.js", asset("text/javascript", include_bytes!("page/parts.js")))
                .route("/charts.js", asset("text/javascript", include_bytes!("page/charts.js")))
                .route("/uPlot.js", asset("text/javascript", include_bytes!("page/uPlot.iife.min.js")))
                .route("/uPlot.css", asset("text/css", include_bytes!("page/uPlot.min.css")))
                .route("/uPlot.LICENSE", asset("text/plain", include_bytes!("page/uPlot.LICENSE")))
                .route("/favicon.svg", asset("image/svg+xml", include_bytes!("page/favicon.svg")))
                .route("/metrics", read().to(metrics))
                .route("/livez", read().to(livez))
                .route("/readyz", read().to(readyz))
                .route("/api/v1/status", read().to(status))
                .route("/events", get().to(events::stream))
                .route("/events", head().to(events::head))
        };
        let server = HttpServer::new(app).workers(1).disable_signals().listen(listener);
        let server = match server {
            Ok(server) => server.run(),
            Err(error) => {
                drop(started.send(Err(error)));
                return Ok(());
            }
        };
        // Without a receiver the node is ending already, and the server with its handle.
        drop(started.send(Ok(server.handle())));
        server.await
    });
    if let Err(error) = served {
        tracing::error!(%error, "the HTTP endpoints have ended");
    }
}

/// GET, and HEAD, to which the server answers the same without the body.
fn read() -> Route {
    route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

fn asset(content_type: &'static str, bytes: &'static [u8]) -> Route {
    read().to(move || async move { HttpResponse::Ok().content_type(content_type).body(bytes) })
}

async fn metrics(view: Data<View>) -> HttpResponse {
    match TextEncoder::new().encode_to_string(&view.registry.gather()) {
        Ok(text) => HttpResponse::Ok().content_type(prometheus::TEXT_FORMAT).body(text),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}

async fn livez() -> HttpResponse {
    HttpResponse::Ok().body("ok\n")
}

async fn readyz(view: Data<View>) -> HttpResponse {
    let reasons = view.reasons();
    let mut answer = if reasons.is_empty() { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    answer.json(serde_json::json!({ "reasons": reasons }))
}

async fn status(view: Data<View>) -> HttpResponse {
    HttpResponse::Ok().json(view.status())
}

/// What there is to show before the data layer has started, and where.
pub(crate) fn view(registry: Registry, place: String) -> View {
    View { registry, roadbed: OnceLock::new(), place, started: std::time::Instant::now() }
}
