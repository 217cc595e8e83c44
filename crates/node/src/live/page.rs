//! The page as one file: its style and its scripts put where [`page.html`](page/page.html) says so, and nothing from
//! anywhere else.

/// Where `{{nonce}}`, `{{policy}}`, `{{style}}`, `{{script}}` and `{{recording}}` stand.
const HTML: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// In the order in which they are run.
const SCRIPTS: &[&str] = &[
    include_str!("page/dom.js"),
    include_str!("page/words.js"),
    include_str!("page/model.js"),
    include_str!("page/source.js"),
    include_str!("page/recording.js"),
    include_str!("page/diagram.js"),
    include_str!("page/slots.js"),
    include_str!("page/chart.js"),
    include_str!("page/cards.js"),
    include_str!("page/control.js"),
    include_str!("page/agreement.js"),
    include_str!("page/log.js"),
    include_str!("page/main.js"),
];

/// The page that asks its server for what goes on. The nonce must be a new one each time, and fit [`policy`].
#[must_use]
pub fn page(nonce: &str) -> String {
    fill(nonce, "")
}

/// The page with a recording inside, one JSON object a line: a file that needs no server.
#[must_use]
pub fn with_recording(lines: &str) -> String {
    // In JSON a `<` is inside a string, and there it can be written so that no browser takes it for the end.
    let lines = lines.replace('<', "\\u003c");
    // Nobody else can put anything into a file, so its nonce need not be a secret.
    fill("file", &format!("<script type=\"application/json\" id=\"recording\">\n{lines}\n</script>"))
}

/// What a browser may load for the page: what is in it, and the server's answers.
#[must_use]
pub fn policy(nonce: &str) -> String {
    format!("{}; frame-ancestors 'none'", policy_of_file(nonce))
}

/// The same, as far as a page can say it of itself.
fn policy_of_file(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'"
    )
}

/// Puts everything into its place, in one pass: what is put in is not looked at again.
fn fill(nonce: &str, recording: &str) -> String {
    let script = SCRIPTS.join("\n");
    let mut page = String::with_capacity(HTML.len() + STYLE.len() + script.len() + recording.len());
    let mut rest = HTML;
    while let Some((before, behind)) = rest.split_once("{{") {
        page.push_str(before);
        let Some((name, after)) = behind.split_once("}}") else {
            page.push_str("{{");
            rest = behind;
            continue;
        };
        match name {
            "nonce" => page.push_str(nonce),
            "policy" => page.push_str(&policy_of_file(nonce)),
            "style" => page.push_str(STYLE),
            "script" => page.push_str(&script),
            "recording" => page.push_str(recording),
            other => page.extend(["{{", other, "}}"]),
        }
        rest = after;
    }
    page.push_str(rest);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_its_place_in_the_page_and_no_place_is_left_empty() {
        // Each once, or a comment about them would hold a second page.
        for name in ["style", "script", "recording"] {
            assert_eq!(HTML.matches(&format!("{{{{{name}}}}}")).count(), 1, "{{{{{name}}}}} in page.html");
        }
        let page = page("abc");
        assert!(page.contains(STYLE.trim()) && SCRIPTS.iter().all(|script| page.contains(script.trim())));
        assert!(page.contains("<script nonce=\"abc\"") && page.contains("<style nonce=\"abc\""), "{page}");
        let outside = page.replace(STYLE, "").replace(&SCRIPTS.join("\n"), "");
        assert!(!outside.contains("{{"), "{outside}");
    }

    #[test]
    fn nothing_in_the_page_comes_from_anywhere_else_or_ends_its_script_early() {
        let page = page("abc");
        for part in ["src=\"", "href=\"http", "@import", "url(http", "//cdn"] {
            assert!(!page.contains(part), "the page loads something: {part}");
        }
        assert!(SCRIPTS.iter().all(|script| !script.contains("</script")));
        assert!(!STYLE.contains("</style"));
        assert!(page.len() < 128 << 10, "{} bytes is no light page", page.len());
    }

    #[test]
    fn a_recording_cannot_break_out_of_the_page_that_holds_it() {
        let line = r#"{"kind":"event","what":"</script><script>alert(1)</script>"}"#;
        let page = with_recording(line);
        assert!(page.contains(r"\u003c/script>\u003cscript>alert(1)"), "its text is there");
        assert!(!page.contains("<script>alert"), "and is no script");
        assert_eq!(page.matches("id=\"recording\"").count(), 1);
    }
}
