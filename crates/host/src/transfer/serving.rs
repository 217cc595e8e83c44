//! The serving side: what others ask of the states here, how much of them each may have in a second, and for how long
//! the state that somebody fetches stays although newer ones are there.

use std::collections::VecDeque;

use quorate_protocol::message::Transfer;
use quorate_protocol::types::{ReplicaId, Seq, Time};

use super::{Counters, Post};
use crate::store::Job;

/// Bytes served to one replica per second: a liar can take that much of a link, and no more.
pub(super) const RATE_BYTES: u64 = 16 << 20;
/// Bytes served to one replica at once after a pause.
pub(super) const BURST_BYTES: u64 = 4 << 20;
/// What an answer costs at least, so that short ones are bounded in number as well.
pub(super) const ANSWER_BYTES_MIN: u64 = 16 << 10;
/// The same for digests and for some pages of a chunk: a replica that has most of a large state asks for many of these,
/// and shall not be slower than one that has nothing. The store reads a chunk for each.
pub(super) const PAGES_BYTES_MIN: u64 = 8 << 10;
/// Questions of one replica that wait. A correct one has a third of that on their way, and asks again for what is
/// overdue.
pub(super) const QUESTIONS_MAX: usize = 48;
/// Questions of one replica that the store answers at once.
pub(super) const READS_MAX: usize = 2;
/// A state stays for so long after the last question about it, in microseconds.
pub(super) const LEASE_US: u64 = 10_000_000;
/// A state stays for whoever fetches it four times as long as fetching it at the rate takes, and that much longer, in
/// microseconds: who pins states for mischief pins none that is older.
pub(super) const LEASE_MARGIN_US: u64 = 30_000_000;

/// A state that stays for somebody.
#[derive(Debug, Clone, Copy)]
struct Lease {
    seq: Seq,
    began: Time,
    until: Time,
    /// It is not renewed beyond this.
    longest: Time,
}

impl Lease {
    /// For a state of so many bytes. However often somebody asks how many these are, it began when it did.
    fn measure(&mut self, bytes: u64) {
        let took = bytes.saturating_mul(4_000_000) / RATE_BYTES;
        self.longest = self.began.plus(took.saturating_add(LEASE_MARGIN_US));
    }
}

/// What one replica asked, and how much it may still have.
#[derive(Debug, Clone)]
struct Asker {
    questions: VecDeque<Transfer>,
    /// Questions that the store has been asked.
    reading: usize,
    /// Bytes it may have at once. What an answer takes is known once it is there, so this may fall below zero.
    tokens: i64,
    since: Time,
    lease: Option<Lease>,
    /// A lease of this state, or of an older one, lasted as long as it may.
    spent: Seq,
}

impl Asker {
    /// Earns what the time since it last did is worth.
    fn earn(&mut self, now: Time) {
        let earned = RATE_BYTES.saturating_mul(now.since(self.since)) / 1_000_000;
        if earned > 0 {
            let most = BURST_BYTES.cast_signed();
            self.tokens = self.tokens.saturating_add_unsigned(earned).min(most);
            self.since = now;
        }
    }

    fn may_read(&self) -> bool {
        !self.questions.is_empty() && self.reading < READS_MAX
    }

    /// Each question pins the state that it is about, in place of the one before it. It never goes back to an older one,
    /// for by going to and fro a lease would last for ever.
    fn lease(&mut self, now: Time, seq: Seq) {
        let until = now.plus(LEASE_US);
        match &mut self.lease {
            Some(lease) if lease.seq == seq => lease.until = until.min(lease.longest),
            Some(lease) if lease.seq > seq => {}
            _ if seq <= self.spent => {}
            lease => *lease = Some(Lease { seq, began: now, until, longest: now.plus(LEASE_MARGIN_US) }),
        }
    }

    /// Whether a lease ended.
    fn end_lease(&mut self, now: Time) -> bool {
        let Some(lease) = self.lease.take_if(|lease| lease.until <= now) else { return false };
        if lease.until == lease.longest {
            self.spent = self.spent.max(lease.seq);
        }
        true
    }
}

/// Answers questions about states, out of the store.
#[derive(Debug)]
pub(super) struct Serving {
    askers: Vec<Asker>,
    /// Whose turn it is.
    turn: usize,
    /// Questions whose turn has come.
    ready: VecDeque<Job>,
    /// Something that was pinned is not any more.
    lapsed: bool,
    counters: Counters,
}

impl Serving {
    pub(super) fn new(replicas: usize) -> Self {
        let asker = Asker {
            questions: VecDeque::new(),
            reading: 0,
            tokens: BURST_BYTES.cast_signed(),
            since: Time(0),
            lease: None,
            spent: Seq(0),
        };
        Self {
            askers: vec![asker; replicas],
            turn: 0,
            ready: VecDeque::new(),
            lapsed: false,
            counters: Counters::default(),
        }
    }

