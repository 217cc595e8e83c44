//! Who is at the other end: TLS 1.3 with raw public keys (RFC 7250), both sides proving theirs.
//!
//! A replica's or client's one Ed25519 key is its identity here too; TLS signs under a context of its own, so neither
//! use can be mistaken for the other. A key counts only because the handshake's signature was verified with it.
//! There is no resumption, ticket or early data: they would skip that check, and could be replayed.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quorate_protocol::committee::Committee;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::types::{ClusterId, PublicKey};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme,
};

use super::{Shape, TransportError};

/// What stands before the 32 bytes of an Ed25519 key in its DER form (RFC 8410).
const KEY_INFO_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A name that connections carry because the protocol wants one; nobody looks at it.
pub(crate) const SERVER_NAME: &str = "replica";

/// Which clients may connect. What a request is worth is decided by its signature alone, not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Whoever proves to hold some key.
    Open,
    /// Holders of these keys.
    Listed(BTreeSet<PublicKey>),
}

/// Whose key is accepted.
#[derive(Clone)]
pub(crate) enum Accept {
    /// Any replica's, but not our own: nobody else should have that.
    Replicas { committee: Arc<Committee>, ours: PublicKey },
    /// Any client's that may connect.
    Clients(Arc<Admission>),
    /// This one's only.
    Only(PublicKey),
}

impl Accept {
    fn allows(&self, key: &PublicKey) -> bool {
        match self {
            Self::Replicas { committee, ours } => key != ours && committee.id_of(key).is_some(),
            Self::Clients(admission) => match &**admission {
                Admission::Open => true,
                Admission::Listed(keys) => keys.contains(key),
            },
            Self::Only(only) => key == only,
        }
    }
}

/// The public key in what a peer presented.
fn key_in(presented: &[u8]) -> Option<PublicKey> {
    let key = presented.strip_prefix(&KEY_INFO_PREFIX[..])?;
    Some(PublicKey(key.try_into().ok()?))
}

/// The key whose holder is at the other end of an established connection.
pub(crate) fn key_of(connection: &quinn::Connection) -> Option<PublicKey> {
    let presented = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    key_in(presented.first()?)
}

/// Our name for the protocol on a kind of endpoint of a cluster. Others are refused before they prove anything.
pub(crate) fn protocol_name(cluster: ClusterId, shape: Shape) -> Vec<u8> {
    let mut name = String::from("quorate/1/");
    for byte in &cluster.0.0[..8] {
        name.push_str(&format!("{byte:02x}"));
    }
    name.push_str(shape.protocol_suffix());
    name.into_bytes()
}

struct Verifier {
    provider: Arc<CryptoProvider>,
    accept: Accept,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

impl Verifier {
    fn check(&self, presented: &[u8], more: &[CertificateDer<'_>]) -> Result<(), Error> {
        let Some(key) = key_in(presented).filter(|_| more.is_empty()) else {
            return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
        };
        if !self.accept.allows(&key) {
            tracing::info!(?key, "refused a key that may not be here");
            return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
        Ok(())
    }

    /// Whether the other side holds the secret half of what it presented. Without this, anyone could present a
    /// victim's public key.
    fn check_signature(
        &self,
        transcript: &[u8],
        presented: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(presented.as_ref());
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(transcript, &key, signature, algorithms)
    }
}

const fn too_old() -> Error {
    Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered)
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        presented: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(presented, more).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        transcript: &[u8],
        presented: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(transcript, presented, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        true
    }

    fn verify_client_cert(
        &self,
        presented: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(presented, more).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        transcript: &[u8],
        presented: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(transcript, presented, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Our own key, ready to prove itself.
pub(crate) struct Identity {
    provider: Arc<CryptoProvider>,
    certified: Arc<CertifiedKey>,
}

impl Identity {
    pub(crate) fn new(key: &SecretKey) -> Result<Self, TransportError> {
        // Named, not the process's default: with two providers in a program there is no default.
        let mut provider = rustls::crypto::ring::default_provider();
        // One small key share, so that a first flight fits one packet.
        provider.kx_groups.retain(|group| group.name() == rustls::NamedGroup::X25519);
        let provider = Arc::new(provider);
        let secret = PrivatePkcs8KeyDer::from(key.to_pkcs8_der().to_vec());
        let signer = provider
            .key_provider
            .load_private_key(PrivateKeyDer::Pkcs8(secret))
            .map_err(|error| TransportError::Key { error: error.to_string() })?;
        let mut info = KEY_INFO_PREFIX.to_vec();
        info.extend_from_slice(&key.public().0);
        let certified = Arc::new(CertifiedKey::new(vec![CertificateDer::from(info)], signer));
        Ok(Self { provider, certified })
    }

    /// Somebody who shows another's public key without having its secret half.
    #[cfg(test)]
    pub(crate) fn presenting(self, public: PublicKey) -> Self {
        let mut info = KEY_INFO_PREFIX.to_vec();
        info.extend_from_slice(&public.0);
        let certified =
            Arc::new(CertifiedKey::new(vec![CertificateDer::from(info)], Arc::clone(&self.certified.key)));
        Self { certified, ..self }
    }

    fn verifier(&self, accept: Accept) -> Arc<Verifier> {
        Arc::new(Verifier { provider: Arc::clone(&self.provider), accept })
    }

    /// Answers handshakes of those whom `accept` names.
    pub(crate) fn server(
        &self,
        accept: Accept,
        name: Vec<u8>,
    ) -> Result<quinn::ServerConfig, TransportError> {
        let failed = |error: rustls::Error| TransportError::Key { error: error.to_string() };
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(failed)?
            .with_client_cert_verifier(self.verifier(accept))
            .with_cert_resolver(Arc::new(rustls::server::AlwaysResolvesServerRawPublicKeys::new(
                Arc::clone(&self.certified),
            )));
        config.alpn_protocols = vec![name];
        config.max_early_data_size = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let config = QuicServerConfig::try_from(config)
            .map_err(|error| TransportError::Key { error: error.to_string() })?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(config));
        // Connections do not change their address: replicas have fixed ones, and clients dial again.
        config
            .migration(false)
            .max_incoming(256)
            .incoming_buffer_size(16 << 10)
            .incoming_buffer_size_total(1 << 20);
        Ok(config)
    }

    /// Dials the holder of `expected`, and nobody else.
    pub(crate) fn client(
        &self,
        expected: PublicKey,
        name: Vec<u8>,
    ) -> Result<quinn::ClientConfig, TransportError> {
        let failed = |error: rustls::Error| TransportError::Key { error: error.to_string() };
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(failed)?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(Accept::Only(expected)))
            .with_client_cert_resolver(Arc::new(rustls::client::AlwaysResolvesClientRawPublicKeys::new(
                Arc::clone(&self.certified),
            )));
        config.alpn_protocols = vec![name];
        config.enable_early_data = false;
        config.resumption = rustls::client::Resumption::disabled();
        config.enable_sni = false;
        let config = QuicClientConfig::try_from(config)
            .map_err(|error| TransportError::Key { error: error.to_string() })?;
        Ok(quinn::ClientConfig::new(Arc::new(config)))
    }
}
