//! Two colours that a reader can tell apart.

use std::fmt;

use super::QrError;

/// How much more light the background must reflect than the foreground: grade C of symbol contrast
/// (ISO/IEC 15415, 7.8.3), which phones read without trouble. Screens and printers differ too much
/// for less.
const CONTRAST_MIN: f64 = 0.40;

/// An sRGB colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Colour([u8; 3]);

impl Colour {
    pub(crate) const BLACK: Self = Self([0; 3]);
    pub(crate) const WHITE: Self = Self([255; 3]);

    /// Six hexadecimal digits, with a `#` before them or without one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#').unwrap_or(text);
        let is_hex = digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let [_, red, green, blue] = u32::from_str_radix(digits, 16).ok()?.to_be_bytes();
        is_hex.then_some(Self([red, green, blue]))
    }

    pub(super) const fn bytes(self) -> [u8; 3] {
        self.0
    }

    /// How much of the light it reflects, from 0 to 1: relative luminance (WCAG 2.2).
    fn luminance(self) -> f64 {
        let linear = self.0.map(|channel| {
            let channel = f64::from(channel) / 255.0;
            if channel <= 0.040_45 {
                channel / 12.92
            } else {
                ((channel + 0.055) / 1.055).powf(2.4)
            }
        });
        let [red, green, blue] = linear;
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

/// # Errors
/// A reader would not find the code, or not read it.
pub(super) fn check(foreground: Colour, background: Colour) -> Result<(), QrError> {
    let contrast = background.luminance() - foreground.luminance();
    if contrast >= CONTRAST_MIN {
        Ok(())
    } else if contrast <= -CONTRAST_MIN {
        Err(QrError::Inverted)
    } else {
        Err(QrError::Contrast)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_six_hexadecimal_digits() {
        for (text, colour) in [
            ("000000", Some("#000000")),
            ("#0A6b4F", Some("#0a6b4f")),
            ("fff", None),
            ("+fffff", None),
            ("##ffffff", None),
            ("black", None),
            ("0a6b4f\"", None),
            ("", None),
        ] {
            let parsed = Colour::parse(text).map(|colour| colour.to_string());
            assert_eq!(parsed.as_deref(), colour, "{text}");
        }
    }

    #[test]
    fn only_dark_on_light_is_drawn() {
        let check = |foreground, background| {
            check(Colour::parse(foreground).unwrap(), Colour::parse(background).unwrap())
        };
        for (foreground, background) in
            [("000000", "ffffff"), ("0a6b4f", "ffffff"), ("a3262e", "fbe4e4"), ("1c201e", "dcefe7")]
        {
            assert_eq!(check(foreground, background), Ok(()), "{foreground} on {background}");
        }
        assert_eq!(check("ffffff", "000000"), Err(QrError::Inverted));
        assert_eq!(check("ffff00", "ffffff"), Err(QrError::Contrast));
        assert_eq!(check("000000", "555555"), Err(QrError::Contrast));
        assert_eq!(check("123456", "123456"), Err(QrError::Contrast));
    }
}
