//! An application of one's own: what makes a program with the subcommands of `quorate` a program of that application.
//!
//! Its replicas, its testbed and its operator's commands are those of `quorate`, by the same code. What is added is small:
//! the application itself, the operations of the testbed's load, and a client that reads commands as JSON, which every
//! command can be written in because serde describes it.

use std::fmt;

use anyhow::Context as _;
use clap::{CommandFactory, FromArgMatches, Parser};
use quorate_bench::load::Operations;
use quorate_protocol::application::{Application, StateMachine, machine as machine_of};
use quorate_protocol::codec;
use serde_json::Value;

use crate::Cli;

/// Subcommands that have nothing to do with one's own application; they work, and are not listed.
const HIDDEN: [&str; 3] = ["bench", "new", "simulate"];
/// Flags of the testbed that are about the ready applications.
const ABOUT_READY: [&str; 5] = ["application", "payload", "preload", "hot", "reply_bytes"];

/// An application of one's own, and what clients are to ask of it when nobody says so.
#[derive(Clone)]
pub struct Own {
    name: &'static str,
    machine: fn() -> Box<dyn StateMachine>,
    operations: Operations,
    example: String,
    encode: fn(&str) -> anyhow::Result<Vec<u8>>,
    show: fn(&[u8]) -> anyhow::Result<Value>,
}

impl Own {
    /// The application `A` under a name, which clusters of it have in their cluster file. The testbed's clients ask
    /// `operation(0)`, `operation(1)` and so on, each once.
    #[must_use]
    pub fn new<A: Application + Default>(
        name: &'static str,
        operation: impl Fn(u64) -> A::Command + Send + Sync + 'static,
    ) -> Self {
        let example = serde_json::to_string(&operation(0)).unwrap_or_default();
        let encoded = move |number| {
            codec::encode_serde(&operation(number))
                .expect("commands are of types that serde describes with a known length")
        };
        Self {
            name,
            machine: || machine_of(A::default()),
            operations: Operations::new(encoded),
            example,
            encode: encode::<A>,
            show: show::<A>,
        }
    }

    /// What clusters call it.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// A command in JSON, to begin with.
    pub(crate) fn example(&self) -> &str {
        &self.example
    }

    /// What the testbed's clients ask.
    pub(crate) fn operations(&self) -> Operations {
        self.operations.clone()
    }

    /// A command in JSON, as replicas read it.
    pub(crate) fn encode(&self, command: &str) -> anyhow::Result<Vec<u8>> {
        (self.encode)(command).with_context(|| {
            format!("`{command}` is no command of `{}` in JSON; one is {}", self.name, self.example)
        })
    }

    /// A reply in JSON.
    pub(crate) fn show(&self, reply: &[u8]) -> anyhow::Result<Value> {
        (self.show)(reply)
            .context("the reply is none of this application; do the replicas run another version of it?")
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").field("name", &self.name).finish_non_exhaustive()
    }
}

fn encode<A: Application>(text: &str) -> anyhow::Result<Vec<u8>> {
    let command: A::Command = serde_json::from_str(text)?;
    Ok(codec::encode_serde(&command)?)
}

fn show<A: Application>(bytes: &[u8]) -> anyhow::Result<Value> {
    let reply: A::Reply = codec::decode_serde(bytes)?;
    Ok(serde_json::to_value(&reply)?)
}

/// The application of a name in its first state: one's own, or a ready one in a program that has none.
pub(crate) fn machine(own: Option<&Own>, name: &str, reply_bytes: usize) -> Option<Box<dyn StateMachine>> {
    match own {
        Some(own) => (own.name == name).then(own.machine),
        None => quorate_apps::by_name(name, reply_bytes),
    }
}

/// The names that [`machine`] knows.
pub(crate) fn names(own: Option<&Own>) -> String {
    own.map_or_else(|| quorate_apps::NAMES.join(", "), |own| own.name.to_owned())
}

/// The application of a cluster that nobody said anything else of.
pub(crate) fn usual(own: Option<&Own>) -> &'static str {
    own.map_or("kv", Own::name)
}

