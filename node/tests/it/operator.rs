//! The tools around a node: settings, status, bench, crash-test, completions.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use crate::support::*;

fn settings(report: &serde_json::Value) -> Vec<(String, String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("").to_owned();
    let all = at(report, "settings").as_array().unwrap();
    all.iter().map(|one| (text(&one["key"]), text(&one["value"]), text(&one["source"]))).collect()
}

#[test]
fn flags_go_before_the_environment_before_the_file_before_defaults() {
    let place = Place::new();
    let file = place.path("node.toml");
    fs::write(&file, "seed = 9\nrate = 5\ntxs = 3\nretain_age = \"1h\"\nin_memory = true\n").unwrap();
    let mut command = roadbed();
    command.args(["config", "show", "--json", "--seed", "3", "--config"]).arg(&file).env("ROADBED_RATE", "6");
    let shown = settings(&summary(&mut command, 0));
    for expected in [
        ("seed", "3", "flag"),
        ("rate", "6", "environment"),
        ("txs", "3", "file"),
        ("retain_age", "1h", "file"),
        ("in_memory", "true", "file"),
        ("committee", "4", "default"),
        ("blocks", "", "default"),
    ] {
        assert!(
            shown.iter().any(|(key, value, source)| (&**key, &**value, &**source) == expected),
            "{expected:?}"
        );
    }
    // What it shows is a file that says the same.
    let text = stdout(&output(roadbed().args(["config", "show", "--config"]).arg(&file)));
    let again = place.path("again.toml");
    fs::write(&again, text).unwrap();
    let report = summary(roadbed().args(["config", "show", "--json", "--config"]).arg(&again), 0);
    let values = |all: Vec<(String, String, String)>| {
        all.into_iter().map(|(key, value, _)| (key, value)).collect::<Vec<_>>()
    };
    let first = summary(roadbed().args(["config", "show", "--json", "--config"]).arg(&file), 0);
    assert_eq!(values(settings(&report)), values(settings(&first)));
    // And a run takes it.
    let run =
        summary(roadbed().args(["run", "--blocks", "10", "--json", "--rate", "0", "--config"]).arg(&file), 0);
    assert_eq!(number(&run, "seed"), 9);
    let run = summary(
        roadbed().args(["run", "--blocks", "10", "--json", "--rate", "0"]).env("ROADBED_CONFIG", &file),
        0,
    );
    assert_eq!(number(&run, "seed"), 9);
}

#[test]
fn a_file_that_can_not_be_is_blamed_by_name_and_place() {
    let place = Place::new();
    let file = place.path("node.toml");
    for (content, words) in [
        ("sed = 1\n", "there is no setting sed: did you mean seed?"),
        ("block_per_qc = 1\n", "did you mean blocks_per_qc?"),
        ("zzzzzzzzzzzzzz = 1\n", "`roadbed config show` prints all"),
        ("seed = \"x\"\n", "seed: invalid value 'x'"),
        ("seed = -1\n", "seed: invalid value '-1'"),
        ("in_memory = 3\n", "in_memory: write true or false"),
        ("rate = [1]\n", "rate: a list can't be a setting"),
        ("seed = 1\nrate = = 2\n", "node.toml:2: "),
        ("config = \"other\"\n", "there is no setting config"),
    ] {
        fs::write(&file, content).unwrap();
        for command in [&["run"][..], &["config", "check"], &["config", "show"]] {
            let output = output(roadbed().args(command).arg("--config").arg(&file));
            assert_eq!(code(&output), 2, "{content}: {}", stderr(&output));
            assert!(
                stderr(&output).contains(words) && stderr(&output).contains("node.toml"),
                "{}",
                stderr(&output)
            );
        }
    }
    let missing = output(roadbed().args(["run", "--config", "/no/such/file"]));
    assert_eq!(code(&missing), 2);
    assert!(stderr(&missing).contains("--config /no/such/file"), "{}", stderr(&missing));
}

#[test]
fn config_check_refuses_what_a_run_would_refuse() {
    let place = Place::with_blocks(20);
    let before = snapshot(&place.dir());
    let check = |flags: &[&str]| {
        let mut command = roadbed();
        command.args(["config", "check", "--json", "--dir"]).arg(place.dir()).args(flags);
        output(&mut command)
    };
    assert_eq!(code(&check(&[])), 0);
    assert_eq!(code(&check(&["--seed", "2"])), 7);
    assert_eq!(code(&check(&["--txs", "2"])), 7);
    assert_eq!(code(&check(&["--committee", "0"])), 2);
    assert!(before == snapshot(&place.dir()));
}

