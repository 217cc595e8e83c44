//! Figures: what is read, what is refused with which words, and which cells there are.

mod committed;

use super::*;

/// Where the figures of these tests would be.
fn place() -> PathBuf {
    folder().join("figure.toml")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/bench")
}

fn figure(text: &str) -> Figure {
    Figure::parse(&format!("title = \"a\"\n{text}"), &place()).unwrap_or_else(|error| panic!("{error}"))
}

/// Line, key, and all words of a refusal. The title is in line 1.
fn refusal(text: &str) -> (usize, String, String) {
    let error = match Figure::parse(&format!("title = \"a\"\n{text}"), &place()) {
        Ok(figure) => panic!("{text} was accepted: {:?}", figure.cells()),
        Err(FigureError::Misplaced(error)) => error,
        Err(other) => panic!("{other}"),
    };
    let shown = FigureError::Misplaced(error.clone()).to_string();
    assert!(shown.contains("; fix: "), "{shown}");
    assert!(shown.contains(&format!("figure.toml:{}: `{}` ", error.line, error.key)), "{shown}");
    (error.line, error.key, shown)
}

#[track_caller]
fn refused(text: &str, line: usize, key: &str, words: &[&str]) {
    let (found, found_key, shown) = refusal(text);
    assert_eq!((found, found_key.as_str()), (line, key), "{text}: {shown}");
    words.iter().for_each(|words| assert!(shown.contains(words), "{text}: {shown}: no `{words}`"));
}

fn column(figure: &Figure, name: &str) -> Vec<String> {
    let of = |cell: &Cell| coordinates(cell).into_iter().find(|(known, _)| *known == name).unwrap().1;
    figure.cells().iter().map(of).collect()
}

#[test]
fn a_title_is_enough() {
    let figure = figure("");
    let [cell] = figure.cells() else { panic!("{:?}", figure.cells()) };
    let expected = Cell {
        f: 1,
        n: 4,
        scenario: "none".into(),
        network: "loopback".into(),
        payload: 128,
        reply: 0,
        durability: "sync".into(),
        application: "null".into(),
        load: "open".into(),
        clients: 16,
        in_flight: 64,
        bundle: 64,
        batch: 65_536,
        window: 512,
        checkpoint_interval: 128,
        timeout_ms: 500,
        layout: "one-thread".into(),
        pipeline: 4,
        p99_limit_ms: 100,
        rate: "peak".into(),
    };
    assert_eq!(*cell, expected);
    assert_eq!(
        (figure.runs, figure.warm_up, figure.measure),
        (3, Duration::from_secs(1), Duration::from_secs(4))
    );
    assert_eq!(figure.preset(cell), Preset::default(), "the defaults are a replica's own");
    assert_eq!(figure.plan(cell).unwrap(), Plan::default());
    assert!(figure.network(cell).unwrap().is_none());
    assert_eq!((figure.rate(cell), figure.trials), (Rate::Peak, Trials::default()));
    assert_eq!((figure.draw.len(), figure.guards.len(), figure.machines.len()), (5, 0, 0));
}

#[test]
fn a_file_without_a_title_or_that_is_no_toml_is_refused() {
    let refuse = |text: &str| Figure::parse(text, &place()).unwrap_err().to_string();
    assert!(refuse("f = 1\n").contains("figure.toml:1: `title` is missing; fix: add it"), "{}", refuse(""));
    assert!(refuse("title = \"a\"\nf = = 2\n").contains("figure.toml:2: `f` is not TOML"));
    assert!(refuse("title = \"  \"\n").contains("figure.toml:1: `title` has 2 bytes; fix: write 1 to 4096"));
    let missing = Figure::load(Path::new("there/is/none.toml")).unwrap_err().to_string();
    assert!(
        missing.starts_with("there/is/none.toml: cannot be read: ") && missing.contains("; fix: "),
        "{missing}"
    );
}

