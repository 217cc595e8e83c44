//! Locks, from a terminal: also to run a program while, and only while, one has a lock.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use quorate_apps::ledger::Account;
use quorate_apps::lock::{
    Command, Held, LEASE_US_MAX, LEASE_US_MIN, LOCKS_MAX, NAME_BYTES_MAX, Refusal, Reply,
};
use quorate_node::client::Caller;
use quorate_protocol::codec;
use quorate_protocol::message::Outcome;
use quorate_protocol::types::{ClientId, PublicKey};
use serde_json::{Value, json};
use tokio::process::{Child, Command as Program};

use super::{NOT_FOUND, Told};

/// A lease is renewed when so much of it is over.
const RENEWED_AFTER: f64 = 1.0 / 3.0;
/// A program is ended when so much of its lease is over without a renewal, so that it is gone before another begins.
const ENDED_AFTER: f64 = 0.8;
/// Between two attempts to get a lock that somebody has.
const AGAIN: Duration = Duration::from_millis(500);

/// What can be asked of them.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Lock {
    /// Take a lock if nobody has it; exits with 4 if somebody has
    Acquire {
        /// Which lock
        name: String,
        /// How long, for example 10s, 500ms or 2m
        #[arg(long, default_value = "10s", value_parser = crate::testbed::duration)]
        lease: Duration,
    },
    /// Lengthen a lease; exits with 4 if it ended
    Renew {
        /// Which lock
        name: String,
        /// The token that `acquire` printed
        token: u64,
        /// How long from now on
        #[arg(long, default_value = "10s", value_parser = crate::testbed::duration)]
        lease: Duration,
    },
    /// Give a lock back; exits with 4 if it was lost before
    Release {
        /// Which lock
        name: String,
        /// The token that `acquire` printed
        token: u64,
    },
    /// Who has a lock; exits with 4 if nobody has
    Holder {
        /// Which lock
        name: String,
    },
    /// Wait for a lock, run a program while it is held, and give it back; exits with the program's code
    Hold(Hold),
}

/// A program that runs while a lock is held: the leader of all that wait for it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Hold {
    /// Which lock
    name: String,
    /// How soon another may take over after this machine is gone
    #[arg(long, default_value = "10s", value_parser = crate::testbed::duration)]
    lease: Duration,
    /// The program and its arguments; it finds its fencing token in QUORATE_FENCING_TOKEN
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    program: Vec<String>,
}

fn microseconds(lease: Duration) -> u64 {
    u64::try_from(lease.as_micros()).unwrap_or(u64::MAX)
}

impl Lock {
    /// The operation in bytes.
    pub(super) fn encode(&self) -> anyhow::Result<Bytes> {
        let command = match self.clone() {
            Self::Acquire { name, lease } => Command::Acquire { name, lease_us: microseconds(lease) },
            Self::Renew { name, token, lease } => {
                Command::Renew { name, token, lease_us: microseconds(lease) }
            }
            Self::Release { name, token } => Command::Release { name, token },
            Self::Holder { name } | Self::Hold(Hold { name, .. }) => Command::Holder { name },
        };
        Ok(codec::encode_serde(&command)?.into())
    }
}

/// What they answered.
pub(super) fn told(asked: &Lock, own: Account, reply: &[u8]) -> anyhow::Result<Told> {
    let ClientId(own) = ClientId::of(&PublicKey(own.0));
    let of = |held: &Held| {
        let whose = if held.holder == own.0 { "this client".to_owned() } else { short(held.holder) };
        format!("{whose}, token {}", held.token)
    };
    let fields = |held: &Held| {
        let holder: String = held.holder.iter().map(|byte| format!("{byte:02x}")).collect();
        json!({ "holder": holder, "own": held.holder == own.0, "token": held.token, "until_us": held.until_us })
    };
    let (text, fields, found) = match codec::decode_serde::<Reply>(reply)? {
        Reply::Refused(refusal) => bail!("refused: {}", refusal_of(refusal)),
        Reply::Granted(held) => (format!("token {}", held.token), fields(&held), true),
        Reply::Taken(held) => (format!("taken by {}", of(&held)), fields(&held), false),
        Reply::Lost => {
            let what = if matches!(asked, Lock::Release { .. }) { "was lost before" } else { "is lost" };
            let text = format!("the lock {what}: its lease ended, or it was never held under this token");
            (text, json!({ "lost": true }), false)
        }
        Reply::Released => ("released".to_owned(), json!({ "released": true }), true),
        Reply::Holder(Some(held)) => (of(&held), fields(&held), true),
        Reply::Holder(None) => ("nobody".to_owned(), Value::Null, false),
    };
    Ok(Told { text: Some(text), fields: Some(fields), found })
}

