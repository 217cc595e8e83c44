//! Who may ask: nobody from another page, nobody under another name, and nobody without the token where there is one.
//!
//! A browser runs pages of strangers on the machine of whoever looks at a cluster, and lets them send requests to
//! addresses of that machine. Such a page is known by its `Origin`; one that has its own name point to this machine (DNS
//! rebinding) is known by its name in `Host`. Neither knows the token.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;

use super::Token;
use crate::transport::Counter;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The numbers of a replica. Where it can be reached over the network its operator gave it names, and programs ask for
    /// it by them.
    Read,
    /// The page, which holds no secret.
    Page,
    /// What is going on.
    Live,
    /// To do something to the cluster.
    Deed,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It was sent to another name than ours.
    #[error(
        "`{host}` is not what this endpoint is called, as when another site's name points here; open http://{ours}/"
    )]
    Host {
        /// The name.
        host: String,
        /// Ours.
        ours: SocketAddr,
    },
    /// A page of another site sent it.
    #[error("a page of `{origin}` asks, which is not ours; open http://{ours}/ itself")]
    Origin {
        /// Whose page.
        origin: String,
        /// Our address.
        ours: SocketAddr,
    },
    /// A command that no page sent.
    #[error(
        "commands are taken from the page only, whose browser says so; open http://{ours}/, or send `Origin: http://{ours}`"
    )]
    NotFromPage {
        /// Our address.
        ours: SocketAddr,
    },
    /// There is no token.
    #[error(
        "no token came with this; open the address that was printed when the page started, with everything behind its `#`, or \
         send the header `Authorization: Bearer` with the token"
    )]
    NoToken,
    /// It is not the token.
    #[error(
        "this is not the token, perhaps that of an earlier run; open the address that was printed when the page started"
    )]
    WrongToken,
}

/// Decides who may ask, and counts whom it refused.
#[derive(Debug)]
pub struct Guard {
    bound: SocketAddr,
    token: Option<Token>,
    refused: Counter,
}

impl Guard {
    /// A guard of what is served at this address, for whoever has the token if there is one.
    #[must_use]
    pub fn new(bound: SocketAddr, token: Option<Token>) -> Self {
        Self { bound, token, refused: Counter::default() }
    }

    /// How many requests were refused, or understood by nobody.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// Something was asked for that makes no sense.
    pub(super) fn count_malformed(&self) {
        self.refused.add(1);
    }

    /// Whether a request may pass.
    ///
    /// # Errors
    /// [`Refusal`] if it may not; it is counted.
    pub fn admit(&self, access: Access, headers: &HeaderMap) -> Result<(), Refusal> {
        self.judge(access, headers).inspect_err(|_| self.refused.add(1))
    }

    fn judge(&self, access: Access, headers: &HeaderMap) -> Result<(), Refusal> {
        let ours = self.bound;
        // Two of one name are read differently by different programs: that is nobody's name.
        let host = single(headers, "host");
        let by_any_name = access == Access::Read && (!ours.ip().is_loopback() || host == Some(""));
        if !by_any_name && !host.is_some_and(|host| self.is_ours(host)) {
            return Err(Refusal::Host { host: short(host.unwrap_or("two names")), ours });
        }
        let origin = single(headers, "origin");
        let foreign = |origin: &str| origin.strip_prefix("http://") != host;
        if origin != Some("") && origin.is_none_or(foreign) {
            return Err(Refusal::Origin { origin: short(origin.unwrap_or("two origins")), ours });
        }
        // A page may be come to from anywhere; what it asks for is asked for by itself.
        let site = single(headers, "sec-fetch-site").unwrap_or("two sites");
        if !matches!(site, "" | "same-origin" | "none") && access != Access::Page {
            return Err(Refusal::Origin { origin: format!("another site ({})", short(site)), ours });
        }
        if access == Access::Deed && origin == Some("") && site != "same-origin" {
            return Err(Refusal::NotFromPage { ours });
        }
        self.ask_for_token(access, headers)
    }

    fn ask_for_token(&self, access: Access, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(token) = self.token.as_ref().filter(|_| matches!(access, Access::Live | Access::Deed))
        else {
            return Ok(());
        };
        match single(headers, "authorization").and_then(|said| said.strip_prefix("Bearer ")) {
            None => Err(Refusal::NoToken),
            Some(shown) if token.is(shown.trim()) => Ok(()),
            Some(_) => Err(Refusal::WrongToken),
        }
    }

    /// A name that no stranger's name server can make point here: an address of ours, or the machine's own name for
    /// itself.
    fn is_ours(&self, host: &str) -> bool {
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let (name, port) = match bracketed {
            Some((name, rest)) => (name, rest.strip_prefix(':')),
            None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
        };
        let port = port.map_or(Ok(80), str::parse::<u16>);
        let ours = |ip: IpAddr| {
            let bound = self.bound.ip();
            ip.is_loopback() || bound.is_unspecified() || ip == bound
        };
        port == Ok(self.bound.port())
            && (name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(ours))
    }
}

/// The value of a header that is there once; empty if it is not there, none if it is there twice or is no text.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Some(""),
        (Some(value), None) => value.to_str().ok(),
        (Some(_), Some(_)) => None,
    }
}

/// The beginning of what somebody sent, to be shown to them.
pub(super) fn short(text: &str) -> String {
    text.chars().take(120).collect()
}
