//! Worlds told as text: commands, and below each what every replica said because of it, in the paper's words.
//!
//! ```text
//! cluster n=4
//! ----
//! ok
//!
//! client 1 put a 1
//! run
//! ----
//! client 1 -> 0: REQUEST t1 (put a 1)
//! 0 -> all: PRE-PREPARE v0 n2 d:ab12 (1 request)
//! ...
//! ```
//!
//! A block is one or more lines of commands, a line `----`, and the expected output up to an empty line. Lines that
//! begin with `#` are comments. The commands:
//!
//! | command | what it does |
//! |---|---|
//! | `cluster n=4 k=4 window=8 pipeline=1 batch=1 clients=1 timeout=500` | makes a world; all but `n` may be left out |
//! | `client 1 put a 1` | a client asks something |
//! | `resend 1 2` | client 1 sends its last request once more, to replica 2 |
//! | `run`, `run 600` | until only timers are left, or for so many milliseconds |
//! | `drop 0->2 prepare`, `hold 0->* *` | loses or keeps back frames from now on |
//! | `cut 0->2`, `cut 0->*` | loses everything that one replica sends to another, or to all |
//! | `heal` | ends that |
//! | `deliver` | delivers what was kept back |
//! | `crash 0`, `crash 0 forget` | a replica's process dies; its disk keeps or forgets what was not synced |
//! | `restart 0` | it is started again from its disk |
//! | `pause 0 600` | a replica's process sleeps for so many milliseconds |
//! | `clock 0 5000` | a clock jumps forwards by so many milliseconds |
//! | `clock 0 -5000` | of a replica that is down: by so much it is off when the replica is back |
//! | `lie 1 99` | a replica answers every request with that |
//! | `status`, `log` | where the replicas stand, what they executed |
//! | `quiet` | forgets what was said so far |

use std::fmt::Write as _;

use quorate_host::disk::Crash;
use quorate_protocol::types::{ReplicaId, Seq};

use crate::check::{Checked, Violation};
use crate::trace;
use crate::world::{Outage, Rule, Setting, World};

/// Timers within this time fire during `run`: it covers votes that the border holds, and no other timer.
const QUIET_US: u64 = 5_000;

/// Why a script cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// A line is no command.
    #[error("line {line}: `{text}` is no command of a script")]
    Command {
        /// Its number.
        line: usize,
        /// What it says.
        text: String,
    },
    /// A command comes before the cluster.
    #[error("line {0}: there is no cluster yet; begin with `cluster n=4`")]
    NoCluster(usize),
    /// A checker found something.
    #[error("line {line}: {violation}")]
    Violation {
        /// The command.
        line: usize,
        /// What it found.
        violation: Violation,
    },
}

/// Tells a script: the same text, with what really happens below each block.
///
/// # Errors
/// [`ScriptError`] names the line.
pub fn tell(script: &str) -> Result<String, ScriptError> {
    let mut told = String::new();
    let mut teller = Teller::default();
    let mut lines = script.lines().enumerate().peekable();
    let mut open = false;
    while let Some((index, line)) = lines.next() {
        if line.trim() == "----" {
            while lines.next_if(|(_, line)| !line.trim().is_empty()).is_some() {}
            let _ = writeln!(told, "----\n{}", teller.take_output());
            open = false;
            continue;
        }
        let command = line.trim();
        // Everything but output is kept as it was written.
        let _ = writeln!(told, "{line}");
        if command.is_empty() || command.starts_with('#') {
            continue;
        }
        open = true;
        teller.obey(index + 1, command)?;
    }
    if open {
        let _ = writeln!(told, "----\n{}", teller.take_output());
    }
    Ok(format!("{}\n", told.trim_end()))
}

#[derive(Default)]
struct Teller {
    world: Option<World>,
    output: Vec<String>,
}

impl Teller {
    fn take_output(&mut self) -> String {
        self.collect();
        let lines = std::mem::take(&mut self.output);
        if lines.is_empty() { "ok".to_owned() } else { lines.join("\n") }
    }

    fn collect(&mut self) {
        if let Some(world) = &mut self.world {
            self.output.extend(world.take_trace());
        }
    }