/// A server that answers one request with this; answers its address.
fn answering(head: &'static str, body: String) -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut byte = [0; 1];
        while !request.ends_with(b"\r\n\r\n") && socket.read(&mut byte).unwrap() == 1 {
            request.push(byte[0]);
        }
        let answer = format!("{head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        socket.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    });
    (address, server)
}

#[test]
fn status_tells_what_a_node_answers() {
    let worker = |state: &str| {
        format!(
            "{{\"actor\":\"qc_wal\",\"state\":\"{state}\",\"generation\":2,\"restarts\":1,\"last_error\":\"EIO\",\
             \"mailbox\":0,\"capacity\":33,\"running_for_seconds\":null}}"
        )
    };
    let body = |state: &str, reasons: &str| {
        format!(
            "{{\"schema\":\"roadbed.status/1\",\"first\":3,\"next_app_proposal\":7,\"next_block_to_persist\":8,\
             \"next_block\":9,\"next_qc\":10,\"workers\":[{}],\"reasons\":{reasons}}}",
            worker(state)
        )
    };
    for (text, expected, words) in [
        (body("up", "[]"), 0, "blocks   3..9, QCs up to 10"),
        (body("backoff", "[]"), 1, "EIO"),
        (body("up", "[\"disk full\"]"), 1, "PROBLEM  disk full"),
    ] {
        let (address, server) = answering("HTTP/1.1 200 OK", text);
        let output = output(roadbed().args(["status", &address]));
        assert_eq!(code(&output), expected, "{}", stderr(&output));
        assert!(stdout(&output).contains(words), "{}", stdout(&output));
        assert!(server.join().unwrap().starts_with("GET /api/v1/status HTTP/1.1"));
    }
    let (address, server) = answering("HTTP/1.1 200 OK", body("up", "[]"));
    let report = summary(roadbed().args(["status", "--json", &format!("http://{address}/")]), 0);
    assert_eq!(number(&report, "next_qc"), 10);
    server.join().unwrap();

    let (address, server) = answering("HTTP/1.1 404 Not Found", "no".to_owned());
    let error = output(roadbed().args(["status", &address]));
    assert_eq!(code(&error), 1);
    assert!(stderr(&error).contains("HTTP 404 without a status"), "{}", stderr(&error));
    server.join().unwrap();
    // A port that nobody listens on: it was free a moment ago, and nobody else takes it here.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let error = output(roadbed().args(["status", &free]));
    assert_eq!(code(&error), 1);
    assert!(stderr(&error).contains("is the node running with --listen"), "{}", stderr(&error));
}

#[test]
fn bench_judges_the_disk_and_leaves_nothing_behind() {
    let place = Place::new();
    let dir = place.path("disk");
    fs::create_dir(&dir).unwrap();
    let bench = |flags: &[&str]| {
        let mut command = roadbed();
        command.arg("bench").arg(&dir).args(["--duration", "200ms", "--json"]).args(flags);
        command
    };
    let report = summary(&mut bench(&["--rate", "1"]), 0);
    assert!(number(&report, "sync_p50_us") > 0 && number(&report, "syncs") > 0);
    // No disk takes a million blocks of 8 MB a second.
    let report = summary(&mut bench(&["--rate", "1000000", "--block-bytes", "8000000"]), 1);
    assert_eq!(text(&report, "verdict"), "too_slow");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    let error = output(roadbed().args(["bench", "/no/such/directory"]));
    assert_eq!(code(&error), 2);
}

#[test]
fn crash_test_reports_its_rounds_and_goes_on_with_its_directory() {
    let place = Place::new();
    let test = |flags: &[&str]| {
        let mut command = roadbed();
        command.arg("crash-test").arg(place.dir()).args(["--json", "--acks-max", "100"]).args(flags);
        command
    };
    let report = summary(&mut test(&["--rounds", "3"]), 0);
    assert_eq!((text(&report, "result"), number(&report, "rounds")), ("ok", 3));
    let acked = number(&report, "acked");
    assert!(acked >= 3);
    let report = summary(&mut test(&["--rounds", "1"]), 0);
    assert!(number(&report, "acked") > acked);
    // A node that lost what it had acknowledged is found out.
    let lines = fs::read_to_string(place.path("data.acks")).unwrap();
    let last = lines.lines().last().unwrap().split(' ').next().unwrap().parse::<u64>().unwrap();
    fs::write(place.path("data.acks"), format!("{lines}{} {}\n", last + 1_000_000, "5a".repeat(32))).unwrap();
    let report = summary(&mut test(&["--rounds", "1"]), 9);
    assert_eq!(text(&report, "result"), "chain_check_failed");
    assert!(text(&report, "error").contains("was acknowledged"), "{report}");

    let other = Place::with_blocks(20);
    let refused = output(roadbed().arg("crash-test").arg(other.dir()));
    assert_eq!(code(&refused), 7, "{}", stderr(&refused));
}

#[test]
fn the_help_of_every_command_tells_the_exit_codes() {
    let commands =
        "run inspect verify repair rollback truncate backup export import status bench crash-test config";
    for command in commands.split(' ') {
        let output = output(roadbed().args([command, "--help"]));
        assert_eq!(code(&output), 0, "{command}");
        assert!(stdout(&output).contains("7 refused: foreign directory"), "{command}");
    }
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let output = output(roadbed().args(["completions", shell]));
        assert_eq!(code(&output), 0);
        for command in ["run", "inspect", "rollback", "crash-test", "export"] {
            assert!(stdout(&output).contains(command), "{shell}: {command}");
        }
    }
}

