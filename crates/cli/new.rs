//! `quorate new`: a crate for an application of one's own, which compiles, runs in the testbed and is tested under faults.
//!
//! What it writes are the files of `new/template`, with another name in them, and two of Quorate's own: the flags of its
//! fast signatures, and the lock file, so that the first build has the very versions that Quorate was tested with.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

const EXAMPLES: &str = "Examples:
  quorate new my-ledger                          in the folder my-ledger
  quorate new my-ledger --path ../quorate        with the checkout of Quorate in that folder
  quorate new my-ledger --git https://example.invalid/quorate";

/// The name that the templates have.
const NAME: &str = "my-ledger";
/// The same as Rust's code has it.
const CRATE: &str = "my_ledger";
/// Longest name; a cluster file takes no longer one.
const NAME_BYTES_MAX: usize = 64;
/// Words that are no names of crates: those of the language, and crates that would be meant as well.
const TAKEN: &str = "abstract alloc as async await become box break const continue core crate deps do dyn else enum \
                     extern false final fn for gen if impl in let loop macro match mod move mut override priv proc-macro \
                     pub quorate ref return self serde static std struct super test trait true try type typeof union \
                     unsafe unsized use virtual where while yield";
/// Where this program was built.
const CHECKOUT: &str = env!("CARGO_MANIFEST_DIR");
/// Where it can be fetched.
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// Every file, by its path in the new folder.
const FILES: [(&str, &str); 9] = [
    ("Cargo.toml", include_str!("new/template/manifest.toml")),
    ("Cargo.lock", include_str!("../../Cargo.lock")),
    (".cargo/config.toml", include_str!("../../.cargo/config.toml")),
    (".gitignore", include_str!("new/template/gitignore")),
    ("README.md", include_str!("new/template/README.md")),
    ("rustfmt.toml", include_str!("../../rustfmt.toml")),
    ("src/lib.rs", include_str!("new/template/lib.rs")),
    ("src/main.rs", include_str!("new/template/main.rs")),
    ("tests/faults.rs", include_str!("new/template/faults.rs")),
];

/// Arguments of `quorate new`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The new folder; the crate has its last part as its name
    folder: PathBuf,
    /// Depend on the checkout of Quorate in this folder [default: the one that this program was built from, if it is
    /// still there]
    #[arg(long, value_name = "DIR", conflicts_with = "git")]
    path: Option<PathBuf>,
    /// Depend on Quorate in this git repository
    #[arg(long, value_name = "URL")]
    git: Option<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let name = make(args, Path::new(CHECKOUT))?;
    print!("{}", next(&args.folder, &name));
    Ok(ExitCode::SUCCESS)
}

/// Writes the crate; gives back its name.
fn make(args: &Args, checkout: &Path) -> anyhow::Result<String> {
    let name = args.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    check_name(&name)?;
    let dependency = match (&args.path, &args.git) {
        (Some(path), _) => by_path(path)?,
        (None, Some(url)) => format!("{{ git = {} }}", in_quotes(url)),
        (None, None) => {
            by_path(checkout).unwrap_or_else(|_| format!("{{ git = {} }}", in_quotes(REPOSITORY)))
        }
    };
    let folder = &args.folder;
    match std::fs::read_dir(folder).map(|mut entries| entries.next().is_some()) {
        Ok(true) => bail!(
            "{}: there is something in it, and nothing is overwritten; fix: give the name of a new folder",
            folder.display()
        ),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| folder.display().to_string());
        }
        Ok(false) | Err(_) => {}
    }
    for (file, template) in FILES {
        let path = folder.join(file);
        let above = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(above).with_context(|| above.display().to_string())?;
        let text = filled(file, template, (&name, &dependency));
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(name)
}

/// The text of a file: the template, with the name and the dependency of this crate.
fn filled(file: &str, template: &str, (name, dependency): (&str, &str)) -> String {
    // What is Quorate's own has nothing in it to fill.
    if matches!(file, "Cargo.lock" | ".cargo/config.toml" | "rustfmt.toml") {
        return template.to_owned();
    }
    let renamed = template.replace(NAME, name).replace(CRATE, &name.replace('-', "_"));
    let rust = env!("CARGO_PKG_RUST_VERSION");
    renamed
        .replace("{{dependency}}", dependency)
        .replace("{{repository}}", REPOSITORY)
        .replace("{{rust}}", rust)
}

