//! The live page in a real browser.

use serde_json::json;

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
    let _node = Node::listening(&addr);
    browser.eval("document.body.dataset.events = '0'");
    browser.wait_for("document.body.dataset.connected === 'true' && document.body.dataset.events >= 2");
    assert_eq!(browser.eval("document.getElementById('state').textContent"), "running");
}
