//! As much of RESP 2 as a measurement needs: commands, and the pushed messages of a subscription.

use std::io;

/// Encodes a command.
pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Removes the first array from `bytes` and returns its strings and numbers as text. `None` if the array is incomplete.
///
/// # Errors
/// `bytes` does not begin with an array of strings and numbers.
pub fn take_array(bytes: &mut Vec<u8>) -> io::Result<Option<Vec<Vec<u8>>>> {
    let mut rest = &bytes[..];
    let Some(count) = header(&mut rest, b"*")? else { return Ok(None) };
    let mut items = Vec::new();
    for _ in 0..number(count)? {
        match rest.first() {
            Some(b'$') => {
                let Some(length) = header(&mut rest, b"$")? else { return Ok(None) };
                let length = number(length)?;
                // The text and the line end after it.
                if rest.len() < length + 2 {
                    return Ok(None);
                }
                items.push(rest[..length].to_vec());
                rest = &rest[length + 2..];
            }
            _ => match header(&mut rest, b":")? {
                Some(number) => items.push(number.to_vec()),
                None => return Ok(None),
            },
        }
    }
    let taken = bytes.len() - rest.len();
    bytes.drain(..taken);
    Ok(Some(items))
}

/// Removes the first line, and returns it without its type, which must be `kind`.
fn header<'a>(rest: &mut &'a [u8], kind: &[u8]) -> io::Result<Option<&'a [u8]>> {
    let Some(end) = rest.windows(2).position(|bytes| bytes == b"\r\n") else { return Ok(None) };
    let line = &rest[..end];
    let Some(text) = line.strip_prefix(kind) else { return Err(unexpected(line)) };
    *rest = &rest[end + 2..];
    Ok(Some(text))
}

fn number(digits: &[u8]) -> io::Result<usize> {
    std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or_else(|| unexpected(digits))
}

fn unexpected(bytes: &[u8]) -> io::Error {
    io::Error::other(format!("unexpected answer of Redis: {}", String::from_utf8_lossy(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_taken_when_it_is_complete() {
        let whole = b"*4\r\n$8\r\npmessage\r\n$0\r\n\r\n:12\r\n$3\r\na\r\n\r\n";
        for length in 0..whole.len() {
            let mut part = whole[..length].to_vec();
            assert_eq!(take_array(&mut part).unwrap(), None);
            assert_eq!(part.len(), length);
        }
        let mut twice = [&whole[..], &whole[..]].concat();
        let items = take_array(&mut twice).unwrap().unwrap();
        assert_eq!(items, [&b"pmessage"[..], b"", b"12", b"a\r\n"]);
        assert_eq!(twice, whole);
    }

    #[test]
    fn a_command_is_an_array() {
        let mut bytes = command(&[b"PUBLISH", b"room", b"\0\r\n"]);
        assert_eq!(take_array(&mut bytes).unwrap().unwrap(), [&b"PUBLISH"[..], b"room", b"\0\r\n"]);
        assert!(bytes.is_empty());
    }

    #[test]
    fn an_error_of_redis_is_an_error() {
        let text = take_array(&mut b"-ERR no\r\n".to_vec()).unwrap_err().to_string();
        assert!(text.ends_with("-ERR no"), "{text}");
    }
}
