//! Limits as a table for people.

use std::fmt;

use super::{
    Build, Ceiling, Disk, FileSystem, Limits, Machine, RoundTrip, Signatures, Spread, SyncLatency, UdpBuffers,
};

/// Width of the first column.
const NAME: usize = 44;

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        heading(f, &self.machine, &self.build, &self.udp)?;
        signatures(f, &self.signatures)?;
        section(f, "SHA-256, one core", "us")?;
        row(f, "64 B", &self.hashing.sha256_64_b_us)?;
        row(f, "512 B", &self.hashing.sha256_512_b_us)?;
        row(f, "1 KiB", &self.hashing.sha256_1024_b_us)?;
        let encoding = &self.encoding;
        section(f, "Codec, one core", "us")?;
        row(f, &format!("PREPARE ({} B), encode", encoding.prepare_bytes), &encoding.encode_prepare_us)?;
        row(f, "  decode", &encoding.decode_prepare_us)?;
        let name = format!("PRE-PREPARE, 64 x 128 B ({} B), encode", encoding.pre_prepare_64_bytes);
        row(f, &name, &encoding.encode_pre_prepare_64_us)?;
        row(f, "  decode", &encoding.decode_pre_prepare_64_us)?;
        self.round_trips(f)?;
        self.syncs(f)?;
        ceilings(f, &self.ceilings)
    }
}

impl Limits {
    fn round_trips(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        section(f, "QUIC round trip of 200 B, loopback, not pinned to cores", "us")?;
        let mut trip = |name: &str, trip: &Option<RoundTrip>| match trip {
            Some(RoundTrip { p50_us, p99_us }) => {
                row(f, &format!("{name}, p50"), p50_us)?;
                row(f, "  p99", p99_us)
            }
            None => writeln!(f, "  {name:NAME$} not measured"),
        };
        trip("between two processes", &self.quic.between_processes)?;
        trip("between two tasks of one thread", &self.quic.within_one_thread)?;
        match &self.quic.trouble {
            Some(trouble) => writeln!(f, "  ! {trouble}"),
            None => Ok(()),
        }
    }

    fn syncs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = "Append + fdatasync, preallocated file";
        writeln!(f, "\n{title:46} {:>10} {:>10}   {:>9} .. {:<9} us", "p50", "p99", "min", "max")?;
        self.disks.iter().try_for_each(|entry| disk(f, entry))
    }
}

fn heading(f: &mut fmt::Formatter<'_>, machine: &Machine, build: &Build, udp: &UdpBuffers) -> fmt::Result {
    writeln!(f, "Machine   {}, {} cores, {}", machine.cpu, machine.cores, machine.kernel)?;
    let Build { program, compiler, target, profile, .. } = build;
    writeln!(f, "Build     {program}, {profile}, {compiler}, {target}")?;
    if profile != "release" {
        writeln!(
            f,
            "          ! not a release build: numbers to look at, not to publish; use `cargo run --release`"
        )?;
    }
    let avx512 = match (build.avx512_signatures_compiled_in, build.avx512_signatures_in_use) {
        (_, true) => "compiled in and in use",
        (true, false) => "compiled in, but this processor does not have it (AVX-512 IFMA and VL)",
        (false, _) => {
            "not compiled in; on x86-64 build with RUSTFLAGS='--cfg curve25519_dalek_backend=\"avx512\"'"
        }
    };
    writeln!(f, "          AVX-512 signatures: {avx512}")?;
    let bytes =
        |limit: Option<usize>| limit.map_or("unknown".to_owned(), |limit| format!("{} KiB", limit >> 10));
    let (receive, send) = (bytes(udp.rmem_max_bytes), bytes(udp.wmem_max_bytes));
    let wanted = udp.wanted_bytes >> 10;
    writeln!(
        f,
        "UDP       buffers of at most {receive} to receive, {send} to send; replicas ask for {wanted} KiB"
    )?;
    if let Some(fix) = &udp.fix {
        writeln!(f, "          ! less than wanted, so packets are lost under load; allow more: {fix}")?;
    }
    if let Some(load) = machine.load_average_1_min.filter(|_| machine.busy()) {
        writeln!(
            f,
            "Load      ! {load:.1} processes wanted a core before this began: read the minima, or measure again"
        )?;
    }
    Ok(())
}