#[test]
fn a_misspelt_key_is_refused_with_the_one_that_was_meant() {
    refused("paylod = 1\n", 2, "paylod", &["is not a key of this section", "write `payload`"]);
    refused("scenarios = \"none\"\n", 2, "scenarios", &["write `scenario`"]);
    refused("colour = 1\n", 2, "colour", &["remove it; known are title, about"]);
    refused("[search]\ntrails = 4\n", 3, "search.trails", &["write `trials`"]);
    refused("[[skip]]\npayloads = 1\n", 3, "skip.payloads", &["write `payload`"]);
    refused(
        "[[adjust]]\nof = { n = 4 }\nscenario = \"none\"\n",
        4,
        "adjust.scenario",
        &["known are of, clients"],
    );
    refused("[[adjust]]\nof = { nn = 4 }\n", 3, "adjust.of.nn", &["write `n`"]);
    refused("[[guard]]\nthroughput_rps = 4\n", 3, "guard.throughput_rps", &["not a key"]);
    refused("[[machine]]\nport = 4\n", 3, "machine.port", &["known are name, address, key, runs"]);
    refused("[parameters]\nwindows = 4\n", 3, "parameters.windows", &["write `window`"]);
}

#[test]
fn every_number_has_bounds_that_its_refusal_names() {
    for (key, from, to) in [
        ("f", 1, 33),
        ("n", 4, 100),
        ("payload", 0, 131_072),
        ("reply", 0, 131_072),
        ("clients", 1, 1024),
        ("in_flight", 1, 4096),
        ("bundle", 1, 1024),
        ("batch", 1, 16_777_216),
        ("window", 2, 4096),
        ("checkpoint_interval", 1, 2048),
        ("pipeline", 1, 4096),
        ("timeout_ms", 1, 3_600_000),
        ("p99_limit_ms", 1, 60_000),
        ("runs", 1, 100),
        ("warm_up_ms", 0, 3_600_000),
        ("measure_ms", 200, 3_600_000),
    ] {
        let fix = format!("fix: write a number from {from} to {to}");
        refused(&format!("\n{key} = {}\n", to + 1), 3, key, &[&format!("is {}", to + 1), &fix]);
        if from > 0 {
            refused(&format!("{key} = {}\n", from - 1), 2, key, &[&fix]);
        }
        refused(&format!("{key} = -1\n"), 2, key, &["write a whole number, 0 or more"]);
        refused(&format!("{key} = \"4\"\n"), 2, key, &["is string, not a whole number"]);
    }
    for (key, bounds) in
        [("trials", "2 to 64"), ("measure_ms", "200 to 3600000"), ("warm_up_ms", "0 to 3600000")]
    {
        let fix = format!("write a number from {bounds}");
        refused(&format!("[search]\n{key} = 9999999\n"), 3, &format!("search.{key}"), &[&fix]);
    }
    for bad in ["0", "-4", "0.0", "nan", "inf", "1e8", "\"many\"", "0x10"] {
        let (line, key, _) = refusal(&format!("[search]\nfirst_rps = {bad}\n"));
        assert_eq!((line, key.as_str()), (3, "search.first_rps"), "{bad}");
    }
}

#[test]
fn every_word_is_one_of_those_that_its_refusal_names() {
    for (key, known) in [
        ("durability", "\"sync\", \"os\", \"none\""),
        ("application", "\"counter\", \"kv\", \"ledger\", \"lock\", \"null\""),
        ("load", "\"open\", \"closed\""),
    ] {
        refused(&format!("{key} = \"fast\"\n"), 2, key, &["is `fast`", &format!("write one of {known}")]);
        refused(&format!("{key} = 4\n"), 2, key, &["is integer, not a word in quotes"]);
    }
    for bad in
        ["two-threads", "verifiers", "verifiers:0", "verifiers:65", "verifiers:2+", "verifiers:2+one-thread"]
    {
        refused(
            &format!("layout = \"{bad}\"\n"),
            2,
            "layout",
            &[&format!("is `{bad}`"), "\"verifiers:2+execution\""],
        );
    }
    for bad in ["\"top\"", "\"0%\"", "\"101%\"", "\"50 percent\"", "0", "-5", "1e9", "0x50", "\"\""] {
        refused(&format!("rate = {bad}\n"), 2, "rate", &["\"peak\", a share of it such as \"50%\""]);
    }
    refused("rate = \"closed\"\n", 2, "rate", &["write `load = \"closed\"`"]);
    refused("rate = true\n", 2, "rate", &["is boolean"]);
    let both = &["stands beside `load = \"closed\"`", "remove it"];
    refused("load = \"closed\"\nrate = [\"peak\", 500]\n", 3, "rate", both);
    refused(
        "draw = [\"phases\",\n\"heatmap\"]\n",
        3,
        "draw",
        &["is `heatmap`", "\"throughput-vs-f\", \"latency-vs"],
    );
    refused("draw = []\n", 2, "draw", &["asks for no picture"]);
    refused("draw = \"phases\"\n", 2, "draw", &["an array of pictures"]);
    refused("beyond_f = 1\n", 2, "beyond_f", &["true or false"]);
    refused("seed = -1\n", 2, "seed", &["a whole number"]);
    refused("folder = \"\"\n", 2, "folder", &["has 0 bytes"]);
}

