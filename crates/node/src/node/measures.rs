//! What a node measured on the way of operations, by the names of its metrics.

use quorate_host::phases::PhaseTimes;

use crate::transport::{Counters, LinkReport, Remote};

/// Time in each phase. The host's clock ends when it hands a reply to its link; the transport times the rest.
pub(super) fn phases(times: PhaseTimes, transport: &Counters) -> [(&'static str, u64); 12] {
    let PhaseTimes { request, pre_prepare, prepare, commit, execute } = times;
    [
        ("quorate_phase_request_microseconds_total", request.sum_us),
        ("quorate_phase_request_total", request.count),
        ("quorate_phase_pre_prepare_microseconds_total", pre_prepare.sum_us),
        ("quorate_phase_pre_prepare_total", pre_prepare.count),
        ("quorate_phase_prepare_microseconds_total", prepare.sum_us),
        ("quorate_phase_prepare_total", prepare.count),
        ("quorate_phase_commit_microseconds_total", commit.sum_us),
        ("quorate_phase_commit_total", commit.count),
        ("quorate_phase_execute_microseconds_total", execute.sum_us),
        ("quorate_phase_execute_total", execute.count),
        ("quorate_phase_reply_microseconds_total", transport.client_wait_us.get()),
        ("quorate_phase_reply_total", transport.client_waits.get()),
    ]
}

/// Packets of the links that have ended, and of those that are up.
pub(super) fn packets(transport: &Counters, links: &[LinkReport]) -> [(&'static str, u64); 2] {
    let sent: u64 = links.iter().map(|link| link.packets_sent).sum();
    let lost: u64 = links.iter().map(|link| link.packets_lost).sum();
    [
        ("quorate_packets_sent_total", transport.packets_sent.get().saturating_add(sent)),
        ("quorate_packets_lost_total", transport.packets_lost.get().saturating_add(lost)),
    ]
}

/// How far away another replica is, as QUIC sees it.
pub(super) fn round_trip(link: &LinkReport) -> Option<(String, u64)> {
    let Remote::Replica(replica) = link.remote else { return None };
    let round_trip = u64::try_from(link.round_trip?.as_micros()).unwrap_or(u64::MAX);
    Some((format!("quorate_round_trip_microseconds_to_{replica}"), round_trip))
}
