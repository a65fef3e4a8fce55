//! Whether a number can be kept: read as an `f64`, is it still the number that the text denotes?
//!
//! It refuses what overflows and what no shortest decimal of the `f64` denotes. Invariant: a number that is kept is
//! written again as the same number, be it in other letters (`1e2` as `100.0`). The one exception: where two shortest
//! decimals are equally near to the `f64`, either is kept, for some writers of numbers take the even one and others
//! the larger one; we write the even one.

/// The most significant digits that the shortest decimal of an `f64` has.
const DIGITS_MAX: u32 = 17;

/// Significant digits that every `f64` in its normal range tells apart: two decimals of so few digits never share one,
/// so the shortest of its decimals is the one in the text.
const DIGITS_EXACT: u32 = 15;

/// Reads the text of a JSON number that isn't a 64-bit integer.
///
/// Returns `None` if it can't be kept.
pub(super) fn keep(text: &str) -> Option<f64> {
    let float: f64 = text.parse().ok()?;
    let decimal = Decimal::read(text)?;
    if decimal.is_exact() {
        return Some(float);
    }
    let (even, larger) = (serde_json::Number::from_f64(float)?.to_string(), format!("{float:e}"));
    [even, larger].iter().any(|shortest| Decimal::read(shortest).as_ref() == Some(&decimal)).then_some(float)
}

/// `significand` × 10^`exponent` without its sign; the significand doesn't end in 0, and zero has exponent 0.
#[derive(PartialEq, Eq)]
struct Decimal {
    significand: u64,
    exponent: i64,
}

impl Decimal {
    /// Reads a number in JSON's grammar; `None` if it has more than [`DIGITS_MAX`] significant digits.
    fn read(text: &str) -> Option<Decimal> {
        let (mantissa, power) = match text.bytes().position(|byte| byte | 0x20 == b'e') {
            Some(at) => (&text[..at], power_of(&text[at + 1..])),
            None => (text, 0),
        };
        let (mut significand, mut exponent) = (0u64, 0i64);
        let (mut digits, mut zeros, mut in_fraction) = (0u32, 0u32, false);
        for byte in mantissa.bytes() {
            match byte {
                b'.' => in_fraction = true,
                b'0'..=b'9' => {
                    exponent -= i64::from(in_fraction);
                    match (byte, significand) {
                        (b'0', 0) => {}
                        (b'0', _) => zeros += 1,
                        _ => {
                            digits = digits.saturating_add(zeros).saturating_add(1);
                            if digits > DIGITS_MAX {
                                return None;
                            }
                            significand = significand * 10u64.pow(zeros + 1) + u64::from(byte - b'0');
                            zeros = 0;
                        }
                    }
                }
                _ => {}
            }
        }
        if significand == 0 {
            return Some(Decimal { significand, exponent: 0 });
        }
        Some(Decimal { significand, exponent: exponent + i64::from(zeros) + power })
    }

    /// Whether the `f64` nearest to it surely has it as its shortest decimal.
    fn is_exact(&self) -> bool {
        self.significand < 10u64.pow(DIGITS_EXACT) && (-300..=290).contains(&self.exponent)
    }
}

/// The exponent that `text` writes, held within what no length of digits before it could bring back into range.
fn power_of(text: &str) -> i64 {
    const FAR: i64 = 1 << 40;
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let power = digits.bytes().fold(0i64, |power, byte| (power * 10 + i64::from(byte - b'0')).min(FAR));
    sign * power
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn either_decimal_of_a_tie_is_kept() {
        let tie = f64::from_bits(14_038_359_578_260_911_240).abs();
        for text in ["80361552725714.12", "80361552725714.13", "-8.036155272571413e13"] {
            assert_eq!(keep(text).map(f64::abs), Some(tie), "{text}");
        }
        for text in ["80361552725714.121", "80361552725714.129", "9007199254740993.0"] {
            assert_eq!(keep(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_float_is_kept_as_rust_and_as_we_write_it(bits: u64) {
            let float = f64::from_bits(bits);
            prop_assume!(float.is_finite());
            let stored = serde_json::Number::from_f64(float).expect("finite").to_string();
            for text in [format!("{float:e}"), format!("{float:?}"), stored] {
                prop_assert_eq!(keep(&text).map(f64::to_bits), Some(bits), "{}", text);
            }
        }

        #[test]
        fn few_digits_need_no_comparison(significand in 1u64..1_000_000_000_000_000, exponent in -300i64..=290) {
            let text = format!("{significand}e{exponent}");
            let stored = serde_json::Number::from_f64(text.parse().expect("a number")).expect("finite").to_string();
            prop_assert!(Decimal::read(&text) == Decimal::read(&stored), "{} {}", text, stored);
        }

        #[test]
        fn a_longer_decimal_is_another_number(float in -1e300f64..1e300, digit in 1u8..=9) {
            let shortest = format!("{float:e}");
            let (mantissa, power) = shortest.split_once('e').expect("an exponent");
            let point = if mantissa.contains('.') { "" } else { "." };
            let text = format!("{mantissa}{point}000000000000000000{digit}e{power}");
            prop_assert_eq!(keep(&text), None, "{}", text);
        }
    }
}
