//! The figures that come with the program, and the page about them.

use super::*;

/// Every figure that is committed, and how many cells it has.
const COMMITTED: &[(&str, usize)] = &[
    ("bars-bundled", 6),
    ("bars-faults", 9),
    ("bars-one-in-flight", 2),
    ("bars-scaling", 6),
    ("bars-signed", 2),
    ("bars-sustained", 2),
    ("faults", 20),
    ("latency-vs-throughput", 24),
    ("one-in-flight", 20),
    ("papers-batches", 15),
    ("papers-operations", 10),
    ("papers-scaling", 20),
    ("smoke", 9),
    ("throughput-vs-f", 40),
];

#[test]
fn the_committed_figures_are_read_and_have_the_cells_that_are_known_of_them() {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    found.sort();
    let names: Vec<&str> = found.iter().map(|path| path.file_stem().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, COMMITTED.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for (path, (name, cells)) in found.iter().zip(COMMITTED) {
        let figure = Figure::load(path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            (figure.cells().len(), &figure.dropped[..]),
            (*cells, &[][..]),
            "{name}: {:#?}",
            figure.cells()
        );
        assert!(!figure.about.is_empty(), "{name} says what it shows");
        let command = format!("#   quorate bench configs/bench/{name}.toml --out ");
        assert!(figure.text.starts_with('#') && figure.text.contains(&command), "{name} says how it is run");
        if name.starts_with("bars-") {
            assert!(
                figure.cells().iter().all(|cell| cell.timeout_ms == 500),
                "{name}: bars have T0 = 500 ms"
            );
        }
        figure.cells().iter().for_each(|cell| drop(figure.plan(cell).unwrap()));
    }
}

#[test]
fn the_figures_with_a_time_to_keep_are_estimated_to_keep_it() {
    let minutes = |name: &str| {
        let figure = Figure::load(&folder().join(name).with_extension("toml")).unwrap();
        figure.estimate().as_secs_f64() / 60.0
    };
    assert!(minutes("smoke") < 1.2, "{}", minutes("smoke"));
    assert!(minutes("throughput-vs-f") < 50.0, "{}", minutes("throughput-vs-f"));
}

#[test]
fn the_page_about_figures_names_every_key_scenario_and_figure() {
    let page = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let keys = [reading::TOP, reading::GUARD, reading::ADJUSTABLE].concat();
    for key in keys {
        assert!(
            page.contains(&format!("`{key}`")) || page.contains(&format!("[{key}]")),
            "`{key}` is not explained"
        );
    }
    for (form, _) in FORMS {
        assert!(page.contains(&format!("`{form}`")), "`{form}` is not explained");
    }
    for (name, _) in COMMITTED {
        assert!(page.contains(&format!("[{name}]({name}.toml)")), "{name} is not listed");
    }
    for (_, name) in Chart::ALL {
        assert!(page.contains(&format!("`\"{name}\"`")), "the picture {name} is not listed");
    }
    let examples: Vec<&str> =
        page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() == 2 && Figure::parse(examples[0], &place()).is_ok(), "{}", examples[0]);
    figure(&format!(
        "network = [\"loopback\", \"wan-world\"]\ndurability = [\"sync\", \"none\"]\n{}",
        examples[1]
    ));
}

#[test]
fn no_beginning_of_a_figure_is_more_than_a_reason_to_refuse_it() {
    for (name, _) in COMMITTED {
        let text = std::fs::read_to_string(folder().join(name).with_extension("toml")).unwrap();
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)).step_by(7) {
            drop(Figure::parse(&text[..end], &place()));
        }
    }
}
