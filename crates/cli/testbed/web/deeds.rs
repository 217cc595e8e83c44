//! What a person at the page does to a cluster: what is refused, and why, and what more faults than are borne mean.

use quorate_bench::cluster::{Cluster, Deed};
use quorate_bench::load::Live;
use quorate_node::live::Deed as Command;
use quorate_protocol::committee::{faults, quorum};
use serde::Serialize;

use super::super::faults::Faults;

/// What somebody did at the page, in a report. Field names are part of the interface.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PageDeed {
    /// Since the load began.
    pub(super) at_ms: u64,
    /// As the page asked for it.
    #[serde(flatten)]
    pub(super) command: Command,
    /// In words.
    pub(super) done: String,
}

impl PageDeed {
    /// For people; none if it is among the faults.
    pub(crate) fn line(&self) -> Option<String> {
        let is_fault = matches!(self.command, Command::Kill { .. } | Command::Restart { .. });
        (!is_fault).then(|| format!("after {:.1} s: {}", self.at_ms as f64 / 1000.0, self.done))
    }
}

/// Does what was asked for; says what was done.
///
/// # Errors
/// Why it was not, and what to do instead, for whoever asked.
pub(super) async fn carry_out(
    command: &Command,
    (cluster, faults): (&mut Cluster, &mut Faults),
    live: &Live,
) -> Result<String, String> {
    match command {
        Command::Kill { replica } => strike((Deed::Kill, *replica), (cluster, faults), live).await,
        Command::Restart { replica } => strike((Deed::Restart, *replica), (cluster, faults), live).await,
        Command::Partition { sides } => {
            check_sides(sides, cluster.size())?;
            faults.part(sides, cluster, live).await.map_err(|error| error.to_string())?;
            Ok(format!("parted {}", told_sides(sides)))
        }
        Command::Heal if cluster.parted().is_none() => Err("nobody is parted; part them first".to_owned()),
        Command::Heal => {
            faults.heal(cluster, live).await.map_err(|error| error.to_string())?;
            Ok("mended all links".to_owned())
        }
        Command::Behave { replica, behaviour } => behave((*replica, behaviour.as_deref()), cluster).await,
    }
}

/// Kills a replica, or starts it again.
async fn strike(
    (deed, replica): (Deed, u16),
    (cluster, faults): (&mut Cluster, &mut Faults),
    live: &Live,
) -> Result<String, String> {
    check_exists(replica, cluster.size())?;
    if !cluster.allows(deed, replica) {
        return Err(match deed {
            Deed::Restart => format!("replica {replica} runs; kill it first"),
            _ => format!("replica {replica} does not run any more; restart it first"),
        });
    }
    faults.do_now((deed, replica), cluster, live).await.map_err(|error| format!("{error:#}"))?;
    Ok(format!("{} replica {replica}", deed.done()))
}

async fn behave((replica, behaviour): (u16, Option<&str>), cluster: &mut Cluster) -> Result<String, String> {
    check_exists(replica, cluster.size())?;
    if !cluster.lives(replica) {
        return Err(format!("replica {replica} does not run; restart it first"));
    }
    if behaviour.is_none() && !cluster.liars().is_liar(replica) {
        return Err(format!("replica {replica} is honest already"));
    }
    let behaviour = behaviour.map(canonical).transpose()?;
    cluster.behave(replica, behaviour.as_deref()).await.map_err(|error| error.to_string())?;
    Ok(match behaviour {
        Some(behaviour) => format!("replica {replica} lies from now on: {behaviour}"),
        None => format!("replica {replica} is honest from now on"),
    })
}

/// A behaviour as the program writes it.
#[cfg(feature = "byzantine")]
fn canonical(text: &str) -> Result<String, String> {
    let sins = crate::byzantine::sins(text)?;
    Ok(sins.iter().map(ToString::to_string).collect::<Vec<_>>().join("+"))
}

/// A program without lies takes no orders to lie.
#[cfg(not(feature = "byzantine"))]
fn canonical(_text: &str) -> Result<String, String> {
    Err("this program was built without lies; build it with the feature `byzantine`".to_owned())
}

/// The lies that the page offers.
pub(super) fn behaviours() -> Vec<String> {
    #[cfg(feature = "byzantine")]
    return quorate_host::byzantine::NAMES.iter().map(|(name, _)| (*name).to_owned()).collect();
    #[cfg(not(feature = "byzantine"))]
    return Vec::new();
}

fn check_exists(replica: u16, size: u16) -> Result<(), String> {
    let none =
        || format!("there is no replica {replica}; they are numbered from 0 to {}", size.saturating_sub(1));
    (replica < size).then_some(()).ok_or_else(none)
}

fn check_sides(sides: &[Vec<u16>], size: u16) -> Result<(), String> {
    let mut named: Vec<u16> = sides.iter().flatten().copied().collect();
    named.sort_unstable();
    named.iter().try_for_each(|replica| check_exists(*replica, size))?;
    if let Some(twice) = named.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("replica {} is on two sides; put it on one", twice[0]));
    }
    if sides.iter().any(|side| side.len() == usize::from(size)) {
        return Err("all replicas are on one side, which parts nobody; make two, or heal".to_owned());
    }
    Ok(())
}

/// `0,1 from 2,3`.
fn told_sides(sides: &[Vec<u16>]) -> String {
    let side = |side: &Vec<u16>| side.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    let sides: Vec<String> = sides.iter().filter(|side| !side.is_empty()).map(side).collect();
    match sides.as_slice() {
        [] => "everybody from everybody".to_owned(),
        [one] => format!("{one} from everybody else"),
        several => several.join(" from "),
    }
}

