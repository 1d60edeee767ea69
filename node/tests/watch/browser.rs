//! A headless Chromium, spoken to over its debugging pipe.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::tools::{succeeds, until};

/// Killed when it is dropped.
pub(crate) struct Browser {
    child: Child,
    send: File,
    receive: BufReader<File>,
    session: Option<String>,
    last_id: u64,
    /// Addresses that were asked for something.
    pub(crate) requests: Vec<String>,
    /// What went to the console as an error.
    pub(crate) errors: Vec<String>,
    _dir: tempfile::TempDir,
}

const FLAGS: [&str; 8] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--remote-debugging-pipe",
];

impl Browser {
    pub(crate) fn open(url: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (commands, answers) = (dir.path().join("commands"), dir.path().join("answers"));
        succeeds(Command::new("mkfifo").arg(&commands).arg(&answers));
        let child = Command::new("bash")
            .args(["-c", r#"exec chromium "${@:3}" 3<"$1" 4>"$2""#, "chromium"])
            .args([&commands, &answers])
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let send = OpenOptions::new().write(true).open(&commands).unwrap();
        let receive = BufReader::new(File::open(&answers).unwrap());
        let (requests, errors) = (Vec::new(), Vec::new());
        let mut browser =
            Self { child, send, receive, session: None, last_id: 0, requests, errors, _dir: dir };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.size(1280, 900);
        browser.call("Page.navigate", json!({ "url": url }));
        browser.wait_for("document.body?.dataset.events >= 2");
        browser
    }

    /// Calls a method and waits for its result; what happens meanwhile is noted.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let mut message = json!({ "id": self.last_id, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        write!(self.send, "{message}\0").unwrap();
        loop {
            let mut answer = Vec::new();
            assert!(self.receive.read_until(0, &mut answer).unwrap() > 0, "Chromium has ended at {method}");
            answer.pop();
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            if answer["id"] == self.last_id {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.note(&answer);
        }
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                self.requests.push(params["request"]["url"].as_str().unwrap().to_owned());
            }
            "Runtime.exceptionThrown" => self.errors.push(params.to_string()),
            "Runtime.consoleAPICalled" if params["type"] == "error" => self.errors.push(params.to_string()),
            "Log.entryAdded" if params["entry"]["level"] == "error" => self.errors.push(params.to_string()),
            _ => {}
        }
    }

    /// The value of an expression on the page.
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let result = self.call("Runtime.evaluate", params);
        assert!(result.get("exceptionDetails").is_none(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    pub(crate) fn wait_for(&mut self, expression: &str) {
        let whole = format!("Boolean({expression})");
        until(expression, || (self.eval(&whole) == true).then_some(()));
    }

    pub(crate) fn size(&mut self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    pub(crate) fn scheme(&mut self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    pub(crate) fn press(&mut self, key: &str) {
        let text = if key == "Enter" { "\r" } else { "" };
        let code = if key == "Enter" { 13 } else { 9 };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let params =
                json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", params);
        }
    }

    /// Keeps a picture of the whole page below `target/screenshots`.
    pub(crate) fn picture(&mut self, name: &str) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        let data =
            self.call("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true }));
        let path = folder.join(format!("{name}.png.base64"));
        std::fs::write(&path, data["data"].as_str().unwrap()).unwrap();
        let picture = File::create(folder.join(format!("{name}.png"))).unwrap();
        let decoded = Command::new("base64").arg("-d").arg(&path).stdout(picture).status().unwrap();
        assert!(decoded.success());
        std::fs::remove_file(path).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
