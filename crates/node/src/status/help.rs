//! One line about every metric, for whoever finds its name on a dashboard.

/// What a metric counts, without the prefix `quorate_` of all names.
const METRICS: &[(&str, &str)] = &[
    ("view", "View that the replica is in, or leaves for"),
    ("low_watermark", "Slot of the newest stable checkpoint"),
    ("high_watermark", "Highest slot that may be voted for"),
    ("committed_sequence", "Highest slot up to which all committed"),
    ("executed_sequence", "Highest slot executed"),
    ("pooled_operations", "Operations that wait to be ordered"),
    ("waiting_for_disk_messages", "Messages that must not leave before the disk has synced"),
    ("state_bytes", "Bytes of the state of the newest checkpoint"),
    ("snapshots_bytes", "Bytes that snapshots take on the disk"),
    ("journal_bytes", "Most bytes that the journal takes on the disk"),
    ("journal_used_percent", "How full the fullest area of the journal is"),
    ("peer_links_up", "Replicas that this one has a link to"),
    ("client_links_up", "Clients connected"),
    ("batches_committed_total", "Batches committed"),
    ("requests_committed_total", "Requests in committed batches"),
    ("operations_committed_total", "Operations in committed batches"),
    ("operations_executed_total", "Operations executed for the first time"),
    ("batches_proposed_total", "Batches proposed as primary"),
    ("view_changes_total", "Views entered or left for, beyond the first"),
    ("slow_primaries_total", "Of those, views left because their primary was too slow (`watchdog`)"),
    (
        "slices_judged_total",
        "Stretches of time with long waits that were held against the best seen (`watchdog`)",
    ),
    ("stable_checkpoints_total", "Checkpoints that became stable"),
    ("alarms_total", "Alarms raised: proofs that some replica is faulty; see /status"),
    (
        "accusations_total",
        "Lies of other replicas of which the folder keeps proof; see `quorate evidence list`",
    ),
    ("fetches_total", "Bodies and VIEW-CHANGEs asked of other replicas"),
    ("statements_signed_total", "Statements signed"),
    ("signatures_verified_total", "Signatures checked, alone or in batches"),
    ("signature_equations_total", "Equations that checked them; a batch takes one"),
    ("messages_invalid_total", "Messages that failed verification"),
    ("frames_refused_total", "Frames that the border refused"),
    ("frames_malformed_total", "Frames that were no message"),
    ("frames_truncated_total", "Frames that ended early"),
    ("frames_trailing_total", "Frames with bytes behind the message"),
    ("frames_not_canonical_total", "Frames that spelt a message otherwise than it is spelt"),
    ("frames_too_long_total", "Frames longer than a frame may be"),
    ("messages_of_impostors_total", "Messages delivered in somebody else's name"),
    ("votes_useless_total", "Messages dropped unverified because they could not matter any more"),
    ("votes_overdue_total", "Votes verified because they were held too long"),
    ("view_changes_repeated_total", "VIEW-CHANGEs dropped because the same bytes were verified before"),
    ("messages_crowded_out_total", "Messages dropped because too many of their channel were waiting"),
    ("retries_known_total", "Requests that had executed before and were answered again"),
    ("requests_busy_total", "Requests turned away for lack of room"),
    ("peer_frames_out_total", "Frames sent to replicas"),
    ("peer_bytes_out_total", "Bytes of frames sent to replicas"),
    ("client_frames_in_total", "Frames that clients sent"),
    ("client_bytes_in_total", "Bytes of frames that clients sent"),
    ("client_frames_out_total", "Frames sent to clients"),
    ("client_bytes_out_total", "Bytes of frames sent to clients"),
    ("packets_sent_total", "Packets of QUIC sent to replicas and clients"),
    ("packets_lost_total", "Packets of QUIC that were declared lost, and their contents sent again"),
    (
        "phase_request_microseconds_total",
        "Time of operations from arrival at the primary to proposal; of one request in 16",
    ),
    ("phase_request_total", "Operations of which that time was taken"),
    (
        "phase_pre_prepare_microseconds_total",
        "Time of operations from proposal, by the clock of the primary, to the vote of this replica",
    ),
    ("phase_pre_prepare_total", "Operations of which that time was taken"),
    (
        "phase_prepare_microseconds_total",
        "Time of operations from the vote of this replica to the prepared certificate",
    ),
    ("phase_prepare_total", "Operations of which that time was taken"),
    (
        "phase_commit_microseconds_total",
        "Time of operations from the prepared certificate until all up to their slot committed",
    ),
    ("phase_commit_total", "Operations of which that time was taken"),
    ("phase_execute_microseconds_total", "Time of operations from there until they have executed"),
    ("phase_execute_total", "Operations of which that time was taken"),
    (
        "phase_reply_microseconds_total",
        "Time of frames to clients from execution until QUIC has taken them; of one frame in 16",
    ),
    ("phase_reply_total", "Frames of which that time was taken"),
    ("journal_syncs_total", "Syncs of the journal"),
    ("journal_bytes_total", "Bytes handed to the disk for the journal"),
    ("journal_groups_total", "Groups of records written to the journal"),
    ("states_stored_total", "States saved, fetched ones included"),
    ("store_bytes_total", "Bytes written to store states"),
    ("store_bytes_moved_total", "Of these, what was written again so that a segment could go"),
    ("store_segments_deleted_total", "Segments of stored states that were deleted"),
    ("store_chunks_damaged_total", "Chunks of stored states that were found damaged"),
    ("behind_total", "Times that this replica missed more than the others' logs hold"),
    ("transfers_started_total", "Fetches of a whole state begun"),
    ("transfers_completed_total", "States that came whole"),
    ("transfer_targets_moved_total", "States given up for a newer one while they were fetched"),
    ("transfer_chunks_total", "Chunks of states that came and were right, whole or in part"),
    ("transfer_bytes_total", "Bytes of those, and of lists of their pages"),
    (
        "transfer_chunks_reused_total",
        "Chunks that were here already: of an older state, of an earlier target, or from before a restart",
    ),
    (
        "transfer_pages_reused_total",
        "Pages that were here already of chunks of which others had to be fetched, or that are cut otherwise",
    ),
    ("transfer_bytes_reused_total", "Bytes of the states that came whole that did not have to be fetched"),
    ("transfer_answers_refused_total", "Answers that were wrong, or that nobody had asked for"),
    ("transfer_answers_overdue_total", "Questions for a state that were not answered in time"),
    ("transfer_sources_banned_total", "Sources banned for a wrong answer, until the next target"),
    ("transfer_chunks_served_total", "Chunks of states served to other replicas"),
    ("transfer_bytes_served_total", "Bytes of states served to other replicas"),
    ("transfer_leases", "Replicas for which a state is kept because they fetch it"),
    ("transfer_last_microseconds", "How long the last transfer took that ended well"),
    ("transfer_questions_dropped_total", "Questions of replicas that had too many waiting"),
    ("links_up_total", "Handshakes that ended in a link"),
    ("links_down_total", "Links that ended"),
    ("handshakes_total", "Handshakes that others began"),
    ("links_knocked_for_total", "Replicas that said they were there, to be dialled"),
    ("links_of_rivals_total", "Links of one replica's key that came from two places by turns"),
    ("frames_dropped_total", "Frames given up because their lane was full"),
    ("links_refused_by_others_total", "Links that the other side refused or ended"),
    ("emulation_datagrams_total", "Datagrams that an emulated network carried or lost"),
    ("emulation_lost_total", "Of these, lost by chance"),
    ("emulation_dropped_total", "Of these, dropped because too many bytes waited for their link"),
    ("emulation_reordered_total", "Of these, held back so that later ones overtake them"),
    ("emulation_delayed_total", "Of these, sent on after they had waited"),
    ("emulation_late_microseconds_total", "How much later than they were due those left, all together"),
    ("lies_total", "Lies told by a replica that lies on purpose, of all kinds"),
];

