//! `printf` on a device: C's format, arguments side by side as a structure has them.

/// One conversion: `%-08.3lf`.
#[derive(Default)]
struct Spec {
    left: bool,
    zero: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
    /// 4 or 8 bytes of an integer; 1 and 2 are promoted to 4, and cut.
    bytes: u64,
    cut: u32,
}

/// Arguments, read one after the other.
struct Arguments<'r> {
    at: u64,
    read: &'r mut dyn FnMut(u64) -> Option<u8>,
    count: u64,
}

impl Arguments<'_> {
    /// The next one of so many bytes. What is not there is 0.
    fn next(&mut self, bytes: u64) -> u64 {
        self.at = self.at.next_multiple_of(bytes);
        let value = (0..bytes).fold(0, |v, i| v | u64::from((self.read)(self.at + i).unwrap_or(0)) << (8 * i));
        self.at += bytes;
        self.count += 1;
        value
    }
}

/// The text, and how many arguments it took. `read` gives bytes at the device's addresses; texts of arguments end after `longest`.
pub fn format(text: &[u8], arguments: u64, read: &mut dyn FnMut(u64) -> Option<u8>, longest: u64) -> (String, u64) {
    let mut arguments = Arguments { at: arguments, read, count: 0 };
    let mut out: Vec<u8> = vec![];
    let mut rest = text.iter().copied().peekable();
    while let Some(c) = rest.next() {
        if c != b'%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec { bytes: 4, cut: 64, ..Spec::default() };
        let mut dotted = false;
        for c in rest.by_ref() {
            match c {
                b'-' if !dotted => spec.left = true,
                b'+' => spec.plus = true,
                b' ' => spec.space = true,
                b'#' => spec.alternate = true,
                b'0' if !dotted && spec.width == 0 => spec.zero = true,
                b'.' => (dotted, spec.precision) = (true, Some(0)),
                b'0'..=b'9' => {
                    let digit = usize::from(c - b'0');
                    let slot = if dotted { spec.precision.get_or_insert(0) } else { &mut spec.width };
                    *slot = (10 * *slot + digit).min(4096);
                }
                b'*' => {
                    let given = arguments.next(4) as u32 as i32;
                    let size = (given.unsigned_abs() as usize).min(4096);
                    if dotted {
                        spec.precision = (given >= 0).then_some(size);
                    } else {
                        (spec.width, spec.left) = (size, spec.left || given < 0);
                    }
                }
                b'h' => spec.cut = if spec.cut == 16 { 8 } else { 16 },
                b'l' | b'j' | b'z' | b't' | b'L' => spec.bytes = 8,
                _ => {
                    convert(c, &spec, &mut arguments, &mut out, longest);
                    break;
                }
            }
        }
    }
    (String::from_utf8_lossy(&out).into_owned(), arguments.count)
}

fn convert(c: u8, spec: &Spec, arguments: &mut Arguments, out: &mut Vec<u8>, longest: u64) {
    let mut cut = |spec: &Spec| {
        let bits = spec.cut.min(8 * spec.bytes as u32);
        arguments.next(spec.bytes) << (64 - bits) >> (64 - bits)
    };
    match c {
        b'%' => out.push(b'%'),
        b'd' | b'i' => {
            let bits = spec.cut.min(8 * spec.bytes as u32);
            let value = (arguments.next(spec.bytes) << (64 - bits)) as i64 >> (64 - bits);
            number(&signs(value < 0, spec), &value.unsigned_abs().to_string(), spec, out);
        }
        b'u' => number("", &cut(spec).to_string(), spec, out),
        b'o' => number(if spec.alternate { "0" } else { "" }, &format!("{:o}", cut(spec)), spec, out),
        b'x' => number(if spec.alternate { "0x" } else { "" }, &format!("{:x}", cut(spec)), spec, out),
        b'X' => number(if spec.alternate { "0X" } else { "" }, &format!("{:X}", cut(spec)), spec, out),
        b'c' => pad(&[cut(spec) as u8], spec, out),
        b'p' => pad(format!("{:#x}", arguments.next(8)).as_bytes(), spec, out),
        b's' => {
            let at = arguments.next(8);
            let most = spec.precision.map_or(longest, |p| p as u64);
            let bytes = (at..at.saturating_add(most)).map_while(|at| (arguments.read)(at)).take_while(|b| *b != 0);
            let bytes: Vec<u8> = bytes.collect();
            pad(&bytes, spec, out);
        }
        b'f' | b'F' | b'e' | b'E' | b'g' | b'G' | b'a' | b'A' => {
            let value = f64::from_bits(arguments.next(8));
            let digits = real(c, value.abs(), spec);
            let spec = &Spec { precision: None, zero: spec.zero && value.is_finite(), ..*spec };
            number(&signs(value.is_sign_negative(), spec), &digits, spec, out);
        }
        _ => out.extend([b'%', c]),
    }
}

