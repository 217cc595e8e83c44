//! Lies as they are written on a command line: `equivocate`, `mute+delay:by=200ms`.

use quorate_host::byzantine::{NAMES, Sin};

/// The lies of a flag that may be repeated.
pub(crate) fn all_sins(texts: &[String]) -> anyhow::Result<Vec<Sin>> {
    let mut list = Vec::new();
    for text in texts {
        list.extend(sins(text).map_err(|error| anyhow::anyhow!("--byzantine {text}: {error}"))?);
    }
    Ok(list)
}

/// Several lies of one replica. A lie's name ends the lie before it; whatever else stands behind a `+` or a comma belongs
/// to that: an option (`seq=10..`), a replica (`to=1+3`), a kind of message.
pub(crate) fn sins(text: &str) -> Result<Vec<Sin>, String> {
    let mut parts = vec![String::new()];
    let mut rest = text;
    while let Some(at) = rest.find(['+', ',']) {
        let (before, after) = rest.split_at(at);
        let (joint, after) = after.split_at(1);
        let last = parts.last_mut().expect("there is one from the beginning");
        last.push_str(before);
        if begins_with_a_lie(after) {
            parts.push(String::new());
        } else {
            last.push_str(joint);
        }
        rest = after;
    }
    parts.last_mut().expect("there is one from the beginning").push_str(rest);
    parts.iter().map(|part| part.parse::<Sin>().map_err(|error| error.to_string())).collect()
}

fn begins_with_a_lie(text: &str) -> bool {
    let letters = text.find(|letter: char| !letter.is_ascii_alphabetic() && letter != '-');
    let word = &text[..letters.unwrap_or(text.len())];
    NAMES.iter().any(|(name, _)| *name == word)
}

/// Every behaviour there is, a line for each.
pub(crate) fn listed() -> String {
    let width = NAMES.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, what): &(&str, &str)| format!("  {name:<width$}  {what}\n");
    let names: String = NAMES.iter().map(line).collect();
    format!(
        "Behaviours, and when they are shown (all of it may be left out):\n{names}\
         \x20 NAME:view=0..2,seq=10..,after=3s,until=9s,probability=0.5,to=1+3\n\
         Several are joined by `+`: mute:to=1+delay:by=200ms"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn several_lies_are_told_apart_from_the_options_of_one() {
        let told = |text: &str| -> Vec<String> { sins(text).unwrap().iter().map(Sin::to_string).collect() };
        for (text, expected) in [
            ("equivocate", &["equivocate"][..]),
            ("mute+delay:by=200ms", &["mute", "delay:by=200ms"]),
            ("mute,delay:by=200ms", &["mute", "delay:by=200ms"]),
            ("mute:to=1+3+delay:by=200ms", &["mute:to=1+3", "delay:by=200ms"]),
            ("mute:kinds=prepare+reply+flood", &["mute:kinds=prepare+reply", "flood"]),
            ("delay:by=200ms,seq=10..,mute", &["delay:by=200ms,seq=10..", "mute"]),
        ] {
            // An option may be written otherwise than it was typed.
            let expected: Vec<String> =
                expected.iter().map(|one| one.parse::<Sin>().unwrap().to_string()).collect();
            assert_eq!(told(text), expected, "{text}");
        }
    }

    #[test]
    fn a_lie_that_does_not_exist_is_named_with_those_that_do() {
        for (text, word) in
            [("equivocat", "equivocat"), ("mute+", "mute+"), ("mute+dely:by=1s", "dely"), ("", "")]
        {
            let error = sins(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        assert!(sins("equivocat").unwrap_err().contains("equivocate"));
        assert!(NAMES.iter().all(|(name, _)| listed().contains(&format!("  {name} "))), "{}", listed());
    }
}