#[test]
fn the_value_of_an_array_that_is_wrong_has_its_own_line() {
    refused("payload = [\n  0,\n  1024,\n  200000,\n]\n", 5, "payload", &["is 200000"]);
    refused(
        "scenario = [\n  \"none\",\n  \"crash\",\n]\n",
        4,
        "scenario",
        &["does not say how many replicas"],
    );
    refused("payload = [128,\n128]\n", 3, "payload", &["is the same as the one in line 2"]);
    refused("rate = [5000,\n5000.0]\n", 3, "rate", &["is the same as the one in line 2"]);
    refused("payload = []\n", 2, "payload", &["has 0 values", "an array of 1 to 64"]);
    let many: Vec<String> = (0..65).map(|number: u32| number.to_string()).collect();
    refused(&format!("payload = [{}]\n", many.join(", ")), 2, "payload", &["has 65 values"]);
}

#[test]
fn cells_are_every_combination_and_what_stands_behind_varies_first() {
    let figure = figure(
        "f = [2, 1]\nscenario = [\"none\", \"crash:f\"]\nrate = [5000, \"50%\", \"peak\"]\npayload = [9, 8]\n",
    );
    let told = |name: &str| column(&figure, name);
    assert_eq!(figure.cells().len(), 24);
    assert_eq!(told("payload")[..13], ["9"; 12].into_iter().chain(["8"]).collect::<Vec<_>>());
    assert_eq!(told("scenario")[..7], [["none"; 6].as_slice(), &["crash:f"]].concat());
    assert_eq!(told("f")[..6], ["2", "2", "2", "1", "1", "1"]);
    assert_eq!(told("n")[..6], ["7", "7", "7", "4", "4", "4"]);
    // Shares rest on the peak, so it comes first.
    assert_eq!(told("rate")[..4], ["peak", "5000", "50%", "peak"]);
    let rates: Vec<Rate> = figure.cells()[..3].iter().map(|cell| figure.rate(cell)).collect();
    assert_eq!(rates, [Rate::Peak, Rate::PerSecond(5000.0), Rate::Share(0.5)]);
}

#[test]
fn the_size_of_a_cluster_is_said_in_one_way() {
    assert_eq!(column(&figure("n = [4, 6, 7, 31]\n"), "f"), ["1", "1", "2", "10"]);
    assert_eq!(column(&figure("n = \"3f+1\"\nf = [1, 3]\n"), "n"), ["4", "10"]);
    assert_eq!(column(&figure("n = \"3f+1\"\n"), "n"), ["4"]);
    refused("f = 1\nn = 4\n", 3, "n", &["stands beside `f`", "write one of them"]);
    refused("n = \"2f+1\"\n", 2, "n", &["a whole number"]);
}

#[test]
fn a_closed_loop_has_no_rate_and_is_measured_once() {
    let figure = figure("load = [\"closed\", \"open\"]\nrate = [\"peak\", \"50%\", 0.5]\n");
    assert_eq!(column(&figure, "rate"), ["closed", "peak", "50%", "0.5"]);
    assert_eq!(figure.rate(&figure.cells()[0]), Rate::Closed);
}

#[test]
fn skips_leave_out_what_has_one_value_of_each_of_their_keys() {
    let base = "f = [1, 2, 3]\ndurability = [\"none\", \"sync\"]\n";
    let left = |skip: &str| {
        let figure = figure(&format!("{base}{skip}"));
        let names = figure.cells().iter().map(|cell| format!("{} {}", cell.f, cell.durability));
        names.collect::<Vec<_>>()
    };
    assert_eq!(
        left("[[skip]]\nf = [1, 3]\ndurability = \"sync\"\n"),
        ["1 none", "2 none", "3 none", "2 sync"]
    );
    assert_eq!(left("[[skip]]\nn = 4\n[[skip]]\nn = [7, 10]\ndurability = \"none\"\n"), ["2 sync", "3 sync"]);
    refused(&format!("{base}[[skip]]\nf = 5\n"), 4, "skip", &["is about no cell of this figure"]);
    refused(&format!("{base}[[skip]]\n"), 4, "skip", &["skips everything"]);
    refused(&format!("{base}\n[[skip]]\nf = [1, 2, 3]\n"), 5, "skip", &["leaves nothing to measure"]);
    refused(&format!("{base}[[skip]]\nf = 0\n"), 5, "skip.f", &["is 0"]);
    refused("skip = 4\n", 2, "skip", &["is integer, not `[[sections]]`"]);
}