    fn obey(&mut self, line: usize, command: &str) -> Result<(), ScriptError> {
        let unknown = || ScriptError::Command { line, text: command.to_owned() };
        let bad = |violation| ScriptError::Violation { line, violation };
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        if verb == "cluster" {
            let (setting, clients) = setting(rest).ok_or_else(unknown)?;
            let mut world = World::new(&setting);
            world.keep_trace();
            for _ in 0..clients {
                world.add_client(|options| options.bundle_max = 1).map_err(bad)?;
            }
            self.world = Some(world);
            return Ok(());
        }
        let world = self.world.as_mut().ok_or(ScriptError::NoCluster(line))?;
        match verb {
            "client" => {
                let (number, asked) = rest.split_once(' ').ok_or_else(unknown)?;
                let client = client_of(number, world).ok_or_else(unknown)?;
                world.ask(client, asked.as_bytes()).map_err(bad)?;
            }
            "resend" => {
                let (number, to) = rest.split_once(' ').ok_or_else(unknown)?;
                let client = client_of(number, world).ok_or_else(unknown)?;
                let to = replica_of(to, world).ok_or_else(unknown)?;
                world.resend(client, to);
            }
            "run" if rest.is_empty() => world.run_until_idle(QUIET_US).map_err(bad)?,
            "run" => {
                let milliseconds: u64 = rest.parse().map_err(|_| unknown())?;
                world.run_until(world.now().plus(milliseconds * 1_000)).map_err(bad)?;
            }
            "drop" | "hold" => {
                let rule = rule(rest, verb == "hold", world).ok_or_else(unknown)?;
                world.add_rule(rule);
            }
            "heal" => world.clear_rules(),
            "deliver" => world.release_held(),
            "cut" => {
                let rule = rule(rest, false, world).filter(|rule| rule.kind.is_none());
                world.add_rule(rule.ok_or_else(unknown)?);
            }
            "crash" | "restart" | "pause" | "clock" => {
                process(world, verb, rest).ok_or_else(unknown)?.map_err(bad)?;
            }
            "lie" => {
                let (replica, words) = rest.split_once(' ').ok_or_else(unknown)?;
                let replica = replica_of(replica, world).ok_or_else(unknown)?;
                let sin = format!("lying-replies:words={words}").parse().map_err(|_| unknown())?;
                world.corrupt(replica, &[sin]);
            }
            "quiet" => {
                world.take_trace();
            }
            "status" => {
                let lines = status(world);
                self.collect();
                self.output.extend(lines);
            }
            "log" => {
                let lines = log(world);
                self.collect();
                self.output.extend(lines);
            }
            _ => return Err(unknown()),
        }
        Ok(())
    }
}

fn setting(words: &str) -> Option<(Setting, u64)> {
    let mut setting = Setting::calm(4);
    let mut clients = 1;
    let parameters = &mut setting.parameters;
    (parameters.checkpoint_interval, parameters.window) = (128, 256);
    (parameters.timeout_us, parameters.timeout_max_us) = (500_000, 4_000_000);
    for word in words.split_whitespace() {
        let (name, value) = word.split_once('=')?;
        let value: u64 = value.parse().ok()?;
        match name {
            "n" => setting.replicas = u16::try_from(value).ok()?,
            "k" => parameters.checkpoint_interval = value,
            "window" => parameters.window = value,
            "pipeline" => parameters.pipeline_depth = value,
            "batch" => parameters.batch_requests_max = value,
            "timeout" => parameters.timeout_us = value * 1_000,
            "clients" => clients = value,
            _ => return None,
        }
    }
    let sound = setting.parameters.check().is_ok() && (4..=64).contains(&setting.replicas);
    sound.then_some((setting, clients))
}

/// What happens to a process, if that can be.
fn process(world: &mut World, verb: &str, words: &str) -> Option<Checked> {
    let (replica, rest) = words.split_once(' ').unwrap_or((words, ""));
    let replica = replica_of(replica, world)?;
    let down = world.is_crashed(replica);
    match (verb, rest) {
        ("crash", "" | "forget") if !down => {
            let left = if rest.is_empty() { Crash::Keep } else { Crash::Forget };
            return Some(world.kill(replica, Outage { left, ..Outage::clean(0) }));
        }
        ("restart", "") if down => return Some(world.start(replica)),
        ("pause", _) => {
            let milliseconds: u64 = rest.parse().ok()?;
            world.pause(replica, world.now().plus(milliseconds.saturating_mul(1_000)));
        }
        ("clock", _) => {
            let milliseconds: i64 = rest.parse().ok()?;
            let by_us = milliseconds.saturating_mul(1_000);
            if !world.reset_clock(replica, by_us) {
                // A clock never goes back while its process runs.
                world.jump(replica, u64::try_from(by_us).ok()?);
            }
        }
        _ => return None,
    }
    Some(Ok(()))
}

