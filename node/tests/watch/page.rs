//! The live page in a real browser.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::node::Node;
use crate::tools::has;

/// Texts whose contrast with what is behind them is below what people can read with ease.
const TOO_FAINT: &str = r##"(() => {
  const parts = (colour) => { const found = colour.match(/[\d.]+/g).map(Number); return found.length < 4 ? [...found, 1] : found; };
  const light = ([r, g, b]) => { const f = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }; return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const ground = (element) => { for (; element; element = element.parentElement) { const found = parts(getComputedStyle(element).backgroundColor); if (found[3] === 1) return found; } return [255, 255, 255, 1]; };
  const faint = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility()) continue;
    const [a, b] = [light(parts(getComputedStyle(element).color)), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faint.push(`${element.textContent.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return faint;
})()"##;

fn opened() -> Option<(Node, Browser)> {
    if !has("chromium") {
        return None;
    }
    let node = Node::start();
    let browser = Browser::open(&format!("http://{}/", node.addr));
    Some((node, browser))
}

#[test]
fn page_is_whole_readable_and_asks_nobody_else() {
    let Some((node, mut browser)) = opened() else { return };
    let actors = browser.eval("[...document.querySelectorAll('.actor')].map((card) => card.dataset.actor)");
    assert_eq!(actors, json!(["state", "qc_wal", "block_wal", "verifier", "pruner"]));
    assert_eq!(browser.eval("document.querySelectorAll('.chart canvas').length"), 6);
    assert_eq!(browser.eval("document.getElementById('state').textContent"), "running");
    assert_eq!(browser.eval("document.querySelectorAll('#axis li').length"), 4);
    assert_eq!(browser.eval("document.getElementById('banner').hidden"), true);
    browser.wait_for("Number(document.getElementById('cursor-next_block').textContent.replace(',', '')) > 0");

    assert_eq!(browser.eval(TOO_FAINT), json!([]));
    browser.picture("desktop");
    browser.scheme("dark");
    assert_eq!(browser.eval(TOO_FAINT), json!([]));
    browser.picture("dark");
    browser.scheme("light");
    browser.size(390, 844);
    assert_eq!(browser.eval("document.documentElement.scrollWidth <= 390"), true);
    browser.picture("phone");

    let base = format!("http://{}/", node.addr);
    let elsewhere: Vec<&String> = browser.requests.iter().filter(|url| !url.starts_with(&base)).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    assert!(browser.errors.is_empty(), "{:?}", browser.errors);
}

#[test]
fn pipeline_is_one_axis_with_lengths_gaps_and_stalls() {
    let Some((node, mut browser)) = opened() else { return };
    // What is drawn here stays: no event overwrites it.
    drop(node);
    browser.wait_for("document.body.dataset.connected === 'false'");
    let drawn = browser.eval(
        r##"(async () => {
          const parts = await import("/parts.js");
          const status = { first: 100, next_app_proposal: 1000, next_block_to_persist: 1000, next_block: 1025, next_qc: 1034, buffered_blocks: 3 };
          parts.showPipeline(status, { persist: 7.5, receive: 1 }, { prune: 0, execute: 1500.4, persist: 0, receive: 12 });
          await new Promise((done) => setTimeout(done, 1000));
          return [...document.querySelectorAll("#axis li")].map((item) => ({
            segment: item.dataset.segment, classes: item.className, grow: Number(item.style.flexGrow), width: Math.round(item.getBoundingClientRect().width),
            texts: [...item.firstChild.children].map((part) => part.textContent), hatched: getComputedStyle(item.firstChild).backgroundImage.includes("gradient"),
            cursors: [...item.querySelectorAll("dl div")].map((mark) => mark.textContent),
          }));
        })()"##,
    );
    let text = |at: usize, name: &str| drawn[at][name].clone();
    assert_eq!(text(0, "texts"), json!(["900", "0/s", "executed, retained"]));
    assert_eq!(text(1, "texts"), json!(["0", "1,500/s", "durable, to execute"]));
    assert_eq!(text(2, "texts"), json!(["25", "0/s", "stalled for 7.5 s"]));
    assert_eq!(text(3, "texts"), json!(["9", "12/s", "blocks to come, 3 above a gap"]));
    let classes: Vec<Value> = (0..4).map(|at| text(at, "classes")).collect();
    assert_eq!(classes, [json!(""), json!("idle"), json!("stalled"), json!("gap")]);
    let hatched: Vec<Value> = (0..4).map(|at| text(at, "hatched")).collect();
    assert_eq!(hatched, [json!(false), json!(false), json!(false), json!(true)]);
    let grow: Vec<Value> = (0..4).map(|at| text(at, "grow")).collect();
    assert_eq!(grow, [json!(31), json!(1), json!(6), json!(4)], "as long as the root of the lag");
    assert_eq!(text(0, "cursors"), json!(["first100"]));
    assert_eq!(text(3, "cursors"), json!(["next_block1,025", "next_qc1,034"]));
}

#[test]
fn banner_tells_every_problem() {
    let Some((_node, mut browser)) = opened() else { return };
    let told = browser.eval(
        r##"import("/parts.js").then(({ problems }) => {
          const fine = { status: { state: "running", reasons: [], elapsed_seconds: 60 }, logs: { qcs: {}, blocks: {} }, recovery: { progress: 1 } };
          const told = (status, logs, recovery) => problems({ status: { ...fine.status, ...status }, logs: { ...fine.logs, ...logs }, recovery: { ...fine.recovery, ...recovery } });
          return [
            told({}, {}, {}),
            told({}, { qcs: { poisoned: 1 } }, {}),
            told({}, { blocks: { repaired_bytes: 4096 } }, {}),
            told({ elapsed_seconds: 4000 }, { blocks: { repaired_bytes: 4096 } }, {}),
            told({}, { blocks: { corruptions: 1 } }, {}),
            told({ state: "disk_full", reasons: ["block_wal is disk_full: no space"] }, {}, {}),
            told({ state: "stopped", reasons: ["it has stopped: block_wal failed for good: injected panic"] }, {}, {}),
            told({ recovered: { lost: "the block log is gone" } }, {}, {}),
            told({ state: "recovering", reasons: ["it is still recovering"] }, {}, { progress: 0.434 }),
          ];
        })"##,
    );
    let expected = json!([
        [],
        [["bad", "The qcs log is poisoned by a failed write: it is opened again from its durable point."]],
        [["warn", "The last start cut 4.1 kB of a torn write off the blocks log."]],
        [],
        [["bad", "Damage was found in the blocks log: stop the node and run roadbed verify."]],
        [["bad", "block_wal is disk_full: no space."]],
        [["bad", "It has stopped: block_wal failed for good: injected panic."]],
        [["bad", "The block log is gone."]],
        [["warn", "It is still recovering."], ["warn", "43 % of what it has to read has been read."]],
    ]);
    assert_eq!(told, expected);
}

#[test]
fn charts_tell_the_values_of_the_moment_that_is_pointed_at() {
    let Some((_node, mut browser)) = opened() else { return };
    browser.wait_for("document.body.dataset.events >= 3");
    assert_eq!(browser.eval("document.getElementById('chart-time').textContent"), "");
    let place = browser.eval(
        "(() => { const box = document.querySelector('#chart-blocks .u-over'); box.scrollIntoView(); \
         const { right, top } = box.getBoundingClientRect(); return { x: right - 3, y: top + 40 }; })()",
    );
    let moved = json!({ "type": "mouseMoved", "x": place["x"], "y": place["y"] });
    browser.call("Input.dispatchMouseEvent", moved);
    browser.wait_for("/^at \\d\\d:/.test(document.getElementById('chart-time').textContent)");
    browser.call("Input.dispatchMouseEvent", json!({ "type": "mouseMoved", "x": 2, "y": 2 }));
    browser.wait_for("document.getElementById('chart-time').textContent === ''");
    assert!(browser.errors.is_empty(), "{:?}", browser.errors);
}

#[test]
fn page_can_be_used_by_keyboard() {
    let Some((_node, mut browser)) = opened() else { return };
    let focused = "document.activeElement?.dataset?.actor";
    for _ in 0..12 {
        if browser.eval(focused) == "block_wal" {
            break;
        }
        browser.press("Tab");
    }
    assert_eq!(browser.eval(focused), "block_wal");
    assert_eq!(browser.eval("getComputedStyle(document.activeElement).outlineStyle"), "solid");
    browser.press("Enter");
    browser.wait_for("document.querySelector('#messages table')?.textContent.includes('append')");
    let row = browser.eval(
        "[...document.querySelectorAll('#messages tr')].map((row) => [...row.cells].map((cell) => cell.textContent)) \
         .find(([msg]) => msg === 'append')",
    );
    let [_, done, failed, abandoned, mean, p99] = &row.as_array().unwrap()[..] else { panic!("{row}") };
    assert!(done.as_str().unwrap().replace(',', "").parse::<u64>().unwrap() > 0, "{row}");
    assert_eq!((failed, abandoned), (&json!("0"), &json!("0")));
    for time in [mean, p99] {
        assert!(time.as_str().unwrap().ends_with('s'), "{row}");
    }
    assert_eq!(browser.eval("document.activeElement.getAttribute('aria-expanded')"), "true");
    browser.press("Enter");
    browser.wait_for("document.getElementById('messages').hidden");
}

#[test]
fn page_shows_restarts_slow_disks_and_what_is_stuck() {
    let Some((mut node, mut browser)) = opened() else { return };
    node.rehearse("panic block_wal");
    browser.wait_for("document.querySelector('[data-actor=block_wal]').dataset.restarts === '1'");
    browser.wait_for("document.getElementById('log').textContent.includes('block_wal failed')");

    let p50 = "Number(document.getElementById('chart-fsync-blocks').dataset.p50)";
    browser.wait_for(&format!("{p50} > 0 && {p50} < 0.05"));
    node.rehearse("slow 80 200");
    browser.wait_for(&format!("{p50} > 0.05"));

    node.rehearse("hang verifier");
    let card = "document.querySelector('[data-actor=verifier]')";
    browser.wait_for(&format!("{card}.dataset.state === 'hung' && {card}.classList.contains('is-bad')"));
    assert_eq!(node.get("/livez").0, 200);
    assert_eq!(browser.eval(TOO_FAINT), json!([]));
    browser.picture("degraded");
    node.rehearse("resume");
    assert!(browser.errors.is_empty(), "{:?}", browser.errors);
}

#[test]
fn events_go_on_after_the_nodes_restart() {
    let Some((node, mut browser)) = opened() else { return };
    let addr = node.addr.clone();
    drop(node);
    browser.wait_for("document.body.dataset.connected === 'false'");
    // It says that what stands there is old.
    browser.wait_for("document.body.classList.contains('silent')");
    assert_eq!(browser.eval("document.getElementById('state').textContent"), "no connection");
    assert_eq!(browser.eval("document.getElementById('banner').hidden"), false);
    assert_eq!(browser.eval(TOO_FAINT), json!([]));
    let _node = Node::listening(&addr);
    browser.eval("document.body.dataset.events = '0'");
    browser.wait_for("document.body.dataset.connected === 'true' && document.body.dataset.events >= 2");
    assert_eq!(browser.eval("document.getElementById('state').textContent"), "running");
    assert_eq!(browser.eval("document.body.classList.contains('silent')"), false);
}