#[test]
fn a_reader_that_has_enough_is_no_failure_of_any_tool() {
    let place = Place::with_blocks(300);
    let dir = place.dir();
    for (name, flags) in [
        ("export", &[][..]),
        ("inspect", &["blocks"]),
        ("verify", &["--json"]),
        ("inspect", &["record", "3"]),
    ] {
        let mut command = roadbed();
        command.arg(name).arg(&dir).args(flags).stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{name}");
    }
}

/// Whether a process has ended, even if nobody has asked how.
fn has_ended(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_none_or(|state| state.is_empty() || state.starts_with(['Z', 'X']))
}

#[test]
fn a_crash_test_that_is_killed_takes_its_node_with_it() {
    let place = Place::new();
    let mut command = roadbed();
    command.arg("crash-test").arg(place.dir()).args(["--rounds", "1", "--acks-max", "1000000000"]);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut test = command.spawn().unwrap();
    let acks = place.path("data.acks");
    let acked = || fs::read_to_string(&acks).map_or(0, |text| text.lines().count());
    while acked() < 10 {
        assert!(test.try_wait().unwrap().is_none(), "it has ended by itself");
        thread::yield_now();
    }
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", test.id())).unwrap();
    let node = children.trim();
    assert!(!has_ended(node), "{children}");
    test.kill().unwrap();
    test.wait().unwrap();
    // A node that nobody stops goes on acknowledging.
    let before = acked();
    while !has_ended(node) {
        thread::yield_now();
        assert!(acked() < before + 100_000, "its node is still at work");
    }
}

#[test]
fn a_bench_that_is_interrupted_leaves_nothing_and_one_that_is_killed_is_tidied_up_by_the_next() {
    use rustix::process::Signal;
    let place = Place::new();
    let dir = place.path("disk");
    fs::create_dir(&dir).unwrap();
    let scratches = || fs::read_dir(&dir).unwrap().count();
    for (signal, expected, left) in
        [(Signal::INT, Some(1), 0), (Signal::TERM, Some(1), 0), (Signal::KILL, None, 1)]
    {
        let mut command = roadbed();
        let mut bench = Running::start(command.arg("bench").arg(&dir).args(["--duration", "1h"]));
        while scratches() == 0 {
            assert!(bench.is_running());
            thread::yield_now();
        }
        bench.signal(signal);
        let (status, stdout, stderr) = bench.end();
        assert_eq!(status.code(), expected, "{stderr}");
        assert_eq!((stdout.as_str(), scratches()), ("", left), "{signal:?}: {stderr}");
        assert!(
            expected.is_none() || stderr.contains("interrupted before the measurement was over"),
            "{stderr}"
        );
    }
    summary(roadbed().arg("bench").arg(&dir).args(["--duration", "50ms", "--rate", "1", "--json"]), 0);
    assert_eq!(scratches(), 0);
}

#[test]
fn a_report_that_only_says_why_there_is_none_has_the_commands_schema() {
    for (command, schema) in [
        ("bench /no/such", "roadbed.disk/1"),
        ("inspect /no/such", "roadbed.inspect/1"),
        ("inspect /no/such qcs", "roadbed.inspect.qcs/1"),
        ("inspect /no/such segments", "roadbed.inspect.segments/1"),
        ("inspect /no/such record 3", "roadbed.inspect.record/1"),
        ("verify /no/such", "roadbed.verify/1"),
        ("verify /no/such --bogus", "roadbed.verify/1"),
        ("crash-test /no/such --rounds 0", "roadbed.crash-test/1"),
    ] {
        let report = summary(roadbed().args(command.split(' ')).arg("--json"), 2);
        assert_eq!(text(&report, "schema"), schema, "{command}");
        assert_eq!((number(&report, "code"), text(&report, "result")), (2, "usage"), "{command}");
        assert!(!text(&report, "error").is_empty() && report.get("next").is_some(), "{command}: {report}");
    }
}

#[test]
fn completions_are_taken_by_the_shells_that_are_there() {
    let place = Place::new();
    for (shell, check) in [
        (
            "bash",
            "source \"$0\" && complete -p roadbed && COMP_WORDS=(roadbed cra) COMP_CWORD=1 && \
                  _roadbed roadbed cra roadbed && echo \"${COMPREPLY[@]}\"",
        ),
        ("zsh", "autoload -U compinit && compinit -D && source \"$0\" && which _roadbed"),
        ("fish", "source $argv[1]; complete -C 'roadbed cra'"),
    ] {
        let script = place.path(shell);
        fs::write(&script, stdout(&output(roadbed().args(["completions", shell])))).unwrap();
        let Ok(taken) = std::process::Command::new(shell).args(["-c", check]).arg(&script).output() else {
            assert_ne!(shell, "bash", "the tests want a bash");
            continue;
        };
        assert_eq!(code(&taken), 0, "{shell}: {}", stderr(&taken));
        assert!(stdout(&taken).contains("crash-test"), "{shell}: {}{}", stdout(&taken), stderr(&taken));
    }
}
