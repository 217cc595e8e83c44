//! The names that later reports and plots rely on, and what people are told.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::OnceLock;

use serde_json::Value;

use super::disk::find_file_system;
use super::*;

/// Measured once: it is the same for all tests.
fn smoke() -> &'static Limits {
    static LIMITS: OnceLock<Limits> = OnceLock::new();
    LIMITS.get_or_init(|| measure(&Options { effort: Effort::Smoke, ..Options::default() }))
}

#[test]
fn json_has_stable_names_with_units() {
    let json = serde_json::to_value(smoke()).unwrap();
    let medians = [
        "/signatures/sign_us",
        "/signatures/verify_us",
        "/signatures/verify_batch_8_us",
        "/signatures/verify_batch_16_us",
        "/signatures/verify_batch_64_us",
        "/signatures/verify_batch_256_us",
        "/signatures/verify_batch_8_of_16_keys_us",
        "/signatures/verify_batch_256_of_16_keys_us",
        "/hashing/sha256_64_b_us",
        "/hashing/sha256_512_b_us",
        "/hashing/sha256_1024_b_us",
        "/encoding/encode_prepare_us",
        "/encoding/decode_prepare_us",
        "/encoding/encode_pre_prepare_64_us",
        "/encoding/decode_pre_prepare_64_us",
        "/quic/within_one_thread/p50_us",
        "/quic/within_one_thread/p99_us",
    ];
    for name in medians {
        let number =
            |part: &str| json.pointer(&format!("{name}/{part}")).and_then(Value::as_f64).unwrap_or(-1.0);
        let (median, min, max) = (number("median"), number("min"), number("max"));
        assert!(0.0 < min && min <= median && median <= max, "{name}: {min} {median} {max}");
    }
    let others = [
        "/machine/cpu",
        "/machine/cores",
        "/machine/kernel",
        "/build/compiler",
        "/build/profile",
        "/build/avx512_signatures_in_use",
        "/udp/wanted_bytes",
        "/disks/0/sync_256_b/p50_us",
        "/disks/0/sync_64_kib/p99_us",
        "/ceilings/4/operations_per_second",
    ];
    for name in others {
        assert!(json.pointer(name).is_some_and(|value| !value.is_null()), "{name} in {json:#}");
    }
    let back: Limits = serde_json::from_str(&json.to_string()).unwrap();
    assert_eq!(&back, smoke());
}

#[test]
fn the_table_shows_every_part_with_its_unit() {
    let text = smoke().to_string();
    for part in ["Machine", "Build", "UDP", "Ed25519", "SHA-256", "Codec", "QUIC", "fdatasync", "Ceilings"] {
        assert!(text.contains(part), "{part} in:\n{text}");
    }
    assert!(
        text.contains("not pinned") && text.contains("between two processes") && text.contains(" us\n"),
        "{text}"
    );
    assert!(text.lines().all(|line| line.chars().count() <= 160), "{text}");
}

#[test]
fn the_ceiling_is_cores_over_n_checks_and_one_signature() {
    assert!((ceiling_per_second(4, 2, 6.9, 12.6) - 2e6 / (4.0 * 6.9 + 12.6)).abs() < 1e-6);
    let mut signatures = smoke().signatures.clone();
    signatures.sign_us.median = 10.0;
    signatures.verify_batch_256_us.median = 5.0;
    signatures.verify_batch_256_of_16_keys_us.median = 2.5;
    let ceiling = Ceiling::of(10, 3, &signatures);
    assert!((ceiling.operations_per_second - 50_000.0).abs() < 1e-6);
    assert!((ceiling.operations_per_second_of_16_keys - 3e6 / 35.0).abs() <= 0.5);
    assert_eq!(smoke().ceilings.iter().map(|ceiling| ceiling.replicas).collect::<Vec<_>>(), COMMITTEES);
}

#[test]
fn one_slow_round_moves_the_maximum_and_not_the_median() {
    let spread = Spread::of(vec![3.0, 1.0, 900.0, 2.0, 4.0]);
    assert_eq!(spread, Spread { median: 3.0, min: 1.0, max: 900.0 });
    assert_eq!(Spread::of(Vec::new()), Spread::default());
}

#[cfg(target_os = "linux")]
#[test]
fn the_file_system_of_a_temporary_folder_has_a_name() {
    let dir = std::env::temp_dir();
    let found = file_system_of(&dir).unwrap();
    assert!(
        !found.kind.is_empty() && dir.canonicalize().unwrap().starts_with(&found.mount_point),
        "{found:?}"
    );
    assert_eq!(file_system_of(&dir.join("quorate-is-not-there")), None);
}

#[test]
fn the_innermost_and_latest_mount_counts() {
    let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /mnt/a\\040b xfs rw 0 0\n\
                  /dev/vdc /mnt/c ext4 rw 0 0\nnone /mnt/c btrfs rw 0 0\nmalformed\n";
    let kind =
        |path: &str| find_file_system(mounts, Path::new(path)).map(|found| (found.kind, found.in_memory));
    assert_eq!(kind("/var/data"), Some(("ext4".to_owned(), false)));
    assert_eq!(kind("/tmp/x"), Some(("tmpfs".to_owned(), true)));
    assert_eq!(kind("/tmpx"), Some(("ext4".to_owned(), false)));
    assert_eq!(kind("/mnt/a b/c"), Some(("xfs".to_owned(), false)));
    assert_eq!(kind("/mnt/c/d"), Some(("btrfs".to_owned(), false)));
    assert_eq!(find_file_system("", Path::new("/")), None);
}

#[test]
fn a_file_system_in_memory_is_flagged_in_the_table() {
    let mut limits = smoke().clone();
    limits.disks[0].file_system = find_file_system("tmpfs /tmp tmpfs rw 0 0\n", Path::new("/tmp"));
    assert!(limits.to_string().contains("no sync at all"));
}

#[test]
fn a_folder_that_cannot_be_written_says_so_and_leaves_the_rest_alone() {
    let dirs = vec!["/proc".into(), std::env::temp_dir(), std::env::temp_dir()];
    let disks = disk::measure(&dirs, Effort::Smoke);
    assert_eq!(disks.len(), 2, "the second folder is in the file system of the first");
    assert!(disks[0].trouble.as_ref().is_some_and(|why| why.contains("name another folder")), "{disks:?}");
    assert!(disks[1].sync_256_b.is_some_and(|latency| latency.samples == 5));
}

#[test]
fn small_udp_buffers_come_with_their_fix() {
    let judge = |receive, send| UdpBuffers::judge(4 << 20, receive, send).fix;
    assert_eq!(judge(Some(4 << 20), Some(8 << 20)), None);
    assert_eq!(judge(None, None), None);
    assert_eq!(judge(Some(212_992), Some(4 << 20)).unwrap(), "sysctl -w net.core.rmem_max=4194304");
    let both = judge(Some(1), Some(1)).unwrap();
    assert_eq!(both, "sysctl -w net.core.rmem_max=4194304 net.core.wmem_max=4194304");
}

#[test]
fn a_process_that_is_no_echo_is_named_as_the_trouble() {
    let program = EchoProgram { program: "/no/such/program".into(), arguments: Vec::new() };
    let quic = quic::measure(Some(&program), Effort::Smoke);
    assert!(quic.between_processes.is_none() && quic.within_one_thread.is_some());
    assert!(quic.trouble.is_some_and(|why| why.contains("between processes")));
}
