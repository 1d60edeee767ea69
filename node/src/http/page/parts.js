// The parts of the page. Elements are made once and then only changed, so that focus and selection stay.

export function text(tag, content, className) {
  const element = document.createElement(tag);
  element.textContent = content;
  if (className) element.className = className;
  return element;
}

export function fill(parent, children) {
  parent.replaceChildren(...children);
}

function set(element, content) {
  if (element.textContent !== content) element.textContent = content;
}

export function put(id, content) {
  set(document.getElementById(id), content);
}

export function pill(element, content, tone) {
  set(element, content);
  const name = `pill ${tone}`;
  if (element.className !== name) element.className = name;
}

export const number = (value) => Math.round(value).toLocaleString("en-US");

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export function age(seconds) {
  if (seconds < 1e-3) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1) return `${(seconds * 1e3).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  return seconds < 100 ? `${seconds.toFixed(1)} s` : duration(seconds);
}

export function duration(seconds) {
  const whole = Math.floor(seconds);
  const [days, hours, minutes] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  if (minutes) return `${minutes} min ${whole % 60} s`;
  return `${whole} s`;
}

// ---- banner ----

// A repair is news for an hour; after that the recovery report tells it.
const REPAIR_TOLD_SECONDS = 3600;

function sentence(reason) {
  // A name stays as it is.
  const begin = /^(it|the) /.test(reason) ? reason[0].toUpperCase() + reason.slice(1) : reason;
  return begin + (/[.!?]$/.test(reason) ? "" : ".");
}

// What an operator has to know: how bad it is, and a sentence.
export function problems({ status, logs, recovery }) {
  const recovering = status.state === "recovering";
  const lines = status.reasons.map((reason) => [recovering ? "warn" : "bad", sentence(reason)]);
  if (recovering) lines.push(["warn", `${Math.round(recovery.progress * 100)} % of what it has to read has been read.`]);
  for (const [wal, log] of Object.entries(logs)) {
    if (log.poisoned) lines.push(["bad", `The ${wal} log is poisoned by a failed write: it is opened again from its durable point.`]);
    if (log.corruptions) lines.push(["bad", `Damage was found in the ${wal} log: stop the node and run roadbed verify.`]);
    if (log.repaired_bytes && status.elapsed_seconds < REPAIR_TOLD_SECONDS) lines.push(["warn", `The last start cut ${bytes(log.repaired_bytes)} of a torn write off the ${wal} log.`]);
  }
  if (status.recovered?.lost) lines.push(["bad", sentence(status.recovered.lost)]);
  return lines;
}

// ---- pipeline ----

const STALLED_AFTER_SECONDS = 5;
const SEGMENTS = [
  { key: "retained", label: "executed, retained", from: "first", to: "next_app_proposal", tone: "--prune", leaves: "prune", left: "pruned" },
  { key: "execute", label: "durable, to execute", from: "next_app_proposal", to: "next_block_to_persist", tone: "--execute", stage: "execute", leaves: "execute", left: "executed" },
  { key: "persist", label: "to make durable", from: "next_block_to_persist", to: "next_block", tone: "--persist", stage: "persist", leaves: "persist", left: "made durable" },
  { key: "missing", label: "blocks to come", from: "next_block", to: "next_qc", tone: "--receive", stage: "receive", leaves: "receive", left: "received" },
];

// A cursor stands where a stretch begins, and the last one where the last ends.
function cursor(name) {
  const mark = document.createElement("div");
  const value = text("dd", "–");
  value.id = `cursor-${name}`;
  mark.append(text("dt", name), value);
  return mark;
}

function stretch(segment, at) {
  const item = document.createElement("li");
  item.dataset.segment = segment.key;
  item.style.setProperty("--tone", `var(${segment.tone})`);
  const run = text("div", "", "run");
  run.append(text("b", "–"), text("span", "", "rate"), text("span", segment.label, "what"));
  const cursors = document.createElement("dl");
  cursors.append(cursor(segment.from));
  if (at === SEGMENTS.length - 1) cursors.append(cursor(segment.to));
  item.append(run, cursors);
  return item;
}

export function showPipeline(status, stalledSeconds, blocksPerSecond) {
  const axis = document.getElementById("axis");
  if (!axis.children.length) fill(axis, SEGMENTS.map(stretch));
  if (status.next_qc == null) return;
  SEGMENTS.forEach((segment, at) => {
    const lag = status[segment.to] - status[segment.from];
    const item = axis.children[at];
    const [count, rate, what] = item.firstChild.children;
    const still = stalledSeconds[segment.stage] ?? 0;
    const stalled = lag > 0 && still > STALLED_AFTER_SECONDS;
    set(count, number(lag));
    set(rate, `${number(blocksPerSecond[segment.leaves] ?? 0)}/s`);
    const buffered = segment.key === "missing" && status.buffered_blocks ? `, ${number(status.buffered_blocks)} above a gap` : "";
    set(what, stalled ? `stalled for ${age(still)}` : segment.label + buffered);
    item.style.flexGrow = String(1 + Math.sqrt(lag));
    item.className = [lag ? "" : "idle", segment.key === "missing" && lag ? "gap" : "", stalled ? "stalled" : ""].join(" ").trim();
    item.firstChild.title = `${segment.from} to ${segment.to}: ${number(lag)} blocks, ${segment.label}; ${rate.textContent} are ${segment.left}`;
    put(`cursor-${segment.from}`, number(status[segment.from]));
  });
  put("cursor-next_qc", number(status.next_qc));
}

// ---- supervision ----

const NAMES = { state: "State", qc_wal: "QC WAL", block_wal: "Block WAL", verifier: "Verifier", pruner: "Pruner" };
const TONES = { up: "good", starting: "warn", backoff: "warn", disk_full: "bad", hung: "bad", stopped: "bad", none: "" };
// Sooner than the supervisor, who acts on it.
const STUCK_AFTER_SECONDS = 3;
const cards = {};
let chosen = null;
let newest = null;
let before = null;

function card(actor) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "actor";
  button.dataset.actor = actor;
  button.setAttribute("aria-expanded", "false");
  button.setAttribute("aria-controls", "messages");
  const parts = { button, pill: text("span", "–", "pill"), life: text("span", ""), restarts: text("span", ""), mailbox: text("span", ""), running: text("span", ""), error: text("span", "", "error") };
  const top = text("span", "", "top");
  top.append(text("h3", NAMES[actor]), parts.pill);
  const lives = text("span", "", "small");
  lives.append(parts.life, parts.restarts);
  const queue = text("span", "", "small");
  queue.append(parts.mailbox, parts.running);
  const meter = text("span", "", "meter");
  meter.style.display = "block";
  parts.bar = document.createElement("i");
  meter.append(parts.bar);
  button.append(top, lives, meter, queue, parts.error);
  button.addEventListener("click", () => {
    chosen = chosen === actor ? null : actor;
    for (const [name, other] of Object.entries(cards)) other.button.setAttribute("aria-expanded", String(name === chosen));
    showMessages();
  });
  cards[actor] = parts;
  return button;
}

// The share of the time since the last look that an actor's handlers ran, all its threads together: with two, up to 200 %.
function busy(actor, t) {
  const earlier = before?.actors[actor].busy_seconds;
  const passed = t - (before?.t ?? t);
  if (!(passed > 0) || newest[actor].busy_seconds < earlier) return "";
  return `${Math.round(((newest[actor].busy_seconds - earlier) / passed) * 100)} % busy`;
}

export function showActors(status, actors, t) {
  newest = actors;
  const tree = document.getElementById("tree");
  if (!tree.children.length) {
    const made = Object.keys(NAMES).map(card);
    const rail = text("div", "", "rail");
    fill(tree, [made[0], rail, ...made.slice(1)]);
  }
  for (const [actor, shown] of Object.entries(cards)) {
    const seen = actors[actor];
    const worker = status.workers.find((found) => found.actor === actor);
    let state = worker?.state ?? (actor === "state" && seen.up ? "up" : "none");
    const stuck = status.reasons.some((reason) => reason.startsWith(`${actor} `)) || seen.current_seconds > STUCK_AFTER_SECONDS;
    if (state === "up" && stuck) state = "hung";
    pill(shown.pill, state === "none" ? "not there" : state.replace("_", " "), TONES[state] ?? "bad");
    shown.button.classList.toggle("is-bad", TONES[state] === "bad");
    set(shown.life, worker ? `life ${worker.generation}` : "the root");
    const restarts = worker?.restarts ?? 0;
    set(shown.restarts, worker ? `${restarts} restart${restarts === 1 ? "" : "s"}` : "");
    shown.button.dataset.restarts = String(restarts);
    shown.button.dataset.state = state;
    const full = seen.capacity ? seen.mailbox / seen.capacity : 0;
    shown.bar.style.width = `${Math.min(100, full * 100)}%`;
    shown.bar.className = full > 0.9 ? "high" : "";
    set(shown.mailbox, `${number(seen.mailbox)} of ${number(seen.capacity)} messages`);
    const backoff = seen.backoff_seconds > 0 ? `next life in ${age(seen.backoff_seconds)}` : "";
    set(shown.running, backoff || (seen.current_seconds > 0.1 ? `at work for ${age(seen.current_seconds)}` : busy(actor, t)));
    set(shown.error, worker?.last_error ? `last error: ${worker.last_error}` : "no error so far");
    shown.error.title = worker?.last_error ?? "";
  }
  before = { t, actors };
  showMessages();
}

function showMessages() {
  const box = document.getElementById("messages");
  box.hidden = !chosen;
  if (!chosen || !newest) return;
  const table = document.createElement("table");
  table.append(text("caption", `Messages of ${NAMES[chosen]}`));
  const head = table.createTHead().insertRow();
  for (const name of ["message", "done", "failed", "abandoned", "mean time", "p99 time"]) {
    const cell = text("th", name);
    cell.scope = "col";
    head.append(cell);
  }
  const body = table.createTBody();
  for (const row of newest[chosen].messages) {
    const cells = body.insertRow();
    const times = [row.mean_seconds, row.p99_seconds].map((seconds) => (seconds == null ? "–" : age(seconds)));
    for (const value of [row.msg, number(row.ok), number(row.error), number(row.abandoned), ...times]) cells.append(text("td", value));
  }
  fill(box, [table]);
}

// ---- logs, recovery, events ----

function rows(list, pairs) {
  fill(list, pairs.flatMap(([name, value, alarm]) => [text("dt", name), text("dd", value, alarm ? "alarm" : "")]));
}

export function showLogs(logs) {
  const box = document.getElementById("logs");
  if (!box.children.length) {
    fill(box, ["qcs", "blocks"].map((wal) => {
      const part = document.createElement("div");
      const list = text("dl", "", "list");
      list.id = `log-${wal}`;
      part.append(text("h3", wal === "qcs" ? "QCs" : "Blocks"), list);
      return part;
    }));
  }
  for (const [wal, log] of Object.entries(logs)) {
    rows(document.getElementById(`log-${wal}`), [
      ["range", `${number(log.first)} – ${number(log.next)}`],
      ["segments", number(log.segments)],
      ["size", bytes(log.bytes)],
      ["written", bytes(log.written_bytes)],
      ["not durable yet", `${number(log.pending)} record${log.pending === 1 ? "" : "s"}`],
      ["truncations", number(log.truncations)],
      ["failed operations", number(log.errors), log.errors > 0],
      ["damage found", number(log.corruptions), log.corruptions > 0],
    ]);
  }
}

export function showRecovery(status, recovery) {
  const list = document.getElementById("recovery");
  const found = status.recovered;
  if (!found) {
    rows(list, [["progress", `${Math.round(recovery.progress * 100)} %`]]);
    return;
  }
  rows(list, [
    ["reconcile case", found.reconcile_case],
    ["blocks", `${number(found.first)} – ${number(found.next_block)}`],
    ["QCs up to", number(found.next_qc)],
    ["torn bytes cut off", number(found.torn_bytes)],
    ["lost", found.lost ?? "nothing", Boolean(found.lost)],
    ["records verified", number(recovery.qcs + recovery.blocks)],
    ["judge, load, open", [recovery.judge_seconds, recovery.load_seconds, recovery.open_seconds].map(age).join(", ")],
    ["took", age(found.seconds)],
  ]);
}

export function showLog(entries) {
  const tone = { good: "--good", warn: "--warn", bad: "--bad" };
  const items = entries.toReversed().map((entry) => {
    const item = document.createElement("li");
    item.style.setProperty("--tone", `var(${tone[entry.level]})`);
    const when = text("time", new Date(entry.t * 1000).toLocaleTimeString("en-GB"));
    when.dateTime = new Date(entry.t * 1000).toISOString();
    item.append(when, text("span", entry.what, "what"), text("span", entry.detail, "detail"));
    return item;
  });
  fill(document.getElementById("log"), items);
}
