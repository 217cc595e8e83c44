//! What sessions take in their map.

use super::*;
use crate::codec::Blob;
use crate::map::CHUNKS_ROOM;
use crate::message::Outcome;
use crate::parameters::Parameters;
use crate::session::Judgement;

/// Gives a session as many answers as it may have up to this number; the last of all is as large as one may be.
fn fill(state: &mut SessionState, numbers: std::ops::RangeInclusive<u64>, parameters: &Parameters) {
    let rest = parameters.reply_cache_bytes_max - parameters.reply_bytes_max;
    let small = usize::try_from(rest / parameters.client_window).unwrap();
    let large = usize::try_from(parameters.reply_bytes_max).unwrap();
    let limits = Limits::of(parameters);
    for number in numbers {
        let bytes = if number == parameters.client_window { large } else { small };
        assert_eq!(state.judge(Number(number), false, &limits), Judgement::Execute);
        let outcome = Outcome::Done(Blob(vec![1; bytes].into()));
        state.remember(Number(number), Answer { seq: Seq(2), operation: Digest::ZERO, outcome });
    }
}

#[test]
fn as_many_full_sessions_as_the_default_parameters_allow_fit_their_map() {
    let parameters = Parameters::default();
    parameters.check().unwrap();
    let count = 48_u64;
    let mut sessions = Sessions::new(Limits::of(&parameters));
    let mut map = Map::new();
    // Their keys come in no order, and each grows from checkpoint to checkpoint: chunks are cut in the middle.
    let client = |number: u64| {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        ClientId(Digest(id))
    };
    for number in 0..count {
        sessions.insert(client(number), Session(1), SessionState::new(Seq(1), Digest::ZERO, Seq(9)));
    }
    let step = parameters.client_window / 4;
    for first in (1..=parameters.client_window).step_by(usize::try_from(step).unwrap()) {
        for number in 0..count {
            let state = sessions.get_mut(client(number), Session(1)).unwrap();
            fill(state, first..=first + step - 1, &parameters);
        }
        save_sessions(&mut sessions, &mut map).unwrap();
    }
    let bytes = parameters.saved_bytes_of_session();
    let held = parameters.reply_cache_bytes_max - parameters.client_window;
    assert!(sessions.iter().all(|(_, _, state)| state.bytes() >= held), "they are full");
    let chunks = map.chunks().len() as u64;
    assert!(map.bytes() <= count * (bytes + 48 * bytes.div_ceil(PIECE_BYTES as u64)), "{map:?}");
    assert!(chunks <= chunks_of_sessions(count, bytes), "{map:?}");
    let all = chunks * parameters.sessions_max / count;
    assert!(all <= CHUNKS_ROOM as u64, "all sessions take {all} chunks of {CHUNKS_ROOM}");
    assert_eq!(load_sessions(&map, Limits::of(&parameters)).unwrap().len() as u64, count);
}
