/// Why a certificate or key could not be made or read. No variant ever carries key material.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not a PEM certificate, or its contents are not X.509.
    #[error("not a certificate: {0}")]
    NotACertificate(String),
    /// The text is not a PEM certificate request.
    #[error("not a certificate request: {0}")]
    NotARequest(String),
    /// The text is not a PKCS#8 PEM private key of a kind that `ring` reads.
    #[error("not a usable PKCS#8 private key: {0}")]
    NotAKey(rcgen::Error),
    /// The certificate given as a CA must not sign others.
    #[error("certificate {0:?} is not a CA")]
    NotACa(String),
    /// Certificate and private key do not belong together; signing with them would produce garbage.
    #[error("the private key does not belong to CA certificate {0:?}")]
    KeyMismatch(String),
    /// The CA is past its end, so nothing it signs now would ever be accepted.
    #[error("the CA expired at {0}")]
    CaExpired(jiff::Timestamp),
    /// The names of a specification cannot be written into a certificate, or signing failed.
    #[error("issue certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// The operating system gave no randomness.
    #[error("no randomness available")]
    Randomness,
}