/// What is promised no more, if more is faulty than is borne.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Broken {
    /// That replicas agree: too many lied, and that cannot be made up for.
    pub(super) agreement: Option<String>,
    /// That answers come, while it is so.
    pub(super) answers: Option<String>,
}

impl Broken {
    /// As a cluster stands.
    pub(super) fn of(cluster: &Cluster) -> Self {
        let honest = (0..cluster.size()).filter(|id| cluster.lives(*id) && !cluster.liars().is_liar(*id));
        Self::among(cluster.size(), &cluster.liars().ids(), &honest.collect::<Vec<_>>(), cluster.parted())
    }

    /// The same, of so many replicas, of which these lie or lied, and these run and never did; and whom each may speak
    /// with, if not everybody.
    fn among(size: u16, liars: &[u16], honest: &[u16], parted: Option<&[Vec<u16>]>) -> Self {
        let n = usize::from(size);
        let (f, q) = (faults(n), quorum(n));
        let agreement = (liars.len() > f).then(|| {
            format!(
                "{} of {n} replicas lied, and the cluster bears {f}: nothing is promised any more, neither that replicas \
                 agree nor that what was answered stays",
                liars.len()
            )
        });
        let with = |replica: &u16| match parted.and_then(|parted| parted.get(usize::from(*replica))) {
            Some(side) => honest.iter().filter(|other| side.contains(other)).count(),
            None => honest.len(),
        };
        let most = honest.iter().map(with).max().unwrap_or(0);
        // Where nothing is promised there is no less to promise.
        let answers = (agreement.is_none() && most < q).then(|| {
            format!(
                "{most} honest replicas reach each other, and {q} have to agree: until more do, no answer is promised; what \
                 was answered stays"
            )
        });
        Self { agreement, answers }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sides_that_make_no_sense_are_refused_with_what_would() {
        for (sides, words) in [
            (vec![vec![0, 4]], "there is no replica 4; they are numbered from 0 to 3"),
            (vec![vec![0, 1], vec![1, 2]], "replica 1 is on two sides"),
            (vec![vec![0, 1, 2, 3]], "parts nobody"),
        ] {
            let error = check_sides(&sides, 4).unwrap_err();
            assert!(error.contains(words), "{sides:?}: {error}");
        }
        for sides in [vec![vec![0, 1], vec![2, 3]], vec![vec![2]], vec![]] {
            assert_eq!(check_sides(&sides, 4), Ok(()), "{sides:?}");
        }
        let told = [&[vec![0, 1], vec![2, 3]][..], &[vec![2]], &[]].map(told_sides);
        assert_eq!(told, ["0,1 from 2,3", "2 from everybody else", "everybody from everybody"]);
    }

    #[test]
    fn a_deed_is_told_as_the_page_asked_for_it_and_in_words_unless_it_is_among_the_faults() {
        let sides = vec![vec![0, 1], vec![2, 3]];
        let done = format!("parted {}", told_sides(&sides));
        let parted = PageDeed { at_ms: 3_210, command: Command::Partition { sides }, done };
        let expected = serde_json::json!({
            "at_ms": 3_210, "command": "partition", "sides": [[0, 1], [2, 3]], "done": "parted 0,1 from 2,3",
        });
        assert_eq!(serde_json::to_value(&parted).unwrap(), expected);
        assert_eq!(parted.line().as_deref(), Some("after 3.2 s: parted 0,1 from 2,3"));
        let healed =
            PageDeed { command: Command::Heal, done: "mended all links".to_owned(), ..parted.clone() };
        assert_eq!(serde_json::to_value(&healed).unwrap()["command"], "heal");
        assert_eq!(PageDeed { command: Command::Kill { replica: 0 }, ..parted }.line(), None);
    }

    #[test]
    fn what_more_faults_than_are_borne_mean_is_told_by_what_they_break() {
        let all = [0, 1, 2, 3];
        assert_eq!(Broken::among(4, &[], &all, None), Broken::default());
        assert_eq!(Broken::among(4, &[2], &[0, 1, 3], None), Broken::default(), "one liar is borne");
        let halves: Vec<Vec<u16>> = vec![vec![0, 1], vec![0, 1], vec![2, 3], vec![2, 3]];
        let parted = Broken::among(4, &[], &all, Some(&halves));
        assert!(parted.agreement.is_none(), "a partition makes nobody wrong");
        assert!(
            parted.answers.unwrap().starts_with("2 honest replicas reach each other, and 3 have to agree")
        );
        let lone: Vec<Vec<u16>> = vec![vec![0, 1, 3], vec![0, 1, 3], vec![2], vec![0, 1, 3]];
        assert_eq!(Broken::among(4, &[], &all, Some(&lone)), Broken::default());
        let dead = Broken::among(4, &[], &[0, 1], None);
        assert!(dead.agreement.is_none() && dead.answers.is_some());
        let liars = Broken::among(4, &[2, 3], &[0, 1], None);
        assert!(liars.answers.is_none(), "there is nothing left to promise");
        assert!(liars.agreement.unwrap().contains("2 of 4 replicas lied, and the cluster bears 1"));
        assert!(Broken::among(4, &[], &[], None).answers.unwrap().starts_with("0 honest"));
    }

    #[cfg(feature = "byzantine")]
    #[test]
    fn behaviours_that_do_not_exist_are_named_with_those_that_do() {
        let error = canonical("equivocat").unwrap_err();
        assert!(behaviours().iter().all(|name| error.contains(name.as_str())), "{error}");
        assert_eq!(canonical("mute").unwrap(), "mute");
        assert!(canonical("mute\nlinks all").is_err());
    }
}
