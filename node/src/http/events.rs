//! Server-sent events: the history when somebody connects, then one event a second.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::{Bytes, Data};
use futures_util::stream;
use roadbed_messages::api::WalKind;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::families::{Families, Since, label};
use super::history::History;
use super::view::{ACTORS, View, merged};

const EVERY: Duration = Duration::from_secs(1);
const EVENT_STREAM: &str = "text/event-stream";
/// The name of the events' format.
const SCHEMA: &str = "roadbed.event/1";

/// The newest event, and what is told to whoever connects. Clones share them.
#[derive(Clone)]
pub(super) struct Events {
    history: Arc<Mutex<History>>,
    newest: watch::Receiver<Arc<str>>,
}

impl Events {
    /// Takes a sample every second as long as this thread's runtime runs.
    pub(super) fn start(view: Arc<View>) -> Self {
        let mut history = History::default();
        let first = sample(&view, &mut history).to_string();
        let history = Arc::new(Mutex::new(history));
        let (publish, newest) = watch::channel(Arc::from(first));
        let sampled = Arc::clone(&history);
        actix_web::rt::spawn(async move {
            let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + EVERY, EVERY);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let event = sample(&view, &mut sampled.lock().unwrap_or_else(PoisonError::into_inner));
                publish.send_replace(event.to_string().into());
            }
        });
        Self { history, newest }
    }
}

/// `/events`.
pub(super) async fn stream(events: Data<Events>) -> HttpResponse {
    let whole = events.history.lock().unwrap_or_else(PoisonError::into_inner).whole();
    let mut newest = events.newest.clone();
    // The newest event repeats the last point of the history, and brings everything else.
    newest.mark_changed();
    let history = frame("retry: 1000\nevent: history", &whole.to_string());
    let first = stream::iter([Ok::<_, Infallible>(history)]);
    let rest = stream::unfold(newest, |mut newest| async move {
        newest.changed().await.ok()?;
        let event = Arc::clone(&newest.borrow_and_update());
        Some((Ok(frame("event: now", &event)), newest))
    });
    HttpResponse::Ok()
        .content_type(EVENT_STREAM)
        .streaming(futures_util::StreamExt::chain(first, Box::pin(rest)))
}

/// What a HEAD is answered: the stream would never end.
pub(super) async fn head() -> HttpResponse {
    HttpResponse::Ok().content_type(EVENT_STREAM).finish()
}

fn frame(head: &str, data: &str) -> Bytes {
    Bytes::from(format!("{head}\ndata: {data}\n\n"))
}

fn sample(view: &View, history: &mut History) -> Value {
    let families = Families::gather(&view.registry);
    let snapshot = view.snapshot();
    let (point, entries) = history.sample(&families, snapshot.as_ref());
    json!({
        "schema": SCHEMA,
        "status": view.status(),
        "point": point,
        "entries": entries,
        "actors": actors(&families),
        "logs": logs(&families),
        "stalled_seconds": history.stalled(snapshot.as_ref()),
        "recovery": merged(json!({ "progress": families.number("recovery_progress_ratio", &[]) }), phases(&families)),
    })
}

fn actors(families: &Families) -> BTreeMap<&'static str, Value> {
    let of = |actor: &'static str| {
        let number = |name: &str| families.number(name, &[("actor", actor)]);
        json!({
            "up": number("actor_up"),
            "started": number("actor_start_timestamp_seconds"),
            "current_seconds": number("actor_current_handler_seconds"),
            "backoff_seconds": number("actor_backoff_seconds"),
            "oldest_seconds": number("actor_oldest_message_age_seconds"),
            "busy_seconds": number("actor_busy_seconds_total"),
            "mailbox": number("actor_mailbox_messages"),
            "capacity": number("actor_mailbox_capacity_messages"),
            "messages": messages(families, actor),
        })
    };
    ACTORS.iter().map(|actor| (actor.name(), of(actor.name()))).collect()
}

/// What an actor has handled, by message; messages that never came are left out.
fn messages(families: &Families, actor: &str) -> Vec<Value> {
    let of_actor = [("actor", actor)];
    let handlers = families.series("actor_handler_duration_seconds", &of_actor);
    let row = |handler: &prometheus::proto::Metric| {
        let msg = label(handler, "msg")?;
        let count = |result| {
            families.number("actor_messages_total", &[("actor", actor), ("msg", msg), ("result", result)])
        };
        let (ok, error, abandoned) = (count("ok"), count("error"), count("abandoned"));
        let histogram = handler.get_histogram();
        let handled = histogram.get_sample_count();
        let times = Since::new(histogram, None);
        let (mean, p99) = (times.mean(), times.quantile(0.99));
        let seen = ok + error + abandoned > 0.0 || handled > 0;
        let row = json!({
            "msg": msg, "ok": ok, "error": error, "abandoned": abandoned, "mean_seconds": mean, "p99_seconds": p99,
        });
        seen.then_some(row)
    };
    handlers.filter_map(row).collect()
}

fn logs(families: &Families) -> BTreeMap<&'static str, Value> {
    let of = |wal: &'static str| {
        let number = |name: &str| families.number(name, &[("wal", wal)]);
        let all = |name: &str| {
            families.series(name, &[("wal", wal)]).map(|series| series.get_counter().get_value()).sum::<f64>()
        };
        json!({
            "first": families.number("wal_index", &[("wal", wal), ("edge", "first")]),
            "next": families.number("wal_index", &[("wal", wal), ("edge", "next")]),
            "segments": number("wal_segments"),
            "bytes": number("wal_size_bytes"),
            "pending": number("wal_pending_records"),
            "poisoned": number("wal_poisoned"),
            "written_bytes": all("wal_written_bytes_total"),
            "records": all("wal_records_total"),
            "truncations": all("wal_truncations_total"),
            "repaired_bytes": all("wal_repaired_bytes_total"),
            "corruptions": all("wal_corruptions_total"),
            "errors": all("wal_errors_total"),
        })
    };
    WalKind::BOTH.iter().map(|wal| (wal.name(), of(wal.name()))).collect()
}

fn phases(families: &Families) -> Value {
    let number = |phase| families.number("recovery_duration_seconds", &[("phase", phase)]);
    let records = |wal: WalKind| families.number("recovery_records", &[("wal", wal.name())]);
    json!({
        "judge_seconds": number("judge"),
        "load_seconds": number("load"),
        "open_seconds": number("open"),
        "qcs": records(WalKind::Qcs),
        "blocks": records(WalKind::Blocks),
    })
}
