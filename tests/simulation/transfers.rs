//! Replicas that were away for longer than the others keep their log: what they miss comes from the others' logs, or as
//! a state; either way they vote meanwhile, and end with what everybody has.

use bytes::Bytes;
use quorate_protocol::application::{ApplicationError, Context, RejectedCommand, StateMachine};
use quorate_protocol::map::Map;
use quorate_protocol::replica::Status;
use quorate_protocol::types::{ReplicaId, Seq, Time, View};
use quorate_sim::app::Service;
use quorate_sim::network::Cut;
use quorate_sim::rng::Rng;
use quorate_sim::scenario::{Load, Scenario, describe};
use quorate_sim::world::{Fault, Outage, Rule, Setting, World};

/// When the misfortune begins.
const START: Time = Time(1_200_000);
const AWAY: ReplicaId = ReplicaId(3);

/// Four replicas with a checkpoint after every fourth slot and a window of eight, a client, and one request per batch.
fn small(commands: u64) -> Scenario {
    let mut setting = Setting::calm(4);
    setting.parameters.checkpoint_interval = 4;
    setting.parameters.window = 8;
    setting.parameters.batch_requests_max = 1;
    setting.parameters.timeout_us = 300_000;
    setting.parameters.timeout_max_us = 2_400_000;
    setting.costs.write_us = 500;
    setting.costs.store_us = 2_000;
    let load = Load { commands, in_flight: 2, bundle: 1, think_us: 5_000, ..Load::default() };
    Scenario { setting, faults: Vec::new(), heal_at: Time(3_000_000), clients: vec![load] }
}

/// Entries so large that each is a chunk of its own, and every command changes one of them.
struct Large {
    entries: Map,
}

const ENTRIES: u8 = 12;

impl Large {
    fn machine() -> Box<dyn StateMachine> {
        let mut large = Self { entries: Map::new() };
        (0..ENTRIES).for_each(|key| large.write(key, 0));
        assert_eq!(large.entries.chunks().len(), usize::from(ENTRIES));
        Box::new(large)
    }

    fn write(&mut self, key: u8, value: u8) {
        self.entries.insert(&[key], &[value; 33 << 10]).unwrap();
    }

    fn service() -> Service {
        Service::new(Self::machine, |rng| vec![rng.below(2) as u8, rng.below(256) as u8])
    }
}

impl StateMachine for Large {
    fn apply(&mut self, _context: &Context, command: &[u8]) -> Result<Bytes, RejectedCommand> {
        let [key @ 0..ENTRIES, value] = *command else { return Err(RejectedCommand) };
        self.write(key, value);
        Ok(Bytes::new())
    }
    fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError> {
        self.entries.seal();
        map.clone_from(&self.entries);
        Ok(())
    }
    fn load(&mut self, map: &Map) -> Result<(), ApplicationError> {
        self.entries = map.clone();
        Ok(())
    }
    fn release(&mut self) {
        self.entries = Map::new();
    }
}

/// Nothing goes to or comes from a replica for a while.
fn cut_off(id: ReplicaId, start: Time, end: Time) -> [Cut; 2] {
    let (one, rest) = (1 << id.0, 0b1111 & !(1 << id.0));
    [Cut { from: one, to: rest, start, end }, Cut { from: rest, to: one, start, end }]
}

/// Lets it all happen; afterwards replica 3 has what everybody has.
fn live(scenario: &Scenario, world: &mut World) {
    let outcome = scenario.run_in(world).unwrap_or_else(|violation| panic!("{violation}"));
    assert_eq!(outcome.accepted, scenario.clients.iter().map(|load| load.commands).sum::<u64>());
    agree(world);
}

fn agree(world: &World) {
    let highest = world.nodes().iter().map(|node| node.replica().executed()).max().unwrap();
    let heads: Vec<_> = world.nodes().iter().map(|node| node.execution().history(highest)).collect();
    assert!(heads[0].is_some() && heads.iter().all(|head| *head == heads[0]), "{}", describe(world));
}

/// Whether slots commit with the vote of replica 3: without that of replica 2 they do only so.
fn votes_again(world: &mut World) {
    world.crash(ReplicaId(2)).unwrap();
    let before = world.accepted();
    world.employ(0, 5, 1, 0);
    world.run_until(world.now().plus(3_000_000)).unwrap();
    assert_eq!(world.accepted(), before + 5, "{}", describe(world));
}

