//! Every preset in `configs` is one that `quorate init --preset` takes.

use std::path::Path;

use quorate_node::cluster_file::Preset;

#[test]
fn every_preset_is_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let entries = std::fs::read_dir(&folder).expect("there is a folder of presets").flatten();
    let presets =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|kind| kind == "toml"));
    let mut names = Vec::new();
    for path in presets {
        if let Err(error) = Preset::load(&path) {
            panic!("{error}");
        }
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    assert_eq!(names, ["few-checkpoints", "lan", "own-machine", "trial", "wan"]);
}

#[test]
fn the_preset_for_a_local_network_is_the_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/lan.toml");
    assert_eq!(Preset::load(&path).expect("it is a preset"), Preset::default());
}
