//! Bearer tokens, what they grant, and the file that lists them.
//!
//! A token is kept as its SHA-256 alone. What stays true:
//! - no token is in an error, a line of the log or the output of `{:?}`: a line of the file is
//!   told by its number;
//! - how long a token takes to check says nothing about the known ones but how many there are.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use crate::limits::{TOKEN_BYTES_MAX, TOKEN_FILE_BYTES_MAX, TOKENS_MAX};

/// The bit of a mode that lets everyone read.
const READABLE_BY_OTHERS: u32 = 0o004;
/// A token that is shorter can be found by trying.
const SAFE_TOKEN_BYTES: usize = 16;

/// What someone may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Everything that changes no document.
    Read,
    /// Everything.
    Write,
}

/// Tokens and what each of them grants.
pub struct Tokens {
    known: Vec<Known>,
    /// Lines whose tokens can be guessed.
    short: Vec<usize>,
    /// Whether every user of the machine can read the file.
    exposed: bool,
    /// Grows with each set of tokens that differs from the one before.
    edition: u64,
}

/// A token as it is kept.
struct Known {
    hash: Hash,
    grant: Grant,
    line: usize,
}

impl Known {
    fn means_the_same(&self, other: &Known) -> bool {
        (self.hash, self.grant) == (other.hash, other.grant)
    }
}

/// A SHA-256, in the words that are compared at once.
type Hash = [u64; 4];

/// The file of the tokens, with those that it had when it was last read. Clones share them.
#[derive(Clone)]
pub struct TokenFile {
    path: PathBuf,
    current: Arc<ArcSwap<Tokens>>,
}

/// Why a token file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read.
    #[error("the token file {path} cannot be read: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its content is not that of one.
    #[error("the token file {path}{mistake}", path = .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        mistake: Mistake,
    },
}

/// What is wrong with the content of a token file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// A token has a character that none has.
    #[error(
        ", line {0}: a token is letters, digits and any of -._~+/ with = at its end alone (RFC 6750)"
    )]
    Character(usize),
    /// A token is too long.
    #[error(", line {0}: the token has more than {TOKEN_BYTES_MAX} characters")]
    Long(usize),
    /// Something else stands after the token.
    #[error(", line {0}: after a token stands ro, rw or nothing; ro reads only")]
    Right(usize),
    /// A token is there twice.
    #[error(", line {line}: the token of line {first} again; keep one of them")]
    Repeated {
        /// Where it is again.
        line: usize,
        /// Where it was first.
        first: usize,
    },
    /// There are too many.
    #[error(" has more than {TOKENS_MAX} tokens")]
    Many,
    /// It is too large to be one.
    #[error(" has more than {TOKEN_FILE_BYTES_MAX} bytes")]
    Large,
    /// There is none.
    #[error(" has no token, so nobody could come in; write one a line, ro or rw after it")]
    None,
}

impl Tokens {
    /// What `token` grants; `None`: nobody knows it.
    ///
    /// All known tokens are compared, each in constant time.
    #[must_use]
    pub fn grant(&self, token: &[u8]) -> Option<Grant> {
        const READ: u8 = 1;
        const WRITE: u8 = 2;
        let hash = hash(token);
        let mut found = 0;
        for known in &self.known {
            let grant = match known.grant {
                Grant::Read => READ,
                Grant::Write => WRITE,
            };
            found.conditional_assign(&grant, known.hash.ct_eq(&hash));
        }
        match found {
            READ => Some(Grant::Read),
            WRITE => Some(Grant::Write),
            _ => None,
        }
    }

    /// A number that is the same as long as the tokens are.
    #[must_use]
    pub fn edition(&self) -> u64 {
        self.edition
    }

    /// Whether the same tokens, in the same order, grant the same.
    fn means_the_same(&self, other: &Tokens) -> bool {
        let mut pairs = self.known.iter().zip(&other.known);
        self.known.len() == other.known.len() && pairs.all(|(one, other)| one.means_the_same(other))
    }

    /// Reads the content of a token file.
    fn parse(content: &[u8]) -> Result<Tokens, Mistake> {
        let mut known: Vec<Known> = Vec::new();
        let mut short = Vec::new();
        for (line, words) in (1..).zip(content.split(|&byte| byte == b'\n')) {
            let words = words.split(u8::is_ascii_whitespace);
            let mut words = words
                .filter(|word| !word.is_empty())
                .take_while(|word| word[0] != b'#');
            let Some(token) = words.next() else {
                continue;
            };
            if token.len() > TOKEN_BYTES_MAX {
                return Err(Mistake::Long(line));
            }
            if !is_token(token) {
                return Err(Mistake::Character(line));
            }
            let grant = match (words.next(), words.next()) {
                (None | Some(b"rw"), None) => Grant::Write,
                (Some(b"ro"), None) => Grant::Read,
                _ => return Err(Mistake::Right(line)),
            };
            let hash = hash(token);
            if let Some(first) = known.iter().find(|known| known.hash == hash) {
                let first = first.line;
                return Err(Mistake::Repeated { line, first });
            }
            if known.len() == TOKENS_MAX {
                return Err(Mistake::Many);
            }
            if token.len() < SAFE_TOKEN_BYTES {
                short.push(line);
            }
            known.push(Known { hash, grant, line });
        }
        if known.is_empty() {
            return Err(Mistake::None);
        }
        Ok(Tokens {
            known,
            short,
            exposed: false,
            edition: 0,
        })
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens", self.known.len())
    }
}

