//! The frames of an answer.

/// A line that begins with the nonce, and what follows until the next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// Words behind the nonce.
    pub(super) words: Vec<&'a str>,
    /// Any bytes.
    pub(super) body: &'a [u8],
}

/// All frames that arrived whole; the last one's body may have been cut off.
pub(super) fn frames<'a>(answer: &'a [u8], nonce: &str) -> Vec<Frame<'a>> {
    let mark = format!("\n{nonce} ");
    let mut starts: Vec<usize> = find_all(answer, mark.as_bytes());
    starts.push(answer.len());
    starts
        .windows(2)
        .filter_map(|pair| {
            let frame = &answer[pair[0] + mark.len()..pair[1]];
            let end = frame.iter().position(|byte| *byte == b'\n')?;
            Some(Frame {
                words: std::str::from_utf8(&frame[..end]).ok()?.split(' ').collect(),
                body: &frame[end + 1..],
            })
        })
        .collect()
}

fn find_all(text: &[u8], mark: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text
        .get(from..)
        .and_then(|rest| rest.windows(mark.len()).position(|window| window == mark))
    {
        found.push(from + at);
        from += at + mark.len();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_hold_anything_but_the_nonce() {
        let answer = b"motd\n\nN1 section a\nx\0y\nN2 section b\n\nN1 exit 0\n\nN1 end\n";
        let frames = frames(answer, "N1");
        let words: Vec<String> = frames.iter().map(|frame| frame.words.join(" ")).collect();
        assert_eq!(words, ["section a", "exit 0", "end"]);
        assert_eq!(frames[0].body, b"x\0y\nN2 section b\n");
    }

    #[test]
    fn a_cut_off_head_is_no_frame() {
        assert_eq!(frames(b"\nN section a\nx\nN exi", "N").len(), 1);
        assert_eq!(frames(b"", "N"), []);
    }
}
