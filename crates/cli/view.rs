//! `quorate view`: a recorded run, in a browser.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use quorate_host::live::{Excerpt, Header, Ring};
use quorate_node::live::{Server, Source, page};
use tokio::signal::unix::{SignalKind, signal};

use crate::recording::Recording;
use crate::testbed::amount::told;

const EXAMPLES: &str = "Examples:
  quorate testbed --kill primary@3s --restart last@6s --record run.jsonl
  quorate view run.jsonl                       prints an address of this machine; open it in a browser
  quorate view run.jsonl --out run.html        one file that needs no server, to be sent to somebody
  quorate simulate configs/scenarios/twins.toml --record twins.jsonl; quorate view twins.jsonl";

/// Arguments of `quorate view`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A recording, which `quorate testbed --record` or `quorate simulate --record` wrote
    file: PathBuf,
    /// Write one page that holds the recording and needs no server to this file, and end; `-` for standard output
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
    /// Port of this machine at which to show it; 0 for one that is free
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// A recording, for whoever looks.
struct Recorded(Ring);

impl Source for Recorded {
    async fn excerpt(&self, from: u64) -> Option<Excerpt> {
        Some(self.0.from(from))
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let recording = Recording::load(&args.file)?;
    match &args.out {
        Some(out) => write(&recording, out)?,
        None => serve(recording, args.port)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the page with the recording in it.
fn write(recording: &Recording, out: &Path) -> anyhow::Result<()> {
    let html = page::with_recording(&recording.lines.join("\n"));
    if out == Path::new("-") {
        print!("{html}");
        return Ok(());
    }
    std::fs::write(out, &html).with_context(|| {
        format!(
            "--out {}: cannot be written; name a file in a folder that exists and has room",
            out.display()
        )
    })?;
    println!(
        "{}: {}, {}; open it in a browser",
        out.display(),
        recording.header.title,
        told(html.len() as u64)
    );
    Ok(())
}

/// Shows the recording until somebody stops this program.
fn serve(recording: Recording, port: u16) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let Recording { header, moments, .. } = recording;
        let title = header.title.clone();
        let mut ring = Ring::with_room(Header { over: true, ..header }, moments.len());
        moments.into_iter().for_each(|moment| ring.push(moment));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let server = Server::start(address, Arc::new(Recorded(ring))).await?;
        eprintln!("{title}: open this address in a browser of this machine; Ctrl-C ends it");
        println!("{}", server.url());
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    })
}