/// Metrics with one name for each kind of something.
const FAMILIES: &[(&str, &str)] = &[
    ("messages_invalid_", "Messages that failed verification, of the kind"),
    ("messages_over_allowance_", "Messages dropped because their channel asked too much, of the kind"),
    ("links_refused_", "Links refused or ended by this side, for the reason"),
    ("lies_", "Lies told by a replica that lies on purpose, of the kind"),
];

/// Gauges with one name for each replica.
const GAUGES: &[(&str, &str)] =
    &[("round_trip_microseconds_to_", "Round-trip time of QUIC, smoothed, to replica")];

/// One line about a metric.
pub(super) fn help(name: &str) -> Option<String> {
    let short = name.strip_prefix("quorate_")?;
    if let Some((_, help)) = METRICS.iter().find(|(known, _)| *known == short) {
        return Some((*help).to_owned());
    }
    if let Some((family, help)) = GAUGES.iter().find(|(family, _)| short.starts_with(family)) {
        return Some(format!("{help} {}", &short[family.len()..]));
    }
    FAMILIES.iter().find_map(|(family, help)| {
        let kind = short.strip_prefix(family)?.strip_suffix("_total")?;
        Some(format!("{help} {}", kind.replace('_', " ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulation::{Emulation, EmulationFile};

    #[test]
    fn a_metric_is_told_by_its_name_or_by_its_kind() {
        assert_eq!(
            help("quorate_stable_checkpoints_total").as_deref(),
            Some("Checkpoints that became stable")
        );
        let refused = help("quorate_links_refused_too_slow_total");
        assert_eq!(refused.as_deref(), Some("Links refused or ended by this side, for the reason too slow"));
        let by_others = help("quorate_links_refused_by_others_total");
        assert_eq!(by_others.as_deref(), Some("Links that the other side refused or ended"));
        let round_trip = help("quorate_round_trip_microseconds_to_3");
        assert_eq!(round_trip.as_deref(), Some("Round-trip time of QUIC, smoothed, to replica 3"));
        assert_eq!((help("quorate_unheard_of"), help("view")), (None, None));
        let emulation = Emulation::new(EmulationFile::default());
        assert!(emulation.counters().named().iter().all(|(name, _)| help(name).is_some()));
    }
}
