//! Bytes of a file as text.

/// A text, and the line of its first invalid UTF-8 byte. Such bytes were replaced.
pub(super) struct Text {
    pub(super) text: String,
    pub(super) replaced: Option<usize>,
}

/// The bytes are UTF-16.
#[derive(Debug, thiserror::Error)]
#[error("it is UTF-16 text; save it as UTF-8")]
pub(super) struct Utf16;

/// Decodes bytes as UTF-8, replacing invalid ones.
pub(super) fn text(bytes: Vec<u8>) -> Result<Text, Utf16> {
    if is_utf16(&bytes) {
        return Err(Utf16);
    }
    Ok(match String::from_utf8(bytes) {
        Ok(text) => Text { text, replaced: None },
        Err(error) => {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            Text { text: String::from_utf8_lossy(error.as_bytes()).into_owned(), replaced: Some(line) }
        }
    })
}

/// By its byte order mark, or by its first character, which is ASCII in every manifest.
fn is_utf16(bytes: &[u8]) -> bool {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => true,
        [0, second, ..] => *second != 0,
        [first, 0, ..] => *first != 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_utf8_are_replaced_and_their_line_is_known() {
        let Text { text, replaced } = text(b"a: 1\nb: caf\xe9\nc: \xff\n".to_vec()).ok().unwrap();
        assert_eq!((text.as_str(), replaced), ("a: 1\nb: caf\u{fffd}\nc: \u{fffd}\n", Some(2)));
        let good = super::text("a: é\n".into()).ok().unwrap();
        assert_eq!((good.text.as_str(), good.replaced), ("a: é\n", None));
        assert_eq!(super::text(Vec::new()).ok().unwrap().text, "");
    }

    #[test]
    fn utf16_is_distinguished_from_other_text() {
        let units: Vec<u16> = "kind: Service\n".encode_utf16().collect();
        let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        for bytes in [
            [&[0xff, 0xfe], little.as_slice()].concat(),
            [&[0xfe, 0xff], big.as_slice()].concat(),
            little,
            big,
        ] {
            let error = text(bytes).err().unwrap();
            assert_eq!(error.to_string(), "it is UTF-16 text; save it as UTF-8");
        }
    }
}
