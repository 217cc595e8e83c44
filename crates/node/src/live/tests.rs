//! Who is let in, and what they are told.

use std::sync::Mutex;

use quorate_host::live::{
    About, Disagreement, Happening, Header, Moment, Ring, SlotLane, Source as Recorder, Stand, State,
    VERSION, Weight,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A recording of one event, of a cluster that obeys.
struct Cluster {
    ring: Ring,
    told: Mutex<Vec<Deed>>,
}

impl Source for Cluster {
    async fn excerpt(&self, from: u64) -> Option<Excerpt> {
        Some(self.ring.from(from))
    }
    fn control(&self) -> bool {
        true
    }
    async fn obey(&self, deed: Deed) -> Result<String, String> {
        self.told.lock().unwrap().push(deed.clone());
        match deed {
            Deed::Kill { replica: 9 } => Err("there is no replica 9; kill one of 0 to 3".to_owned()),
            deed => Ok(format!("{deed:?}")),
        }
    }
}

/// A page that is served, and what a browser that shows it sends.
struct Page {
    server: Server,
    cluster: Arc<Cluster>,
}

impl Page {
    async fn open() -> Self {
        let mut ring = Ring::new(Header { title: "a trial".to_owned(), ..Header::default() });
        let (what, weight) = ("in view 1".to_owned(), Weight::Note);
        ring.push(Moment::Event(Happening { t: 5, replica: Some(1), what, weight }));
        let cluster = Arc::new(Cluster { ring, told: Mutex::default() });
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(address, Arc::clone(&cluster)).await.unwrap();
        Self { server, cluster }
    }

    fn host(&self) -> String {
        format!("Host: {}", self.server.address())
    }

    fn token(&self) -> String {
        let url = self.server.url();
        format!("Authorization: Bearer {}", url.split_once('#').unwrap().1)
    }

    fn origin(&self) -> String {
        format!("Origin: http://{}", self.server.address())
    }

    /// Sends a request; gives back the code, the headers and the body.
    async fn ask(&self, line: &str, headers: &[&str], body: &str) -> (u16, String, String) {
        let mut stream = tokio::net::TcpStream::connect(self.server.address()).await.unwrap();
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        // Whoever is refused may not read all of it.
        drop(stream.write_all(request.as_bytes()).await);
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        (code, head.to_lowercase(), body.to_owned())
    }

    /// What the page's own script sends.
    async fn tell(&self, body: &str) -> (u16, String) {
        let (code, _, body) =
            self.ask("POST /do", &[&self.host(), &self.origin(), &self.token()], body).await;
        (code, body)
    }
}

#[tokio::test]
async fn a_name_of_somebody_elses_that_points_here_is_refused() {
    let page = Page::open().await;
    let port = page.server.address().port();
    let token = page.token();
    for host in [
        format!("Host: evil.example:{port}"),
        format!("Host: 127.0.0.1.evil.example:{port}"),
        format!("Host: 192.0.2.1:{port}"),
        format!("Host: 127.0.0.1:{}", port ^ 1),
        "Host: 127.0.0.1".to_owned(),
        format!("Host: localhost.:{port}"),
        format!("{}\r\nHost: evil.example:{port}", page.host()),
        "X-Nothing: no host at all".to_owned(),
    ] {
        for path in ["GET /", "GET /live"] {
            let (code, _, body) = page.ask(path, &[&host, &token, "Accept: text/html"], "").await;
            // The server itself refuses two names, or none.
            assert!(code == 403 || code == 400, "{path} {host}: {code} {body}");
            assert!(!body.contains("a trial") && !body.contains("<html"), "{host}: {body}");
        }
    }
    let (_, _, body) = page.ask("GET /live", &[&format!("Host: evil.example:{port}"), &token], "").await;
    assert!(
        body.contains("evil.example") && body.contains(&format!("open http://{}/", page.server.address())),
        "{body}"
    );
    for host in [
        format!("Host: localhost:{port}"),
        format!("Host: LOCALHOST:{port}"),
        format!("Host: [::1]:{port}"),
        page.host(),
    ] {
        let (code, _, body) = page.ask("GET /live", &[&host, &token], "").await;
        assert_eq!(code, 200, "{host}: {body}");
    }
}

#[tokio::test]
async fn a_page_of_another_site_is_refused_though_it_knows_the_token() {
    let page = Page::open().await;
    let port = page.server.address().port();
    for foreign in [
        "Origin: http://evil.example",
        "Origin: null",
        &format!("Origin: https://127.0.0.1:{port}"),
        &format!("Origin: http://127.0.0.1:{}", port ^ 1),
        &format!("{}\r\nOrigin: http://evil.example", page.origin()),
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ] {
        for path in ["GET /live", "POST /do"] {
            let headers = [&page.host(), &page.token(), foreign];
            let (code, _, body) = page.ask(path, &headers, r#"{"command":"heal"}"#).await;
            assert_eq!(code, 403, "{path} {foreign}: {body}");
            assert!(body.contains(&format!("open http://{}/ itself", page.server.address())), "{body}");
        }
    }
    assert!(page.cluster.told.lock().unwrap().is_empty(), "nobody was obeyed");
    let (code, _, _) = page.ask("GET /live", &[&page.host(), &page.token(), &page.origin()], "").await;
    assert_eq!(code, 200);
    assert_eq!(page.server.refused(), 14);
}

#[tokio::test]
async fn whoever_was_not_told_the_token_sees_nothing_and_commands_nobody() {
    let page = Page::open().await;
    let (right, host, origin) = (page.token(), page.host(), page.origin());
    let token = right.split_once("Bearer ").unwrap().1;
    let longer = format!("Authorization: Bearer {token}0");
    let shorter = format!("Authorization: Bearer {}", &token[1..]);
    let another = format!("Authorization: Bearer {}", Token::new().unwrap().reveal());
    let basic = format!("Authorization: Basic {token}");
    let cases = [("", "no token"), (&basic, "no token"), (&longer, "not the token")];
    for (shown, words) in
        cases.into_iter().chain([(&*shorter, "not the token"), (&*another, "not the token")])
    {
        for path in ["GET /live?from=0", "POST /do"] {
            let mut headers = vec![&*host, &*origin];
            headers.extend(Some(shown).filter(|shown| !shown.is_empty()));
            let (code, _, body) = page.ask(path, &headers, r#"{"command":"heal"}"#).await;
            assert_eq!(code, 403, "{path} {shown}: {body}");
            assert!(body.contains(words) && body.contains("the address that was printed"), "{body}");
        }
    }
    assert_eq!(page.server.refused(), 10);
    assert!(page.cluster.told.lock().unwrap().is_empty());
    let (code, _, body) = page.ask("GET /live?from=0", &[&host, &right], "").await;
    let excerpt: Excerpt = serde_json::from_str(&body).unwrap();
    assert_eq!((code, excerpt), (200, page.cluster.ring.from(0)));
    assert!(token.len() == 32 && token.bytes().all(|digit| digit.is_ascii_hexdigit()), "{token}");
    assert!(!format!("{:?}", page.server).contains(token), "it is in no log");
}

#[tokio::test]
async fn the_page_itself_needs_no_token_and_a_browser_is_told_what_it_may_load() {
    let page = Page::open().await;
    let mut policies = Vec::new();
    for _ in 0..2 {
        let (code, head, body) = page.ask("GET /", &[&page.host(), "Accept: text/html,*/*"], "").await;
        assert_eq!(code, 200);
        let policy =
            head.lines().find(|line| line.starts_with("content-security-policy: ")).unwrap().to_owned();
        let nonce = policy.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
        assert_eq!(nonce.len(), 32, "{policy}");
        assert_eq!(body, page::page(&nonce));
        for part in ["default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]
        {
            assert!(policy.contains(part), "{policy}");
        }
        for header in [
            "x-frame-options: deny",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "referrer-policy: no-referrer",
        ] {
            assert!(head.contains(header), "{header} is missing from {head}");
        }
        policies.push(policy);
    }
    assert_ne!(policies[0], policies[1], "a nonce is used once");
    let (code, head, body) = page.ask("GET /", &[&page.host(), "Accept: */*"], "").await;
    assert!(code == 200 && head.contains("text/plain") && body.starts_with("The live page"), "{head}{body}");
    let coming =
        [&page.host(), "Accept: text/html", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"];
    assert_eq!(page.ask("GET /", &coming, "").await.0, 200, "a link on another page leads here");
}

#[tokio::test]
async fn commands_come_from_the_page_and_are_obeyed_one_by_one() {
    let page = Page::open().await;
    let heal = r#"{"command":"heal"}"#;
    let (code, _, body) = page.ask("POST /do", &[&page.host(), &page.token()], heal).await;
    assert!(code == 403 && body.contains("commands are taken from the page only"), "{code} {body}");
    let same = "Sec-Fetch-Site: same-origin";
    assert_eq!(page.ask("POST /do", &[&page.host(), &page.token(), same], heal).await.0, 200);
    let (code, _, _) = page.ask("GET /do", &[&page.host(), &page.token(), &page.origin()], "").await;
    assert_eq!(code, 405);
    for body in [
        r#"{"command":"kill","replica":2}"#,
        r#"{"command":"restart","replica":2}"#,
        r#"{"command":"partition","sides":[[0,1],[2,3]]}"#,
        r#"{"command":"behave","replica":2,"behaviour":"equivocate"}"#,
        r#"{"command":"behave","replica":2,"behaviour":null}"#,
    ] {
        let (code, said) = page.tell(body).await;
        assert!(code == 200 && said.starts_with(r#"{"done":""#), "{code} {said}");
    }
    let (code, said) = page.tell(r#"{"command":"kill","replica":9}"#).await;
    assert_eq!((code, &*said), (409, r#"{"error":"there is no replica 9; kill one of 0 to 3"}"#));
    let told = page.cluster.told.lock().unwrap();
    let sides = vec![vec![0, 1], vec![2, 3]];
    let behaviour = Some("equivocate".to_owned());
    assert_eq!(
        told[..6],
        [
            Deed::Heal,
            Deed::Kill { replica: 2 },
            Deed::Restart { replica: 2 },
            Deed::Partition { sides },
            Deed::Behave { replica: 2, behaviour },
            Deed::Behave { replica: 2, behaviour: None },
        ]
    );
}

#[tokio::test]
async fn a_body_is_bounded_and_one_that_makes_no_sense_says_what_to_send() {
    let page = Page::open().await;
    let longest = "1,".repeat(DEED_BYTES_MAX);
    for (body, code, words) in [
        ("", 400, "is no command"),
        ("kill", 400, "is no command"),
        ("{}", 400, "missing field"),
        (r#"{"command":"explode"}"#, 400, "explode"),
        (r#"{"command":"kill"}"#, 400, "replica"),
        (r#"{"command":"kill","replica":-1}"#, 400, "-1"),
        (r#"{"command":"kill","replica":2,"force":true}"#, 400, "force"),
        (r#"{"command":"partition","sides":[0,1]}"#, 400, "is no command"),
        (&format!(r#"{{"command":"partition","sides":[[{longest}0]]}}"#), 413, "at most 4096 bytes"),
    ] {
        let (answered, said) = page.tell(body).await;
        assert_eq!(answered, code, "{body}: {said}");
        assert!(said.starts_with(r#"{"error":""#) && said.contains(words), "{body}: {said}");
        assert!(
            code == 413 || said.contains("the commands are kill, restart, partition, heal, behave"),
            "{said}"
        );
    }
    assert!(page.cluster.told.lock().unwrap().is_empty());
    assert_eq!(page.server.refused(), 9, "each is counted");
    for from in ["x", "-1", "1.5", "18446744073709551616"] {
        let (code, _, said) =
            page.ask(&format!("GET /live?from={from}"), &[&page.host(), &page.token()], "").await;
        assert!(code == 400 && said.contains("/live?from=0") && said.contains(from), "{code} {said}");
    }
    let (_, _, all) = page.ask("GET /live", &[&page.host(), &page.token()], "").await;
    let (_, _, beyond) = page.ask("GET /live?from=99", &[&page.host(), &page.token()], "").await;
    assert_eq!(all, beyond, "whoever followed another recording is given this one from its beginning");
}

#[tokio::test]
async fn a_page_is_served_to_this_machine_only() {
    let page = Page::open().await;
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let refused = Server::start(everywhere, Arc::clone(&page.cluster)).await.unwrap_err();
    assert!(refused.to_string().contains("127.0.0.1"), "{refused}");
    let taken = Server::start(page.server.address(), Arc::clone(&page.cluster)).await.unwrap_err();
    assert!(taken.to_string().contains("another port"), "{taken}");
}

#[test]
fn what_a_replica_counts_is_read_by_any_name_where_its_operator_gave_it_one() {
    let asked = |headers: &[(&'static str, &str)]| {
        let all = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        all.collect::<HeaderMap>()
    };
    let named = asked(&[("host", "replica-1.internal:9000")]);
    let network = Guard::new("10.0.0.5:9000".parse().unwrap(), None);
    assert_eq!(network.admit(Access::Read, &named), Ok(()));
    assert!(network.admit(Access::Live, &named).is_err(), "a page is opened by its address");
    assert_eq!(network.admit(Access::Live, &asked(&[("host", "10.0.0.5:9000")])), Ok(()));
    let foreign = asked(&[("host", "replica-1.internal:9000"), ("origin", "http://evil.example")]);
    assert!(network.admit(Access::Read, &foreign).is_err());
    assert_eq!(network.refused(), 2);
    let local = Guard::new("127.0.0.1:9000".parse().unwrap(), None);
    assert!(
        local.admit(Access::Read, &named).is_err(),
        "nobody but a name server gives that name to this machine"
    );
    assert_eq!(local.admit(Access::Read, &asked(&[])), Ok(()), "no browser leaves the name out");
    let everywhere = Guard::new("0.0.0.0:9000".parse().unwrap(), None);
    assert_eq!(everywhere.admit(Access::Live, &asked(&[("host", "10.0.0.5:9000")])), Ok(()));
    assert!(everywhere.admit(Access::Live, &named).is_err());
}

#[test]
fn a_recording_reads_as_it_was_agreed_upon() {
    let lane = SlotLane {
        t: 9,
        replica: 1,
        seq: 812,
        operations: 37,
        batch: Some("ab12".to_owned()),
        proposed: Some(3),
        prepares: vec![(0, 3), (2, 4)],
        otherwise: vec![(3, 5, "cd34".to_owned())],
        ..SlotLane::default()
    };
    let stand =
        Stand { t: 9, up: true, state: State::CatchingUp, links: vec![true, false], ..Stand::default() };
    let event = Happening { t: 9, replica: None, what: "killed".to_owned(), weight: Weight::Deed };
    let wrong = Disagreement {
        t: 9,
        replica: 2,
        seq: 640,
        about: About::Checkpoint,
        says: "ab12".to_owned(),
        others: "cd34".to_owned(),
    };
    for (moment, parts) in [
        (
            Moment::Header(Header { version: VERSION, source: Recorder::Testbed, ..Header::default() }),
            &[
                r#"{"kind":"header","version":1,"source":"testbed","title":"","n":0,"f":0,"q":0,"control":false"#,
            ][..],
        ),
        (
            Moment::Slot(lane),
            &[
                r#""kind":"slot""#,
                r#""seq":812,"operations":37,"batch":"ab12","request":null,"proposed":3,"prepares":[[0,3],[2,4]]"#,
                r#""commits":[],"otherwise":[[3,5,"cd34"]],"committed":null"#,
            ],
        ),
        (
            Moment::Replica(stand),
            &[r#""kind":"replica""#, r#""state":"catching up""#, r#""links":[true,false],"behaviour":null"#],
        ),
        (Moment::Event(event), &[r#"{"kind":"event","t":9,"replica":null,"what":"killed","weight":"deed"}"#]),
        (Moment::Disagreement(wrong), &[r#""about":"checkpoint","says":"ab12","others":"cd34""#]),
        (
            Moment::Verdict { t: 9, lines: vec!["good".to_owned()] },
            &[r#"{"kind":"verdict","t":9,"lines":["good"]}"#],
        ),
    ] {
        let line = serde_json::to_string(&moment).unwrap();
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
        assert_eq!(serde_json::from_str::<Moment>(&line).unwrap(), moment);
        let later = moment.clone().shifted(100);
        assert_eq!(later.at(), if matches!(moment, Moment::Header(_)) { 0 } else { 109 });
        assert_eq!(later.shifted(-100), moment);
    }
}