#[test]
fn f1_a_replica_that_was_cut_off_for_many_checkpoints_executes_everything_and_votes_again() {
    let mut scenario = small(0);
    scenario.setting.cuts = cut_off(AWAY, START, Time(2_500_000)).to_vec();
    let mut world = World::new(&scenario.setting);
    let client = world.add_client(|options| options.retry_timeout_max_us = 1_000_000).unwrap();
    world.employ(client, 40, 2, 5_000);
    world.run_until(START).unwrap();
    // It waits for nothing when it is cut off, or it would leave the view for that.
    assert_eq!(
        (world.accepted(), world.node(AWAY).replica().executed()),
        (40, world.node(ReplicaId(0)).replica().committed())
    );
    world.employ(client, 110, 2, 5_000);
    world.run_until(Time(10_000_000)).unwrap();
    assert_eq!(world.accepted(), 150);
    agree(&world);
    let node = world.node(AWAY);
    let counters = node.host().transfer_counters();
    assert!(counters.completed >= 1 && counters.banned == 0, "{counters:?}");
    assert!(node.replica().executed() > Seq(100), "many checkpoints were missed");
    assert!(
        world.nodes().iter().all(|node| node.replica().view() == View(0)),
        "nobody had a reason to change the view: {counters:?} {}",
        describe(&world)
    );
    votes_again(&mut world);
    agree_among(&world, &[0, 1, 3]);
}

fn agree_among(world: &World, ids: &[u16]) {
    let highest = ids.iter().map(|id| world.node(ReplicaId(*id)).replica().executed()).max().unwrap();
    for id in ids {
        assert_eq!(world.node(ReplicaId(*id)).replica().executed(), highest, "{}", describe(world));
    }
}

#[test]
fn a_replica_that_missed_less_than_the_others_keep_needs_no_state() {
    let mut scenario = small(200);
    scenario.clients[0].think_us = 40_000;
    scenario.setting.parameters.checkpoint_interval = 64;
    scenario.setting.parameters.window = 128;
    // So short that the others are past one checkpoint when it is back, and not past two.
    let mut shown = 0;
    for cut_ms in [200, 250, 300, 350] {
        scenario.setting.cuts = cut_off(AWAY, START, START.plus(cut_ms * 1_000)).to_vec();
        let mut world = World::new(&scenario.setting);
        live(&scenario, &mut world);
        let node = world.node(AWAY);
        assert_eq!(
            node.host().transfer_counters().started,
            0,
            "{cut_ms} ms: {:?}",
            node.host().transfer_counters()
        );
        shown += usize::from(node.host().counters().behind > 0);
    }
    assert!(shown > 0, "in one of them at least a stable checkpoint was past what it could execute");
}

#[test]
fn f1_a_source_that_poisons_states_is_banned_and_the_rest_suffices() {
    let mut banned = 0;
    for liar in 0..3 {
        let mut scenario = small(150);
        scenario.setting.cuts = cut_off(AWAY, START, Time(2_500_000)).to_vec();
        let mut world = World::new(&scenario.setting);
        world.corrupt(ReplicaId(liar), &["bad-chunks".parse().unwrap()]);
        live(&scenario, &mut world);
        let counters = world.node(AWAY).host().transfer_counters();
        assert!(counters.completed >= 1, "{counters:?}");
        banned += counters.banned;
    }
    assert!(banned >= 1, "whoever is asked first lied in one of them");
}

#[test]
fn f1_a_replica_whose_process_dies_while_it_fetches_goes_on_and_ends() {
    let mut died_fetching = 0;
    for after_ms in [310, 320, 330, 340, 350, 360] {
        let mut scenario = small(200);
        let back = Time(2_000_000);
        scenario.setting.cuts = cut_off(AWAY, START, back).to_vec();
        scenario.setting.profile.delay_us = 10_000;
        scenario.setting.costs.store_us = 30_000;
        let outage = Outage::clean(50_000);
        let whom = quorate_sim::world::Whom::One(AWAY);
        let at = back.plus(after_ms * 1_000);
        scenario.faults = vec![(at, Fault::Outage(whom, outage))];
        let mut world = World::new(&scenario.setting);
        // Looks at it just before it dies.
        let mut trial = World::new(&scenario.setting);
        let mut calm = scenario.clone();
        calm.faults.clear();
        calm.heal_at = at;
        let _whatever = calm.run_in(&mut trial);
        died_fetching += u64::from(trial.node(AWAY).host().transfer_counters().started > 0);
        live(&scenario, &mut world);
        assert_eq!(world.injected().restarts, 1);
    }
    assert!(died_fetching > 0);
}

