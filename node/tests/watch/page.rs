//! The live page in a real browser.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::node::Node;
use crate::tools::{has, until};

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
    // The charts follow when they are told of their new size.
    browser.wait_for("document.documentElement.scrollWidth <= 390");
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

/// What a card says.
fn card(actor: &str) -> String {
    format!("document.querySelector('[data-actor={actor}]')")
}

#[test]
fn page_shows_a_restart_with_its_cause() {
    let Some((mut node, mut browser)) = opened() else { return };
    let restarts = "Object.fromEntries([...document.querySelectorAll('.actor')].filter((card) => card.dataset.actor !== 'state') \
        .map((card) => [card.dataset.actor, Number(card.dataset.restarts)]))";
    assert_eq!(browser.eval(restarts)["block_wal"], 0);
    node.rehearse("panic block_wal");
    // All cards say what the status says, and that is one restart of this actor.
    until("the restart on the page", || {
        let told = node.json("/api/v1/status")["restarts"].clone();
        (told["block_wal"] == 1 && browser.eval(restarts) == told).then_some(())
    });
    let said = browser.eval(&format!("{}.innerText", card("block_wal")));
    for part in ["life 2", "1 restart", "last error: injected panic in block_wal"] {
        assert!(said.as_str().unwrap().contains(part), "{part:?} in {said}");
    }
    let events = "[...document.querySelectorAll('#log li')].map((row) => [...row.children].slice(1).map((part) => part.textContent))";
    let events = browser.eval(events);
    let of_restart = json!(["block_wal failed, life 2 follows", "injected panic in block_wal"]);
    assert!(events.as_array().unwrap().contains(&of_restart), "{events}");
    assert!(browser.errors.is_empty(), "{:?}", browser.errors);
}

#[test]
fn fsync_charts_follow_a_disk_that_becomes_slow() {
    let Some((mut node, mut browser)) = opened() else { return };
    // More than half of what is synced in a second is slower than any disk that works.
    let all = |how: &str| {
        let one =
            |wal: &str| format!("(Number(document.getElementById('chart-fsync-{wal}').dataset.p50) {how})");
        format!("{} && {}", one("qcs"), one("blocks"))
    };
    browser.wait_for(&all("> 0"));
    browser.wait_for(&all("< 0.5"));
    node.rehearse("slow 700 40");
    browser.wait_for(&all("> 0.5"));
    // It is the value of the newest moment that stands beside the title, too.
    let shown = "document.querySelector('#chart-fsync-blocks .keys b').textContent";
    browser.wait_for(&format!("/^([5-9]\\d\\d ms|1\\.\\d s)$/.test({shown})"));
    // And it falls when the disk is as before.
    node.rehearse("struck");
    browser.wait_for(&all("< 0.5"));
    assert!(browser.errors.is_empty(), "{:?}", browser.errors);
}

