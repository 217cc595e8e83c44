//! What somebody at the terminal is told of a run: what begins, and how it ended.

use std::path::Path;

use super::report::Report;
use super::web::Web;
use super::{Args, ENDLESS, duration};

/// Says what begins now, and where to look at it.
pub(super) fn announce(args: &Args, web: Option<&Web>) {
    let long = match duration(ENDLESS) {
        Ok(endless) if args.duration == endless => "until Ctrl-C".to_owned(),
        _ => format!("for {:?}", args.duration),
    };
    eprintln!("starting {} replica processes on this machine, then load {long}", args.replicas);
    let Some(url) = web.and_then(Web::url) else { return };
    eprintln!("the page of this run, for a browser of this machine:");
    if args.json.as_deref() == Some(Path::new("-")) {
        eprintln!("{url}");
    } else {
        println!("{url}");
    }
}

/// For people, and out of the way of a program that reads standard output.
pub(super) fn print_end(args: &Args, report: &Report) {
    let hint = if cfg!(feature = "byzantine") && args.replicas == 4 && report.lies.is_empty() {
        "testbed --byzantine 2:equivocate   (replica 2 tells different replicas different things)"
    } else if args.replicas == 4 && args.own.is_none() {
        "testbed --replicas 7 --application counter   (seven replicas, of which two may fail)"
    } else {
        "init trial   (a cluster of your own that stays)"
    };
    let mut text = report.summary();
    if report.verdict.is_good() {
        text.push_str(&format!("\n\ntry next     {} {hint}", crate::program()));
    }
    if args.json.as_deref() == Some(Path::new("-")) {
        eprintln!("{text}");
    } else {
        println!("{text}");
    }
}
