//! The pass over the raw text that comes before the parser: without recursion, without a copy.
//!
//! It refuses what the parser might let pass or would have to recurse into: bytes that aren't UTF-8, control
//! characters, lone surrogates, unknown escapes, numbers outside of JSON's grammar, nesting beyond the bound. Numbers
//! that aren't 64-bit integers it reads itself, exactly rounded.
//!
//! Invariant: after the scan the text is as valid or invalid as before, and each number in it that isn't a 64-bit
//! integer has become `0.0` and spaces, standing for the next of [`Scan::floats`].

use super::{JsonError, number, push_token};

/// What a text holds that the parser isn't asked for.
#[derive(Debug)]
pub(super) struct Scan {
    /// The values of the numbers that aren't 64-bit integers, in the order of the text.
    pub(super) floats: Vec<f64>,
    /// The first number that can't be kept.
    pub(super) refused: Option<Refused>,
}

/// A number that can't be kept.
#[derive(Debug)]
pub(super) struct Refused {
    /// The JSON Pointer to it, if the names before it are well formed.
    pub(super) pointer: Option<String>,
}

/// What stands for a number that the scan has read: the shortest text that any such number can have.
const STAND_IN: &[u8] = b"0.0";

/// Bytes of an integer, with its sign, up to which it surely has 64 bits.
const SURE_BYTES: usize = 18;

/// Scans `text`, which may nest `depth_max` levels.
pub(super) fn scan(text: &mut [u8], depth_max: usize) -> Result<Scan, JsonError> {
    if text.starts_with(b"\xef\xbb\xbf") {
        return Err(JsonError::Encoding { at: 0 });
    }
    std::str::from_utf8(text).map_err(|error| JsonError::Encoding { at: error.valid_up_to() })?;
    let mut scan = Scan { floats: Vec::new(), refused: None };
    let (mut at, mut depth) = (0, 0usize);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => at = string_end(text, at)?,
            b'-' | b'0'..=b'9' => at = scan.number(text, at)?,
            b'[' | b'{' if depth == depth_max => return Err(JsonError::Depth { pointer: pointer_at(text, at) }),
            b'[' | b'{' => {
                depth += 1;
                at += 1;
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' | b'a'..=b'z' => at += 1,
            _ => return Err(JsonError::Syntax),
        }
    }
    Ok(scan)
}

impl Scan {
    /// Reads the number at `at` and returns where it ends.
    fn number(&mut self, text: &mut [u8], at: usize) -> Result<usize, JsonError> {
        let (end, is_integer) = number_end(text, at).ok_or(JsonError::Syntax)?;
        if is_integer && end - at <= SURE_BYTES {
            return Ok(end);
        }
        let letters = std::str::from_utf8(&text[at..end]).map_err(|_| JsonError::Syntax)?;
        if is_integer && (letters.parse::<u64>().is_ok() || letters.parse::<i64>().is_ok()) {
            return Ok(end);
        }
        let float = number::keep(letters);
        if float.is_none() && self.refused.is_none() {
            self.refused = Some(Refused { pointer: pointer_at(text, at) });
        }
        self.floats.push(float.unwrap_or(0.0));
        let (stand_in, spaces) = text[at..end].split_at_mut(STAND_IN.len());
        stand_in.copy_from_slice(STAND_IN);
        spaces.fill(b' ');
        Ok(end)
    }
}

/// Where the number at `at` ends, and whether it has neither fraction nor exponent (RFC 8259, section 6). `None` if it
/// isn't one, or if something else than white space, a comma or a bracket follows.
fn number_end(text: &[u8], at: usize) -> Option<(usize, bool)> {
    let digits = |from: usize| text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let one_or_more = |from: usize| Some(digits(from)).filter(|&count| count > 0);
    let start = at + usize::from(text[at] == b'-');
    let mut end = start + one_or_more(start)?;
    if text[start] == b'0' && end > start + 1 {
        return None;
    }
    let mut is_integer = true;
    if text.get(end) == Some(&b'.') {
        is_integer = false;
        end += 1 + one_or_more(end + 1)?;
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        is_integer = false;
        end += 1 + usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        end += one_or_more(end)?;
    }
    matches!(text.get(end), None | Some(b' ' | b'\t' | b'\n' | b'\r' | b',' | b']' | b'}')).then_some((end, is_integer))
}

/// Where the string that opens at `at` ends, behind its closing quote.
fn string_end(text: &[u8], at: usize) -> Result<usize, JsonError> {
    let mut at = at + 1;
    loop {
        at += text[at..]
            .iter()
            .position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')
            .ok_or(JsonError::Syntax)?;
        match text[at] {
            b'"' => return Ok(at + 1),
            b'\\' => at = escape_end(text, at)?,
            _ => return Err(JsonError::Control { at }),
        }
    }
}

/// Where the escape at `at` ends; a surrogate pair is one escape.
fn escape_end(text: &[u8], at: usize) -> Result<usize, JsonError> {
    match text.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => return Ok(at + 2),
        Some(b'u') => {}
        _ => return Err(JsonError::Syntax),
    }
    match code_unit(text, at).ok_or(JsonError::Syntax)? {
        0xd800..=0xdbff => match code_unit(text, at + 6) {
            Some(0xdc00..=0xdfff) => Ok(at + 12),
            _ => Err(JsonError::Surrogate { at }),
        },
        0xdc00..=0xdfff => Err(JsonError::Surrogate { at }),
        _ => Ok(at + 6),
    }
}

/// The code unit of the `\uXXXX` at `at`.
fn code_unit(text: &[u8], at: usize) -> Option<u32> {
    let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
}

/// One container on the way to a place in the text.
enum Level {
    /// An array, and the index of the element that the place is in.
    Array(usize),
    /// An object, and where the name of the member that the place is in begins and ends, quotes included.
    Object(usize, usize),
}

/// The JSON Pointer to the value that begins at `place`, all before which was scanned; `None` if that isn't JSON.
///
/// A second pass, for the one value that an error names.
fn pointer_at(text: &[u8], place: usize) -> Option<String> {
    let mut levels = Vec::new();
    let (mut at, mut string) = (0, (0, 0));
    while at < place {
        match (text[at], levels.last_mut()) {
            (b'"', _) => {
                string = (at, string_end(text, at).ok()?);
                at = string.1 - 1;
            }
            (b'[', _) => levels.push(Level::Array(0)),
            (b'{', _) => levels.push(Level::Object(0, 0)),
            (b']' | b'}', _) => drop(levels.pop()),
            (b',', Some(Level::Array(index))) => *index += 1,
            (b':', Some(Level::Object(start, end))) => (*start, *end) = string,
            _ => {}
        }
        at += 1;
    }
    let mut pointer = String::new();
    for level in levels {
        match level {
            Level::Array(index) => push_token(&mut pointer, &index.to_string()),
            Level::Object(start, end) => {
                push_token(&mut pointer, &serde_json::from_slice::<String>(&text[start..end]).ok()?);
            }
        }
    }
    Some(pointer)
}