#[test]
fn chart_has_its_line_where_the_value_is() {
    let Some((node, mut browser)) = opened() else { return };
    // What is drawn here stays: no event overwrites it.
    drop(node);
    browser.wait_for("document.body.dataset.connected === 'false'");
    let drawn = browser.eval(
        r##"(async () => {
          const { Charts } = await import("/charts.js");
          const parent = document.getElementById("charts");
          parent.replaceChildren();
          const charts = new Charts(parent);
          const hex = getComputedStyle(document.documentElement).getPropertyValue("--blocks").trim();
          const tone = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
          // The rows of the picture, a third of the way from the left, in which the line's colour is found.
          const rows = (p50) => {
            const stages = { receive: 1, verify: 1, persist: 1, execute: 1, prune: 1 };
            const fsync = { p50, p99: 9, batch: 4 };
            const point = (t) => ({ t, blocks: stages, bytes: stages, latency: stages, fsync: { qcs: fsync, blocks: fsync },
              mailbox: { state: 0, qc_wal: 0, block_wal: 0, verifier: 0, pruner: 0 } });
            charts.replace(Array.from({ length: 120 }, (_, at) => point(1000 + at)));
            const { plot } = charts.shown.find(({ chart }) => chart.id === "fsync-blocks");
            const { left, width, top, height } = plot.bbox;
            return new Promise((done) => requestAnimationFrame(() => {
              const column = plot.ctx.getImageData(Math.round(left + width / 3), 0, 1, Math.round(top + height)).data;
              const found = [];
              for (let row = Math.round(top); row < top + height; row += 1)
                if (tone.every((part, at) => Math.abs(part - column[row * 4 + at]) < 40)) found.push(row);
              done({ found, expected: plot.valToPos(p50, "y", true) });
            }));
          };
          return [await rows(0.002), await rows(0.8)];
        })()"##,
    );
    for told in drawn.as_array().unwrap() {
        let expected = told["expected"].as_f64().unwrap();
        let found: Vec<f64> =
            told["found"].as_array().unwrap().iter().map(|row| row.as_f64().unwrap()).collect();
        assert!(!found.is_empty() && found.iter().all(|row| (row - expected).abs() < 3.0), "{drawn}");
    }
    let height = |at: usize| drawn[at]["expected"].as_f64().unwrap();
    assert!(height(1) + 30.0 < height(0), "{drawn}");
}

#[test]
fn stuck_verifier_is_red_until_it_is_replaced_and_the_page_answers() {
    let Some((mut node, mut browser)) = opened() else { return };
    let verifier = card("verifier");
    // Everything that the card ever says from now on, so that nothing is missed between two looks.
    browser.eval(&format!(
        "window.seen = []; window.watch = new MutationObserver(() => {{ const card = {verifier}; \
         window.seen.push([card.dataset.state, Number(card.dataset.restarts), card.classList.contains('is-bad'), card.innerText]); }}); \
         window.watch.observe({verifier}, {{ attributes: true, subtree: true, childList: true, characterData: true }}); 0"
    ));
    // It hangs before anything of this is looked at.
    node.rehearse("hang verifier");
    node.rehearse("struck");
    browser.eval("window.seen.length = 0");
    // Red, at the one operation, before it is replaced.
    let red = "window.seen.some(([state, restarts, bad, text]) => state === 'hung' && restarts === 0 && bad && /at work for [3-9]/.test(text))";
    until(red, || {
        for path in ["/", "/livez", "/metrics"] {
            assert_eq!(node.get(path).0, 200, "{path}");
        }
        (browser.eval(red) == true).then_some(())
    });
    browser.wait_for(&format!("{verifier}.dataset.restarts === '1' && {verifier}.dataset.state === 'up'"));
    let hangs = "roadbed_actor_restarts_total{actor=\"verifier\",cause=\"hung\"} 1";
    assert!(node.get("/metrics").1.contains(hangs));
    node.rehearse("resume");
    assert!(browser.errors.is_empty(), "{:?}", browser.errors);
}

#[test]
fn stuck_log_is_told_in_the_banner_until_it_goes_on() {
    let Some((mut node, mut browser)) = opened() else { return };
    node.rehearse("hang block_wal");
    let log = card("block_wal");
    browser.wait_for(&format!("{log}.dataset.state === 'hung' && {log}.classList.contains('is-bad')"));
    browser.wait_for("(({ hidden, innerText }) => !hidden && innerText.includes('block_wal '))(document.getElementById('banner'))");
    browser.wait_for("document.getElementById('state').textContent === 'degraded'");
    assert_eq!(browser.eval("document.title.startsWith('degraded')"), true);
    // Nothing becomes durable meanwhile.
    browser.wait_for("document.querySelector('#axis .stalled')?.dataset.segment === 'persist'");
    assert_eq!(browser.eval(TOO_FAINT), json!([]));
    browser.picture("degraded");
    node.rehearse("resume");
    browser.wait_for("document.getElementById('banner').hidden && document.getElementById('state').textContent === 'running'");
    browser.wait_for(&format!("{log}.dataset.state === 'up' && !document.querySelector('#axis .stalled')"));
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
