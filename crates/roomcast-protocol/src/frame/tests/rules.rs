//! Each rule that a client can break, at its limit and one past it.

use super::*;

/// The error must come with the last byte of `bytes` and not before, and must stay.
#[track_caller]
fn assert_fails_at_end(bytes: &[u8], error: &FrameError, close_code: u16) {
    assert_eq!(decode_bytewise(bytes), Err((error.clone(), bytes.len())));

    let mut decoder = FrameDecoder::new(FrameLimits::default());
    assert_eq!(feed(&mut decoder, bytes), Err(error.clone()));
    assert_eq!(error.close_code(), close_code);
    assert_eq!(decoder.heap_bytes(), 0);
    assert!(decoder.is_idle());
    let mut more = last(TEXT, b"x");
    let mut input = &mut more[..];
    assert_eq!(decoder.decode(&mut input), Err(error.clone()));
    assert!(input.is_empty());
}

/// Reserved bits, together and each alone.
#[test]
fn reserved_bits_are_refused() {
    let t05 = [0xb1, 0x81, 0, 0, 0, 0, 0x32];
    assert_eq!(decode_all(&t05), Err(FrameError::ReservedBits));
    for bit in [0x10, 0x20, 0x40] {
        for opcode in [TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION] {
            assert_fails_at_end(&[0x80 | bit | opcode], &FrameError::ReservedBits, 1002);
        }
    }
}

#[test]
fn unknown_opcodes_are_refused() {
    for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        assert_fails_at_end(&[0x80 | opcode], &FrameError::UnknownOpcode(opcode), 1002);
    }
}

#[test]
fn unmasked_frames_are_refused() {
    for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
        for len in [0, 125, 126, 127] {
            assert_fails_at_end(&[0x80 | opcode, len], &FrameError::NotMasked, 1002);
        }
    }
}

/// A declared length costs no memory, and the wrong forms are refused.
#[test]
fn declared_lengths_are_checked_before_anything_is_stored() {
    let header = |second: u8, length: &[u8]| [&[0x82, second], length].concat();

    for len in [0u16, 1, 125] {
        let bytes = header(0xfe, &len.to_be_bytes());
        assert_fails_at_end(&bytes, &FrameError::LengthNotMinimal, 1002);
    }
    for len in [0u64, 1, 126, 65_535] {
        let bytes = header(0xff, &len.to_be_bytes());
        assert_fails_at_end(&bytes, &FrameError::LengthNotMinimal, 1002);
    }
    for len in [1 << 63, u64::MAX] {
        let bytes = header(0xff, &len.to_be_bytes());
        assert_fails_at_end(&bytes, &FrameError::LengthTopBit, 1002);
    }
    for len in [MAX_PAYLOAD as u64 + 1, u64::from(u32::MAX), 1 << 32, (1 << 63) - 1] {
        let bytes = header(0xff, &len.to_be_bytes());
        assert_fails_at_end(&bytes, &FrameError::MessageTooLong, 1009);
    }

    // The longest length that is allowed: a header costs nothing, and one byte costs about one byte.
    let mut decoder = FrameDecoder::new(FrameLimits::default());
    let longest = header(0xff, &(MAX_PAYLOAD as u64).to_be_bytes());
    assert_eq!(feed(&mut decoder, &longest), Ok(vec![]));
    assert_eq!(feed(&mut decoder, &MASK), Ok(vec![]));
    assert_eq!(decoder.heap_bytes(), 0);
    assert_eq!(feed(&mut decoder, &[0]), Ok(vec![]));
    assert!(decoder.heap_bytes() <= UNFINISHED_BYTES + 2);
}

#[test]
fn the_limit_counts_all_fragments_and_no_control_frames() {
    let limits = FrameLimits { max_payload: 10, ..FrameLimits::default() };
    let decode = |frames: &[Vec<u8>]| feed(&mut FrameDecoder::new(limits), &frames.concat());

    assert_eq!(decode(&[last(TEXT, b"0123456789")]), Ok(vec![text("0123456789")]));
    assert_eq!(decode(&[last(TEXT, b"0123456789a")]), Err(FrameError::MessageTooLong));

    let ping = last(PING, &[7; 125]);
    let at = [part(TEXT, b"01234"), ping.clone(), last(CONTINUATION, b"56789")];
    assert_eq!(decode(&at), Ok(vec![Owned::Ping(vec![7; 125]), text("0123456789")]));
    let past = [part(TEXT, b"01234"), ping, last(CONTINUATION, b"56789a")];
    assert_eq!(decode(&past), Err(FrameError::MessageTooLong));

    let full = [part(TEXT, b"0123456789"), part(CONTINUATION, b""), last(CONTINUATION, b"")];
    assert_eq!(decode(&full), Ok(vec![text("0123456789")]));
    // The limit is for each message.
    let two = [last(TEXT, b"0123456789"), last(TEXT, b"9876543210")];
    assert_eq!(decode(&two), Ok(vec![text("0123456789"), text("9876543210")]));

    let nothing = FrameLimits { max_payload: 0, ..FrameLimits::default() };
    let decode = |frame: &[u8]| feed(&mut FrameDecoder::new(nothing), frame);
    assert_eq!(decode(&last(TEXT, b"")), Ok(vec![text("")]));
    assert_eq!(decode(&last(TEXT, b"0")), Err(FrameError::MessageTooLong));
}

