//! Payments: tokens that their owners move, once however often they ask.
//!
//! The bank issues tokens and pays anne; anne pays ben, does not hear whether it worked, and asks again with the same
//! nonce from a new session. Ben tries to spend what is not his. One of the four replicas is stopped half-way.

use quorate::{Client, LocalCluster, SecretKey};
use quorate_apps::ledger::{Account, Command, Ledger, Refusal, Reply};

type Error = Box<dyn std::error::Error>;

/// Somebody with an account: the public half of the key that signs what they ask.
struct Owner {
    name: &'static str,
    seed: [u8; 32],
    account: Account,
    client: Client<Ledger>,
}

impl Owner {
    /// Opens a session. In earnest the key comes from `quorate::key_file`, and its seed is known to nobody.
    async fn connect(cluster: &LocalCluster, name: &'static str, seed: [u8; 32]) -> Result<Self, Error> {
        let key = SecretKey::from_seed(&seed);
        let account = Account(key.public().0);
        Ok(Self { name, seed, account, client: Client::connect(cluster.file(), key).await? })
    }

    /// Tokens of this account, and the nonce that its next transfer needs.
    async fn holds(&self) -> Result<(u64, u64), Error> {
        match self.client.call(Command::Balance { of: self.account }).await?.reply {
            Reply::Holds { balance, nonce } => Ok((balance, nonce)),
            other => Err(format!("{}: {other:?}", self.name).into()),
        }
    }

    /// Moves tokens from one account to another; what the one has left, or why nothing was moved.
    async fn pay(
        &self,
        (from, to): (Account, Account),
        amount: u64,
        nonce: u64,
    ) -> Result<Result<u64, Refusal>, Error> {
        match self.client.call(Command::Transfer { from, to, amount, nonce }).await?.reply {
            Reply::Moved { balance, .. } => Ok(Ok(balance)),
            Reply::Refused(why) => Ok(Err(why)),
            other => Err(format!("{}: {other:?}", self.name).into()),
        }
    }
}

/// Lets them pay each other; gives back what bank, anne and ben have in the end.
pub async fn trade() -> Result<[u64; 3], Error> {
    let mut cluster = LocalCluster::start::<Ledger>(4)?;
    let bank = Owner::connect(&cluster, "bank", [1; 32]).await?;
    let anne = Owner::connect(&cluster, "anne", [2; 32]).await?;
    let ben = Owner::connect(&cluster, "ben", [3; 32]).await?;

    let issue = Command::Issue { from: bank.account, to: bank.account, amount: 100, nonce: 0 };
    println!("the bank issues 100: {:?}", bank.client.call(issue).await?.reply);
    let left = bank.pay((bank.account, anne.account), 60, 1).await?;
    println!("it pays anne 60, and has {left:?} left");

    // From here on three of four replicas have to do.
    cluster.stop_replica(3)?;
    let (_, nonce) = anne.holds().await?;
    let first = anne.pay((anne.account, ben.account), 25, nonce).await?;
    println!("anne pays ben 25, and has {first:?} left");
    let again = Owner::connect(&cluster, anne.name, anne.seed).await?;
    let second = again.pay((anne.account, ben.account), 25, nonce).await?;
    println!("she asks again, from another session: {second:?}");
    assert_eq!(second, Err(Refusal::Nonce { due: nonce + 1 }), "it moves nothing twice");

    let theft = ben.pay((anne.account, ben.account), 35, nonce + 1).await?;
    println!("ben tries to pay himself with anne's tokens: {theft:?}");
    assert_eq!(theft, Err(Refusal::NotYours), "what ben signs is ben's");
    Ok([bank.holds().await?.0, anne.holds().await?.0, ben.holds().await?.0])
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    println!("bank, anne and ben have {:?}", trade().await?);
    Ok(())
}
