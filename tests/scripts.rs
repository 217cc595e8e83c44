//! Golden scripts: worlds told as text, compared with what the text says. `QUORATE_REWRITE=1 cargo test` writes them
//! anew; read the difference, and keep it only if you understand what caused it.

use std::path::Path;

use quorate_sim::script::tell;

fn scripts() -> Vec<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let entries = std::fs::read_dir(&folder).expect("the folder of scripts is part of the project");
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    paths
}

#[test]
fn every_script_tells_what_it_says() {
    let rewrite = std::env::var_os("QUORATE_REWRITE").is_some();
    let mut wrong = Vec::new();
    for path in scripts() {
        let name = path.file_name().expect("a script has a name").to_string_lossy().into_owned();
        let expected = std::fs::read_to_string(&path).expect("a script is text");
        let told = tell(&expected).unwrap_or_else(|error| panic!("{name}: {error}"));
        if rewrite {
            std::fs::write(&path, &told).expect("scripts can be rewritten");
        } else if told != expected {
            let line = told.lines().zip(expected.lines()).position(|(one, other)| one != other);
            let line = line.unwrap_or(told.lines().count().min(expected.lines().count()));
            let says = expected.lines().nth(line).unwrap_or("nothing more");
            let happens = told.lines().nth(line).unwrap_or("nothing more");
            wrong.push(format!("{name}:{}\n  says:    {says}\n  happens: {happens}", line + 1));
        }
    }
    assert!(wrong.is_empty(), "rewrite with QUORATE_REWRITE=1, or mend:\n{}", wrong.join("\n"));
}
