//! Leader election: who holds the lock leads, and what it does to the outside carries its fencing token.
//!
//! The first leader stops renewing its lease without knowing it, as a machine does that stands still. Another candidate
//! leads when the lease has ended; and what the first one still tries, sure that it leads, is refused.

use std::time::{Duration, Instant};

use quorate::{Client, LocalCluster};
use quorate_apps::lock::{Command, Held, Locks, Reply};

type Error = Box<dyn std::error::Error>;

/// How soon another may take over after the leader is gone.
const LEASE: Duration = Duration::from_millis(1200);

/// Something outside of the cluster that only the leader may write to. It remembers the newest token that it has seen, and
/// nothing else.
#[derive(Default)]
struct Guarded {
    newest: u64,
    lines: Vec<String>,
}

impl Guarded {
    /// Takes a line from whoever leads; refuses it from whoever led before.
    fn write(&mut self, token: u64, line: String) -> Result<(), String> {
        if token < self.newest {
            return Err(format!("token {token} is older than {}", self.newest));
        }
        self.newest = token;
        self.lines.push(line);
        Ok(())
    }
}

/// A program that wants to lead, on a machine of its own.
struct Candidate {
    name: &'static str,
    client: Client<Locks>,
}

impl Candidate {
    /// Asks for the lock until it has it; gives back its fencing token.
    async fn campaign(&self) -> Result<u64, Error> {
        let mut again = tokio::time::interval(LEASE / 8);
        loop {
            again.tick().await;
            let acquire = Command::Acquire { name: "leader".to_owned(), lease_us: lease_us() };
            match self.client.call(acquire).await?.reply {
                Reply::Granted(Held { token, .. }) => return Ok(token),
                Reply::Taken(_) => {}
                other => return Err(format!("{}: {other:?}", self.name).into()),
            }
        }
    }

    /// Lengthens the lease; false if it has ended.
    async fn renew(&self, token: u64) -> Result<bool, Error> {
        let renew = Command::Renew { name: "leader".to_owned(), token, lease_us: lease_us() };
        Ok(matches!(self.client.call(renew).await?.reply, Reply::Granted(_)))
    }

    /// Does what leaders do for a while, and renews its lease in time.
    async fn lead(&self, token: u64, guarded: &mut Guarded) -> Result<(), Error> {
        let mut work = tokio::time::interval(LEASE / 3);
        for turn in 1..=3 {
            work.tick().await;
            if !self.renew(token).await? {
                return Err(format!("{} renewed in time and lost the lock", self.name).into());
            }
            guarded.write(token, format!("{} {turn}", self.name))?;
        }
        println!("{} led with token {token} and wrote 3 lines", self.name);
        Ok(())
    }
}

fn lease_us() -> u64 {
    u64::try_from(LEASE.as_micros()).unwrap_or(u64::MAX)
}

/// Lets one candidate lead, stand still, and be replaced; gives back what was written.
pub async fn elect() -> Result<Vec<String>, Error> {
    let cluster = LocalCluster::start::<Locks>(4)?;
    let candidate = async |name| Ok::<_, Error>(Candidate { name, client: cluster.client().await? });
    let (anne, ben, carl) = (candidate("anne").await?, candidate("ben").await?, candidate("carl").await?);
    let mut guarded = Guarded::default();

    let old = anne.campaign().await?;
    anne.lead(old, &mut guarded).await?;

    // From here on anne's machine stands still.
    let stood_still = Instant::now();
    let (leader, token) = tokio::select! {
        token = ben.campaign() => (&ben, token?),
        token = carl.campaign() => (&carl, token?),
    };
    println!("{} took over {} ms later", leader.name, stood_still.elapsed().as_millis());
    leader.lead(token, &mut guarded).await?;

    // Anne's machine goes on where it was.
    let refused = guarded.write(old, "anne 4".to_owned()).err().ok_or("an old token was taken")?;
    println!("anne's next line is refused: {refused}");
    assert!(!anne.renew(old).await?, "and so is a renewal of a lease that ended");
    Ok(guarded.lines)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    for line in elect().await? {
        println!("  {line}");
    }
    Ok(())
}