fn signs(negative: bool, spec: &Spec) -> String {
    let sign = if negative {
        "-"
    } else if spec.plus {
        "+"
    } else if spec.space {
        " "
    } else {
        ""
    };
    sign.into()
}

fn pad(text: &[u8], spec: &Spec, out: &mut Vec<u8>) {
    let blanks = vec![b' '; spec.width.saturating_sub(text.len())];
    if spec.left {
        out.extend(text);
        out.extend(blanks);
    } else {
        out.extend(blanks);
        out.extend(text);
    }
}

/// Digits behind a sign or a prefix, with zeros between as width and precision ask for.
fn number(prefix: &str, digits: &str, spec: &Spec, out: &mut Vec<u8>) {
    let wanted = match spec.precision {
        Some(digits) => digits,
        None if spec.zero && !spec.left => spec.width.saturating_sub(prefix.len()),
        None => 0,
    };
    let zeros = "0".repeat(wanted.saturating_sub(digits.len()));
    pad(format!("{prefix}{zeros}{digits}").as_bytes(), spec, out);
}

/// A number that is not negative, in one of C's forms.
fn real(c: u8, value: f64, spec: &Spec) -> String {
    let upper = c.is_ascii_uppercase();
    let text = match c.to_ascii_lowercase() {
        _ if value.is_nan() => "nan".into(),
        _ if value.is_infinite() => "inf".into(),
        b'f' => format!("{value:.*}", spec.precision.unwrap_or(6)),
        b'e' => exponential(value, spec.precision.unwrap_or(6)),
        b'a' => hexadecimal(value),
        _ => {
            let digits = spec.precision.unwrap_or(6).max(1);
            let long = exponential(value, digits - 1);
            let exponent: i32 = long.rsplit('e').next().and_then(|e| e.parse().ok()).unwrap_or(0);
            let plain = exponent >= -4 && exponent < digits as i32;
            let text = if plain { format!("{value:.*}", (digits as i32 - 1 - exponent) as usize) } else { long };
            if spec.alternate { text } else { without_zeros(&text) }
        }
    };
    if upper { text.to_uppercase() } else { text }
}

/// Two digits of exponent at least, and its sign.
fn exponential(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// Without zeros at the end of the fraction.
fn without_zeros(text: &str) -> String {
    let (mantissa, exponent) = match text.find('e') {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    if !mantissa.contains('.') {
        return text.into();
    }
    format!("{}{exponent}", mantissa.trim_end_matches('0').trim_end_matches('.'))
}

fn hexadecimal(value: f64) -> String {
    let bits = value.to_bits();
    let (exponent, fraction) = ((bits >> 52) as i32 & 0x7ff, bits & ((1 << 52) - 1));
    let (lead, exponent) = match (exponent, fraction) {
        (0, 0) => (0, 0),
        (0, _) => (0, -1022),
        (e, _) => (1, e - 1023),
    };
    let digits = format!("{fraction:013x}");
    let digits = digits.trim_end_matches('0');
    format!("0x{lead}{}{digits}p{exponent:+}", if digits.is_empty() { "" } else { "." })
}