#[test]
fn adjustments_give_cells_what_their_coordinates_need() {
    let text = "network = [\"loopback\", \"wan-world\"]\nbundle = [1, 64]\n[[adjust]]\nof = { network = \"wan-world\" }\n\
                pipeline = 32\nclients = 64\n[[adjust]]\nof = { network = \"wan-world\", bundle = 1 }\nclients = 256\n";
    let figure = figure(text);
    assert_eq!(column(&figure, "pipeline"), ["4", "4", "32", "32"]);
    assert_eq!(column(&figure, "clients"), ["16", "16", "256", "64"]);
    assert_eq!(
        column(&self::figure("[[adjust]]\nbatch = 77\n"), "batch"),
        ["77"],
        "without `of` it is for all"
    );
    assert!(figure.network(&figure.cells()[2]).unwrap().is_some());
    refused("[[adjust]]\nof = { n = 7 }\nbatch = 64\n", 3, "adjust.of", &["is about no cell"]);
    refused("[[adjust]]\nof = { n = 4 }\n", 2, "adjust", &["changes nothing"]);
    refused("[[adjust]]\nbatch = [64, 128]\n", 3, "adjust.batch", &["is array"]);
    refused("[[adjust]]\n\nbatch = 0\n", 4, "adjust.batch", &["is 0"]);
    refused("[[adjust]]\nof = 4\nbatch = 64\n", 3, "adjust.of", &["a `[section]`"]);
    // What an adjustment makes wrong is its own line's fault.
    refused(
        "window = 512\n[[adjust]]\nwindow = 300\n",
        4,
        "window",
        &["is 300", "multiple of `checkpoint_interval`"],
    );
}

#[test]
fn a_figure_has_no_more_cells_than_anybody_has_days() {
    let many: Vec<String> = (1..=64).map(|number: u32| number.to_string()).collect();
    let many = many.join(", ");
    refused(
        &format!("clients = [{many}]\nin_flight = [{many}]\npayload = [1, 2]\n"),
        3,
        "in_flight",
        &["makes 8192 cells, more than 4096"],
    );
    let skips = "[[skip]]\nf = 1\n".repeat(65);
    refused(&format!("f = [1, 2]\n{skips}"), 131, "skip", &["stands there 65 times", "keep 64"]);
}

#[test]
fn a_cell_that_makes_no_sense_is_refused_with_the_line_that_makes_it_so() {
    refused("bundle = 64\nbatch = [400,\n10]\n", 4, "batch", &["is 10, less than `bundle`, which is 64"]);
    refused("bundle = 1\n\nbatch = 16385\n", 4, "batch", &["at most 16384 bundles"]);
    refused("application = \"kv\"\nreply = 5\n", 3, "reply", &["replies of `kv` are its own"]);
    refused("checkpoint_interval = 100\n", 1, "window", &["is 512", "a multiple of `checkpoint_interval`"]);
    refused("window = 100\n", 2, "window", &["is 100"]);
    refused("n = 100\nwindow = 4096\ncheckpoint_interval = 2048\n", 3, "window", &["exceeds a frame"]);
    refused(
        "payload = 100000\n[parameters]\noperation_bytes_max = 65536\n",
        2,
        "payload",
        &["operation_bytes_max"],
    );
    refused("reply = 100000\n[parameters]\nreply_bytes_max = 65536\n", 2, "reply", &["`reply_bytes_max`"]);
    refused("timeout_ms = 90000\n", 2, "timeout_ms", &["is 90000", "must be at most `timeout_max_ms`"]);
    refused("scenario = \"crash-primary@4s\"\n", 2, "scenario", &["goes on after the measured time"]);
    refused("scenario = \"crash-primary@2s:back=2s\"\n", 2, "scenario", &["goes on after the measured time"]);
    assert_eq!(figure("scenario = \"crash-primary@2s:back=1s\"\n").cells().len(), 1);
}