impl TokenFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`TokenFileError`] with the file and the line.
    pub fn open(path: &Path) -> Result<TokenFile, TokenFileError> {
        let tokens = read(path)?;
        Ok(TokenFile {
            path: path.to_owned(),
            current: Arc::new(ArcSwap::from_pointee(tokens)),
        })
    }

    /// Reads the file again; every clone has its tokens from then on.
    ///
    /// # Errors
    /// [`TokenFileError`]; the tokens stay what they were.
    pub fn reload(&self) -> Result<(), TokenFileError> {
        let mut tokens = read(&self.path)?;
        let before = self.current.load();
        tokens.edition = before.edition + u64::from(!tokens.means_the_same(&before));
        self.current.store(Arc::new(tokens));
        Ok(())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tokens, where they are replaced.
    #[must_use]
    pub fn current(&self) -> Arc<ArcSwap<Tokens>> {
        Arc::clone(&self.current)
    }

    /// How many tokens there are.
    #[must_use]
    pub fn token_count(&self) -> usize {
        self.current.load().known.len()
    }

    /// What its owner should be told of it.
    #[must_use]
    pub fn cautions(&self) -> Vec<String> {
        let tokens = self.current.load();
        let path = self.path.display();
        let exposed = tokens.exposed.then(|| {
            format!(
                "every user of this machine can read the token file {path}; run: chmod o-r {path}"
            )
        });
        let short = tokens.short.iter().map(|line| {
            format!(
                "the token file {path}, line {line}: a token of fewer than {SAFE_TOKEN_BYTES} \
                 characters can be guessed; take a longer one"
            )
        });
        exposed.into_iter().chain(short).collect()
    }
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

/// The tokens of the file at `path`.
fn read(path: &Path) -> Result<Tokens, TokenFileError> {
    let (content, mode) = content(path).map_err(|source| TokenFileError::Read {
        path: path.to_owned(),
        source,
    })?;
    let tokens = match content.len() > TOKEN_FILE_BYTES_MAX {
        true => Err(Mistake::Large),
        false => Tokens::parse(&content),
    };
    let tokens = tokens.map_err(|mistake| TokenFileError::Content {
        path: path.to_owned(),
        mistake,
    })?;
    let exposed = mode & READABLE_BY_OTHERS != 0;
    Ok(Tokens { exposed, ..tokens })
}

/// What the file holds, up to a byte too much, and its mode.
fn content(path: &Path) -> io::Result<(Vec<u8>, u32)> {
    let file = File::open(path)?;
    let mode = file.metadata()?.mode();
    let mut content = Vec::new();
    let bytes_max = u64::try_from(TOKEN_FILE_BYTES_MAX).expect("a small constant");
    file.take(bytes_max + 1).read_to_end(&mut content)?;
    Ok((content, mode))
}

/// Whether `text` can be a token: `b64token` of RFC 6750, section 2.1.
fn is_token(text: &[u8]) -> bool {
    let end = text.iter().rposition(|&byte| byte != b'=');
    let is_character = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
    };
    end.is_some_and(|end| text[..=end].iter().all(is_character))
}

fn hash(token: &[u8]) -> Hash {
    let digest: [u8; 32] = Sha256::digest(token).into();
    let (words, rest) = digest.as_chunks();
    assert!(rest.is_empty(), "32 bytes are four words");
    std::array::from_fn(|index| u64::from_ne_bytes(words[index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(content: &str) -> Result<Tokens, Mistake> {
        Tokens::parse(content.as_bytes())
    }

    #[test]
    fn a_token_grants_what_stands_after_it() {
        let content =
            "# the application\r\n  first-token-of-16  rw # in use\r\n\n\t# old\nb+/~._-2== ro\nC#";
        assert_eq!(parse(content).err(), Some(Mistake::Character(6)));
        let tokens = parse(&content[..content.len() - 1]).expect("well formed");
        for (token, grant) in [
            ("first-token-of-16", Some(Grant::Write)),
            ("b+/~._-2==", Some(Grant::Read)),
            ("C", Some(Grant::Write)),
            ("c", None),
            ("", None),
            ("first-token-of-1", None),
            ("first-token-of-16 ", None),
            ("first-token-of-16  rw", None),
            ("#", None),
            ("# the application", None),
        ] {
            assert_eq!(tokens.grant(token.as_bytes()), grant, "{token:?}");
        }
        assert_eq!(tokens.short, [5, 6]);
        assert_eq!(format!("{tokens:?}"), "3 tokens");
    }

    #[test]
    fn a_line_that_is_wrong_is_told_by_its_number() {
        let long = "t".repeat(TOKEN_BYTES_MAX + 1);
        for (content, mistake) in [
            ("", Mistake::None),
            ("# none\n \n", Mistake::None),
            ("a\nb wr\n", Mistake::Right(2)),
            ("a ro rw", Mistake::Right(1)),
            ("a RO", Mistake::Right(1)),
            ("\u{feff}a", Mistake::Character(1)),
            ("a\n\n\u{e4}", Mistake::Character(3)),
            ("a=b", Mistake::Character(1)),
            ("==", Mistake::Character(1)),
            ("a:b", Mistake::Character(1)),
            ("a#b", Mistake::Character(1)),
            (&long, Mistake::Long(1)),
            ("a\nb\na ro", Mistake::Repeated { line: 3, first: 1 }),
        ] {
            assert_eq!(parse(content).err(), Some(mistake), "{content:?}");
        }
        assert!(parse(&long[1..]).is_ok());
        let many = |count| {
            (0..count)
                .map(|n| format!("token-{n}\n"))
                .collect::<String>()
        };
        let full = parse(&many(TOKENS_MAX)).expect("as many as there may be");
        assert_eq!(full.grant(b"token-0"), Some(Grant::Write));
        let last = format!("token-{}", TOKENS_MAX - 1);
        assert_eq!(full.grant(last.as_bytes()), Some(Grant::Write));
        assert_eq!(parse(&many(TOKENS_MAX + 1)).err(), Some(Mistake::Many));
    }
}
