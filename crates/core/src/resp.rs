//! What redis speaks (RESP version 2): commands as we write them, and what comes back, which is bounded.
//!
//! A reply is a word, an error, a number, bytes, nothing, or a list of those; lists in lists are not read, as no command of ours
//! is answered with one.

/// The longest line: a word, an error, a length.
pub const LINE_MAX: usize = 4096;

/// How much of a reply is borne.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The most bytes of one value.
    pub value: usize,
    /// The most values of a list.
    pub list: usize,
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A word, such as `OK`.
    Word(String),
    /// What is wrong; it begins with a word of its own, such as `NOAUTH`.
    Error(String),
    /// A number.
    Number(i64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Nothing is there.
    Nothing,
    /// Several, none of which is a list.
    List(Vec<Reply>),
}

/// Why bytes are no reply of a redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It begins with what begins no reply.
    #[error("it does not speak the protocol of redis")]
    Kind,
    /// A length or a number is none.
    #[error("a length or number in it is none")]
    Number,
    /// A line without an end.
    #[error("a line in it has no end")]
    Line,
    /// A value does not end where it should.
    #[error("a value in it has no end")]
    End,
    /// A list in a list.
    #[error("there is a list in a list")]
    Nested,
    /// More bytes than are borne.
    #[error("a value of it is longer than is borne")]
    Long,
    /// More values than are borne.
    #[error("it lists more values than are borne")]
    Many,
}

/// Appends a command to what is sent.
pub fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// The first reply in these bytes and how many of them it takes; nothing while it is not whole.
///
/// # Errors
/// When no bytes that follow could make it a reply that is borne.
pub fn reply(bytes: &[u8], bounds: Bounds) -> Result<Option<(Reply, usize)>, Malformed> {
    // The bytes of a value are copied once, when all of it is there.
    let Some(whole) = length(bytes, bounds)? else { return Ok(None) };
    let mut cursor = Cursor { bytes, at: 0, bounds };
    let read = cursor.any()?;
    debug_assert_eq!(cursor.at, whole, "both count alike");
    Ok(read.map(|reply| (reply, cursor.at)))
}

/// How many bytes the first reply takes; nothing while it is not whole.
fn length(bytes: &[u8], bounds: Bounds) -> Result<Option<usize>, Malformed> {
    let mut cursor = Cursor { bytes, at: 0, bounds };
    let Some(head) = cursor.head()? else { return Ok(None) };
    let values = match head {
        Head::List(count) => count,
        Head::Bytes(length) => return Ok(cursor.value(length)?.map(|_| cursor.at)),
        Head::Word(_) | Head::Error(_) | Head::Number(_) | Head::Nothing => return Ok(Some(cursor.at)),
    };
    for _ in 0..values {
        match cursor.head()? {
            None => return Ok(None),
            Some(Head::List(_)) => return Err(Malformed::Nested),
            Some(Head::Bytes(length)) => {
                if cursor.value(length)?.is_none() {
                    return Ok(None);
                }
            }
            Some(Head::Word(_) | Head::Error(_) | Head::Number(_) | Head::Nothing) => {}
        }
    }
    Ok(Some(cursor.at))
}