fn section(f: &mut fmt::Formatter<'_>, title: &str, unit: &str) -> fmt::Result {
    writeln!(f, "\n{title:57} {:>10}   {:>9} .. {:<9} {unit}", "median", "min", "max")
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, spread: &Spread) -> fmt::Result {
    let [median, min, max] = [spread.median, spread.min, spread.max].map(three_digits);
    writeln!(f, "  {name:55} {median:>10}   {min:>9} .. {max}")
}

/// Three significant digits.
fn three_digits(value: f64) -> String {
    let decimals = match value {
        _ if value >= 99.95 => 0,
        _ if value >= 9.995 => 1,
        _ if value >= 0.9995 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

fn signatures(f: &mut fmt::Formatter<'_>, signatures: &Signatures) -> fmt::Result {
    section(f, "Ed25519, one core, per signature", "us")?;
    row(f, "sign", &signatures.sign_us)?;
    row(f, "verify", &signatures.verify_us)?;
    row(f, "verify in batches of 8, distinct keys", &signatures.verify_batch_8_us)?;
    row(f, "  16", &signatures.verify_batch_16_us)?;
    row(f, "  64", &signatures.verify_batch_64_us)?;
    row(f, "  256", &signatures.verify_batch_256_us)?;
    row(f, "verify in batches of 8, 16 keys", &signatures.verify_batch_8_of_16_keys_us)?;
    row(f, "  16", &signatures.verify_batch_16_of_16_keys_us)?;
    row(f, "  64", &signatures.verify_batch_64_of_16_keys_us)?;
    row(f, "  256", &signatures.verify_batch_256_of_16_keys_us)
}

fn disk(f: &mut fmt::Formatter<'_>, disk: &Disk) -> fmt::Result {
    let place = match &disk.file_system {
        Some(FileSystem { kind, mount_point, device, .. }) => {
            format!("{kind} at {} ({device})", mount_point.display())
        }
        None => "unknown file system".to_owned(),
    };
    writeln!(f, "  in {}: {place}", disk.dir.display())?;
    if disk.file_system.as_ref().is_some_and(|system| system.in_memory) {
        writeln!(
            f,
            "  ! in memory: no sync at all, and nothing survives a power cut; name a real disk with --dir"
        )?;
    }
    if let Some(trouble) = &disk.trouble {
        writeln!(f, "  ! {trouble}")?;
    }
    let mut sync = |name: &str, latency: &Option<SyncLatency>| {
        let Some(latency) = latency else { return Ok(()) };
        let [p50, p99, min, max] =
            [latency.p50_us, latency.p99_us, latency.min_us, latency.max_us].map(three_digits);
        let name = format!("{name}, {} times", latency.samples);
        writeln!(f, "  {name:44} {p50:>10} {p99:>10}   {min:>9} .. {max}")
    };
    sync("256 B", &disk.sync_256_b)?;
    sync("64 KiB", &disk.sync_64_kib)
}

fn ceilings(f: &mut fmt::Formatter<'_>, ceilings: &[Ceiling]) -> fmt::Result {
    writeln!(
        f,
        "\nCeilings with one signature per operation, all replicas and clients on this machine: operations/s"
    )?;
    writeln!(f, "  cores / (n v + s); s = one signature, v = one check in a batch of 256")?;
    writeln!(f, "  {:>4} {:>16} {:>16}", "n", "distinct keys", "16 keys")?;
    for Ceiling { replicas, operations_per_second, operations_per_second_of_16_keys } in ceilings {
        writeln!(
            f,
            "  {replicas:>4} {operations_per_second:>16.0} {operations_per_second_of_16_keys:>16.0}"
        )?;
    }
    Ok(())
}