/// A dependency on a checkout, wherever the new crate will lie.
fn by_path(checkout: &Path) -> anyhow::Result<String> {
    let package = checkout.join("crates/quorate");
    if !package.join("Cargo.toml").is_file() {
        bail!(
            "--path {}: there is no crates/quorate/Cargo.toml in it; fix: give the folder of a checkout of Quorate",
            checkout.display()
        );
    }
    let package = package.canonicalize().with_context(|| checkout.display().to_string())?;
    Ok(format!("{{ path = {} }}", in_quotes(&package.to_string_lossy())))
}

/// A string of TOML.
fn in_quotes(text: &str) -> String {
    let escaped = |letter: char| match letter {
        '"' | '\\' => format!("\\{letter}"),
        letter if letter.is_control() => format!("\\u{:04X}", u32::from(letter)),
        letter => letter.to_string(),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}

/// Cargo's rules, and those that make a name usable in Rust's code and in a cluster file.
fn check_name(name: &str) -> anyhow::Result<()> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    let like = || {
        let parts: String = name.chars().map(|letter| if is_part(letter) { letter } else { '-' }).collect();
        let short: String = parts.trim_matches(['-', '_']).chars().take(NAME_BYTES_MAX).collect();
        match short.chars().next() {
            None => NAME.to_owned(),
            Some(first) if first.is_ascii_digit() => format!("app-{short}"),
            Some(_) => short,
        }
    };
    let why = match name.chars().next() {
        None => "it is empty",
        Some(_) if !name.chars().all(is_part) => "it has others than letters, digits, `-` and `_` in it",
        Some(first) if !first.is_ascii_alphabetic() => "it does not begin with a letter",
        Some(_) if name.len() > NAME_BYTES_MAX => "it is longer than 64 letters",
        Some(_) if TAKEN.split_whitespace().any(|word| word == name.replace('_', "-")) => {
            "that word has a meaning already"
        }
        Some(_) => return Ok(()),
    };
    let like = like();
    let fix = if like == name { format!("my-{name}") } else { like };
    bail!("`{name}` cannot name a crate: {why}; fix: take `{fix}`, for example")
}

