//! Faults on demand from stdin, for whoever wants to see what the node makes of them: operators, and tests.
//!
//! One command a line: `panic ACTOR`, `error ACTOR`, `hang ACTOR` (until `resume`), `resume`, `slow MS COUNT` (so many
//! writes to the logs take so much longer), `struck` (waits until all of it has happened, or begun). Each is acknowledged
//! with a line on stderr.

use std::io::{self, BufRead};
use std::thread;
use std::time::Duration;

use roadbed::supervision::{DiskFault, Fault, Faults, Gate};
use roadbed_messages::api::ActorKind;

use crate::exit::NodeError;
use crate::output;

/// Between two looks whether everything has happened.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Reads commands until stdin ends.
///
/// # Errors
/// When its thread can't be started.
pub(crate) fn start(faults: Faults) -> Result<(), NodeError> {
    let body = move || {
        let mut gates: Vec<Gate> = Vec::new();
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let done = carry_out(&line, &faults, &mut gates);
            output::note(&format!("rehearsal: {line}: {}", if done { "done" } else { "not understood" }));
        }
    };
    let started = thread::Builder::new().name("roadbed-rehearse".to_owned()).spawn(body);
    started.map(|_| ()).map_err(|error| NodeError::io("start the rehearsal", error))
}

fn carry_out(line: &str, faults: &Faults, gates: &mut Vec<Gate>) -> bool {
    let (command, argument) = line.split_once(' ').unwrap_or((line, ""));
    let actors = ActorKind::WORKERS.into_iter().chain([ActorKind::State]);
    let actor = actors.into_iter().find(|actor| actor.name() == argument);
    match (command, actor) {
        ("panic", Some(actor)) => faults.inject(actor, Fault::Panic),
        ("error", Some(actor)) => faults.inject(actor, Fault::Error),
        ("hang", Some(actor)) => {
            let gate = Gate::default();
            gates.push(gate.clone());
            faults.inject(actor, Fault::Hang(gate));
        }
        ("resume", None) => gates.drain(..).for_each(|gate| gate.open()),
        ("struck", None) => {
            while faults.outstanding() > 0 {
                thread::sleep(LOOK_EVERY);
            }
        }
        ("slow", None) => {
            let numbers: Vec<u64> = argument.split(' ').map_while(|number| number.parse().ok()).collect();
            let [ms, count] = numbers[..] else { return false };
            (0..count).for_each(|_| faults.inject_disk(DiskFault::Slow(Duration::from_millis(ms))));
        }
        _ => return false,
    }
    true
}