#[test]
fn f1_the_last_two_that_have_the_state_keep_it_while_too_few_vote_for_another() {
    // Replica 3 knows a stable checkpoint that it cannot execute to; replica 2 is gone before it has fetched anything,
    // and the rest cannot make another checkpoint stable without replica 3.
    let mut scenario = small(0);
    scenario.setting.cuts = cut_off(AWAY, START, Time(1_700_000)).to_vec();
    let mut world = World::new(&scenario.setting);
    world.add_rule(Rule { from: None, to: Some(AWAY), kind: Some("transfer".to_owned()), hold: false });
    world.add_rule(Rule {
        from: None,
        to: Some(AWAY),
        kind: Some("commit-certificate".to_owned()),
        hold: false,
    });
    world.schedule(Time(2_000_000), Fault::Crash(ReplicaId(2)));
    let client = world.add_client(|options| options.retry_timeout_max_us = 1_000_000).unwrap();
    world.employ(client, 600, 2, 5_000);
    world.run_until(Time(6_000_000)).unwrap();
    let (low, high) = world.node(ReplicaId(0)).replica().watermarks();
    let stuck = world.node(ReplicaId(0)).replica().executed();
    assert!(stuck > low && world.accepted() < 600, "{}", describe(&world));
    assert_eq!(world.node(AWAY).replica().watermarks(), (low, high));
    assert!(world.node(AWAY).replica().executed() < low, "it needs the state");
    world.clear_rules();
    world.run_until(Time(30_000_000)).unwrap();
    assert_eq!(world.accepted(), 600, "{}", describe(&world));
    agree_among(&world, &[0, 1, 3]);
}

#[test]
fn d6_a_new_view_that_begins_beyond_the_state_of_a_replica_is_entered_and_voted_in() {
    // Replica 3 is back just when the primary dies: the VIEW-CHANGEs of the others carry a checkpoint that it lacks.
    let mut beyond = 0;
    for back_ms in [1_990, 2_000, 2_010] {
        let mut scenario = small(0);
        scenario.setting.cuts = cut_off(AWAY, START, Time(back_ms * 1_000)).to_vec();
        let mut world = World::new(&scenario.setting);
        world.schedule(Time(2_000_000), Fault::Crash(ReplicaId(0)));
        // Nothing of a state arrives before the new view is open and has made progress.
        world.add_rule(Rule { from: None, to: Some(AWAY), kind: Some("transfer".to_owned()), hold: false });
        let client = world.add_client(|options| options.retry_timeout_max_us = 1_000_000).unwrap();
        world.employ(client, 600, 2, 5_000);
        world.run_until(Time(2_800_000)).unwrap();
        let replica = world.node(AWAY).replica();
        assert!(replica.view() >= View(1) && replica.status() == Status::Normal, "{}", describe(&world));
        // One of four is dead, so whatever was executed in the new view has the vote of replica 3.
        let (low, others) = (replica.watermarks().0, world.node(ReplicaId(1)).replica());
        assert!(others.view() == replica.view() && others.committed() > others.watermarks().0);
        beyond += u64::from(replica.executed() < low);
        world.clear_rules();
        world.run_until(Time(30_000_000)).unwrap();
        assert_eq!(world.accepted(), 600, "{}", describe(&world));
        agree_among(&world, &[1, 2, 3]);
    }
    assert!(beyond > 0, "in none of them it lacked the state of the new view");
}

