//! A replicated counter: four replicas that agree, though one of them may lie.

use quorate::{Application, Client, Context, LocalCluster};
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
struct Counter {
    value: i64,
}

impl Application for Counter {
    type Command = i64;
    type Reply = i64;

    fn apply(&mut self, _context: &Context, amount: i64) -> i64 {
        self.value = self.value.wrapping_add(amount);
        self.value
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cluster = LocalCluster::start::<Counter>(4)?;
    let client: Client<Counter> = cluster.client().await?;
    for amount in 1..=5 {
        let outcome = client.call(amount).await?;
        println!("+{amount} = {}, vouched for by {:?}", outcome.reply, outcome.voters);
    }
    assert_eq!(client.call(0).await?.reply, 15);
    Ok(())
}