/// What the command line says, or the end of the process with what is wrong about it.
pub(crate) fn parse(own: Option<&Own>) -> Cli {
    let Some(own) = own else { return Cli::parse() };
    let matches = adapted(Cli::command(), own).get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// The command line of `quorate` as that of one's own program: its name, its examples, and its application where another
/// one would be the usual one.
fn adapted(command: clap::Command, own: &Own) -> clap::Command {
    let name = own.name;
    let command = command
        .name(name)
        .about(format!("The application `{name}`, replicated by PBFT with signed messages over QUIC"))
        .version(concat!("of quorate ", env!("CARGO_PKG_VERSION")));
    command.mut_subcommands(|subcommand| {
        let renamed =
            subcommand.get_after_help().map(|text| text.to_string().replace("quorate ", &format!("{name} ")));
        let subcommand = match renamed {
            Some(text) => subcommand.after_help(text),
            None => subcommand,
        };
        match subcommand.get_name() {
            "init" => subcommand.mut_arg("application", |argument| argument.default_value(name).hide(true)),
            "testbed" => testbed(subcommand, own),
            "client" => client(subcommand, own),
            other => {
                let hidden = HIDDEN.contains(&other);
                subcommand.hide(hidden)
            }
        }
    })
}

fn testbed(command: clap::Command, own: &Own) -> clap::Command {
    let name = own.name;
    let mut command =
        command.mut_arg("application", |argument| argument.default_value(name).value_parser([name]));
    for about_ready in ABOUT_READY {
        command = command.mut_arg(about_ready, |argument| argument.hide(true));
    }
    let examples = format!(
        "Examples:
  {name} testbed                                       four replicas, ten seconds, a load of `operation(n)`
  {name} testbed --replicas 7 --duration 1m
  {name} testbed --kill primary@3s --restart last@6s   the primary dies, another takes over, it comes back
  {name} testbed --kill-all 4s --restart-all 5s        a power cut of all
  {name} testbed --byzantine 2:equivocate              one replica lies; the others agree
  {name} testbed --web                                 a page that shows it, and lets you kill and deceive

Exit codes: 0 progress was made, and all replicas agree; 1 not; 130 interrupted."
    );
    #[cfg(feature = "byzantine")]
    let examples = format!("{examples}\n\n{}", crate::byzantine::listed());
    command.after_help(examples)
}

fn client(command: clap::Command, own: &Own) -> clap::Command {
    let command = command.mut_subcommands(|subcommand| {
        let hidden = !matches!(subcommand.get_name(), "call" | "raw");
        subcommand.hide(hidden)
    });
    let (name, example) = (own.name, crate::quoted(&own.example));
    command.after_help(format!(
        "Examples:
  {name} client call {example}
  {name} client raw 68656c6c6f         a command as replicas read it, in hex

Exit codes: 0 answered, 1 not answered in time or refused, 3 answered, and some replica said otherwise."
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use quorate_protocol::application::Context;
    use quorate_protocol::types::{ClientId, Digest};
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::Command;

    #[derive(Default, Serialize, Deserialize)]
    struct Sum(u64);

    #[derive(Debug, Serialize, Deserialize)]
    enum Ask {
        Add { amount: u64 },
    }

    impl Application for Sum {
        type Command = Ask;
        type Reply = Result<u64, String>;

        fn apply(&mut self, _context: &Context, Ask::Add { amount }: Ask) -> Self::Reply {
            self.0 = self.0.checked_add(amount).ok_or("too much")?;
            Ok(self.0)
        }
    }

    fn own() -> Own {
        Own::new::<Sum>("sum", |n| Ask::Add { amount: n })
    }

    fn parsed(words: &str) -> Command {
        let command = adapted(Cli::command(), &own());
        let matches = command.try_get_matches_from(words.split_whitespace()).unwrap();
        Cli::from_arg_matches(&matches).unwrap().command
    }

    #[test]
    fn a_command_is_written_in_json_and_so_is_its_reply() {
        let own = own();
        assert_eq!(own.example(), r#"{"Add":{"amount":0}}"#);
        let mut machine = machine(Some(&own), "sum", 0).unwrap();
        let context = Context::for_test(ClientId(Digest::ZERO));
        let mut ask =
            |text: &str| own.show(&machine.apply(&context, &own.encode(text).unwrap()).unwrap()).unwrap();
        assert_eq!(ask(r#"{"Add":{"amount":7}}"#), serde_json::json!({ "Ok": 7 }));
        assert_eq!(
            ask(&format!(r#"{{"Add":{{"amount":{}}}}}"#, u64::MAX)),
            serde_json::json!({ "Err": "too much" })
        );
        let error = format!("{:#}", own.encode(r#"{"Sub":1}"#).unwrap_err());
        assert!(
            error.contains(r#"one is {"Add":{"amount":0}}"#) && error.contains("unknown variant"),
            "{error}"
        );
    }

    #[test]
    fn a_program_of_ones_own_has_that_application_and_no_other() {
        let own = own();
        assert!(machine(Some(&own), "kv", 0).is_none() && machine(None, "kv", 0).is_some());
        assert_eq!((names(Some(&own)).as_str(), usual(Some(&own)), usual(None)), ("sum", "sum", "kv"));
    }

    #[test]
    fn the_command_line_is_that_of_the_program_and_its_application_the_usual_one() {
        adapted(Cli::command(), &own()).debug_assert();
        assert!(matches!(parsed("sum testbed --duration 2s"), Command::Testbed(_)));
        assert!(matches!(parsed("sum replica 0"), Command::Replica(_)));
        let help = adapted(Cli::command(), &own()).render_long_help().to_string();
        assert!(help.contains("`sum`") && help.contains("testbed") && !help.contains("bench "), "{help}");
        let mut whole = adapted(Cli::command(), &own());
        whole.build();
        for of in ["replica", "testbed", "client", "status", "why"] {
            let help = whole.find_subcommand_mut(of).unwrap().render_long_help().to_string();
            assert!(!help.contains("quorate testbed") && help.contains("sum "), "{of}: {help}");
        }
    }
}
