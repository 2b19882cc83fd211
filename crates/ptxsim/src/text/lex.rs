//! PTX text to tokens. Comments, `.loc` and `.file` lines and line ends are dropped here.

/// One token with the line it starts on (from one).
#[derive(Clone, Debug, PartialEq)]
pub struct Token<'t> {
    pub kind: Kind<'t>,
    pub line: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind<'t> {
    /// Identifier, opcode with its modifiers (`ld.global.v4.f32`) or special register (`%tid.x`).
    Word(&'t str),
    /// `.reg`, `.b32`: a word after a dot, without the dot.
    Dot(&'t str),
    Int(i128),
    F32(u32),
    F64(u64),
    Text,
    Punct(u8),
}

fn word_start(c: u8) -> bool {
    c.is_ascii_alphabetic() || matches!(c, b'_' | b'$' | b'%')
}

fn word_part(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'_' | b'$')
}

/// Splits `text` into tokens; an error is (line, message).
pub fn lex(text: &str) -> Result<Vec<Token<'_>>, (usize, String)> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::with_capacity(bytes.len() / 5);
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let c = bytes[at];
        let rest = &bytes[at..];
        match c {
            b'\n' => {
                line += 1;
                at += 1;
            }
            b' ' | b'\t' | b'\r' | 0 => at += 1,
            b'/' if rest.starts_with(b"//") => at += rest.iter().position(|&c| c == b'\n').unwrap_or(rest.len()),
            b'/' if rest.starts_with(b"/*") => {
                let end = rest.windows(2).skip(2).position(|w| w == b"*/");
                let end = end.ok_or((line, "comment without end (text cut short?)".to_string()))? + 4;
                line += rest[..end].iter().filter(|&&c| c == b'\n').count();
                at += end;
            }
            b'"' => {
                let end = rest.iter().skip(1).position(|&c| c == b'"');
                let end = end.ok_or((line, "string without end (text cut short?)".to_string()))? + 2;
                tokens.push(Token { kind: Kind::Text, line });
                line += rest[..end].iter().filter(|&&c| c == b'\n').count();
                at += end;
            }
            b'.' => {
                let len = 1 + rest[1..].iter().take_while(|&&c| word_part(c)).count();
                let word = &text[at + 1..at + len];
                if word.is_empty() {
                    return Err((line, "a dot without a name".into()));
                }
                at += len;
                // These two end with their line, not with a semicolon.
                if word == "loc" || word == "file" {
                    at += bytes[at..].iter().position(|&c| c == b'\n').unwrap_or(bytes.len() - at);
                } else {
                    tokens.push(Token { kind: Kind::Dot(word), line });
                }
            }
            _ if word_start(c) => {
                let len = word_len(rest);
                tokens.push(Token { kind: Kind::Word(&text[at..at + len]), line });
                at += len;
            }
            _ if c.is_ascii_digit() => {
                let len = rest.iter().take_while(|&&c| c.is_ascii_alphanumeric() || c == b'.').count();
                // An exponent's sign belongs to the number: 1.0e-5, but not 0x1e-5.
                let mut len = len;
                if !rest.starts_with(b"0x")
                    && !rest.starts_with(b"0X")
                    && !rest.starts_with(b"0f")
                    && !rest.starts_with(b"0d")
                    && matches!(rest[len - 1], b'e' | b'E')
                    && matches!(rest.get(len), Some(b'+' | b'-'))
                {
                    len += 1 + rest[len + 1..].iter().take_while(|c| c.is_ascii_digit()).count();
                }
                let word = &text[at..at + len];
                let kind = number(word).ok_or_else(|| (line, format!("`{word}` is not a number")))?;
                tokens.push(Token { kind, line });
                at += len;
            }
            b'{' | b'}' | b'(' | b')' | b'[' | b']' | b'<' | b'>' | b',' | b';' | b':' | b'=' | b'+' | b'-' | b'*'
            | b'|' | b'!' | b'@' | b'~' => {
                tokens.push(Token { kind: Kind::Punct(c), line });
                at += 1;
            }
            _ => return Err((line, format!("unexpected character {:?}", text[at..].chars().next().unwrap_or('?')))),
        }
    }
    Ok(tokens)
}

/// Length of a word, with the `.modifier` and `::qualifier` parts attached to it.
fn word_len(rest: &[u8]) -> usize {
    let mut len = 1;
    loop {
        len += rest[len..].iter().take_while(|&&c| word_part(c)).count();
        let part = |i: usize| rest.get(i).is_some_and(|&c| word_part(c));
        if rest.get(len) == Some(&b'.') && part(len + 1) {
            len += 1;
        } else if rest[len..].starts_with(b"::") && part(len + 2) {
            len += 2;
        } else {
            return len;
        }
    }
}

fn number<'t>(word: &str) -> Option<Kind<'t>> {
    let lower = word.to_ascii_lowercase();
    let (bare, prefix) = (lower.strip_suffix('u').unwrap_or(&lower), lower.get(..2).unwrap_or(""));
    match prefix {
        "0f" => return (lower.len() == 10).then(|| u32::from_str_radix(&lower[2..], 16).ok().map(Kind::F32))?,
        "0d" => return (lower.len() == 18).then(|| u64::from_str_radix(&lower[2..], 16).ok().map(Kind::F64))?,
        "0x" => return u64::from_str_radix(&bare[2..], 16).ok().map(|v| Kind::Int(v.into())),
        "0b" => return u64::from_str_radix(&bare[2..], 2).ok().map(|v| Kind::Int(v.into())),
        _ => {}
    }
    if lower.contains(['.', 'e']) {
        return lower.parse::<f64>().ok().map(|v| Kind::F64(v.to_bits()));
    }
    if bare.len() > 1 && bare.starts_with('0') {
        return u64::from_str_radix(bare, 8).ok().map(|v| Kind::Int(v.into()));
    }
    bare.parse::<u64>().ok().map(|v| Kind::Int(v.into()))
}
