//! Lies are read as they are written, and what is no lie is told why.

use super::*;

fn error(text: &str) -> String {
    text.parse::<Sin>().unwrap_err().to_string()
}

#[test]
fn every_name_is_a_lie_that_says_its_name() {
    for (name, sentence) in NAMES {
        let sin: Sin = name.parse().unwrap();
        assert_eq!(sin.name(), *name);
        assert!(sentence.len() > 20, "{name} says what it does");
    }
}

#[test]
fn what_is_written_is_read_again() {
    let words = "view=0..2,seq=10..,after=3s,until=9s,probability=0.5,to=1+3";
    for (name, _) in NAMES {
        for text in [(*name).to_owned(), format!("{name}:{words}")] {
            let sin: Sin = text.parse().unwrap();
            assert_eq!(sin.to_string().parse::<Sin>().unwrap(), sin, "{text}");
        }
    }
    for text in [
        "delay:by=200ms",
        "mute:kinds=pre-prepare+reply,to=2",
        "rush-view-changes:every=7ms",
        "flood:rate=12",
        "lying-replies:words=99",
        "equivocate:view=3,after=1500ms,probability=0.000001",
        "censor:client=0101010101010101010101010101010101010101010101010101010101010101",
    ] {
        assert_eq!(text.parse::<Sin>().unwrap().to_string(), text);
    }
    assert_eq!("equivocate:view=..3".parse::<Sin>().unwrap().to_string(), "equivocate:view=0..3");
}

#[test]
fn an_error_names_the_word_and_the_fix() {
    let unknown = error("equivocat");
    assert!(
        unknown.starts_with("`equivocat` is no lie that a replica can tell; there are mute, delay,"),
        "{unknown}"
    );
    assert!(unknown.ends_with("twins"), "{unknown}");
    assert_eq!(
        error("delay:bye=3s"),
        "`delay` has no setting `bye`; it has by, kinds, view, seq, after, until, probability, to"
    );
    assert_eq!(error("delay:by=3"), "`delay`: `by=3` must be a time like `3s`, `200ms` or `50us`");
    assert_eq!(error("mute:to=1,to=2"), "`mute`: `to` is there twice; leave one out");
    assert!(
        error("mute:to=one")
            .ends_with("`to=one` must be numbers of replicas with `+` between them, like `1+3`")
    );
    for text in [
        "",
        "mute:view=2..2",
        "mute:view=x",
        "mute:probability=0",
        "mute:probability=1.5",
        "mute:probability=NaN",
        "mute:after=3s,until=2s",
        "mute:kinds=post",
        "flood:rate=0",
        "flood:rate=100001",
        "censor:client=12",
        "rush-view-changes:every=99us",
        "lying-replies:words=",
        "delay:by=99999999999999999999s",
        "mute:seq=18446744073709551615",
    ] {
        assert!(text.parse::<Sin>().is_err(), "{text}");
    }
}