    pub(super) fn ask(&mut self, now: Time, from: ReplicaId, question: Transfer) {
        let (Transfer::FetchMeta { seq }
        | Transfer::FetchChunk { seq, .. }
        | Transfer::FetchDigests { seq, .. }
        | Transfer::FetchPages { seq, .. }) = question
        else {
            return;
        };
        let Some(asker) = self.askers.get_mut(usize::from(from.0)) else { return };
        if asker.questions.len() >= QUESTIONS_MAX || asker.questions.contains(&question) {
            self.counters.questions_dropped += 1;
            return;
        }
        let before = asker.lease.map(|lease| lease.seq);
        asker.lease(now, seq);
        self.lapsed |= before.is_some_and(|before| asker.lease.map(|lease| lease.seq) != Some(before));
        asker.questions.push_back(question);
    }

    pub(super) fn is_idle(&self) -> bool {
        let idle = |asker: &Asker| asker.questions.is_empty() && asker.reading == 0 && asker.lease.is_none();
        !self.lapsed && self.askers.iter().all(idle)
    }

    /// Lets each who asks have its turn, as long as anybody may have something.
    pub(super) fn pump(&mut self, now: Time) {
        for asker in &mut self.askers {
            asker.earn(now);
            self.lapsed |= asker.end_lease(now);
        }
        let count = self.askers.len();
        let mut passed = 0;
        while passed < count {
            let turn = self.turn;
            self.turn = (turn + 1) % count;
            passed += 1;
            let asker = &mut self.askers[turn];
            if asker.may_read()
                && asker.tokens > 0
                && let Some(question) = asker.questions.pop_front()
            {
                asker.reading += 1;
                let to = ReplicaId(u16::try_from(turn).expect("a committee has at most 256 replicas"));
                self.ready.push_back(Job::Serve { to, question });
                passed = 0;
            }
        }
    }

    /// A question for the store.
    pub(super) fn take_job(&mut self) -> Option<Job> {
        self.ready.pop_front()
    }

    /// What the store answers; it is taken from what the asker may have.
    pub(super) fn served(&mut self, now: Time, to: ReplicaId, part: Transfer) -> Option<Post> {
        let asker = self.askers.get_mut(usize::from(to.0))?;
        asker.reading = asker.reading.saturating_sub(1);
        let bytes = bytes_of(&part);
        asker.earn(now);
        asker.tokens = asker.tokens.saturating_sub_unsigned(bytes.max(least(&part)));
        match &part {
            Transfer::Meta { summary, .. } => {
                let lease = asker.lease.as_mut().filter(|lease| lease.seq == summary.seq);
                lease.into_iter().for_each(|lease| lease.measure(summary.bytes()));
            }
            Transfer::Chunk { .. } | Transfer::Pages { .. } => self.counters.served_chunks += 1,
            Transfer::Digests { .. }
            | Transfer::FetchMeta { .. }
            | Transfer::FetchChunk { .. }
            | Transfer::FetchDigests { .. }
            | Transfer::FetchPages { .. }
            | Transfer::Lacks { .. } => {}
        }
        self.counters.served_bytes += bytes;
        Some(Post { to, part })
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let next = |asker: &Asker| {
            let lacking = u64::try_from(1 - asker.tokens).unwrap_or(0);
            let earned = lacking.saturating_mul(1_000_000).div_ceil(RATE_BYTES).max(1);
            let read = asker.may_read().then(|| asker.since.plus(earned));
            read.into_iter().chain(asker.lease.map(|lease| lease.until)).min()
        };
        self.askers.iter().filter_map(next).min()
    }

    /// States that stay because somebody fetches them: one for each who does, at most.
    pub(super) fn leased(&self) -> Vec<Seq> {
        let mut leased: Vec<Seq> = self.askers.iter().filter_map(|asker| Some(asker.lease?.seq)).collect();
        leased.sort_unstable();
        leased.dedup();
        leased
    }

    /// Whether something that was pinned is not any more, since this was last asked.
    pub(super) fn take_lapsed(&mut self) -> bool {
        std::mem::take(&mut self.lapsed)
    }

    pub(super) fn counters(&self) -> Counters {
        let leases = self.askers.iter().filter(|asker| asker.lease.is_some()).count() as u64;
        Counters { leases, ..self.counters }
    }
}

fn bytes_of(part: &Transfer) -> u64 {
    let bytes = match part {
        Transfer::Meta { chunks, .. } => chunks.len() * 32,
        Transfer::Digests { pages, .. } => pages.len() * 32,
        Transfer::Chunk { bytes, .. } | Transfer::Pages { bytes, .. } => bytes.len(),
        Transfer::FetchMeta { .. }
        | Transfer::FetchChunk { .. }
        | Transfer::FetchDigests { .. }
        | Transfer::FetchPages { .. }
        | Transfer::Lacks { .. } => 0,
    };
    bytes as u64
}

/// What an answer costs at least.
fn least(part: &Transfer) -> u64 {
    if let Transfer::Digests { .. } | Transfer::Pages { .. } = part {
        PAGES_BYTES_MIN
    } else {
        ANSWER_BYTES_MIN
    }
}
