//! A whole answer about facts, and what it says about paths.

use std::collections::BTreeMap;

use kok_plan::host::{BinaryFact, FactsQuery, FileFact};

use super::frames::Frame;

/// Files up to this size are hashed each time; the script has the same limit.
const HASHED_EACH_TIME: u64 = 4 * 1024 * 1024;

/// The answer cannot be relied on, so there are no facts at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// The session or the time ended before the answer did.
    #[error("the host's answer was cut off")]
    CutOff,
    /// A part is not as it must be.
    #[error("the host's answer about {part} makes no sense: {text}")]
    Malformed {
        /// Which part.
        part: &'static str,
        /// What was there instead.
        text: String,
    },
}

pub(super) fn malformed(part: &'static str, text: &str) -> FactsError {
    FactsError::Malformed {
        part,
        text: text.trim().chars().take(300).collect(),
    }
}

/// A whole answer.
pub(super) struct Answer<'a> {
    pub(super) frames: Vec<Frame<'a>>,
}

impl<'a> Answer<'a> {
    /// Body and exit code of a section; None when it was not asked for.
    pub(super) fn section(&self, name: &str) -> Option<(&'a [u8], i32)> {
        let at = self
            .frames
            .iter()
            .position(|frame| frame.words == ["section", name])?;
        let exit = self.frames[at..]
            .iter()
            .find(|frame| frame.words.first() == Some(&"exit"))
            .and_then(|frame| frame.words.get(1)?.parse().ok())?;
        Some((self.frames[at].body, exit))
    }

    /// Text of a section that must have succeeded; empty when it was not asked for.
    pub(super) fn text(&self, name: &'static str) -> Result<String, FactsError> {
        match self.section(name) {
            None => Ok(String::new()),
            Some((body, 0)) => Ok(String::from_utf8_lossy(body).into_owned()),
            Some((body, _)) => Err(malformed(name, &String::from_utf8_lossy(body))),
        }
    }

    /// What is at each path that exists.
    pub(super) fn paths(&self) -> Result<BTreeMap<String, Path>, FactsError> {
        let complaints = self
            .frames
            .iter()
            .find(|frame| frame.words == ["section", "complaints"])
            .map_or(String::new(), |frame| {
                String::from_utf8_lossy(frame.body).into_owned()
            });
        // What could not be looked at is not absent.
        let absent = |complaint: &str| {
            complaint.is_empty()
                || complaint.ends_with(": No such file or directory")
                || complaint.ends_with(": Not a directory")
        };
        if let Some(complaint) = complaints.lines().find(|complaint| !absent(complaint)) {
            return Err(malformed("paths", complaint));
        }
        let body = self.section("paths").map_or(&[][..], |(body, _)| body);
        let text = String::from_utf8_lossy(body);
        let fields: Vec<&str> = text.split('\0').collect();
        fields
            .chunks_exact(9)
            .map(|fields| Path::parse(fields).ok_or_else(|| malformed("paths", &fields.join(" "))))
            .collect()
    }

    /// SHA-256 by path.
    pub(super) fn hashes(&self) -> Result<BTreeMap<String, String>, FactsError> {
        let mut hashes = BTreeMap::new();
        for name in ["hashes", "large-hashes"] {
            let Some((body, _)) = self.section(name) else {
                continue;
            };
            let text = String::from_utf8_lossy(body);
            for entry in text.split('\0') {
                if let Some((sha256, path)) = entry.split_once("  ") {
                    if sha256.len() != 64 {
                        return Err(malformed("hashes", entry));
                    }
                    hashes.insert(path.to_owned(), sha256.to_owned());
                }
            }
        }
        Ok(hashes)
    }

    /// Frames of a word, with the words behind it.
    pub(super) fn all(&self, word: &str) -> impl Iterator<Item = (&[&'a str], String)> {
        self.frames
            .iter()
            .filter(move |frame| frame.words.first() == Some(&word))
            .map(|frame| {
                (
                    &frame.words[1..],
                    String::from_utf8_lossy(frame.body).into_owned(),
                )
            })
    }
}

/// What find tells of a path.
pub(super) struct Path {
    kind: char,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime_ns: i64,
    inode: u64,
    target: String,
}

impl Path {
    fn parse(fields: &[&str]) -> Option<(String, Self)> {
        let (seconds, fraction) = fields[6].split_once('.')?;
        let nanoseconds: i64 = fraction.get(..9)?.parse().ok()?;
        let path = Self {
            kind: fields[1].chars().next()?,
            mode: u32::from_str_radix(fields[2], 8).ok()?,
            uid: fields[3].parse().ok()?,
            gid: fields[4].parse().ok()?,
            size: fields[5].parse().ok()?,
            mtime_ns: seconds.parse::<i64>().ok()? * 1_000_000_000 + nanoseconds,
            inode: fields[7].parse().ok()?,
            target: fields[8].to_owned(),
        };
        Some((fields[0].to_owned(), path))
    }
}

pub(super) fn files(
    query: &FactsQuery,
    paths: &BTreeMap<String, Path>,
    hashes: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, FileFact>, FactsError> {
    let fact = |name: &String| {
        let Some(path) = paths.get(name) else {
            return Ok(FileFact::Absent);
        };
        if path.kind != 'f' {
            return Ok(FileFact::Other);
        }
        let sha256 = hashes.get(name).cloned();
        if sha256.is_none() && path.size <= HASHED_EACH_TIME {
            return Err(malformed("hashes", &format!("{name} could not be read")));
        }
        Ok(FileFact::File {
            sha256,
            mode: path.mode,
            uid: path.uid,
            gid: path.gid,
        })
    };
    query
        .files
        .iter()
        .map(|name| Ok((name.clone(), fact(name)?)))
        .collect()
}

pub(super) fn binaries(
    query: &FactsQuery,
    paths: &BTreeMap<String, Path>,
    hashes: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, BinaryFact>, FactsError> {
    let fact = |name: &String| {
        let Some(path) = paths.get(name) else {
            return Ok(BinaryFact::Absent);
        };
        Ok(match path.kind {
            'f' => {
                let sha256 = hashes.get(name).cloned().filter(|_| query.hash_binaries);
                if query.hash_binaries && sha256.is_none() && path.size > 0 {
                    return Err(malformed("hashes", &format!("{name} could not be read")));
                }
                BinaryFact::File {
                    size: path.size,
                    mtime_ns: path.mtime_ns,
                    inode: path.inode,
                    mode: path.mode,
                    sha256,
                }
            }
            'l' => BinaryFact::Link {
                target: path.target.clone(),
            },
            'd' => BinaryFact::Directory,
            _ => BinaryFact::Other,
        })
    };
    query
        .binaries
        .iter()
        .map(|name| Ok((name.clone(), fact(name)?)))
        .collect()
}