#[test]
fn more_faults_than_are_tolerated_are_refused_unless_the_file_wants_them() {
    let text = "f = [1, 2]\nscenario = [\"none\",\n  \"lying-replies:2\"]\n";
    refused(
        text,
        4,
        "scenario",
        &[
            "is `lying-replies:2`, which makes 2 of 4 replicas faulty; they tolerate 1",
            "or say `beyond_f = true`",
        ],
    );
    assert_eq!(figure(&format!("beyond_f = true\n{text}")).cells().len(), 4);
    let skipped = figure(&format!("{text}[[skip]]\nf = 1\nscenario = \"lying-replies:2\"\n"));
    assert_eq!(skipped.plan(&skipped.cells()[2]).unwrap().liars.keys().collect::<Vec<_>>(), [&5, &6]);
    refused(
        "beyond_f = true\nscenario = \"crash:4\"\n",
        3,
        "scenario",
        &["takes 4 backups; 4 replicas have 3"],
    );
}

#[test]
fn a_scenario_of_nobody_is_left_out_with_a_word() {
    let figure = figure("f = [1, 2]\nscenario = [\"none\", \"crash:f-1\"]\n");
    assert_eq!(column(&figure, "scenario"), ["none", "none", "crash:f-1"]);
    assert_eq!(figure.dropped, ["`crash:f-1` is nobody where f = 1: left out"]);
    // Where nobody skipped anything, nobody is told to skip less.
    let alone = "f = 1\nscenario = \"crash:f-1\"\n";
    let why = &["leaves nothing to measure: `crash:f-1` is nobody where f = 1", "write a larger `f`"];
    refused(alone, 3, "scenario", why);
    let error = Figure::parse(&format!("title = \"a\"\n{alone}"), Path::new("a.toml")).unwrap_err();
    assert!(!error.to_string().contains("skip"), "{error}");
}

#[test]
fn networks_are_known_by_name_or_by_the_path_of_a_file_beside_the_figure() {
    let figure = figure("network = [\"lan\", \"wan-europe\", \"../networks/wan-world.toml\"]\n");
    assert!(figure.cells().iter().all(|cell| figure.network(cell).unwrap().is_some()));
    refused("network = [\"lan\",\n\"moon\"]\n", 3, "network", &["is `moon`", "`lan`"]);
    refused("network = \"none.toml\"\n", 2, "network", &["cannot be read"]);
    refused("network = \"\"\n", 2, "network", &["\"loopback\""]);
}

#[test]
fn replicas_get_what_the_cell_and_the_parameters_say() {
    let text = "bundle = 16\nbatch = 400\nin_flight = 2000\nwindow = 1024\ncheckpoint_interval = 256\npipeline = 9\n\
                timeout_ms = 700\ndurability = \"os\"\nlayout = \"verifiers:3+execution\"\n[parameters]\n\
                batch_bytes_max = 2000000\ntimeout_max_ms = 9000\n";
    let figure = figure(text);
    let Preset { parameters, node } = figure.preset(&figure.cells()[0]);
    let expected = Parameters {
        batch_requests_max: 25,
        client_window: 2000,
        window: 1024,
        checkpoint_interval: 256,
        pipeline_depth: 9,
        timeout_us: 700_000,
        batch_bytes_max: 2_000_000,
        timeout_max_us: 9_000_000,
        ..Parameters::default()
    };
    assert_eq!(parameters, expected);
    let (verifiers, durability) = (node.verifier_threads, node.durability);
    assert_eq!((verifiers, durability.to_string().as_str()), (3, "os"));
    assert_eq!(node.execution, quorate_node::cluster_file::Execution::OwnThread);
    for (key, coordinate) in
        [("pipeline_depth", "pipeline"), ("batch_requests_max", "batch"), ("window", "window")]
    {
        let fix = format!("write `{coordinate}` at the top");
        refused(
            &format!("[parameters]\n{key} = 512\n"),
            3,
            &format!("parameters.{key}"),
            &["coordinate", &fix],
        );
    }
    refused("[parameters]\nbatch_bytes_max = 99\n", 3, "parameters.batch_bytes_max", &["is 99"]);
}