/// The line that a reply begins with.
enum Head<'a> {
    Word(&'a [u8]),
    Error(&'a [u8]),
    Number(i64),
    Bytes(usize),
    Nothing,
    List(usize),
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    bounds: Bounds,
}

impl<'a> Cursor<'a> {
    fn any(&mut self) -> Result<Option<Reply>, Malformed> {
        let Some(head) = self.head()? else { return Ok(None) };
        let Head::List(count) = head else { return self.one(head) };
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            let Some(head) = self.head()? else { return Ok(None) };
            let Some(reply) = self.one(head)? else { return Ok(None) };
            list.push(reply);
        }
        Ok(Some(Reply::List(list)))
    }

    fn one(&mut self, head: Head<'_>) -> Result<Option<Reply>, Malformed> {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Ok(Some(match head {
            Head::Word(line) => Reply::Word(text(line)),
            Head::Error(line) => Reply::Error(text(line)),
            Head::Number(number) => Reply::Number(number),
            Head::Nothing => Reply::Nothing,
            Head::List(_) => return Err(Malformed::Nested),
            Head::Bytes(length) => {
                return Ok(self.value(length)?.map(|bytes| Reply::Bytes(bytes.to_vec())));
            }
        }))
    }

    fn head(&mut self) -> Result<Option<Head<'a>>, Malformed> {
        let rest = &self.bytes[self.at..];
        let Some(&kind) = rest.first() else { return Ok(None) };
        if !b"+-:$*".contains(&kind) {
            return Err(Malformed::Kind);
        }
        let window = &rest[..rest.len().min(LINE_MAX)];
        let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
            return if rest.len() >= LINE_MAX { Err(Malformed::Line) } else { Ok(None) };
        };
        let line = &rest[1..end];
        self.at += end + 2;
        let length = |most: usize, over: Malformed| match number(line)? {
            -1 => Ok(None),
            count => match usize::try_from(count) {
                Ok(count) if count <= most => Ok(Some(count)),
                Ok(_) => Err(over),
                Err(_) => Err(Malformed::Number),
            },
        };
        Ok(Some(match kind {
            b'+' => Head::Word(line),
            b'-' => Head::Error(line),
            b':' => Head::Number(number(line)?),
            b'$' => length(self.bounds.value, Malformed::Long)?.map_or(Head::Nothing, Head::Bytes),
            _ => length(self.bounds.list, Malformed::Many)?.map_or(Head::Nothing, Head::List),
        }))
    }

    fn value(&mut self, length: usize) -> Result<Option<&'a [u8]>, Malformed> {
        let rest = &self.bytes[self.at..];
        let Some(value) = rest.get(..length + 2) else { return Ok(None) };
        let (value, end) = value.split_at(length);
        if end != b"\r\n" {
            return Err(Malformed::End);
        }
        self.at += length + 2;
        Ok(Some(value))
    }
}

fn number(line: &[u8]) -> Result<i64, Malformed> {
    std::str::from_utf8(line).ok().and_then(|text| text.parse().ok()).ok_or(Malformed::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { value: 100, list: 4 };

    fn read(bytes: &[u8]) -> Result<Option<(Reply, usize)>, Malformed> {
        reply(bytes, BOUNDS)
    }

    #[test]
    fn a_command_is_a_list_of_its_words() {
        let mut out = Vec::new();
        command(&mut out, &[b"SET", b"a\r\nb", b""]);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$4\r\na\r\nb\r\n$0\r\n\r\n");
    }

    #[test]
    fn replies_of_every_kind_are_read_and_what_follows_is_left() {
        let bytes = |text: &str| Reply::Bytes(text.into());
        for (text, expected) in [
            ("+OK\r\n", Reply::Word("OK".into())),
            ("-NOAUTH Authentication required.\r\n", Reply::Error("NOAUTH Authentication required.".into())),
            (":-12\r\n", Reply::Number(-12)),
            ("$3\r\na\r\n\r\n", bytes("a\r\n")),
            ("$0\r\n\r\n", bytes("")),
            ("$-1\r\n", Reply::Nothing),
            ("*-1\r\n", Reply::Nothing),
            ("*0\r\n", Reply::List(Vec::new())),
            (
                "*3\r\n$1\r\na\r\n$-1\r\n:7\r\n",
                Reply::List(vec![bytes("a"), Reply::Nothing, Reply::Number(7)]),
            ),
        ] {
            let whole = format!("{text}+more");
            assert_eq!(read(whole.as_bytes()), Ok(Some((expected, text.len()))), "{text:?}");
            for short in 0..text.len() {
                assert_eq!(read(&text.as_bytes()[..short]), Ok(None), "{text:?} cut at {short}");
            }
        }
    }

    #[test]
    fn what_is_more_than_is_borne_is_known_by_its_first_line() {
        for (text, wrong) in [
            ("$101\r\n", Malformed::Long),
            ("$9223372036854775807\r\n", Malformed::Long),
            ("*5\r\n", Malformed::Many),
            ("*1\r\n*1\r\n", Malformed::Nested),
            ("*2\r\n:1\r\n$101\r\n", Malformed::Long),
            ("$-2\r\n", Malformed::Number),
            ("$9223372036854775808\r\n", Malformed::Number),
            (":one\r\n", Malformed::Number),
            ("HTTP/1.1 400 Bad Request\r\n", Malformed::Kind),
            ("$1\r\nabc", Malformed::End),
        ] {
            assert_eq!(read(text.as_bytes()), Err(wrong), "{text:?}");
        }
        assert_eq!(read(&[b"+".as_slice(), &[b'a'; LINE_MAX]].concat()), Err(Malformed::Line));
        assert_eq!(read(&[b"+".as_slice(), &[b'a'; LINE_MAX - 2]].concat()), Ok(None));
    }
}