fn client_of(word: &str, world: &World) -> Option<usize> {
    let index = word.parse::<usize>().ok()?.checked_sub(1)?;
    (index < world.clients().len()).then_some(index)
}

fn replica_of(word: &str, world: &World) -> Option<ReplicaId> {
    let id = ReplicaId(word.parse().ok()?);
    (usize::from(id.0) < world.nodes().len()).then_some(id)
}

/// `0->2 prepare`, with `*` for any.
fn rule(words: &str, hold: bool, world: &World) -> Option<Rule> {
    let (link, kind) = words.split_once(' ').unwrap_or((words, "*"));
    let (from, to) = link.split_once("->")?;
    let end = |word: &str| if word == "*" { Some(None) } else { replica_of(word, world).map(Some) };
    let kind = (kind != "*").then(|| kind.to_owned());
    Some(Rule { from: end(from)?, to: end(to)?, kind, hold })
}

fn status(world: &World) -> Vec<String> {
    let line = |node: &crate::node::Node| {
        let replica = node.replica();
        if world.is_crashed(node.id()) {
            return format!("{}: crashed", node.id());
        }
        let (low, high) = replica.watermarks();
        format!(
            "{}: view {} {:?}, watermarks {low}..{high}, committed {}, executed {}, pool {}",
            node.id(),
            replica.view(),
            replica.status(),
            replica.committed(),
            replica.executed(),
            replica.pooled(),
        )
    };
    world.nodes().iter().map(line).collect()
}

fn log(world: &World) -> Vec<String> {
    let line = |node: &crate::node::Node| {
        let executed = node.execution().executor().executed();
        let from = executed.0.saturating_sub(3).max(1);
        let heads = (from..=executed.0).map(|seq| {
            let head = node
                .execution()
                .history(Seq(seq))
                .map_or_else(String::new, |head| trace::short(&head, &world.null()));
            format!("n{seq} {head}")
        });
        format!("{}: history {}", node.id(), heads.collect::<Vec<_>>().join(", "))
    };
    world.nodes().iter().map(line).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_command_is_named_with_its_line() {
        let error = tell("cluster n=4\nfly 3\n----\n").unwrap_err();
        assert_eq!(error, ScriptError::Command { line: 2, text: "fly 3".to_owned() });
        assert_eq!(tell("# nothing yet\nrun\n").unwrap_err(), ScriptError::NoCluster(2));
        for bad in [
            "cluster n=3",
            "cluster n=4 k=0",
            "cluster n=4\nclient 2 x",
            "cluster n=4\ndrop 0->9",
            "cluster n=4\ncrash 4",
            "cluster n=4\ncrash 0 gently",
            "cluster n=4\nrestart 0",
            "cluster n=4\ncut 0->1 prepare",
            "cluster n=4\npause 0",
            "cluster n=4\nclock 0 -5",
        ] {
            assert!(matches!(tell(bad), Err(ScriptError::Command { .. })), "{bad}");
        }
    }

    #[test]
    fn a_process_that_dies_in_a_script_comes_back_with_what_it_promised() {
        let script = "cluster n=4\nrun\nclient 1 put a 1\nrun\ncrash 2 forget\nclient 1 put a 2\nrun\n\
                      clock 2 -5000\nrestart 2\nrun 500\nquiet\nstatus\n----\n";
        let told = tell(script).unwrap();
        let executed = |id: u16| {
            let line = told.lines().find(|line| line.starts_with(&format!("{id}: view"))).unwrap();
            line.split_once("executed ").unwrap().1.to_owned()
        };
        assert_eq!(executed(2), executed(1), "{told}");
        assert_eq!(executed(2), "3, pool 0");
    }

    #[test]
    fn a_told_script_tells_the_same_again() {
        let script = "# One request.\ncluster n=4\nrun\n----\n\nclient 1 put a 1\nrun\n----\nwrong output\n";
        let told = tell(script).unwrap();
        assert!(told.starts_with("# One request.\ncluster n=4\nrun\n----\n"), "{told}");
        assert!(told.contains("client 1 accepts \"ok\" for \"put a 1\""), "{told}");
        assert!(!told.contains("wrong output"));
        assert_eq!(tell(&told).unwrap(), told);
    }
}
