use std::fmt;

use rcgen::{PublicKeyData, SigningKey};
use ring::rand::{SecureRandom, SystemRandom};

use crate::{Error, der};

/// A private key and its public half. Never printed: `Debug` shows only the fingerprint of the public key.
pub struct Key(pub(crate) rcgen::KeyPair);

impl Key {
    /// A new ECDSA P-256 key: understood by every Kubernetes component (service-account tokens become ES256)
    /// and some hundred times cheaper to make than RSA, which matters when a hundred clusters start at once.
    pub fn generate() -> Result<Self, Error> {
        rcgen::KeyPair::generate()
            .map(Self)
            .map_err(|_| Error::Randomness)
    }

    /// Reads a PKCS#8 PEM (`BEGIN PRIVATE KEY`): ECDSA, Ed25519 or RSA.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        rcgen::KeyPair::from_pem(pem).map(Self).map_err(Error::NotAKey)
    }

    /// PKCS#8 PEM. This is the secret: it goes into a Secret and nowhere else.
    pub fn to_pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// The public key as SPKI PEM (`BEGIN PUBLIC KEY`), as kube-apiserver reads it for
    /// `--service-account-key-file`.
    pub fn public_key_pem(&self) -> String {
        self.0.public_key_pem()
    }

    /// SHA-256 of the public key (SPKI) in hex; equal to [`CertFacts::public_key_sha256`] of its certificates.
    ///
    /// [`CertFacts::public_key_sha256`]: crate::CertFacts::public_key_sha256
    pub fn public_key_sha256(&self) -> String {
        der::sha256_hex(&self.0.subject_public_key_info())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.sign(message)?)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(public {})", self.public_key_sha256())
    }
}

/// A certificate's serial number: 128 bits, positive, and always 16 bytes long when encoded.
/// RFC 5280 wants it unique per CA and at most 20 bytes; at 126 random bits no counter has to be stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Serial([u8; 16]);

impl Serial {
    /// A random serial.
    pub fn random() -> Result<Self, Error> {
        let mut bytes = [0; 16];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| Error::Randomness)?;
        Ok(Self::from_bytes(bytes))
    }

    /// A chosen serial. The two top bits are overwritten: 0 keeps it positive, 1 keeps its length.
    pub fn from_bytes(mut bytes: [u8; 16]) -> Self {
        bytes[0] = bytes[0] & 0x3f | 0x40;
        Self(bytes)
    }

    pub(crate) fn to_rcgen(self) -> rcgen::SerialNumber {
        rcgen::SerialNumber::from_slice(&self.0)
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&der::hex(&self.0))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}