fn short(holder: [u8; 32]) -> String {
    let digits: String = holder.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("client {digits}...")
}

fn refusal_of(refusal: Refusal) -> String {
    match refusal {
        Refusal::Name => format!("a lock's name has 1 to {NAME_BYTES_MAX} bytes"),
        Refusal::Lease => {
            format!("a lease lasts {} ms to {} hours", LEASE_US_MIN / 1000, LEASE_US_MAX / 3_600_000_000)
        }
        Refusal::Full => format!("{LOCKS_MAX} locks are held, and there is room for no more"),
    }
}

impl Hold {
    /// Waits for the lock, runs the program under it, and gives it back.
    pub(super) async fn run(&self, caller: &Caller, patience: Duration) -> anyhow::Result<ExitCode> {
        let mut told = false;
        let (token, asked) = loop {
            // The lease began after the question was sent, so it ends no sooner than counted from here.
            let asked = Instant::now();
            let (name, lease_us) = (self.name.clone(), microseconds(self.lease));
            match ask(caller, &Command::Acquire { name, lease_us }, patience).await? {
                Reply::Granted(held) => break (held.token, asked),
                Reply::Taken(held) if !told => {
                    told = true;
                    eprintln!("waiting: `{}` is held by {}", self.name, short(held.holder));
                }
                Reply::Taken(_) => {}
                Reply::Refused(refusal) => bail!("refused: {}", refusal_of(refusal)),
                other => bail!("the lock answered {other:?}"),
            }
            tokio::time::sleep(AGAIN.min(self.lease)).await;
        };
        eprintln!("holding `{}` with token {token}", self.name);
        let (program, arguments) = self.program.split_first().context("no program to run")?;
        let mut child = Program::new(program)
            .args(arguments)
            .env("QUORATE_FENCING_TOKEN", token.to_string())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        let ended = self.watch((caller, patience), &mut child, (token, asked)).await;
        let release = Command::Release { name: self.name.clone(), token };
        let Some(code) = ended? else {
            eprintln!("the lock is lost; {program} was ended");
            return Ok(ExitCode::from(NOT_FOUND));
        };
        // Whoever waits has to wait for the end of the lease if this does not arrive.
        drop(ask(caller, &release, patience).await);
        caller.close().await;
        Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
    }

    /// Renews the lease until the program ends: its exit code, or nothing if the lock was lost and it was ended.
    async fn watch(
        &self,
        (caller, patience): (&Caller, Duration),
        child: &mut Child,
        (token, mut asked): (u64, Instant),
    ) -> anyhow::Result<Option<i32>> {
        loop {
            let (renew, end) =
                (asked + self.lease.mul_f64(RENEWED_AFTER), asked + self.lease.mul_f64(ENDED_AFTER));
            tokio::select! {
                ended = child.wait() => return Ok(Some(ended?.code().unwrap_or(1))),
                () = tokio::time::sleep_until(renew.into()) => {}
            }
            let now = Instant::now();
            let (name, lease_us) = (self.name.clone(), microseconds(self.lease));
            let renewal = Command::Renew { name, token, lease_us };
            let renewed = tokio::select! {
                ended = child.wait() => return Ok(Some(ended?.code().unwrap_or(1))),
                renewed = ask(caller, &renewal, patience) => renewed.ok(),
                () = tokio::time::sleep_until(end.into()) => None,
            };
            match renewed {
                Some(Reply::Granted(_)) => asked = now,
                // Nobody knows whether it holds: the program has to be gone before the lease is.
                Some(_) | None if renewed.is_some() || Instant::now() >= end => {
                    child.kill().await?;
                    return Ok(None);
                }
                Some(_) | None => tokio::time::sleep(AGAIN.min(self.lease.mul_f64(0.1))).await,
            }
        }
    }
}

/// One question, and the answer that enough replicas give.
async fn ask(caller: &Caller, command: &Command, patience: Duration) -> anyhow::Result<Reply> {
    let answer = caller.call_within(codec::encode_serde(command)?.into(), patience).await?;
    match answer.outcome {
        Outcome::Done(reply) => Ok(codec::decode_serde(&reply)?),
        refused => bail!("the cluster agreed not to execute this: {refused:?}"),
    }
}