#[test]
fn d6_a_replica_that_becomes_primary_while_it_lacks_the_state_does_not_stop_the_cluster() {
    let mut scenario = small(0);
    scenario.setting.cuts = cut_off(ReplicaId(1), START, Time(1_900_000)).to_vec();
    let mut world = World::new(&scenario.setting);
    world.add_rule(Rule {
        from: None,
        to: Some(ReplicaId(1)),
        kind: Some("transfer".to_owned()),
        hold: false,
    });
    let client = world.add_client(|options| options.retry_timeout_max_us = 1_000_000).unwrap();
    world.employ(client, 600, 2, 5_000);
    world.run_until(Time(2_100_000)).unwrap();
    let accepted = world.accepted();
    // The primary of view 0 sleeps, and replica 1, which has nothing of the state, is that of view 1.
    world.schedule(Time(2_100_000), Fault::Pause(ReplicaId(0), Time(4_000_000)));
    world.run_until(Time(2_900_000)).unwrap();
    let next = world.node(ReplicaId(1)).replica();
    assert!(next.executed() < next.watermarks().0, "{}", describe(&world));
    assert_eq!((next.view(), next.primary()), (View(1), ReplicaId(1)));
    // It orders what it cannot execute, until there is no room without a checkpoint that it takes part in.
    let other = world.node(ReplicaId(2)).replica();
    assert!(world.accepted() > accepted && other.committed() == other.watermarks().1, "{}", describe(&world));
    world.clear_rules();
    world.run_until(Time(30_000_000)).unwrap();
    assert_eq!(world.accepted(), 600, "{}", describe(&world));
    agree(&world);
}

#[test]
fn what_executed_in_slots_that_a_replica_never_saw_starts_no_timer_of_it() {
    // Clients tell everybody, replica 3 hears them and forwards, but hears nothing of what the others agree on.
    let mut scenario = small(0);
    scenario.setting.parameters.timeout_us = 2_000_000;
    scenario.setting.parameters.timeout_max_us = 2_000_000;
    let (rest, away) = (0b0111, 0b1000);
    scenario.setting.cuts = vec![Cut { from: rest, to: away, start: START, end: Time(2_500_000) }];
    let mut world = World::new(&scenario.setting);
    let client = world.add_client(|options| options.retry_timeout_max_us = 1_000_000).unwrap();
    world.employ(client, 120, 2, 5_000);
    world.run_until(Time(2_000_000)).unwrap();
    for to in 0..4 {
        world.resend(client, ReplicaId(to));
    }
    world.run_until(Time(2_490_000)).unwrap();
    assert!(
        world.node(AWAY).replica().pooled() > 0,
        "it waits for what executed long ago: {}",
        describe(&world)
    );
    world.run_until(Time(12_000_000)).unwrap();
    assert!(world.node(AWAY).host().transfer_counters().completed > 0);
    assert_eq!(world.node(AWAY).replica().pooled(), 0);
    let views: Vec<_> = world.nodes().iter().map(|node| node.replica().view()).collect();
    assert_eq!(views, [View(0); 4]);
    agree(&world);
}

/// When the replica that was away is away once more.
const ABSENT_AGAIN: (Time, Time) = (Time(30_000_000), Time(32_000_000));

/// Sixty commands, while one replica is away that has nothing at all; the world stands where that one begins to fetch.
fn away_with_a_large_state(away: ReplicaId) -> World {
    let mut scenario = small(0);
    scenario.setting.service = Large::service();
    scenario.setting.cuts = cut_off(away, Time(0), Time(2_000_000)).to_vec();
    scenario.setting.cuts.extend(cut_off(away, ABSENT_AGAIN.0, ABSENT_AGAIN.1));
    let mut world = World::new(&scenario.setting);
    let client = world.add_client(|options| options.retry_timeout_max_us = 1_000_000).unwrap();
    world.employ(client, 60, 2, 5_000);
    world.run_until(Time(1_999_000)).unwrap();
    assert_eq!(world.accepted(), 60, "{}", describe(&world));
    world
}

/// Lets it go on until something is so.
fn until(world: &mut World, is_so: impl Fn(&World) -> bool) {
    while !is_so(world) {
        assert!(world.now() < Time(10_000_000), "it never came to that: {}", describe(world));
        world.step().unwrap();
    }
}

#[test]
fn f1_a_replica_that_is_killed_at_any_chunk_fetches_no_chunk_twice() {
    // The last one has the sessions.
    for chunks in 0..=u64::from(ENTRIES) + 1 {
        let mut world = away_with_a_large_state(AWAY);
        let kept =
            |world: &World| world.node(AWAY).host().transfer_progress().map(|progress| progress.have as u64);
        until(&mut world, |world| kept(world).is_some_and(|kept| kept >= chunks));
        let before = world.node(AWAY).host().transfer_counters();
        assert!(before.completed == 0 && before.chunks >= chunks, "{before:?}");
        let of = world.node(AWAY).host().transfer_progress().and_then(|progress| progress.of);
        world.go_down(AWAY, Outage::clean(50_000)).unwrap();
        world.run_until(Time(20_000_000)).unwrap();
        agree(&world);
        let after = world.node(AWAY).host().transfer_counters();
        assert_eq!(after.completed, 1, "{after:?}");
        if let Some(of) = of {
            assert!(after.reused >= chunks, "{after:?} after {chunks}");
            assert_eq!(after.reused + after.chunks, of as u64);
        }
    }
}

