//! Alibaba Cloud's signature of requests, version 3 (ACS3-HMAC-SHA256).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ring::{digest, hmac};

/// A request without its signature. All of it goes into the query; the body is empty.
pub(super) struct Request<'a> {
    pub(super) host: &'a str,
    pub(super) action: &'a str,
    pub(super) version: &'a str,
    /// Time in UTC, `2023-10-26T10:22:32Z`.
    pub(super) date: &'a str,
    /// Different each time.
    pub(super) nonce: &'a str,
    pub(super) parameters: &'a BTreeMap<&'a str, String>,
}

/// A request that can be sent.
pub(super) struct Signed {
    /// Query string.
    pub(super) query: String,
    /// Headers, without `host`.
    pub(super) headers: Vec<(&'static str, String)>,
}

impl Request<'_> {
    /// Signs as a POST to `/`.
    pub(super) fn sign(&self, key_id: &str, secret: &[u8]) -> Signed {
        let query = self
            .parameters
            .iter()
            .map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value)))
            .collect::<Vec<_>>()
            .join("&");
        let body_hash = hex(digest::digest(&digest::SHA256, b"").as_ref());
        let headers = [
            ("host", self.host.to_owned()),
            ("x-acs-action", self.action.to_owned()),
            ("x-acs-content-sha256", body_hash.clone()),
            ("x-acs-date", self.date.to_owned()),
            ("x-acs-signature-nonce", self.nonce.to_owned()),
            ("x-acs-version", self.version.to_owned()),
        ];
        let mut canonical_headers = String::new();
        for (name, value) in &headers {
            let _ = writeln!(canonical_headers, "{name}:{value}");
        }
        let signed_headers = headers.each_ref().map(|(name, _)| *name).join(";");
        let canonical = format!("POST\n/\n{query}\n{canonical_headers}\n{signed_headers}\n{body_hash}");
        let to_sign = format!(
            "ACS3-HMAC-SHA256\n{}",
            hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref())
        );
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let signature = hex(hmac::sign(&key, to_sign.as_bytes()).as_ref());
        let authorization = format!(
            "ACS3-HMAC-SHA256 Credential={key_id},SignedHeaders={signed_headers},Signature={signature}"
        );
        Signed {
            query,
            headers: headers
                .into_iter()
                .skip(1)
                .chain([("authorization", authorization)])
                .collect(),
        }
    }
}

/// By RFC 3986: everything but unreserved characters.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of Alibaba Cloud's documentation.
    #[test]
    fn the_documented_example_comes_out() {
        let parameters = BTreeMap::from([
            (
                "ImageId",
                "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd".to_owned(),
            ),
            ("RegionId", "cn-shanghai".to_owned()),
        ]);
        let request = Request {
            host: "ecs.cn-shanghai.aliyuncs.com",
            action: "RunInstances",
            version: "2014-05-26",
            date: "2023-10-26T10:22:32Z",
            nonce: "3156853299f313e23d1673dc12e1703d",
            parameters: &parameters,
        };
        let signed = request.sign("YourAccessKeyId", b"YourAccessKeySecret");
        let authorization = signed.headers.iter().find(|(name, _)| *name == "authorization");
        assert_eq!(
            authorization.map(|(_, value)| value.as_str()),
            Some(
                "ACS3-HMAC-SHA256 Credential=YourAccessKeyId,SignedHeaders=host;x-acs-action;x-acs-content-sha256;\
                 x-acs-date;x-acs-signature-nonce;x-acs-version,\
                 Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
            )
        );
    }

    #[test]
    fn characters_are_encoded_by_rfc_3986() {
        assert_eq!(percent_encode("a-_.~ *+/=é"), "a-_.~%20%2A%2B%2F%3D%C3%A9");
    }
}
