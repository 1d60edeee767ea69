// The live page: one connection, one event a second, everything on the page follows from it.

import { Charts } from "/charts.js";
import { age, bytes, duration, fill, pill, problems, put, showActors, showLog, showLogs, showPipeline, showRecovery, text } from "/parts.js";

const charts = new Charts(document.getElementById("charts"));
const SILENT_AFTER_SECONDS = 4;
let entries = [];
let heard = 0;
let said = [];

const tone = { running: "good", recovering: "warn", stopping: "warn", degraded: "bad", disk_full: "bad", stopped: "bad" };

function show(now) {
  heard = Date.now();
  document.body.classList.remove("silent");
  const status = now.status;
  const reasons = status.reasons;
  // What can be seen from outside goes before what State said last.
  const shown = reasons.length && status.state === "running" ? "degraded" : status.state;
  pill(document.getElementById("state"), shown.replace("_", " "), tone[shown] ?? "bad");
  put("version", status.version);
  put("uptime", duration(status.elapsed_seconds));
  put("place", status.place);
  put("free", status.free_bytes == null ? "–" : bytes(status.free_bytes));
  put("memory", bytes(status.memory_bytes ?? 0));
  document.title = shown === "running" ? "Roadbed" : `${shown.replace("_", " ")} · Roadbed`;
  said = problems(now);
  say(said);
  showPipeline(status, now.stalled_seconds, now.point.blocks);
  showActors(status, now.actors, now.point.t);
  charts.add(now.point);
  showLogs(now.logs);
  showRecovery(status, now.recovery);
  if (now.entries.length) {
    entries = entries.concat(now.entries).slice(-200);
    showLog(entries);
  }
  document.body.dataset.events = String(Number(document.body.dataset.events ?? 0) + 1);
}

function say(lines) {
  const box = document.getElementById("banner");
  box.hidden = lines.length === 0;
  box.className = lines.some(([level]) => level === "bad") ? "bad" : "warn";
  fill(box, lines.map(([, line]) => text("p", line)));
}

function connect() {
  const source = new EventSource("/events");
  source.addEventListener("history", (event) => {
    const history = JSON.parse(event.data);
    charts.replace(history.points);
    entries = history.entries;
    showLog(entries);
    document.body.dataset.connected = "true";
  });
  source.addEventListener("now", (event) => show(JSON.parse(event.data)));
  source.addEventListener("error", () => {
    document.body.dataset.connected = "false";
    // A connection that was refused is not tried again by the browser.
    if (source.readyState === EventSource.CLOSED) {
      source.close();
      setTimeout(connect, 1000);
    }
  });
}

setInterval(() => {
  const silent = (Date.now() - heard) / 1000;
  if (heard && silent > SILENT_AFTER_SECONDS) {
    document.body.classList.add("silent");
    document.title = "no connection · Roadbed";
    pill(document.getElementById("state"), "no connection", "bad");
    say([["bad", `Nothing heard from the node for ${age(silent)}: what stands here is what it said last. This page connects again by itself.`], ...said]);
  }
}, 1000);

connect();