#[test]
fn f1_what_did_not_change_while_a_replica_was_away_is_not_fetched() {
    let mut world = away_with_a_large_state(AWAY);
    world.run_until(ABSENT_AGAIN.0).unwrap();
    let first = world.node(AWAY).host().transfer_counters();
    assert_eq!((first.completed, first.reused), (1, 0));
    // Two entries change, and the sessions.
    world.employ(0, 60, 2, 5_000);
    world.run_until(Time(50_000_000)).unwrap();
    assert_eq!(world.accepted(), 120);
    agree(&world);
    let second = world.node(AWAY).host().transfer_counters();
    assert_eq!(second.completed, 2, "{second:?}");
    assert_eq!((second.reused, second.chunks - first.chunks), (u64::from(ENTRIES) - 2, 3));
    assert!(second.reused_bytes > 9 * (33 << 10));
}

#[test]
fn d6_a_replica_that_becomes_primary_while_it_transfers_leads_and_finishes() {
    let next = ReplicaId(1);
    let mut world = away_with_a_large_state(next);
    until(&mut world, |world| world.node(next).host().transfer_counters().chunks >= 5);
    // The rest is slow to come.
    world.add_rule(Rule { from: None, to: Some(next), kind: Some("transfer".to_owned()), hold: false });
    world.schedule(world.now(), Fault::Pause(ReplicaId(0), Time(6_000_000)));
    world.employ(0, 60, 2, 5_000);
    world.run_until(Time(4_000_000)).unwrap();
    let replica = world.node(next).replica();
    assert_eq!((replica.view(), replica.primary(), replica.status()), (View(1), next, Status::Normal));
    let progress = world.node(next).host().transfer_progress().expect("it has not finished");
    assert!(progress.have >= 5 && replica.executed() < replica.watermarks().0, "{progress}");
    let accepted = world.accepted();
    assert!(accepted > 60, "what it cannot execute it orders all the same: {}", describe(&world));
    world.clear_rules();
    world.run_until(Time(5_900_000)).unwrap();
    assert_eq!(world.accepted(), 120, "{}", describe(&world));
    let replica = world.node(next).replica();
    assert_eq!(
        (replica.view(), replica.primary()),
        (View(1), next),
        "nobody had a reason to change the view"
    );
    assert!(world.node(next).host().transfer_counters().completed >= 1);
    world.run_until(Time(20_000_000)).unwrap();
    agree(&world);
}

#[test]
fn f1_a_replica_comes_back_while_the_others_go_on_at_full_speed() {
    let mut scenario = small(0);
    let everywhere = |rng: &mut Rng| vec![rng.below(ENTRIES.into()) as u8, rng.below(256) as u8];
    scenario.setting.service = Large::service().with_command(everywhere);
    // By the time a state has come and is taken over, the others have let go of the slots after it.
    scenario.setting.costs.store_us = 6_000;
    scenario.setting.cuts = cut_off(AWAY, START, Time(2_500_000)).to_vec();
    let mut world = World::new(&scenario.setting);
    let client = world.add_client(|options| options.retry_timeout_max_us = 1_000_000).unwrap();
    world.employ(client, 100_000, 2, 5_000);
    world.run_until(Time(2_500_000)).unwrap();
    let missed = world.node(ReplicaId(0)).replica().executed().0 - world.node(AWAY).replica().executed().0;
    assert!(missed > 32, "{missed}");
    world.run_until(Time(6_000_000)).unwrap();
    let counters = world.node(AWAY).host().transfer_counters();
    assert!((1..=2).contains(&counters.completed), "{counters:?}");
    assert!(counters.last_us > 50_000, "{counters:?}");
    let (here, there) = (world.node(AWAY).replica(), world.node(ReplicaId(0)).replica());
    assert!(
        !here.behind() && there.executed().0 - here.executed().0 <= 8,
        "{counters:?} {}",
        describe(&world)
    );
    // Without replica 2 nothing commits but with its vote.
    world.crash(ReplicaId(2)).unwrap();
    let before = world.accepted();
    world.run_until(Time(7_000_000)).unwrap();
    assert!(world.accepted() > before + 50, "{}", describe(&world));
}
