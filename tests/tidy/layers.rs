//! Who may depend on whom: `quorate, tests, benches -> cli -> bench -> node, sim, apps -> host -> protocol`.

use super::{array, assert_none, metadata, string};

/// Each package of the house, and the packages of the house below it.
const LAYERS: &[(&str, &[&str])] = &[
    ("quorate-protocol", &[]),
    ("quorate-host", &["quorate-protocol"]),
    ("quorate-node", &["quorate-protocol", "quorate-host"]),
    ("quorate-sim", &["quorate-protocol", "quorate-host"]),
    ("quorate-apps", &["quorate-protocol", "quorate-host"]),
    ("quorate-bench", &["quorate-protocol", "quorate-host", "quorate-node", "quorate-sim", "quorate-apps"]),
    (
        "quorate-cli",
        &["quorate-protocol", "quorate-host", "quorate-node", "quorate-sim", "quorate-apps", "quorate-bench"],
    ),
    (
        "quorate",
        &[
            "quorate-protocol",
            "quorate-host",
            "quorate-node",
            "quorate-sim",
            "quorate-apps",
            "quorate-bench",
            "quorate-cli",
        ],
    ),
];

/// Packages whose answers depend on their inputs alone.
const PURE: &[&str] = &["quorate-protocol", "quorate-host", "quorate-sim", "quorate-apps"];

/// What brings a runtime, a socket, a clock or randomness.
const WORLDLY: &[&str] = &[
    "tokio",
    "quinn",
    "quinn-proto",
    "rustls",
    "ring",
    "socket2",
    "getrandom",
    "rand",
    "axum",
    "tracing",
    "tracing-subscriber",
    "clap",
    "rayon",
    "crossbeam-channel",
];

/// One dependency, of `package` on `on`.
struct Arrow {
    package: String,
    on: String,
    development: bool,
}

fn complaints(arrows: &[Arrow]) -> Vec<String> {
    let mut complaints = Vec::new();
    for Arrow { package, on, development } in arrows {
        let Some((_, below)) = LAYERS.iter().find(|(name, _)| name == package) else {
            complaints.push(format!("{package} has no place in tests/tidy/layers.rs"));
            continue;
        };
        let ours = LAYERS.iter().any(|(name, _)| name == on);
        if ours && !below.contains(&on.as_str()) {
            complaints.push(format!("{package} must not depend on {on}"));
        }
        if !development && PURE.contains(&package.as_str()) && WORLDLY.contains(&on.as_str()) {
            complaints
                .push(format!("{package} must not depend on {on}: its answers depend on its inputs alone"));
        }
    }
    complaints
}

fn arrow(package: &str, on: &str) -> Arrow {
    Arrow { package: package.to_owned(), on: on.to_owned(), development: false }
}

#[test]
fn dependencies_point_downwards_only() {
    for (package, on) in [
        ("quorate-node", "quorate-sim"),
        ("quorate-sim", "quorate-node"),
        ("quorate-protocol", "quorate-host"),
        ("quorate-protocol", "tokio"),
        ("quorate-host", "quinn"),
        ("quorate-stranger", "serde"),
    ] {
        assert_eq!(complaints(&[arrow(package, on)]).len(), 1, "{package} on {on} must be refused");
    }
    assert_none(&complaints(&[arrow("quorate-cli", "quorate-sim"), arrow("quorate-node", "tokio")]));

    let mut arrows = Vec::new();
    let metadata = metadata(&["--no-deps"]);
    for package in array(&metadata, "packages") {
        for dependency in array(package, "dependencies") {
            arrows.push(Arrow {
                package: string(package, "name").to_owned(),
                on: string(dependency, "name").to_owned(),
                development: dependency["kind"].as_str() == Some("dev"),
            });
        }
    }
    assert!(arrows.len() > 30, "there are dependencies to look at");
    assert_none(&complaints(&arrows));
}