/// What to type next.
fn next(folder: &Path, name: &str) -> String {
    let place = crate::quoted(&folder.to_string_lossy());
    format!(
        "{}: an application that runs; change src/lib.rs into yours\n\nNext:\n\
         \x20 cd {place}\n\
         \x20 cargo test                                     worlds of faults, and a replica that lies\n\
         \x20 cargo run -- testbed                           four replica processes, a load, a verdict\n\
         \x20 cargo run -- testbed --kill primary@3s         the primary dies, another takes over\n\
         \x20 cargo run -- testbed --byzantine 2:equivocate  one replica lies; the others agree\n\
         \x20 cargo run -- testbed --web                     watch it in a browser, kill and deceive there\n\
         \x20 cargo run -- --help                            all that `{name}` can do\n\n\
         The first build takes minutes, later ones seconds; one with --release makes faster replicas.\n",
        folder.display()
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Lines of the application and its `main` that are neither empty nor comments.
    const LINES_MAX: usize = 39;

    fn args(folder: PathBuf) -> Args {
        Args { folder, path: None, git: None }
    }

    fn made(name: &str) -> (tempfile::TempDir, PathBuf) {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join(name);
        assert_eq!(make(&args(folder.clone()), Path::new(CHECKOUT)).unwrap(), name);
        (above, folder)
    }

    fn code_lines(text: &str) -> usize {
        let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
        text.lines().filter(is_code).count()
    }

    #[test]
    fn what_somebody_would_have_written_is_under_forty_lines() {
        let (_above, folder) = made("my-ledger");
        let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
        let lines = code_lines(&read("src/lib.rs")) + code_lines(&read("src/main.rs"));
        assert!(lines <= LINES_MAX, "{lines} lines");
        assert_eq!(code_lines("//! a\n\nfn f() {\n    // b\n}\n"), 2, "the count counts code");
        assert_eq!(read("README.md").lines().count(), 30);
    }

    #[test]
    fn what_is_written_is_formatted_whatever_its_name_is() {
        let long = "a".repeat(NAME_BYTES_MAX);
        // Before and behind `quorate` in the alphabet, and as long as names are.
        for name in ["my-ledger", "a", "z", "Zoo", "a-ledger-of-all-the-accounts-of-one-town", &long] {
            let (_above, folder) = made(name);
            let files = ["src/lib.rs", "src/main.rs", "tests/faults.rs"].map(|file| folder.join(file));
            let formatted =
                Command::new("rustfmt").args(["--edition", "2024", "--check"]).args(&files).output();
            match formatted {
                Ok(output) => {
                    let differs = String::from_utf8_lossy(&output.stdout).into_owned();
                    assert!(output.status.success(), "{name}: {differs}");
                }
                Err(_) => println!("UNVERIFIED: formatting, because rustfmt is not installed"),
            }
        }
    }

    #[test]
    fn a_crate_of_another_name_has_no_word_of_the_template_left() {
        let (_above, folder) = made("auction_2");
        for (file, _) in FILES {
            let text = std::fs::read_to_string(folder.join(file)).unwrap();
            assert!(!text.contains(NAME) && !text.contains(CRATE) && !text.contains("{{"), "{file}: {text}");
        }
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        assert!(manifest.contains("name = \"auction_2\"") && manifest.contains("{ path = \""), "{manifest}");
        assert!(std::fs::read_to_string(folder.join("tests/faults.rs")).unwrap().contains("use auction_2::"));
    }

    #[test]
    fn a_program_that_outlived_its_checkout_depends_on_the_repository() {
        let above = tempfile::tempdir().unwrap();
        let manifest = |args: &Args| {
            make(args, above.path()).unwrap();
            std::fs::read_to_string(args.folder.join("Cargo.toml")).unwrap()
        };
        let usual = manifest(&args(above.path().join("one")));
        assert!(usual.contains(&format!("quorate = {{ git = \"{REPOSITORY}\" }}")), "{usual}");
        let git = Some("https://example.invalid/\"fork\"".to_owned());
        let forked = manifest(&Args { git, ..args(above.path().join("two")) });
        assert!(forked.contains(r#"quorate = { git = "https://example.invalid/\"fork\"" }"#), "{forked}");
        let path = Some(PathBuf::from(CHECKOUT));
        let by_path = manifest(&Args { path, ..args(above.path().join("three")) });
        assert!(by_path.contains("crates/quorate\" }"), "{by_path}");
    }

    #[test]
    fn what_cannot_be_made_is_refused_with_what_can() {
        let above = tempfile::tempdir().unwrap();
        std::fs::write(above.path().join("file"), "").unwrap();
        let (full, strange) = (above.path().to_owned(), above.path().join("no-quorate"));
        for (args, fix) in [
            (args(PathBuf::from("2fast")), "take `app-2fast`"),
            (args(PathBuf::from("my ledger")), "take `my-ledger`"),
            (args(PathBuf::from("größe")), "take `gr--e`"),
            (args(PathBuf::from("-x")), "take `x`"),
            (args(PathBuf::from("test")), "take `my-test`"),
            (args(PathBuf::from("quorate")), "take `my-quorate`"),
            (args(PathBuf::from("proc_macro")), "take `my-proc_macro`"),
            (args(PathBuf::from("..")), "take `my-ledger`"),
            (args(PathBuf::from("a".repeat(65))), "longer than 64"),
            (Args { path: Some(strange), ..args(above.path().join("new")) }, "give the folder of a checkout"),
        ] {
            let error = make(&args, Path::new(CHECKOUT)).unwrap_err().to_string();
            assert!(error.contains(fix), "{error}");
        }
        assert!(!above.path().join("new").exists(), "nothing is left behind");
        let named = full.join("named");
        std::fs::create_dir(&named).unwrap();
        make(&args(named.clone()), Path::new(CHECKOUT)).unwrap();
        let error = make(&args(named), Path::new(CHECKOUT)).unwrap_err().to_string();
        assert!(error.contains("give the name of a new folder"), "{error}");
    }

    #[test]
    fn what_is_printed_can_be_typed() {
        let text = next(Path::new("apps/my ledger"), "my-ledger");
        assert!(
            text.contains("  cd 'apps/my ledger'\n") && text.contains("testbed --byzantine 2:equivocate"),
            "{text}"
        );
    }
}
