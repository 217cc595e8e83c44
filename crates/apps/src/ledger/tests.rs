//! What the ledger promises about tokens.

use quorate_protocol::application::{Application, Context, Snapshot};
use quorate_protocol::map::Map;
use quorate_protocol::types::{ClientId, PublicKey};

use super::{Account, Command, Ledger, NoAccount, Refusal, Reply};

const ISSUER: Account = Account([1; 32]);
const ANNE: Account = Account([2; 32]);
const BEN: Account = Account([3; 32]);

/// As the client who holds the account's key.
fn by(account: Account) -> Context {
    Context::for_test(ClientId::of(&PublicKey(account.0)))
}

fn transfer(from: Account, to: Account, amount: u64, nonce: u64) -> Command {
    Command::Transfer { from, to, amount, nonce }
}

fn issue(to: Account, amount: u64, nonce: u64) -> Command {
    Command::Issue { from: ISSUER, to, amount, nonce }
}

fn holds(ledger: &Ledger, of: Account) -> (u64, u64) {
    match ledger.query(Command::Balance { of }) {
        Some(Reply::Holds { balance, nonce }) => (balance, nonce),
        other => panic!("a balance is what an account holds, not {other:?}"),
    }
}

fn with_a_hundred() -> Ledger {
    let mut ledger = Ledger::default();
    assert_eq!(ledger.apply(&by(ISSUER), issue(ANNE, 100, 0)), Reply::Moved { balance: 100, nonce: 1 });
    ledger
}

#[test]
fn tokens_move_and_none_is_made_or_lost() {
    let mut ledger = with_a_hundred();
    assert_eq!(ledger.apply(&by(ANNE), transfer(ANNE, BEN, 30, 0)), Reply::Moved { balance: 70, nonce: 1 });
    assert_eq!(ledger.apply(&by(BEN), transfer(BEN, ANNE, 5, 0)), Reply::Moved { balance: 25, nonce: 1 });
    assert_eq!((holds(&ledger, ANNE), holds(&ledger, BEN)), ((75, 1), (25, 1)));
    assert_eq!(ledger.query(Command::Supply), Some(Reply::Supply { tokens: 100, issuer: Some(ISSUER) }));
    assert_eq!(ledger.apply(&by(ANNE), transfer(ANNE, ANNE, 75, 1)), Reply::Moved { balance: 75, nonce: 2 });
}

#[test]
fn nobody_moves_what_belongs_to_somebody_else() {
    let mut ledger = with_a_hundred();
    let before = ledger.clone();
    assert_eq!(ledger.apply(&by(BEN), transfer(ANNE, BEN, 1, 0)), Reply::Refused(Refusal::NotYours));
    assert_eq!(ledger.apply(&by(BEN), issue(BEN, 1, 1)), Reply::Refused(Refusal::NotYours));
    let own = Command::Issue { from: BEN, to: BEN, amount: 1, nonce: 0 };
    assert_eq!(ledger.apply(&by(BEN), own), Reply::Refused(Refusal::NotIssuer));
    assert_eq!(ledger, before, "what is refused changes nothing");
}

#[test]
fn a_transfer_that_is_asked_for_again_moves_nothing_twice() {
    let mut ledger = with_a_hundred();
    let once = transfer(ANNE, BEN, 30, 0);
    ledger.apply(&by(ANNE), once);
    assert_eq!(ledger.apply(&by(ANNE), once), Reply::Refused(Refusal::Nonce { due: 1 }));
    assert_eq!(ledger.apply(&by(ANNE), transfer(ANNE, BEN, 1, 2)), Reply::Refused(Refusal::Nonce { due: 1 }));
    assert_eq!(holds(&ledger, BEN), (30, 0));
}

#[test]
fn nobody_spends_more_than_there_is() {
    let mut ledger = with_a_hundred();
    let refused = ledger.apply(&by(ANNE), transfer(ANNE, BEN, 101, 0));
    assert_eq!(refused, Reply::Refused(Refusal::Insufficient { balance: 100 }));
    assert_eq!(ledger.apply(&by(ANNE), transfer(ANNE, BEN, 0, 0)), Reply::Refused(Refusal::Nothing));
    assert_eq!(ledger.apply(&by(ISSUER), issue(BEN, u64::MAX, 1)), Reply::Refused(Refusal::Overflow));
    assert_eq!(
        ledger.apply(&by(ISSUER), issue(BEN, u64::MAX - 100, 1)),
        Reply::Moved { balance: u64::MAX - 100, nonce: 2 }
    );
    assert_eq!(
        ledger.apply(&by(ANNE), transfer(ANNE, BEN, 100, 0)),
        Reply::Moved { balance: 0, nonce: 1 },
        "all tokens may meet in one account"
    );
    assert_eq!(holds(&ledger, BEN), (u64::MAX, 0));
}

#[test]
fn a_ledger_comes_back_as_it_was_and_one_that_does_not_add_up_does_not() {
    let mut ledger = with_a_hundred();
    let mut map = Map::new();
    ledger.save(&mut map).expect("it is small");
    assert_eq!(Ledger::load(&map), Ok(ledger));
    let mut forged = map.clone();
    let mut rich = 101_u64.to_le_bytes().to_vec();
    rich.extend([0; 8]);
    forged.insert(&ANNE.0, &rich).expect("it is small");
    assert!(Ledger::load(&forged).is_err());
    map.insert(b"short", &rich).expect("it is small");
    assert!(Ledger::load(&map).is_err());
}

#[test]
fn an_account_is_written_as_it_is_read() {
    let account = Account(std::array::from_fn(|place| place as u8 * 7));
    assert_eq!(account.to_string().parse(), Ok(account));
    let (long, foreign, signs) = (format!("{account}0"), "g".repeat(64), "+1".repeat(32));
    for text in ["", "12", &long, &foreign, &signs] {
        assert_eq!(text.parse::<Account>(), Err(NoAccount), "{text}");
    }
}