#[test]
fn guards_are_about_cells_of_the_figure_and_expect_something() {
    let text = "f = [1, 2]\n[[guard]]\nof = { f = 2 }\nmessages_per_request = 7.5\nsyncs_per_request = 3\n\n[[guard]]\nbatch_mean = 16\n";
    let figure = figure(text);
    let [one, all] = &figure.guards[..] else { panic!("{:?}", figure.guards) };
    assert_eq!((one.line, &one.cells[..], all.line, &all.cells[..]), (3, &[1][..], 8, &[0, 1][..]));
    assert_eq!(
        one.expected,
        BTreeMap::from([("messages_per_request".into(), 7.5), ("syncs_per_request".into(), 3.0)])
    );
    refused("[[guard]]\nof = { f = 3 }\nbatch_mean = 1\n", 3, "guard.of", &["is about no cell"]);
    refused("[[guard]]\nof = { f = 1 }\n", 2, "guard", &["expects nothing"]);
    refused("[[guard]]\nbatch_mean = 0\n", 3, "guard.batch_mean", &["write a number above 0"]);
    refused("[[guard]]\nbatch_mean = \"x\"\n", 3, "guard.batch_mean", &["is string"]);
}

#[test]
fn machines_have_a_name_an_address_and_a_key() {
    let key = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29";
    let machine = |name: &str, address: &str| {
        format!("[[machine]]\nname = \"{name}\"\naddress = \"{address}\"\nkey = \"{key}\"\n")
    };
    let text =
        machine("left", "192.0.2.7:4900") + "runs = \"clients\"\n" + &machine("right", "192.0.2.8:4900");
    let figure = figure(&text);
    assert_eq!(figure.machines.len(), 2);
    assert_eq!((figure.machines[0].runs, figure.machines[1].runs), (Runs::Clients, Runs::Both));
    let nobody = "leaves nobody to run";
    let replicas = machine("a", "192.0.2.7:4900") + "runs = \"replicas\"\n";
    refused(&replicas, 2, "machine.runs", &[nobody, "clients", "let one machine run \"both\""]);
    refused(&replicas.replace("replicas", "clients"), 2, "machine.runs", &[nobody, "replicas"]);
    refused("[[machine]]\n", 2, "machine.name", &["is missing"]);
    refused("[[machine]]\nname = \"a\"\n", 2, "machine.address", &["is missing", "quorate bench agent"]);
    refused("[[machine]]\nname = \"a\"\naddress = \"192.0.2.7:1\"\n", 2, "machine.key", &["is missing"]);
    refused(&machine("a", "0.0.0.0:4900"), 4, "machine.address", &["can be reached"]);
    refused(&(machine("a", "192.0.2.7:4900") + "runs = \"all\"\n"), 6, "machine.runs", &["\"clients\""]);
    let bad_key = machine("a", "192.0.2.7:4900").replace(key, "zz");
    refused(&bad_key, 5, "machine.key", &["64 hexadecimal digits that `quorate bench key FILE` prints"]);
    let twice = machine("a", "192.0.2.7:4900") + &machine("a", "192.0.2.8:4900");
    refused(&twice, 7, "machine.name", &["name or the address of another"]);
    let two = machine("a", "192.0.2.7:4900") + &machine("b", "192.0.2.8:4900");
    refused(&format!("network = \"lan\"\n{two}"), 7, "machine", &["`lan` is emulated on one machine"]);
}

#[test]
fn coordinates_are_the_columns_of_a_cell() {
    let cell = &figure("").cells()[0].clone();
    let columns = serde_json::to_value(cell).unwrap();
    let columns = columns.as_object().unwrap();
    let mut names: Vec<&str> = coordinates(cell).iter().map(|(name, _)| *name).collect();
    for (name, value) in coordinates(cell) {
        let column = columns[name].as_str().map_or_else(|| columns[name].to_string(), str::to_owned);
        assert_eq!(column, value, "{name}");
    }
    let mut all: Vec<&str> = columns.keys().map(String::as_str).collect();
    names.sort_unstable();
    all.sort_unstable();
    assert_eq!(names, all);
    assert!(names.iter().all(|name| reading::COORDINATES.contains(name) && reading::TOP.contains(name)));
    assert!(reading::ADJUSTABLE.iter().all(|name| *name == "of" || names.contains(name)));
    let point = serde_json::to_value(crate::record::Point::default()).unwrap();
    assert!(reading::GUARD.iter().all(|name| *name == "of" || point[*name].is_number()));
}