#[test]
fn the_number_of_fragments_is_limited() {
    let message = |fragments: u32| {
        let mut bytes = part(TEXT, b"");
        for _ in 2..fragments {
            bytes.extend(last(PING, b""));
            bytes.extend(part(CONTINUATION, b""));
        }
        bytes.extend(last(CONTINUATION, b"end"));
        bytes
    };
    let texts = |bytes: &[u8], limits| {
        let mut messages = feed(&mut FrameDecoder::new(limits), bytes)?;
        messages.retain(|message| matches!(message, Owned::Text(_)));
        Ok(messages)
    };
    let limits = FrameLimits::default();
    assert_eq!(limits.max_fragments, 1024);
    assert_eq!(texts(&message(1024), limits), Ok(vec![text("end")]));
    assert_eq!(texts(&message(1025), limits), Err(FrameError::TooManyFragments));
    assert_eq!(FrameError::TooManyFragments.close_code(), 1009);
    // The count starts again with each message.
    let twice = [message(1024), message(1024)].concat();
    assert_eq!(texts(&twice, limits), Ok(vec![text("end"), text("end")]));

    for max_fragments in [0, 1] {
        let limits = FrameLimits { max_fragments, ..limits };
        assert_eq!(texts(&last(TEXT, b"whole"), limits), Ok(vec![text("whole")]));
        assert_eq!(texts(&message(2), limits), Err(FrameError::TooManyFragments));
    }
}

#[test]
fn control_frames_are_short_and_whole() {
    for opcode in [CLOSE, PING, PONG] {
        assert_fails_at_end(&[opcode], &FrameError::ControlFragmented, 1002);
        for length in [126, 127] {
            assert_fails_at_end(&[0x80 | opcode, 0x80 | length], &FrameError::ControlTooLong, 1002);
        }
    }
    let at = [7; 125];
    assert_eq!(decode_all(&last(PING, &at)), Ok(vec![Owned::Ping(at.to_vec())]));
    assert_eq!(decode_all(&last(PONG, &at)), Ok(vec![Owned::Pong(at.to_vec())]));
    let close = close_payload(1000, &[b'x'; 123]);
    let expected = Owned::Close(Some((1000, "x".repeat(123))));
    assert_eq!(decode_all(&last(CLOSE, &close)), Ok(vec![expected]));
}

#[test]
fn continuations_need_a_message_and_a_message_needs_its_end() {
    assert_fails_at_end(&[0x80 | CONTINUATION], &FrameError::UnexpectedContinuation, 1002);
    assert_fails_at_end(&[CONTINUATION], &FrameError::UnexpectedContinuation, 1002);

    for opcode in [TEXT, BINARY] {
        for open in [TEXT, BINARY] {
            for fin in [0x80, 0] {
                let bytes = [part(open, b"a"), vec![fin | opcode]].concat();
                assert_fails_at_end(&bytes, &FrameError::ExpectedContinuation, 1002);
            }
        }
    }
    // The same when the open message is still empty, and after a ping.
    let bytes = [part(TEXT, b""), last(PING, b""), vec![0x80 | TEXT]].concat();
    let pinged = decode_bytewise(&bytes);
    assert_eq!(pinged, Err((FrameError::ExpectedContinuation, bytes.len())));

    // A message that has ended cannot be continued, whether it was fragmented or not.
    let bytes = [last(TEXT, b"a"), vec![0x80]].concat();
    assert_eq!(decode_all(&bytes), Err(FrameError::UnexpectedContinuation));
    let bytes = [part(TEXT, b"a"), last(CONTINUATION, b"b"), vec![0x80]].concat();
    assert_eq!(decode_all(&bytes), Err(FrameError::UnexpectedContinuation));
}

