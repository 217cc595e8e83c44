//! Secrets of one run: the token that opens a page, and the nonce of one page.

use std::fmt;

/// 128 bits of the system's randomness. Whoever shows it was told the printed address.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A new one.
    ///
    /// # Errors
    /// The operating system gave no randomness.
    pub fn new() -> Result<Self, getrandom::Error> {
        nonce().map(Self)
    }

    /// The token as it is printed and shown.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether this is it. It takes as long for a wrong one as for the right one, so that nobody finds it byte by byte;
    /// its length is no secret.
    #[must_use]
    pub fn is(&self, shown: &str) -> bool {
        let pairs = self.0.bytes().zip(shown.bytes());
        let differing =
            pairs.fold(0, |differing, (one, other)| std::hint::black_box(differing | (one ^ other)));
        differing == 0 && self.0.len() == shown.len()
    }
}

/// It is written nowhere but where a person reads it.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// 128 bits in hexadecimal.
pub(super) fn nonce() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
