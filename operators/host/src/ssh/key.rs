//! Keys: whether a private one can be used unattended, and fingerprints of public ones.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use zeroize::Zeroizing;

/// Begins the binary part of OpenSSH's private keys.
const OPENSSH_MAGIC: &[u8] = b"openssh-key-v1\0";

/// Whether a private key can be used without anybody typing; else why not.
pub(super) fn check_private(pem: &[u8]) -> Result<(), &'static str> {
    let text = std::str::from_utf8(pem)
        .map_err(|_| "it is not text; give the private key as ssh-keygen writes it")?;
    let begin = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----"))
        .ok_or("it is no private key in PEM or OpenSSH's format")?;
    if !begin.ends_with("PRIVATE KEY") {
        return Err("it is no private key");
    }
    let encrypted = begin.starts_with("ENCRYPTED")
        || text.lines().any(|line| line.trim() == "Proc-Type: 4,ENCRYPTED")
        || (begin.starts_with("OPENSSH") && openssh_cipher(text)? != b"none");
    if encrypted {
        return Err("it has a passphrase; give one without (ssh-keygen -p removes it)");
    }
    Ok(())
}

/// Name of the cipher that an OpenSSH private key is encrypted with.
fn openssh_cipher(text: &str) -> Result<Vec<u8>, &'static str> {
    const DAMAGED: &str = "it is damaged";
    let body: Zeroizing<String> = Zeroizing::new(
        text.lines()
            .map(str::trim)
            .skip_while(|line| !line.starts_with("-----BEGIN "))
            .skip(1)
            .take_while(|line| !line.starts_with("-----END "))
            .collect(),
    );
    let binary = Zeroizing::new(STANDARD.decode(body.as_bytes()).map_err(|_| DAMAGED)?);
    let rest = binary.strip_prefix(OPENSSH_MAGIC).ok_or(DAMAGED)?;
    let length: [u8; 4] = rest
        .get(..4)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(DAMAGED)?;
    let end = usize::try_from(u32::from_be_bytes(length))
        .ok()
        .and_then(|length| length.checked_add(4))
        .ok_or(DAMAGED)?;
    Ok(rest.get(4..end).ok_or(DAMAGED)?.to_vec())
}

/// `SHA256:...` of a public key `<type> <base64>`.
pub(super) fn fingerprint(public: &str) -> Option<String> {
    let blob = STANDARD.decode(public.split(' ').nth(1)?).ok()?;
    let digest = ring::digest::digest(&ring::digest::SHA256, &blob);
    Some(format!("SHA256:{}", STANDARD_NO_PAD.encode(digest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn openssh(cipher: &str) -> String {
        let mut binary = OPENSSH_MAGIC.to_vec();
        binary.extend(u32::try_from(cipher.len()).unwrap().to_be_bytes());
        binary.extend(cipher.as_bytes());
        binary.extend([0; 40]);
        format!(
            "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n",
            STANDARD.encode(binary)
        )
    }

    #[test]
    fn only_keys_without_a_passphrase_can_be_used() {
        assert_eq!(check_private(openssh("none").as_bytes()), Ok(()));
        let rsa = "-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----";
        assert_eq!(check_private(rsa.as_bytes()), Ok(()));
        let encrypted = [
            openssh("aes256-ctr"),
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMII\n-----END ENCRYPTED PRIVATE KEY-----".into(),
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMII\n-----END RSA PRIVATE KEY-----"
                .into(),
        ];
        for key in encrypted {
            assert!(check_private(key.as_bytes()).unwrap_err().contains("passphrase"));
        }
        let wrong: [&[u8]; 5] = [
            b"",
            b"\xff\xfe",
            b"ssh-ed25519 AAAA me",
            b"-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----",
            b"-----BEGIN OPENSSH PRIVATE KEY-----\n!!!\n-----END OPENSSH PRIVATE KEY-----",
        ];
        for key in wrong {
            assert!(check_private(key).is_err());
        }
    }

    #[test]
    fn fingerprints_are_as_ssh_shows_them() {
        // GitHub's published Ed25519 key and fingerprint.
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
        assert_eq!(
            fingerprint(key).as_deref(),
            Some("SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU")
        );
        assert_eq!(fingerprint("ssh-ed25519"), None);
    }
}
