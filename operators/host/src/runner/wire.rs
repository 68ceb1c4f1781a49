//! Fields of data lines: text without blanks, quotes or anything else that a shell could take for its own.

use std::fmt::Write as _;

/// Whether a byte stands for itself.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_./:=@,+~-".contains(&byte)
}

/// A text as a field: other bytes become `\0ooo`, which the shell's `printf %b` turns back; an empty text `\c`.
pub(super) fn encode(text: &str) -> String {
    if text.is_empty() {
        return "\\c".into();
    }
    let mut field = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_plain(byte) {
            field.push(char::from(byte));
        } else {
            let _ = write!(field, "\\0{byte:03o}");
        }
    }
    field
}

/// The text of a field that a host gives back.
pub(super) fn decode(field: &str) -> String {
    if field == "\\c" {
        return String::new();
    }
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = rest.find("\\0") {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let octal = rest
            .get(at + 2..at + 5)
            .and_then(|octal| u8::from_str_radix(octal, 8).ok());
        if let Some(byte) = octal {
            bytes.push(byte);
            rest = &rest[at + 5..];
        } else {
            bytes.extend_from_slice(b"\\0");
            rest = &rest[at + 2..];
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A data line.
pub(super) fn line<'a>(request: &mut String, word: &str, fields: impl IntoIterator<Item = &'a str>) {
    request.push_str(word);
    for field in fields {
        request.push(' ');
        request.push_str(&encode(field));
    }
    request.push('\n');
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// SHA-256 in hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_becomes_one_harmless_word_and_comes_back(text in "\\PC*|[ -~]*|[\\x01-\\x7f]*") {
            let field = encode(&text);
            prop_assert!(field.bytes().all(|byte| is_plain(byte) || byte == b'\\'), "{field}");
            prop_assert!(!field.is_empty());
            prop_assert_eq!(decode(&field), text);
        }
    }

    #[test]
    fn fields_are_as_the_shell_reads_them() {
        assert_eq!(encode(""), "\\c");
        assert_eq!(encode("/opt/a-1.2_3:x=@,+~"), "/opt/a-1.2_3:x=@,+~");
        assert_eq!(encode("a b\n\\0101é"), "a\\0040b\\0012\\01340101\\0303\\0251");
        assert_eq!(decode("a\\0x\\"), "a\\0x\\");
    }
}