#[test]
fn data_that_is_to_be_synced_is_not_kept_in_memory() {
    let memory = Path::new("/dev/shm");
    if !file_system_of(memory).is_some_and(|found| found.in_memory) {
        println!("UNVERIFIED: there is no file system in memory here");
        return;
    }
    let folder = "folder = \"/dev/shm/not/there\"\n";
    let error = figure(folder).data_folder().unwrap_err().to_string();
    assert!(
        error.contains("/dev/shm/not/there, which is tmpfs and has no disk; fix: write `folder = "),
        "{error}"
    );
    let without = figure(&format!("{folder}durability = [\"none\", \"os\"]\n"));
    assert_eq!(without.data_folder().unwrap(), Path::new("/dev/shm/not/there"));
    assert!(figure(&format!("{folder}durability = [\"none\", \"sync\"]\n")).data_folder().is_err());
}

#[test]
fn an_estimate_counts_a_search_once_for_all_loads_that_rest_on_it() {
    let seconds = |text: &str| figure(text).estimate().as_secs_f64();
    let run = 2.5 + 0.4 + 1.0 + 4.0;
    let search = 2.5 + 0.4 + 9.0 * 3.0;
    let near =
        |found: f64, expected: f64| assert!((found - expected).abs() < 0.01, "{found}, not {expected}");
    near(seconds("rate = 5000\n"), 3.0 * run);
    near(seconds("load = \"closed\"\nruns = 1\n"), run);
    near(seconds("rate = [\"peak\", \"10%\", \"50%\", 100]\n"), 14.0 * run + search);
    near(seconds("rate = [\"peak\", \"10%\"]\npayload = [1, 2]\n"), 2.0 * (8.0 * run + search));
}

#[test]
fn what_leaves_no_room_on_an_emulated_network_is_told_before_anything_is_measured() {
    let text = "network = [\"loopback\", \"wan-world\"]\nscenario = [\"none\", \"silent-primary\"]\n";
    let far = figure(text);
    let outlooks: Vec<Option<Outlook>> = far.cells().iter().map(|cell| far.outlook(cell).unwrap()).collect();
    let [None, None, Some(calm), Some(deposed)] = &outlooks[..] else { panic!("{outlooks:?}") };
    assert!(calm.expected_p50 > Duration::from_millis(100) && !deposed.expected_p50.is_zero());
    // 16 clients of 64 calls each.
    let most = 1024.0 / calm.expected_p50.as_secs_f64();
    assert!((calm.most_rps - most).abs() < 1e-6, "{calm:?}");
    let keys: Vec<&str> = calm.doubts.iter().map(|doubt| doubt.key).collect();
    assert_eq!(keys, ["p99_limit_ms", "timeout_ms"]);
    let roomy = "p99_limit_ms = 2000\ntimeout_ms = 4000\nwarm_up_ms = 3000\n[search]\nwarm_up_ms = 3000\n";
    let roomy = figure(&format!("network = \"wan-world\"\n{roomy}"));
    assert_eq!(roomy.outlook(&roomy.cells()[0]).unwrap().unwrap().doubts, []);
    let hurried = figure("network = \"wan-world\"\nrate = 1000000\nwarm_up_ms = 100\n");
    let outlook = hurried.outlook(&hurried.cells()[0]).unwrap().unwrap();
    let keys: Vec<&str> = outlook.doubts.iter().map(|doubt| doubt.key).collect();
    assert_eq!(keys, ["timeout_ms", "warm_up_ms", "rate"]);
}

#[test]
fn on_long_ways_trials_measure_for_three_times_what_a_call_may_take_up_to_ten_seconds() {
    let trials = Trials { measure: Duration::from_millis(1_600), ..Trials::default() };
    let of = |network: &str, p99_limit_ms| {
        trials.measure_of(&Cell { network: network.to_owned(), p99_limit_ms, ..Cell::default() })
    };
    assert_eq!(of("lan", 200), Duration::from_millis(1_600));
    assert_eq!(of("lan", 1_000), Duration::from_secs(3));
    assert_eq!(of("lan", u32::MAX), Duration::from_secs(10));
    assert_eq!(of("loopback", 5_000), Duration::from_millis(1_600));
}
