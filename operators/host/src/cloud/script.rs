//! The scripts that go through a cloud's API, and their answers.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kok_plan::host::Secret;
use zeroize::Zeroizing;

/// End of standard error that comes back.
const MOST_STDERR: usize = 1500;

/// Where the input of a command comes from.
pub(super) enum Input<'a> {
    /// It stands in the script.
    Inline(&'a [u8]),
    /// It was sent ahead, in parts.
    Parts,
}

/// Where the files of a command are, in memory on the host.
pub(super) fn directory(id: &str) -> String {
    format!("/run/kube-on-kube-cloud-{id}")
}

/// Name of a part of the input.
pub(super) fn part(index: usize) -> String {
    format!("part-{index:04}")
}

/// Bytes of output that fit into an answer, in base64 and beside the rest.
fn page_size(output: usize) -> usize {
    output.saturating_sub(2 * MOST_STDERR + 200) / 4 * 3
}

/// The script that runs a command. None when the input cannot stand in a script: it is no text, or does not end
/// with a line end.
pub(super) fn command(
    id: &str,
    argv: &[String],
    input: &Input,
    limit: Duration,
    output: usize,
) -> Option<Secret> {
    let directory = directory(id);
    let page = page_size(output);
    let words: Vec<String> = argv.iter().map(|word| quote(word)).collect();
    let mut script = Zeroizing::new(format!(
        "umask 077\n\
         find /run -maxdepth 1 -name 'kube-on-kube-cloud-*' -mmin +120 -exec rm -rf {{}} +\n\
         d={directory}\n\
         mkdir -p \"$d\" || exit 125\n\
         trap 'rm -rf \"$d\"' EXIT\n"
    ));
    match input {
        Input::Parts => script.push_str("cat \"$d\"/part-* >\"$d/in\" && rm \"$d\"/part-*\n"),
        Input::Inline(bytes) => {
            let text = std::str::from_utf8(bytes).ok()?;
            if text.contains('\0') || !(text.is_empty() || text.ends_with('\n')) {
                return None;
            }
            // The mark is random: the input cannot hold it.
            let _ = write!(script, "cat >\"$d/in\" <<'{id}'\n{text}{id}\n");
        }
    }
    let _ = write!(
        script,
        "timeout -k 5 {} {} <\"$d/in\" >\"$d/out\" 2>\"$d/err\"\n\
         code=$?\n\
         rm -f \"$d/in\"\n\
         size=$(wc -c <\"$d/out\")\n\
         echo \"$code $size\"\n\
         head -c {page} \"$d/out\" | base64 -w 0\n\
         echo\n\
         tail -c {MOST_STDERR} \"$d/err\" | base64 -w 0\n\
         echo\n\
         [ \"$size\" -le {page} ] || trap - EXIT\n\
         exit 0\n",
        limit.as_secs().max(1),
        words.join(" "),
    );
    Some(Secret::new(script.as_bytes()))
}

/// The script that reads the output from `offset`; the last one cleans up.
pub(super) fn next_page(id: &str, offset: usize, size: usize, output: usize) -> Secret {
    let directory = directory(id);
    let page = page_size(output);
    let mut script = format!(
        "tail -c +{} {directory}/out | head -c {page} | base64 -w 0\necho\n",
        offset + 1
    );
    if offset + page >= size {
        let _ = writeln!(script, "rm -rf {directory}");
    }
    Secret::new(script)
}

/// What [`next_page`] wrote.
pub(super) fn page(output: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(std::str::from_utf8(output).ok()?.trim()).ok()
}

/// What [`command`] wrote.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Exit code of the command.
    pub(super) code: i32,
    /// Bytes that it wrote to standard output.
    pub(super) size: usize,
    /// The first of them.
    pub(super) stdout: Vec<u8>,
    /// The end of standard error.
    pub(super) stderr: String,
}

impl Answer {
    pub(super) fn parse(output: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(output).ok()?.lines();
        let (code, size) = lines.next()?.split_once(' ')?;
        let stdout = STANDARD.decode(lines.next()?).ok()?;
        let stderr = STANDARD.decode(lines.next()?).ok()?;
        Some(Self {
            code: code.parse().ok()?,
            size: size.trim().parse().ok()?,
            stdout,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        })
    }
}

/// A word that the shell takes for exactly this text.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_shell_takes_quoted_words_for_what_they_are(words in prop::collection::vec("[^\\x00]{0,20}", 1..5)) {
            let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
            let mut shell = Command::new("sh").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let script = format!("printf '%s\\0' {}\n", quoted.join(" "));
            shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
            let output = shell.wait_with_output().unwrap();
            let expected = words.join("\0") + "\0";
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
        }
    }

    #[test]
    fn only_whole_lines_of_text_stand_in_a_script() {
        let argv = ["cat".to_owned()];
        let inline =
            |bytes: &[u8]| command("id", &argv, &Input::Inline(bytes), Duration::from_secs(1), 24_000);
        assert!(inline(b"a\nb\n").is_some());
        assert!(inline(b"").is_some());
        for other in [&b"a"[..], b"a\0\n", b"\xff\n"] {
            assert!(inline(other).is_none());
        }
    }

    #[test]
    fn answers_are_whole_or_none() {
        let whole = Answer {
            code: 3,
            size: 5,
            stdout: b"hello".to_vec(),
            stderr: "oops".into(),
        };
        assert_eq!(Answer::parse(b"3 5\naGVsbG8=\nb29wcw==\n"), Some(whole));
        for cut in [&b""[..], b"3", b"3 5\n", b"3 5\naGVsbG8=", b"3 5\naGVs!\n\n"] {
            assert_eq!(Answer::parse(cut), None);
        }
    }
}