#[test]
fn text_fails_at_the_first_byte_that_cannot_become_valid() {
    // (A valid prefix, the byte that makes it invalid): overlong forms, surrogates, beyond U+10FFFF, a lone
    // continuation byte, a character cut short by the next.
    let cases: [(&[u8], u8); 13] = [
        (b"", 0x80),
        (b"", 0xc0),
        (b"", 0xc1),
        (b"", 0xf5),
        (b"", 0xff),
        (b"\xe0", 0x9f),
        (b"\xed", 0xa0),
        (b"\xf0", 0x8f),
        (b"\xf4", 0x90),
        (b"\xc3", b'a'),
        (b"\xe2\x82", b'a'),
        (b"\xf0\x9f\x98", b'a'),
        (b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4", 0x90), // Autobahn 6.4.1
    ];
    for (before, bad) in cases {
        for ascii in ["", "a", "0123456789abcdef"] {
            let wrong = [ascii.as_bytes(), before, &[bad]].concat();
            let payload = [&wrong, &b"more"[..]].concat();

            // One frame, byte by byte: the header has 6 bytes.
            let error = decode_bytewise(&last(TEXT, &payload));
            assert_eq!(error, Err((FrameError::InvalidText, 6 + wrong.len())), "{wrong:?}");
            // One frame, whole.
            let mut decoder = FrameDecoder::new(FrameLimits::default());
            assert_eq!(feed(&mut decoder, &last(TEXT, &payload)), Err(FrameError::InvalidText));
            assert_eq!(feed(&mut decoder, b""), Err(FrameError::InvalidText), "it stays failed");
            // Cut into fragments before each byte; the message never ends.
            for cut in 0..wrong.len() {
                let bytes = [part(TEXT, &wrong[..cut]), part(CONTINUATION, &wrong[cut..])].concat();
                assert_eq!(decode_all(&bytes), Err(FrameError::InvalidText));
                assert_eq!(decode_bytewise(&bytes), Err((FrameError::InvalidText, bytes.len())));
            }
        }
    }
    assert_eq!(FrameError::InvalidText.close_code(), 1007);
}

#[test]
fn text_may_be_cut_anywhere_but_must_end_with_a_whole_character() {
    let whole = "a\u{e9}\u{20ac}\u{1f600}";
    for cut in 0..=whole.len() {
        let (front, back) = whole.as_bytes().split_at(cut);
        let bytes = [part(TEXT, front), last(PING, b"\xff"), last(CONTINUATION, back)].concat();
        let expected = vec![Owned::Ping(vec![0xff]), text(whole)];
        assert_eq!(decode_all(&bytes).as_ref(), Ok(&expected));
        assert_eq!(decode_bytewise(&bytes), Ok(expected));

        let at_character = whole.is_char_boundary(cut);
        let fragmented = [part(TEXT, front), last(CONTINUATION, b"")].concat();
        for bytes in [last(TEXT, front), fragmented] {
            if at_character {
                assert_eq!(decode_all(&bytes), Ok(vec![text(&whole[..cut])]));
            } else {
                assert_fails_at_end(&bytes, &FrameError::InvalidText, 1007);
            }
        }
    }
    // Binary messages are not checked.
    let bytes = [part(BINARY, b"\xff"), last(CONTINUATION, b"\xc3")].concat();
    assert_eq!(decode_all(&bytes), Ok(vec![Owned::Binary(vec![0xff, 0xc3])]));
}

#[test]
fn close_payloads() {
    assert_fails_at_end(&last(CLOSE, &[3]), &FrameError::CloseTooShort, 1002);
    for code in 0..=u16::MAX {
        let payload = close_payload(code, b"");
        let allowed = match code {
            1004..=1006 | 1015 => false,
            1000..=1014 | 3000..=4999 => true,
            _ => false,
        };
        let expected = if allowed {
            Ok(vec![Owned::Close(Some((code, String::new())))])
        } else {
            Err(FrameError::InvalidCloseCode(code))
        };
        assert_eq!(decode_all(&last(CLOSE, &payload)), expected);
    }
    assert_eq!(FrameError::InvalidCloseCode(1005).close_code(), 1002);
    let bad = last(CLOSE, &close_payload(1000, b"caf\xe9"));
    assert_fails_at_end(&bad, &FrameError::InvalidCloseReason, 1007);
    let good = last(CLOSE, &close_payload(4999, "caf\u{e9}".as_bytes()));
    let expected = vec![Owned::Close(Some((4999, "caf\u{e9}".to_owned())))];
    assert_eq!(decode_bytewise(&good), Ok(expected));
}

#[test]
fn an_error_in_a_lent_payload_throws_the_rest_away() {
    for bad in [last(TEXT, b"\xff"), last(CLOSE, &[3])] {
        let mut bytes = [bad, last(TEXT, b"good")].concat();
        let mut input = &mut bytes[..];
        let mut decoder = FrameDecoder::new(FrameLimits::default());
        let error = decoder.decode(&mut input).map(|_| ());
        assert!(error.is_err());
        assert!(input.is_empty());
        assert_eq!(decoder.decode(&mut input).map(|_| ()), error);
    }
}
